"""The rate of a scan: no second has more probes than it, however many tasks share it."""

from __future__ import annotations

import heapq
import os
import random
import socket
import struct
import sys
from bisect import bisect_left
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock._native import ScanEngine as NativeEngine
from oxisock.engines.scanning import AddressRange
from oxisock.scanning.coordinating import Coordinator
from oxisock.scanning.sharding import (
    Shards,
    expected_of_a_shard,
    limit_of_a_shard,
    probes_of_a_shard,
    shared_rate,
    slots_of_a_rate,
)
from support.simulator import MS, SECOND, SimHost, plan, simulate
from support.spreading import processes

pytestmark = pytest.mark.usefixtures("tracker")


def most_in_a_second(times: list[int]) -> int:
    """Give the most of these moments, in nanoseconds, that any second has, wherever it begins."""
    times = sorted(times)
    return max(bisect_left(times, time + SECOND) - number for number, time in enumerate(times))


# --- on paper: the real coordinator, workers that do whatever they like, and in each the machine of a scan; that of the
# --- other engine leaves the same trace (test_parity.py)


class Workers:
    """An executor on a clock that only it moves: it notes when any of its workers sends a probe."""

    def __init__(self, rate: int, workers: int, ports: int, hosts: list[SimHost], seed: int) -> None:
        self.dice = random.Random(seed)
        whole = plan(ports, interval=-(-SECOND // rate), trace=False)._replace(
            ranges=[AddressRange(4, 1, len(hosts))], seed=seed
        )
        total = len(hosts) * ports
        slots = slots_of_a_rate(whole.interval, total, workers)
        self.shards = Shards(shared_rate(whole, slots), probes_of_a_shard(whole, total, slots))
        largest = self.shards.largest
        self.coordinator = Coordinator(
            self.shards.count,
            slots,
            expected=expected_of_a_shard(largest),
            limit=limit_of_a_shard(largest),
            share=True,
        )
        self.hosts = hosts
        self.now = 0
        self.sent: list[int] = []
        self.ends: list[tuple[int, int, bool]] = []  # (time, task, whether all went well)

    def give_out(self, faults: list[str]) -> None:
        while (task := self.coordinator.next(self.now)) is not None:
            shard = self.shards[task.shard]
            start = self.now + self.dice.randrange(300 * MS)  # until a worker begins
            hosts = self.hosts[shard.first_host : shard.first_host + shard.hosts]
            seed, step = self.dice.randrange(1 << 30), self.dice.choice([100_000, MS])
            done = simulate(NativeEngine(shard.plan, shard.hosts), hosts, seed=seed, step=step, limit=100_000)
            fault = faults.pop() if faults else "none"
            end = start + (self.dice.randrange(done.elapsed + 1) if fault == "dies" else done.elapsed)
            self.sent += [start + time for time in done.sent if start + time <= end]
            if fault != "hangs":
                heapq.heappush(self.ends, (end, task.number, fault == "none"))

    def run(self, faults: list[str]) -> None:
        self.give_out(faults)
        while not self.coordinator.over:
            self.now = min(self.now + 5 * SECOND, self.ends[0][0] if self.ends else self.now + 5 * SECOND)
            while self.ends and self.ends[0][0] <= self.now:
                _, number, well = heapq.heappop(self.ends)
                if well:
                    self.coordinator.finished(number, self.now)
                else:
                    self.coordinator.failed(number, "KilledWorker", self.now)
            self.coordinator.passed(self.now)
            self.give_out(faults)


@given(
    rate=st.sampled_from([1, 3, 10, 40, 100, 300]),
    workers=st.integers(1, 30),
    silent=st.booleans(),
    faults=st.lists(st.sampled_from(["none", "none", "dies", "hangs"]), max_size=8),
    seed=st.integers(0, 1000),
)
def test_no_second_has_more_probes_than_the_rate_whatever_workers_do(
    rate: int, workers: int, silent: bool, faults: list[str], seed: int
) -> None:
    closed = frozenset(range(1, 61)) if not silent else frozenset()
    hosts = [SimHost(closed=closed, rtt=20 * MS) for _ in range(max(1, min(20, rate // 3)))]
    world = Workers(rate, workers, 60, hosts, seed)
    world.run(list(faults))
    assert len(world.sent) >= 60 * len(hosts) - 60 * faults.count("dies")
    assert most_in_a_second(world.sent) <= rate


@pytest.mark.parametrize("workers", [1, 4, 20])
def test_workers_that_share_a_rate_use_all_of_it(workers: int) -> None:
    hosts = [SimHost(closed=frozenset(range(1, 101)), rtt=20 * MS) for _ in range(160)]
    world = Workers(400, workers, 100, hosts, seed=3)
    world.run([])
    assert len(world.sent) == 16_000
    # Each part waits a moment for a worker, which is no worse for many than for one.
    assert 16_000 / 400 <= world.now / SECOND <= 16_000 / 400 * 1.09


# --- real scans: only that there are not too many, for a busy machine may always send later -------------------------


def test_a_target_sees_no_more_than_the_rate_of_all_tasks(impl: ModuleType) -> None:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("needs a raw socket of Linux, whose packets bear the kernel's time")
    address = f"127.{impl.__name__.count('p') + 60}.7.9"
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw, processes() as pool:
        raw.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        raw.bind((address, 0))  # what is for others it does not see
        raw.setblocking(False)
        report = impl.scan(address, "1-900", rate=400, executor=pool, keep="closed")
        assert len(report.sources) >= 2
        times = []
        while True:
            try:
                packet, extra, _, _ = raw.recvmsg(100, 100)
            except BlockingIOError:
                break
            if packet[33] & 0x12 == 2:  # SYN, and no ACK
                seconds, nanoseconds = struct.unpack("qq", extra[0][2])
                times.append(seconds * SECOND + nanoseconds)
    assert len(times) >= 900
    assert most_in_a_second(times) <= 400 * 1.05


def test_parts_that_are_scanned_here_one_after_the_other_keep_the_rate(
    impl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oxisock.scanning.spreading.probes_of_a_shard", lambda plan, total, slots: 5)
    report = impl.scan("127.0.0.7", "1-60", rate=40, checkpoint=tmp_path / "scan", trace=True)
    assert len(report.sources) == 12
    times = [int(event.time * SECOND) for event in report.trace if event.event == "sent"]
    assert len(times) >= 60
    assert most_in_a_second(times) <= 40 * 1.05
