"""Many hosts, most of them nobody: what is found, what is asked and how long it takes, on a network on paper."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from oxisock import _native
from oxisock.engines.scanning import (
    CLOSED,
    ERROR,
    FILTERED,
    HOST_SILENT,
    HOST_UNREACHABLE,
    LASTING,
    NO_RESPONSE,
    OPEN,
    SENT,
    SYN_ACK,
    Link,
    Tally,
)
from oxisock.pure.scanning.driver import ScanEngine as PureEngine
from oxisock.sockets.neighbours import disjoint
from support.simulator import MS, SECOND, Result, SimHost, plan, simulate

PORTS = 100
ODD = 93  # far from the first sixteen


@pytest.fixture(params=["native", "pure"])
def machine(request: pytest.FixtureRequest) -> Any:
    return {"native": _native.ScanEngine, "pure": PureEngine}[request.param]


def network(size: int = 254, ports: int = PORTS, **empty: Any) -> list[SimHost]:
    """Make four hosts that refuse but for three ports, and empty addresses."""
    hosts = [SimHost(nobody=True, **empty) for _ in range(size)]
    for number in (1, 17, 100, 200):
        opened = frozenset({22, 80, ODD})
        hosts[number] = SimHost(opened, frozenset(range(1, ports + 1)) - opened, rtt=MS, on_link=hosts[0].on_link)
    return hosts


def run(
    machine: Any, hosts: list[SimHost], changes: dict[str, Any], ports: int = PORTS, **options: Any
) -> tuple[Result, Tally]:
    result = simulate(machine(plan(ports, **changes), len(hosts)), hosts, **options)
    assert len(result.outcomes) == len({(o.host, o.port) for o in result.outcomes}) == ports * len(hosts)
    for number, host in enumerate(hosts):
        if not host.nobody and not host.loss:
            assert result.found(OPEN, number) == host.open, number
    return result, Tally(*result.tally)


def test_empty_addresses_cost_seconds(machine: Any) -> None:
    hosts = network()
    result, tally = run(machine, hosts, {})
    assert tally[8:] == (254, 4, 0, 250, 0)
    assert {o.reason for o in result.outcomes if o.state == FILTERED} == {NO_RESPONSE}
    # Their neighbours say how long an answer takes, so nobody waits for the whole timeout twice.
    assert SECOND < result.elapsed < 2 * SECOND


def test_a_firewall_that_rejects_says_nothing_of_round_trips_behind_it(machine: Any) -> None:
    hosts = [SimHost(nobody=True) for _ in range(10)]
    hosts[3] = SimHost(unreachable=frozenset(range(1, PORTS + 1)), rtt=MS)
    hosts[7] = SimHost(open=frozenset({ODD}), rtt=300 * MS)
    _, tally = run(machine, hosts, {})
    assert tally.hosts_up == 2


def test_a_single_host_of_a_part_is_one_of_many(machine: Any) -> None:
    _, tally = run(machine, [SimHost()], {"skip_silent": True, "of_many": True})
    assert tally[8:] == (1, 0, 0, 1, PORTS - 16)


def test_silent_hosts_may_be_skipped(machine: Any) -> None:
    result, tally = run(machine, network(), {"skip_silent": True})
    assert tally[8:] == (254, 4, 0, 250, 250 * (PORTS - 16))
    assert sum(o.reason == HOST_SILENT for o in result.outcomes) == tally.unasked
    assert SECOND < result.elapsed < 1500 * MS
    asked = {(e.host, e.port) for e in result.events}
    assert not any((o.host, o.port) in asked for o in result.outcomes if o.reason == HOST_SILENT)


def test_a_single_host_is_never_skipped(machine: Any) -> None:
    host = SimHost(open=frozenset({ODD}))
    _, tally = run(machine, [host], {"skip_silent": True})
    assert tally[8:] == (1, 1, 0, 0, 0)
    _, tally = run(machine, [SimHost()], {"skip_silent": True})
    assert tally[8:] == (1, 0, 0, 1, 0)


@pytest.mark.parametrize("ports", [PORTS, 10])
@pytest.mark.parametrize("changes", [{}, {"skip_silent": True}, {"retries": 0}, {"retries": 3}, {"random": False}])
def test_a_host_that_answers_later_than_its_neighbours_is_heard(
    machine: Any, ports: int, changes: dict[str, Any]
) -> None:
    hosts = [SimHost(frozenset({2}), frozenset(range(3, ports)), rtt=MS), *[SimHost(nobody=True) for _ in range(40)]]
    for number, rtt in (3, 300), (17, 600), (40, 970):
        hosts[number] = SimHost(frozenset({3, 8}), frozenset(range(9, ports)), rtt=rtt * MS)
    _, tally = run(machine, hosts, changes, ports)
    assert (tally.hosts_up, tally.hosts_silent) == (4, 37)


def test_a_host_with_one_odd_port_is_found_among_empty_addresses(machine: Any) -> None:
    hosts = network()
    hosts[50] = SimHost(open=frozenset({ODD}), rtt=MS)
    result, tally = run(machine, hosts, {})
    assert (tally.hosts_up, tally.hosts_silent) == (5, 249)
    # Once it is heard, what was listened to for a moment only is asked again.
    mine = [e for e in result.events if e.host == 50]
    heard_at = next(e.time for e in mine if e.what == SYN_ACK)
    last_sent = {e.port: e.time for e in mine if e.what == SENT}
    others = [e for e in mine if e.what == SENT][2 * 16 :]  # than those first asked
    briefly = {e.port for e in others if e.time < heard_at} - {ODD}
    assert briefly
    assert all(last_sent[port] >= heard_at for port in briefly)


def test_first_round_trips_do_not_slow_a_network_down(machine: Any) -> None:
    # Of each host that is heard in mid-scan only one round trip is known, and that alone says little.
    hosts = [SimHost(nobody=True) for _ in range(200)]
    for number in range(0, 200, 5):
        hosts[number] = SimHost(frozenset({1 + 2 * number}), rtt=40 * MS)
    hosts[7] = SimHost(frozenset({1}), frozenset(range(2, 17)), rtt=40 * MS)
    result = simulate(machine(plan(400, random=False, keep=1, trace=False), len(hosts)), hosts)
    assert all(result.found(OPEN, number) == host.open for number, host in enumerate(hosts))
    assert result.elapsed < 6 * SECOND


def test_the_neighbour_table_tells_who_is_nobody(machine: Any) -> None:
    result, tally = run(machine, network(on_link=True), {"links": [Link(0, 253, 700)]}, table=1024)
    assert tally[8:] == (254, 4, 250, 0, 250 * (PORTS - 16))
    assert {o.reason for o in result.outcomes if o.state == FILTERED} == {HOST_UNREACHABLE}
    assert result.elapsed < 3 * SECOND


def test_a_link_is_not_asked_for_more_than_its_table_bears(machine: Any) -> None:
    hosts = [SimHost(nobody=True, on_link=True) for _ in range(2000)]
    for number in range(0, 2000, 20):
        hosts[number] = SimHost(open=frozenset({5}), closed=frozenset(range(1, 5)), on_link=True)
    links = [Link(0, 1999, 300)]
    result = simulate(machine(plan(20, links=links), 2000), hosts, table=400)
    assert {o.host for o in result.outcomes if o.state == OPEN} == set(range(0, 2000, 20))
    tally = Tally(*result.tally)
    assert (tally.hosts_up, tally.hosts_unreachable) == (100, 1900)
    assert result.elapsed < 40 * SECOND


def test_parts_of_a_link_share_its_table(machine: Any) -> None:
    # An address that is left out cuts a network into two ranges, and the kernel has one table for both.
    hosts = [SimHost(nobody=True, on_link=True) for _ in range(1000)]
    for number in range(0, 1000, 20):
        hosts[number] = SimHost(open=frozenset({5}), on_link=True)
    links = [Link(0, 499, 300), Link(500, 999, 300)]
    result = simulate(machine(plan(5, links=links), len(hosts)), hosts, table=400)
    assert {o.host for o in result.outcomes if o.state == OPEN} == set(range(0, 1000, 20))


def test_links_are_disjoint() -> None:
    found = [Link(300, 400, 7), Link(0, 9, 7), Link(350, 360, 7), Link(10, 20, 7), Link(390, 500, 7)]
    assert disjoint(found) == [Link(0, 9, 7), Link(10, 20, 7), Link(300, 500, 7)]


@pytest.mark.parametrize("rate", [0, 1, 1000])
def test_one_late_unreachable_settles_a_host(machine: Any, rate: int) -> None:
    ports = 200  # so many, so slowly, that hosts are still asked when the system gives up
    hosts = network(ports=ports, given_up_after=1060 * MS, unreachable_rate=rate)
    result, tally = run(machine, hosts, {}, ports, cost=30_000)
    assert tally.hosts_up == 4, "a word of somebody else, just after a probe of an odd port, is not the host's"
    assert tally.hosts_unreachable + tally.hosts_silent == 250
    assert (tally.hosts_unreachable > 200) == (rate == 0)
    assert rate or tally.unasked > 0
    assert tally.hosts_unreachable or not tally.unasked
    other = {o.host for o in result.outcomes if o.reason != HOST_UNREACHABLE}
    assert len(hosts) - len(other) == tally.hosts_unreachable
    assert result.elapsed < 8 * SECOND


def test_an_unreachable_that_comes_at_once_is_a_firewalls(machine: Any) -> None:
    hosts = network()
    # It rejects, but for a port of which nobody knows.
    hosts[3] = SimHost(open=frozenset({ODD}), unreachable=frozenset(range(1, PORTS + 1)) - {ODD})
    result, tally = run(machine, hosts, {})
    assert (tally.hosts_up, tally.hosts_unreachable) == (5, 0)
    assert sum(o.host == 3 and o.reason == HOST_UNREACHABLE for o in result.outcomes) == PORTS - 1


def test_hosts_that_come_and_go_are_asked_to_the_end(machine: Any) -> None:
    hosts = network(201)
    for number in (1, 17):
        hosts[number].dies_at, hosts[number].back_at = 5 * MS, 800 * MS
    hosts[100].appears_at = 300 * MS
    hosts[200].dies_at = 4 * MS
    result = simulate(machine(plan(PORTS, interval=20_000), len(hosts)), hosts)
    assert len(result.outcomes) == PORTS * len(hosts)
    assert result.found(OPEN, 1) == hosts[1].open
    assert result.found(OPEN, 100) >= {ODD}
    assert not result.found(ERROR)
    assert result.elapsed < 30 * SECOND


def test_ports_that_answer_later_than_their_host_are_found(machine: Any) -> None:
    slow = frozenset(range(5, 1500, 30))
    host = SimHost(slow, frozenset(range(1, 1501)) - slow, rtt=2 * MS, slow=slow, slowness=500 * MS)
    for changes in {}, {"concurrency": 300}, {"concurrency": 1000, "descriptors": 1200}, {"retries": 0}:
        for seed in range(3):
            result = simulate(machine(plan(1500, seed=seed, **changes), 1), [host], seed=seed)
            assert result.found(OPEN) == slow, (changes, seed)
            assert result.elapsed < 4 * SECOND


def test_a_late_answer_takes_no_place_in_the_window(machine: Any) -> None:
    host = SimHost(closed=frozenset({1, 2}), rtt=MS)
    result = simulate(machine(plan(2000, first_ports=2, concurrency=100, descriptors=20_000), 1), [host])
    assert result.elapsed < 4 * SECOND, "2,000 silent ports, a hundred at a time, would be twenty seconds twice"
    assert result.most_in_flight > 1000
    result = simulate(machine(plan(2000, first_ports=2, concurrency=100), 1), [host])
    assert result.most_in_flight <= 100


def test_a_host_that_dies_early_or_late_costs_seconds(machine: Any) -> None:
    ports = 65535 if machine is _native.ScanEngine else 16000
    for dies_at in (50 * MS, 300 * MS, 1000 * MS):
        host = SimHost(closed=frozenset(range(50, ports, 50)), rtt=10 * MS, jitter=0, dies_at=dies_at)
        chosen = plan(ports, first_ports=100, trace=False, keep=1)
        result = simulate(machine(chosen, 1), [host], cost=10_000)
        assert sum(result.tally[:4]) == ports
        assert result.elapsed < 10 * SECOND


def test_a_host_that_dies_costs_seconds_where_few_probes_may_be_under_way(machine: Any) -> None:
    ports = 65535 if machine is _native.ScanEngine else 16000
    concurrency = ports // 16  # each port listened to for a second would be sixteen
    host = SimHost(closed=frozenset(range(50, ports, 50)), rtt=10 * MS, jitter=0, dies_at=300 * MS)
    chosen = plan(ports, first_ports=100, trace=False, keep=1, concurrency=concurrency)
    result = simulate(machine(chosen, 1), [host], cost=10_000)
    assert sum(result.tally[:4]) == ports
    assert result.elapsed < 10 * SECOND


def test_a_lone_host_that_says_nothing_is_asked_at_twice_the_pace(machine: Any) -> None:
    ports = 4096  # 2048 at a time, twice, would take a second each
    for changes in {}, {"concurrency": 4096}:
        result = simulate(machine(plan(ports, first_ports=100, trace=False, keep=1, **changes), 1), [SimHost()])
        assert len(result.sent) == 2 * ports
        assert result.elapsed < 4 * SECOND
        # What answers later than its port is asked again is heard all the same.
        far = SimHost(frozenset({4000}), rtt=900 * MS, jitter=0)
        result = simulate(machine(plan(ports, first_ports=100, trace=False, keep=1, **changes), 1), [far])
        assert result.found(OPEN) == far.open


def test_what_a_host_left_unanswered_while_it_was_away_is_asked_again(machine: Any) -> None:
    opened, ports = frozenset(range(7, 6000, 7)), 6000
    host = SimHost(opened, frozenset(range(1, ports + 1)) - opened, dies_at=300 * MS, back_at=4 * SECOND)
    for changes in {}, {"concurrency": 1000}:
        result = simulate(machine(plan(ports, interval=MS, **changes), 1), [host])
        assert result.found(OPEN) == opened
        assert result.elapsed < 30 * SECOND


def test_one_port_that_is_limited_does_not_make_a_host_dead(machine: Any) -> None:
    for seed in range(3):
        host = SimHost(frozenset({22, 1500}), slow=frozenset({1500}), slowness=900 * MS, accept_rate=0.02)
        result = simulate(machine(plan(4000, seed=seed, first_ports=22, concurrency=400), 1), [host], seed=seed)
        assert result.found(OPEN) == {22, 1500}, seed


def test_a_missing_family_holds_nobody_up(machine: Any) -> None:
    hosts = network()
    hosts[9].fault = -(LASTING + errno.EADDRNOTAVAIL)
    result, tally = run(machine, hosts, {"skip_silent": True})
    assert {(o.state, o.reason) for o in result.outcomes if o.host == 9} == {(ERROR, -errno.EADDRNOTAVAIL)}
    assert tally[8:11] == (254, 4, 0)
    assert result.elapsed < 2500 * MS


def test_the_machine_never_waits_for_nothing(machine: Any) -> None:
    engine = machine(plan([1, 2], timeout=50 * MS, retries=0, concurrency=1, random=False), 1)
    now, flying = 0, []
    while not engine.finished():
        while (probe := engine.next(now)) is not None:
            if probe[2] == 1:
                now += 10 * MS
                engine.answer(probe[0], 1, now)
            else:
                flying.append(probe[0])
        if not engine.finished():
            wake = engine.wakeup(now)
            assert wake is not None
            now = max(now, wake)
            engine.expire(now)
    assert [o[2] for o in engine.take_outcomes()] == [CLOSED, FILTERED]


def test_a_network_of_many_groups_is_walked(machine: Any) -> None:
    size = 8192 if machine is _native.ScanEngine else 2048
    hosts = [SimHost(nobody=True)] * size
    up = range(0, size, 100)
    for number in up:
        hosts[number] = SimHost(frozenset({3, 35}), frozenset(range(10, 35)), rtt=20 * MS)
    result = simulate(machine(plan(40, trace=False, keep=1), size), hosts, step=MS)
    assert {(o.host, o.port) for o in result.outcomes} == {(number, port) for number in up for port in (3, 35)}
    assert Tally(*result.tally).hosts_silent == size - len(up)
