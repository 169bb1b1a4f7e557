"""A line on the way to a network that drops what is too much hides no host: counted on a network on paper."""

from __future__ import annotations

import random
from typing import Any

import pytest

from oxisock import _native
from oxisock.engines.scanning import OPEN
from oxisock.pure.scanning.driver import ScanEngine as PureEngine
from support.simulator import MS, SECOND, Bottleneck, Result, SimHost, plan, simulate


@pytest.fixture(params=["native", "pure"])
def machine(request: pytest.FixtureRequest) -> Any:
    return {"native": _native.ScanEngine, "pure": PureEngine}[request.param]


def network(seed: int, ports: list[int], loss: float = 0.0, up: int = 40) -> list[SimHost]:
    """Make a network of 250 addresses, of which so many answer, on one to three of these ports only."""
    dice = random.Random(seed)
    hosts = [SimHost(nobody=True) for _ in range(250)]
    for number in dice.sample(range(250), up):
        opened = frozenset(dice.sample(ports, dice.choice([1, 1, 2, 3])))
        hosts[number] = SimHost(opened, rtt=20 * MS, jitter=4 * MS, loss=loss)
    return hosts


def run(machine: Any, hosts: list[SimHost], ports: int, line: Bottleneck | None = None, **changes: Any) -> Result:
    chosen = plan(list(range(1, ports + 1)), **{"seed": 1, "first_ports": 16, "keep": 1, "trace": False} | changes)
    return simulate(machine(chosen, len(hosts)), hosts, seed=1, cost=10_000, step=MS, bottleneck=line)


def missed(result: Result, hosts: list[SimHost]) -> int:
    return sum(len(host.open - result.found(OPEN, number)) for number, host in enumerate(hosts))


@pytest.mark.parametrize("ports", [16, 128])
@pytest.mark.parametrize(("rate", "queue"), [(41_600, 200), (10_000, 200), (2_000, 100)])
def test_a_slow_line_hides_no_host_of_a_network(machine: Any, rate: int, queue: int, ports: int) -> None:
    # Nobody answers for most addresses, so only hosts that are heard can tell that the line drops what is too much.
    lost = total = 0
    for seed in range(3 if machine is _native.ScanEngine else 1):  # the pure machine gives the same trace
        hosts, line = network(seed, list(range(1, 17))), Bottleneck(rate, queue)
        result = run(machine, hosts, ports, line, seed=seed)
        lost += missed(result, hosts)
        total += sum(len(host.open) for host in hosts)
        assert result.elapsed < 120 * SECOND
    assert lost <= total // 50, f"{lost} of {total}"


def test_a_slow_line_hides_no_host_where_many_answer(machine: Any) -> None:
    # They are more than are asked again and again, to see what gets lost.
    for seed in range(2):
        hosts = network(seed, list(range(1, 17)), up=200)
        assert missed(run(machine, hosts, 16, Bottleneck(10_000, 200), seed=seed), hosts) <= 2


def test_hosts_on_odd_ports_are_found_behind_a_slow_line(machine: Any) -> None:
    hosts = network(3, list(range(1, 129)))
    result = run(machine, hosts, 128, Bottleneck(41_600, 200))
    assert missed(result, hosts) <= 1


@pytest.mark.parametrize(
    ("rate", "queue", "answering", "ports", "most"),
    [
        (41_600, 200, 16, 128, 2),
        (41_600, 200, 128, 128, 2),
        (10_000, 200, 16, 16, 0),
        (10_000, 200, 128, 128, 1),
        (2_000, 100, 16, 16, 1),
        (2_000, 100, 128, 128, 100),
    ],
)
def test_hosts_asked_before_too_much_was_known_to_be_lost_are_asked_again(
    rate: int, queue: int, answering: int, ports: int, most: int
) -> None:
    # Loss that is too much begins with a little, or before there is a witness, and ports of hosts that are up get lost,
    # too. Of some 1,700 open ports so many are missed; the pure machine gives the same trace.
    lost = 0
    for seed in range(24):
        hosts = network(seed, list(range(1, answering + 1)))
        lost += missed(run(_native.ScanEngine, hosts, ports, Bottleneck(rate, queue), seed=seed), hosts)
    assert lost <= most


@pytest.mark.parametrize("skip_silent", [False, True])
def test_a_burst_of_first_probes_hides_no_host(machine: Any, skip_silent: bool) -> None:
    # All hosts are asked for the first time at once, and again at once: a queue that overflows may drop both.
    lost = 0
    for seed in range(5 if machine is _native.ScanEngine else 1):
        hosts = [SimHost(nobody=True) for _ in range(254)]
        for number in random.Random(seed).sample(range(254), 40):
            hosts[number] = SimHost(frozenset({1 + number % 16}), rtt=10 * MS)
        chosen = plan(list(range(1, 65)), seed=seed, first_ports=16, keep=1, trace=False, skip_silent=skip_silent)
        chosen = chosen._replace(concurrency=4096)
        result = simulate(
            machine(chosen, len(hosts)), hosts, seed=seed, cost=4_000, step=MS, bottleneck=Bottleneck(100_000, 300)
        )
        lost += missed(result, hosts)
    assert lost == 0


