"""Who is not there, as a router or the kernel says at some time: it is heard, and not taken for a host. On paper."""

from __future__ import annotations

from typing import Any

import pytest

from oxisock import _native
from oxisock.engines.scanning import HOST_UNREACHABLE, OPEN, Link, Tally
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


@pytest.mark.parametrize("changes", [{}, {"skip_silent": True}, {"retries": 3}, {"timeout": 200 * MS}], ids=str)
def test_a_link_that_was_asked_before_the_scan_gives_up_during_it(machine: Any, changes: dict[str, Any]) -> None:
    # The kernel has looked for these hosts for a while, because somebody scanned them just now.
    hosts = [SimHost(nobody=True, on_link=True, given_up_after=300 * MS) for _ in range(HOSTS)]
    there = frozenset({22})
    hosts[3] = SimHost(there, frozenset(range(1, PORTS + 1)) - there, on_link=True)
    rejecting = hosts[40] = SimHost(frozenset({300}), unreachable=frozenset(range(1, PORTS + 1)) - {300}, on_link=True)
    chosen = plan(PORTS, trace=False, links=[Link(0, HOSTS - 1, 700)], **changes)
    result = simulate(machine(chosen, HOSTS), hosts, table=1024)
    tally = Tally(*result.tally)
    assert (tally.hosts_up, tally.hosts_unreachable) == (2, HOSTS - 2)
    assert result.found(OPEN, 40) == rejecting.open, "a firewall's word comes from somebody whom the table knows"
    assert {o.reason for o in result.outcomes if hosts[o.host].nobody} == {HOST_UNREACHABLE}
    assert tally.unasked == (HOSTS - 2) * (PORTS - 16)


def test_a_single_host_whose_kernel_gives_up_is_not_there(machine: Any) -> None:
    host = SimHost(nobody=True, on_link=True, given_up_after=300 * MS)
    result = simulate(machine(plan(PORTS, links=[Link(0, 0, 700)]), 1), [host], table=1024)
    tally = Tally(*result.tally)
    assert (tally.hosts_up, tally.hosts_unreachable, tally.filtered) == (0, 1, PORTS)
