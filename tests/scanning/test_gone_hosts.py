"""Who is not there, behind a router that says so seconds later: heard also where descriptors are few. On paper."""

from __future__ import annotations

from typing import Any

import pytest

from oxisock import _native
from oxisock.engines.scanning import HOST_UNREACHABLE, Tally
from oxisock.pure.scanning import ScanEngine as PureEngine
from support.simulator import MS, SECOND, SimHost, plan, simulate

PORTS, HOSTS = 400, 64
GIVES_UP = 3060 * MS  # a router that asks three times, a second apart


@pytest.fixture(params=["native", "pure"])
def machine(request: pytest.FixtureRequest) -> Any:
    return {"native": _native.ScanEngine, "pure": PureEngine}[request.param]


def network() -> list[SimHost]:
    hosts = [SimHost(nobody=True, given_up_after=GIVES_UP) for _ in range(HOSTS)]
    for number in (3, 40):
        hosts[number] = SimHost(frozenset({22}), frozenset(range(1, PORTS + 1)) - {22}, rtt=5 * MS)
    return hosts


@pytest.mark.parametrize(
    "changes",
    [
        {"concurrency": 300},
        # The last repeats leave just before the router gives up: its word is not the host's.
        {"concurrency": 300, "retries": 3},
        {"concurrency": 300, "timeout": 3 * SECOND},
        {"concurrency": 300, "timeout": 200 * MS},
        {"concurrency": 300, "adaptive": False, "retries": 3},
        # So many repeats that those who listen on take more than half of the descriptors.
        {"concurrency": 300, "descriptors": 2500, "retries": 3},
    ],
    ids=str,
)
def test_a_router_that_gives_up_is_heard_where_descriptors_are_few(machine: Any, changes: dict[str, Any]) -> None:
    hosts = network()
    result = simulate(machine(plan(PORTS, trace=False, **changes), HOSTS), hosts, cost=10_000)
    assert result.most_in_flight <= changes.get("descriptors", changes["concurrency"])
    tally = Tally(*result.tally)
    gone = {number for number, host in enumerate(hosts) if host.nobody}
    assert (tally.hosts_up, tally.hosts_unreachable + tally.hosts_silent) == (2, len(gone))
    told = {o.host for o in result.outcomes if o.reason == HOST_UNREACHABLE}
    assert told <= gone
    # Whoever was asked to the end by then is silent.
    assert len(told) >= len(gone) * 3 // 4
    assert tally.unasked > len(gone) * (PORTS - 16) // 2


def test_one_descriptor_waits_for_the_word_of_each_host(machine: Any) -> None:
    hosts = [SimHost(nobody=True) for _ in range(HOSTS)]
    result = simulate(machine(plan(100, concurrency=64, timeout=200 * MS, trace=False), HOSTS), hosts)
    tally = Tally(*result.tally)
    assert (tally.hosts_up, tally.hosts_unreachable, tally.hosts_silent, tally.unasked) == (0, 0, HOSTS, 0)
    # 64 ports at a time, twice: no more than a quarter longer for those that wait.
    least = 2 * 100 * HOSTS // 64 * 200 * MS
    assert result.elapsed < least * 5 // 4