class Forgetful(SimHost):
    """A host that is not reached by the first so many probes to these ports."""

    def __init__(self, lost: dict[int, int], **how: Any) -> None:
        super().__init__(**how)
        self._not_reached = dict(lost)

    def answer(self, port: int, now: int, dice: random.Random) -> tuple[int, int] | None:
        left = self._not_reached.get(port, 0)
        if left:
            self._not_reached[port] = left - 1
            return None
        return super().answer(port, now, dice)


def test_a_few_silent_ports_are_asked_once_more_where_others_lost_probes(machine: Any) -> None:
    ports = frozenset(range(1, 65))
    hosts: list[SimHost] = [
        Forgetful({7: 2}, open=frozenset({7}), closed=ports - {7}),
        Forgetful({9: 1}, closed=ports),
    ]
    result = run(machine, hosts, 64)
    assert result.found(OPEN) == {7}
    alone = [Forgetful({7: 2}, open=frozenset({7}), closed=ports - {7}), SimHost(closed=ports)]
    assert run(machine, alone, 64).found(OPEN) == set(), "no other host lost a probe, so it is asked twice"


@pytest.mark.parametrize(("loss", "found"), [(0.1, True), (0.0, False)])
@pytest.mark.parametrize("ports", [16, 64])
def test_a_silent_host_gets_a_last_look_where_much_was_lost(machine: Any, ports: int, loss: float, found: bool) -> None:
    # Both probes of its one open port get lost.
    for seed in range(5 if machine is _native.ScanEngine else 1):
        hosts = network(seed, list(range(1, 17)), loss=loss)
        hosts[40] = Forgetful({7: 2}, open=frozenset({7}), rtt=20 * MS)
        assert (7 in run(machine, hosts, ports, seed=seed).found(OPEN, 40)) == found


def test_a_host_that_answers_at_its_last_look_has_all_its_ports_decided(machine: Any) -> None:
    # It answers when some of its first ports have left once more, and others have not.
    hosts = network(0, list(range(1, 17)), loss=0.1)
    hosts[40] = Forgetful({7: 2}, open=frozenset({7}), rtt=5 * MS)
    result = run(machine, hosts, 64, seed=0, interval=4 * MS)
    assert result.found(OPEN, 40) == {7}
    assert sum(result.tally[:4]) == 64 * len(hosts)


def test_a_fast_line_is_used(machine: Any) -> None:
    hosts = network(1, list(range(1, 17)))
    result = run(machine, hosts, 100)
    assert missed(result, hosts) == 0
    assert result.elapsed < 6 * SECOND


@pytest.mark.parametrize("loss", [0.05, 0.1])
def test_loss_that_is_there_at_any_pace_slows_nobody_down(machine: Any, loss: float) -> None:
    for seed in range(5 if machine is _native.ScanEngine else 1):
        hosts = network(seed, list(range(1, 17)), loss=loss)
        assert run(machine, hosts, 100, seed=seed).elapsed < 10 * SECOND


def test_few_canaries_do_not_slow_down_a_scan_by_chance(machine: Any) -> None:
    for seed in (1, 7, 9) if machine is _native.ScanEngine else (1,):
        dice = random.Random(seed)
        hosts = [SimHost(nobody=True) for _ in range(254)]
        for number in dice.sample(range(254), 40):
            hosts[number] = SimHost(frozenset({dice.randrange(1, 17)}), rtt=10 * MS, jitter=MS, loss=0.05)
        chosen = plan(list(range(1, 257)), seed=seed, first_ports=16, keep=1, trace=False, concurrency=4096)
        result = simulate(machine(chosen, len(hosts)), hosts, seed=seed, cost=5_000, step=MS)
        assert result.elapsed < 15 * SECOND  # it takes 9 s if it is not slowed down


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("dies_at", [0, 100 * MS, 600 * MS])
def test_a_witness_that_dies_stops_nobody(machine: Any, loss: float, dies_at: int) -> None:
    hosts = [SimHost(nobody=True) for _ in range(250)]
    hosts[40] = SimHost(frozenset({1}), rtt=20 * MS, jitter=4 * MS, loss=loss, dies_at=dies_at)
    assert run(machine, hosts, 100).elapsed < 10 * SECOND
