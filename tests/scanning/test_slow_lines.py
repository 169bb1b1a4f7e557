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


def network(seed: int, ports: list[int], loss: float = 0.0) -> list[SimHost]:
    """Make a network of 250 addresses, of which 40 answer, on one to three of these ports only."""
    dice = random.Random(seed)
    hosts = [SimHost(nobody=True) for _ in range(250)]
    for number in dice.sample(range(250), 40):
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
    assert lost <= total // 20, f"{lost} of {total}"


def test_hosts_on_odd_ports_are_found_behind_a_slow_line(machine: Any) -> None:
    hosts = network(3, list(range(1, 129)))
    result = run(machine, hosts, 128, Bottleneck(41_600, 200))
    assert missed(result, hosts) <= 1


def test_a_fast_line_is_used(machine: Any) -> None:
    hosts = network(1, list(range(1, 17)))
    result = run(machine, hosts, 100)
    assert missed(result, hosts) == 0
    assert result.elapsed < 6 * SECOND


def test_loss_that_is_there_at_any_pace_slows_nobody_down(machine: Any) -> None:
    for seed in range(5 if machine is _native.ScanEngine else 1):
        hosts = network(seed, list(range(1, 17)), loss=0.1)
        assert run(machine, hosts, 100, seed=seed).elapsed < 10 * SECOND


@pytest.mark.parametrize("loss", [0.0, 0.1])
@pytest.mark.parametrize("dies_at", [0, 100 * MS, 600 * MS])
def test_a_witness_that_dies_stops_nobody(machine: Any, loss: float, dies_at: int) -> None:
    hosts = [SimHost(nobody=True) for _ in range(250)]
    hosts[40] = SimHost(frozenset({1}), rtt=20 * MS, jitter=4 * MS, loss=loss, dies_at=dies_at)
    assert run(machine, hosts, 100).elapsed < 10 * SECOND
