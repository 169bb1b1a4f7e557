"""The scan machines of both engines, side by side on a network on paper: same events, same trace."""

from __future__ import annotations

import copy
import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock._native import ScanEngine as NativeEngine
from oxisock._native import asked_ports as native_asked_ports
from oxisock.engines.scanning import BROADCAST, CLOSED, LASTING, MULTICAST, OPEN, AddressRange, Link, Tally
from oxisock.pure.scanning import ScanEngine as PureEngine
from oxisock.pure.scanning import asked_ports
from support.simulator import MS, Bottleneck, SimHost, plan, simulate

PORTS = st.integers(1, 60)


@st.composite
def sim_hosts(draw: st.DrawFn) -> SimHost:
    ports = list(range(1, 61))
    kinds = draw(st.lists(st.sampled_from("ocsu"), min_size=60, max_size=60))
    by_kind = {kind: frozenset(p for p, k in zip(ports, kinds, strict=True) if k == kind) for kind in "ocu"}
    return SimHost(
        by_kind["o"],
        by_kind["c"],
        by_kind["u"],
        rtt=draw(st.sampled_from([20_000, 2 * MS, 80 * MS, 600 * MS])),
        jitter=draw(st.sampled_from([0, MS, 100 * MS])),
        loss=draw(st.sampled_from([0.0, 0.02, 0.2, 0.5])),
        burst=draw(st.integers(0, 3)),
        rst_rate=draw(st.sampled_from([0, 0, 20])),
        accept_rate=draw(st.sampled_from([0, 0, 5])),
        dies_at=draw(st.sampled_from([0, 0, 3 * MS, 400 * MS])),
        back_at=draw(st.sampled_from([0, 500 * MS, 3000 * MS])),
        appears_at=draw(st.sampled_from([0, 0, 0, 100 * MS, 2500 * MS])),
        slow=frozenset(ports[:: draw(st.integers(3, 60))]),
        slowness=draw(st.sampled_from([0, 300 * MS, 2000 * MS])),
        fault=draw(st.sampled_from([0] * 12 + [BROADCAST, MULTICAST, -errno.EACCES, -(LASTING + errno.EADDRNOTAVAIL)])),
        on_link=draw(st.booleans()),
        nobody=draw(st.booleans()),
        given_up_after=draw(st.sampled_from([0, 0, MS, 600 * MS, 3060 * MS])),
        unreachable_rate=draw(st.sampled_from([0, 0, 1])),
    )


@given(
    hosts=st.lists(sim_hosts(), min_size=1, max_size=6),
    ports=PORTS,
    first=st.integers(0, 20),
    seed=st.integers(0, 2**64 - 1),
    timeout=st.sampled_from([30 * MS, 300 * MS, 1000 * MS, 2500 * MS]),
    retries=st.integers(0, 12),
    adaptive=st.booleans(),
    random=st.booleans(),
    concurrency=st.sampled_from([1, 2, 7, 100, 4096]),
    interval=st.sampled_from([0, 0, MS, 1_234_567]),
    shards=st.integers(1, 3),
    keep=st.integers(0, 15),
    descriptors=st.sampled_from([0, 0, 1, 5]),
    spare=st.sampled_from([0, 0, 3, 40, 1000]),
    skip=st.booleans(),
    table=st.sampled_from([0, 1, 3]),
    capacity=st.integers(0, 3),
    far=st.booleans(),
    first_host=st.sampled_from([0, 0, 5, 1 << 40]),
    first_send=st.sampled_from([0, 0, 700 * MS]),
    stall=st.sampled_from([None, None, (100 * MS, 40 * MS), (MS, 3 * MS)]),
)
def test_both_machines_leave_the_same_trace(
    hosts,
    ports,
    first,
    seed,
    timeout,
    retries,
    adaptive,
    random,
    concurrency,
    interval,
    shards,
    keep,
    descriptors,
    spare,
    skip,
    table,
    capacity,
    far,
    first_host,
    first_send,
    stall,
) -> None:
    chosen = plan(
        ports,
        first_ports=min(first, ports),
        seed=seed,
        timeout=timeout,
        retries=retries,
        adaptive=adaptive,
        random=random,
        concurrency=concurrency,
        interval=interval,
        shard=shards - 1,
        shards=shards,
        keep=keep,
        descriptors=concurrency + spare,
        skip_silent=skip,
        links=[Link(0, len(hosts) // 2, capacity)] if capacity else [],
        # Two networks, or one.
        ranges=[AddressRange(4, 1000, 1001), AddressRange(6, 1, 20)] if far else [],
        first_host=first_host,
        first_send=first_send,
    )
    results = [
        simulate(
            machine(chosen, len(hosts)),
            copy.deepcopy(hosts),
            seed=7,
            descriptors=descriptors,
            limit=100_000,
            table=table,
            stall=stall,
        )
        for machine in (PureEngine, NativeEngine)
    ]
    pure, native = results
    assert pure.events == native.events
    assert pure.outcomes == native.outcomes
    assert (pure.tally, pure.sent, pure.elapsed) == (native.tally, native.sent, native.elapsed)
    positions = range(shards - 1, len(hosts) * ports, shards)
    tally = Tally(*pure.tally)
    assert sum(tally[:4]) == len(positions)
    assert tally.hosts == len({position // ports for position in positions})
    assert tally.hosts_up + tally.hosts_unreachable + tally.hosts_silent <= tally.hosts
    told = [(outcome.host, outcome.port) for outcome in pure.outcomes]
    assert len(told) == len(set(told)), "each port is decided once"
    for outcome in pure.outcomes:
        if outcome.state == OPEN:
            assert outcome.port in hosts[outcome.host].open
        if outcome.state == CLOSED:
            assert outcome.port in hosts[outcome.host].closed
    asked = asked_ports(chosen, range(len(hosts)))
    assert asked == native_asked_ports(chosen, range(len(hosts)))
    pairs = {(host, port) for host, ports_of_it in enumerate(asked) for port in ports_of_it}
    assert pairs >= set(told)
    assert sum(map(len, asked)) == len(pairs) == len(positions)
    assert not pure.sent or pure.sent[0] >= first_send
    if keep == 0b1111:
        assert len(told) == len(positions)


@pytest.mark.parametrize("line", [None, (20_000, 100), (2_000, 100), (300, 20)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"skip_silent": True}, {"retries": 3}, {"random": False}, {"timeout": 300 * MS}, {"interval": 200_000}],
    ids=str,
)
def test_networks_behind_a_slow_line_leave_the_same_trace(line, changes):
    # The hosts of the test above are too few to tell of the path.
    ports = list(range(1, 31))
    runs = []
    for engine in NativeEngine, PureEngine:
        hosts = [SimHost(nobody=True) for _ in range(90)]
        for number in range(0, 90, 5):
            opened = frozenset(ports[number % 7 :: 13])
            closed = frozenset(ports) - opened if number % 10 else frozenset()
            hosts[number] = SimHost(opened, closed, rtt=20 * MS, jitter=4 * MS, loss=0.02 * (number % 3))
        machine = engine(plan(ports, first_ports=16, seed=5, **changes), len(hosts))
        bottleneck = Bottleneck(*line) if line else None
        runs.append(simulate(machine, hosts, cost=10_000, step=MS, bottleneck=bottleneck))
    native, pure = runs
    assert native.events == pure.events
    assert native.outcomes == pure.outcomes
    assert native.tally == pure.tally
