"""What a scan over an executor costs, and what it would take on many workers: the figures of docs/scale.md.

Run it as ``make spread``. Everything that is timed is checked; the simulated part uses the coordinator of real scans.
"""

from __future__ import annotations

import argparse
import heapq
import io
import multiprocessing
import pickle
import resource
import socket
import statistics
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

import oxisock
from oxisock.engines.scanning import Tally
from oxisock.scanning.coordinating import Coordinator

_PER_SECOND = 4096 / 2  # silent addresses that one worker decides: 4,096 in flight, each asked twice for a second
_SHARD = 1 << 15


class _Reader(pickle.Unpickler):
    """Gives the arguments of a task, which calls what it unpickles."""

    def find_class(self, module: str, name: str) -> Any:
        return (lambda *arguments: arguments) if name == "scan_shard" else super().find_class(module, name)


class Canned(Executor):
    """Answers every task at once, with ``kept`` closed ports in each: what is left is the caller's own work."""

    def submit(self, fn: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        arguments = _Reader(io.BytesIO(arguments[0])).load()
        task, (ranges, ports, *_rest) = arguments[3], arguments[4]
        hosts = sum(last - first + 1 for _, first, last, _ in ranges)
        total = hosts * len(ports)
        kept = arguments[4][14] >> 1 & 1
        outcomes = [(host, port, 1, 1, 1000, None) for host in range(hosts) for port in ports] if kept else []
        width = len(Tally._fields)
        future: Future[Any] = Future()
        tally = [0, total, 0, 0, total] + [0] * (width - 5)
        future.set_result((tally, outcomes, (task, "here", None, 0.0, total), []))
        return future


def of_processes(runs: int) -> None:
    """Time a scan of work that is limited by its rate, by one process and by four."""
    print("rate-limited work, 1,000 probes a second and process: ports decided a second")
    with socket.create_server(("127.0.0.1", 0)):
        for workers in (1, 4):
            rates = []
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(workers, context) as pool:
                list(pool.map(time.sleep, [0.2] * workers))
                for _ in range(runs):
                    began = time.perf_counter()
                    report = oxisock.scan(
                        "127.0.0.1-80", "1-400", rate=1000 * workers, executor=pool, keep="open", seed=1
                    )
                    assert sum(report.counts.values()) == 32_000
                    assert not report.counts["error"]
                    rates.append(32_000 / (time.perf_counter() - began))
            print(f"  {workers} {statistics.median(rates):8.0f}")


def of_the_coordinator() -> None:
    """Time what the caller does for each shard, and for each result."""
    for ports, kept, what in ((1, "open", "shard"), (16, "closed", "result")):
        began = time.perf_counter()
        cpu = time.process_time()
        hosts = 1 << (24 if what == "shard" else 16)
        prefix = 8 if what == "shard" else 16
        report = oxisock.scan(f"10.0.0.0/{prefix}", range(1, ports + 1), keep=kept, executor=Canned(), tasks=8)
        assert report.counts["closed"] == hosts * ports
        count = len(report.sources) if what == "shard" else len(report.results)
        spent = time.process_time() - cpu
        print(f"caller: {spent / count * 1e6:8.1f} us of processor for each {what} of {count:,}", end="")
        print(f" ({time.perf_counter() - began:.1f} s)")


def of_memory() -> None:
    """Say how much memory a scan of a million ports takes where none is kept."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = oxisock.scan("10.0.0.0/12", "1", keep="open", executor=Canned(), tasks=8)
    assert sum(report.counts.values()) == 1 << 20
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"caller: {(after - before) / 1024:.1f} MiB more for a million results that are not kept")


def simulated(workers: int, lost: int) -> float:
    """Give the seconds that a /8 on one port takes; ``lost`` of the workers die half-way, with what they were at."""
    shards = (1 << 24) // _SHARD
    expected = int(_SHARD / _PER_SECOND * 1e9)
    machine = Coordinator(shards, workers, expected=expected, limit=100 * expected, share=False)
    under_way: list[tuple[float, int]] = []
    dead: set[int] = set()
    now, death = 0.0, (1 << 24) / _PER_SECOND / workers / 2

    def give_out() -> None:
        while (task := machine.next(int(now * 1e9))) is not None:
            heapq.heappush(under_way, (now + _SHARD / _PER_SECOND, task.number))

    give_out()
    slots = workers
    while not machine.over:
        if lost and now >= death:
            for _, number in under_way[:lost]:
                dead.add(number)
            slots, lost = slots - lost, 0
        now, number = heapq.heappop(under_way)
        if number in dead:
            machine.failed(number, "KilledWorker", int(now * 1e9))
        else:
            machine.finished(number, int(now * 1e9))
        if len(under_way) < slots:
            task = machine.next(int(now * 1e9))
            if task is not None:
                heapq.heappush(under_way, (now + _SHARD / _PER_SECOND, task.number))
    return now


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    of_memory()
    of_the_coordinator()
    of_processes(runs)
    print("a /8 on one port, simulated: minutes on so many workers, and where a tenth of them dies half-way")
    for workers in (1, 10, 100):
        whole, losing = simulated(workers, 0), simulated(workers, workers // 10)
        print(f"  {workers:3} {whole / 60:8.1f} {losing / 60:8.1f}")


if __name__ == "__main__":
    main()
