"""No open port is missed, at any loss: counted on a network on paper, with both engines, run by run."""

from __future__ import annotations

import random
from typing import Any

import pytest

from oxisock import _native
from oxisock.engines.scanning import CLOSED, FILTERED, OPEN
from oxisock.pure.scanning.driver import ScanEngine as PureEngine
from support.simulator import MS, SECOND, Bottleneck, SimHost, plan, simulate

PORTS = 200
LOSSES = (0.0, 0.02, 0.05, 0.1, 0.2)


@pytest.fixture(params=["native", "pure"])
def machine(request: pytest.FixtureRequest) -> Any:
    return {"native": _native.ScanEngine, "pure": PureEngine}[request.param]


def some_host(dice: random.Random, loss: float, **changes: Any) -> SimHost:
    """Make a host with eight open ports; a third each refuse or keep silent on all others, or do either."""
    ports = list(range(1, PORTS + 1))
    dice.shuffle(ports)
    open_ports, others = ports[:8], ports[8:]
    closed = others[: dice.choice([0, len(others), dice.randrange(len(others))])]
    rtt = dice.choice([50_000, 5 * MS, 60 * MS, 200 * MS])
    burst = dice.choice([0, 0, 2])
    values = {"rtt": rtt, "jitter": rtt // 2, "loss": loss / (1 + burst), "burst": burst}
    return SimHost(frozenset(open_ports), frozenset(closed), **(values | changes))


def least(host: SimHost) -> int:
    """Count the probes that a scan without loss cannot do without: each silent port is asked twice."""
    answering = len(host.open | host.closed)
    return answering + 2 * (PORTS - answering)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_open_port_is_found(machine: Any, loss: float) -> None:
    # Times five rates of loss: 200 runs of the native machine, and some of the pure one, which gives the same trace.
    for seed in range(40 if machine is _native.ScanEngine else 12):
        dice = random.Random(seed)
        host = some_host(dice, loss)
        result = simulate(machine(plan(PORTS, seed=seed, first_ports=dice.choice([0, 20])), 1), [host], seed=seed)
        assert result.found(OPEN) == host.open, f"seed {seed}"
        assert len(result.outcomes) == len({o.port for o in result.outcomes}) == PORTS
        if loss == 0:
            assert len(result.sent) <= 1.6 * least(host)
            assert result.found(CLOSED) == host.closed
        assert len(result.sent) <= 11 * PORTS + 11 * 64, "bounded at any loss"


@pytest.mark.parametrize("rate", [50, 200, 1000])
def test_limited_refusals_are_still_refusals(machine: Any, rate: int) -> None:
    for seed in range(5):
        host = some_host(random.Random(seed), 0.0, rst_rate=rate)
        result = simulate(machine(plan(PORTS, seed=seed), 1), [host], seed=seed)
        assert result.found(OPEN) == host.open
        if rate >= 200:
            assert result.found(CLOSED) == host.closed, f"seed {seed}"


def test_an_accept_queue_that_overflows_hides_no_port(machine: Any) -> None:
    for seed in range(10):
        host = some_host(random.Random(seed), 0.0, accept_rate=5)
        result = simulate(machine(plan(PORTS, seed=seed), 1), [host], seed=seed)
        assert result.found(OPEN) == host.open, f"seed {seed}"


@pytest.mark.parametrize(("rate", "queue"), [(4000, 50), (8000, 100)])
def test_a_slow_line_hides_no_port_and_is_not_crawled_over(machine: Any, rate: int, queue: int) -> None:
    for seed in range(3):
        opened = frozenset(random.Random(seed).sample(range(1, 4001), 40))
        bottleneck = Bottleneck(rate, queue)
        chosen = plan(4000, seed=seed, keep=1, trace=False)
        host = SimHost(opened, rtt=20 * MS)
        result = simulate(machine(chosen, 1), [host], seed=seed, cost=10_000, step=MS, bottleneck=bottleneck)
        assert bottleneck.dropped > 1000, "more is sent than the line bears"
        assert result.found(OPEN) == opened, f"seed {seed}"
        assert result.elapsed < 20 * SECOND


def test_a_line_that_drops_nearly_all_at_first_hides_no_port(machine: Any) -> None:
    # The pure machine, which gives the same trace, asks where the first burst once left no answer at all.
    for seed in range(32, 40) if machine is _native.ScanEngine else (38,):
        opened = frozenset(random.Random(seed).sample(range(1, 4001), 40))
        host = SimHost(opened, rtt=40 * MS, jitter=8 * MS)
        chosen = plan(4000, seed=seed, keep=1, trace=False)
        line = Bottleneck(1200, 30)
        result = simulate(machine(chosen, 1), [host], seed=seed, cost=10_000, step=MS, bottleneck=line)
        assert result.found(OPEN) == opened, f"seed {seed}"


def test_bursts_that_a_queue_drops_are_seen_by_canaries() -> None:
    # Where descriptors are few, thousands of probes leave at once; the pure machine gives the same trace.
    first = [22, 80, 443, 8080]
    others = [port for port in range(1, 65536) if port not in first]
    for seed in (2, 14, 39):
        opened = frozenset((*first, *random.Random(seed).sample(first + others, 6)))
        chosen = plan(first + others, first_ports=100, seed=seed, concurrency=4096, keep=1, trace=False)
        host = SimHost(opened | {22, 80, 443, 6000}, rtt=55 * MS, jitter=11 * MS, loss=0.01)
        line, engine = Bottleneck(41_600, 200), _native.ScanEngine(chosen, 1)
        result = simulate(engine, [host], seed=seed, cost=10_000, step=MS, bottleneck=line)
        assert result.found(OPEN) == host.open, f"seed {seed}"


def test_a_distant_firewalled_host_is_asked_as_often_as_loss_demands(machine: Any) -> None:
    for loss, most in (0.01, 4), (0.05, 7):
        opened = frozenset({22, 80, 443, 6000, 7070})
        host = SimHost(opened, rtt=50 * MS, jitter=10 * MS, loss=loss)
        result = simulate(machine(plan(8000, keep=1, trace=False), 1), [host], cost=12_000)
        assert result.found(OPEN) == opened
        assert 2 * 8000 < len(result.sent) < most * 8000 + 1000


def scan_far_host(machine: Any, ports: int, seed: int, *, loss: float = 0.0, **options: Any) -> Any:
    """Scan a host 50 ms away of which three ports are open and the others silent, and find those three."""
    first = [22, 80, 443, 8080]
    order = first + [port for port in range(1, ports + 1) if port not in first]
    chosen = plan(order, first_ports=4, seed=seed, concurrency=4096, descriptors=20_000, keep=1, trace=False)
    host = SimHost(frozenset(first[:3]), rtt=50 * MS, jitter=5 * MS, loss=loss)
    result = simulate(machine(chosen, 1), [host], seed=seed, cost=5_000, step=MS, **options)
    assert result.found(OPEN) == host.open
    return result


def test_a_driver_that_sees_answers_late_does_not_slow_down_a_scan(machine: Any) -> None:
    # As where the garbage of a hundred thousand objects is collected.
    ports = 65535 if machine is _native.ScanEngine else 8000
    prompt, late = scan_far_host(machine, ports, 3), scan_far_host(machine, ports, 3, stall=(200 * MS, 80 * MS))
    assert late.elapsed < prompt.elapsed * 1.2


def test_canaries_follow_a_scan_to_its_end() -> None:
    # Round trips and loss may change. The pure machine gives the same trace.
    order = [22, *(port for port in range(1, 65536) if port != 22)]
    chosen = plan(order, first_ports=1, concurrency=4096, descriptors=20_000, keep=1)
    result = simulate(_native.ScanEngine(chosen, 1), [SimHost(frozenset({22}), rtt=50 * MS)], cost=5_000, step=MS)
    asked = [event.time for event in result.events if event.port == 22]
    assert asked[-1] > result.elapsed - 1.3 * SECOND
    assert len(asked) < 2000


def test_loss_that_is_only_perhaps_more_does_not_have_all_asked_again() -> None:
    # Three probes are enough for 2 % and four for 2.15 %. The pure machine gives the same trace.
    runs = [scan_far_host(_native.ScanEngine, 65535, seed, loss=0.01) for seed in range(20)]
    assert sum(len(result.sent) > 3.9 * 65535 for result in runs) <= 4


def test_a_host_that_dies_is_given_up_soon(machine: Any) -> None:
    host = some_host(random.Random(1), 0.0, dies_at=300 * MS, rtt=MS)
    result = simulate(machine(plan(PORTS, interval=2 * MS), 1), [host])
    assert result.elapsed < 30 * SECOND
    assert result.found(FILTERED)
    assert len(result.outcomes) == PORTS


def test_a_rate_is_kept_in_any_second(machine: Any) -> None:
    for rate in (100, 999):
        interval = -(-SECOND // rate)
        hosts = [some_host(random.Random(number), 0.1) for number in range(8)]
        # A driver that is late by up to 20 ms may catch up, but never beyond the rate.
        result = simulate(machine(plan(PORTS, interval=interval, retries=4), len(hosts)), hosts, step=20 * MS)
        assert len(result.sent) > rate
        assert all(last - first >= SECOND for first, last in zip(result.sent, result.sent[rate:], strict=False))
        assert len(result.sent) * interval >= SECOND // 2


def test_few_descriptors_change_no_verdict(machine: Any) -> None:
    for descriptors in (1, 3, 17):
        host = some_host(random.Random(3), 0.0)
        result = simulate(machine(plan(PORTS), 1), [host], descriptors=descriptors)
        assert result.found(OPEN) == host.open
        assert result.found(CLOSED) == host.closed
        assert result.most_in_flight <= descriptors


def test_probes_in_flight_stay_within_concurrency(machine: Any) -> None:
    for concurrency in (1, 10, 100):
        host = some_host(random.Random(4), 0.05)
        result = simulate(machine(plan(PORTS, concurrency=concurrency), 1), [host])
        assert result.most_in_flight <= concurrency
        assert result.found(OPEN) == host.open


def test_thousands_of_hosts_pass_and_are_forgotten(machine: Any) -> None:
    hosts = [SimHost(open=frozenset({1}) if number % 100 == 0 else frozenset()) for number in range(5000)]
    result = simulate(machine(plan(1, trace=False), len(hosts)), hosts)
    assert {o.host for o in result.outcomes if o.state == OPEN} == set(range(0, 5000, 100))
    assert len(result.outcomes) == 5000
