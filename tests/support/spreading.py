"""Scans over executors for tests: ports of which some listen, executors, and what reports must agree in."""

from __future__ import annotations

import io
import multiprocessing
import pickle
import random
from array import array
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from typing import Any

from oxisock import ScanReport
from oxisock.engines.scanning import ScanPlan


def ports_around(listening: list[int], count: int) -> list[int]:
    """Give ``count`` ports of which some listen; of the others nobody knows whether another test opens them."""
    return sorted({*listening, *random.Random(5).sample(range(1, 1024), count - len(listening))})


def arguments_of(call: bytes) -> tuple[Any, ...]:
    """Give the arguments of a task: what it unpickles is a call."""

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            return (lambda *arguments: arguments) if name == "scan_shard" else super().find_class(module, name)

    found: tuple[Any, ...] = Reader(io.BytesIO(call)).load()
    return found


class Inline(Executor):
    """Runs each call when it is submitted."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


def facts(report: ScanReport) -> tuple[Any, ...]:
    """Give all of a report that does not depend on times and on who asked."""
    results = [(r.host, r.address, r.port, r.state, r.reason, r.service, r.banner) for r in report.results]
    return results, report.counts, report.unresolved, report.seed, report.partial, report.addresses


PLAN = ScanPlan(
    ranges=(), ports=array("H"), first_ports=0, timeout=10**9, retries=1, adaptive=True, concurrency=100, interval=0,
    threads=1, random=True, seed=7, shard=0, shards=1, banner=0, keep=1, trace=False,
)  # fmt: skip

EVERYTHING = "open,closed,filtered,error"


def processes(initializer: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Two processes, each of which begins with ``initializer``."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"), initializer=initializer)
