"""How far a scan is and how long it will take: on networks on paper, where the end is known."""

from __future__ import annotations

import random
from types import ModuleType
from typing import Any

import pytest

from oxisock import _native, scan_iter
from oxisock.engines.scanning import Link, Tally
from oxisock.pure.scanning import ScanEngine
from oxisock.scanning.remaining import Estimate, Remaining
from support.simulator import MS, SECOND, SimHost, plan, simulate

WEB = frozenset({22, 80, 443, 8080})


class Watched:
    """A machine whose tallies are looked at as it goes."""

    def __init__(self, machine: Any, chosen: Any, hosts: int) -> None:
        self._engine = machine(chosen, hosts)
        self._remaining = Remaining(chosen, hosts, self._engine.total, 0)
        self.told: list[tuple[float, Estimate]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def expire(self, now: int) -> Any:
        if self._remaining.is_due(now / SECOND):
            tally = Tally(*self._engine.tally())
            self._remaining.note(now / SECOND, tally)
            self.told.append((now / SECOND, self._remaining.estimate(now / SECOND, tally)))
        return self._engine.expire(now)


def estimates(
    machine: Any, hosts: list[SimHost], ports: int, **changes: Any
) -> tuple[list[tuple[float, Estimate]], float]:
    """Scan on paper; give what was told when, and when the end was, in seconds."""
    chosen = plan(ports, first_ports=min(ports, 100), keep=1, trace=False, **changes)
    watched = Watched(machine, chosen, len(hosts))
    result = simulate(watched, hosts, seed=1, step=MS, cost=10_000, table=1024)
    return watched.told, result.elapsed / SECOND


def network(size: int, up: range, **nobody: Any) -> list[SimHost]:
    others = frozenset(range(1, 2000)) - WEB
    return [
        SimHost(WEB, others, rtt=10 * MS, on_link=nobody.get("on_link", False))
        if number in up
        else SimHost(nobody=True, **nobody)
        for number in range(size)
    ]


def links(size: int, capacity: int = 700) -> dict[str, Any]:
    return {"links": [Link(0, size - 1, capacity)]}


# Hosts, ports, and changes to the plan.
NETWORKS: dict[str, tuple[list[SimHost], int, dict[str, Any]]] = {
    "a far host behind a firewall": ([SimHost(WEB, rtt=55 * MS, jitter=10 * MS, loss=0.01)], 65_535, {}),
    "a near host behind a firewall": ([SimHost(WEB, rtt=MS)], 65_535, {}),
    "a host that refuses, at a rate": (
        [SimHost(WEB, frozenset(range(1, 65_536)) - WEB, rtt=MS)],
        5000,
        {"interval": SECOND // 1000},
    ),
    "a host that says nothing": ([SimHost()], 16_384, {}),
    "a /24 behind a router": (network(256, range(1, 240, 60)), 1028, {}),
    "a /24 behind a router, by address": (network(256, range(1, 240, 60)), 1028, {"random": False}),
    "a /24 behind a router, silent ones skipped": (network(256, range(1, 240, 60)), 1028, {"skip_silent": True}),
    "a /24 behind a router, few ports": (network(256, range(1, 240, 60)), 10, {}),
    "a /24 half of which is up": (network(256, range(128)), 1028, {}),
    "a /24 whose firewall rejects": (
        [*network(200, range(1, 200, 60)), *[SimHost(unreachable=frozenset(range(1, 1029)))] * 56],
        1028,
        {},
    ),
    "a /24 on the wire": (network(256, range(1, 240, 60), on_link=True), 1028, links(256)),
    "a /24 on the wire, nobody up": (network(256, range(0), on_link=True), 1028, links(256)),
    "a /24 on the wire, few descriptors": (
        network(256, range(1, 240, 60), on_link=True),
        1028,
        {"concurrency": 960} | links(256),
    ),
    "a /20 on the wire": (network(4096, range(5, 4096, 20), on_link=True), 100, links(4096)),
    "a /18, one in a hundred up": (network(1 << 14, range(5, 1 << 14, 100)), 40, {}),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_time_left_is_right_within_a_factor_of_two(name: str) -> None:
    # Both machines give the same trace, and so the same tallies.
    hosts, ports, changes = NETWORKS[name]
    told, end = estimates(_native.ScanEngine, hosts, ports, **changes)
    shares = [estimate.share for _, estimate in told]
    assert min(shares) >= 0
    assert max(shares) <= 1
    for share in (0.1, 0.25, 0.5, 0.75):
        at, estimate = next(each for each in told if each[1].share >= share)
        assert is_right(estimate, end - at), f"{share:.0%} at {at:.1f} of {end:.1f} s: {estimate.left} s"
    # From a tenth of the time on, whenever somebody looks: nearly always.
    looks = [is_right(estimate, end - at) for at, estimate in told if at >= end / 10]
    assert looks.count(True) >= 0.94 * len(looks)


def is_right(estimate: Estimate, left: float) -> bool:
    rounded = 0.25  # whole seconds are shown
    return estimate.left is not None and left / 2 - rounded <= estimate.left <= 2 * left + rounded


def test_what_is_told_is_the_same_for_both_machines() -> None:
    dice = random.Random(4)
    opened = frozenset(dice.sample(range(1, 2001), 40))
    told = [estimates(machine, [SimHost(opened, rtt=5 * MS)], 2000) for machine in (ScanEngine, _native.ScanEngine)]
    assert told[0] == told[1]


def test_nothing_is_told_before_anything_left() -> None:
    remaining = Remaining(plan(1000), 1, 1000, 0)
    nothing = Tally(*[0] * len(Tally._fields))
    assert remaining.estimate(0.0, nothing) == Estimate(0, 0.0, None)
    assert not remaining.is_due(0.05)
    assert remaining.is_due(0.2)


def test_what_earlier_runs_sent_is_no_speed_of_this_one() -> None:
    before = Tally(*[0] * len(Tally._fields))._replace(closed=500, probes=500)
    remaining = Remaining(plan(1000), 1, 1000, before.probes)
    assert remaining.estimate(1.0, before) == Estimate(500, 0.5, None)
    now = before._replace(closed=600, probes=600)
    remaining.note(1.0, now)
    assert remaining.estimate(1.0, now) == Estimate(600, 0.6, 4.0)


def test_a_scan_tells_how_long_it_will_take(impl: ModuleType) -> None:
    with impl.scan_iter("127.0.0.1", "1-2000", rate=400, keep=["closed"]) as scan:
        seen = []
        for _ in scan:
            seen.append(scan.progress())
            if seen[-1].asked >= 100:
                break
        middle = seen[-1]
        assert 100 <= middle.asked <= 2000
        assert 0 < middle.share < 1
        assert middle.left is not None
        assert middle.left > 0
    assert scan.progress().left == 0


def test_no_more_time_is_left_than_the_scan_may_take() -> None:
    with scan_iter("127.0.0.1", "1-2000", rate=10, max_time=30, keep=["closed"]) as scan:
        for _ in range(3):
            next(scan)
        left = scan.progress().left
    assert left is not None
    assert left <= 30
