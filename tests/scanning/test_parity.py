"""The scan machines of both engines, side by side on a network on paper: same events, same trace."""

from __future__ import annotations

import copy

from hypothesis import given
from hypothesis import strategies as st

from oxisock._native import ScanEngine as NativeEngine
from oxisock.pure.scanning.driver import ScanEngine as PureEngine
from support.simulator import MS, SimHost, plan, simulate

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
    )


@given(
    hosts=st.lists(sim_hosts(), min_size=1, max_size=4),
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
)
def test_both_machines_leave_the_same_trace(
    hosts, ports, first, seed, timeout, retries, adaptive, random, concurrency, interval, shards, keep, descriptors
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
    )
    results = [
        simulate(machine(chosen, len(hosts)), copy.deepcopy(hosts), seed=7, descriptors=descriptors, limit=100_000)
        for machine in (PureEngine, NativeEngine)
    ]
    pure, native = results
    assert pure.events == native.events
    assert pure.outcomes == native.outcomes
    assert (pure.tally, pure.sent, pure.elapsed) == (native.tally, native.sent, native.elapsed)
    assert sum(pure.tally[:4]) == sum(1 for n in range(shards - 1, len(hosts) * ports, shards))
