"""A scan that is carried out by the tasks of an executor: what a task does, and the run that gives them out."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
import uuid
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engines.binding import engine
from ..engines.scanning import ERROR, AddressRange, ScanPlan, Tally
from ..types import ScanSource
from ..version import VERSION
from .coordinating import Coordinator, Task
from .plan import Spread, default_concurrency, free_descriptors, with_links
from .shard_runs import NOTHING, SpreadRun, source_address, sums
from .sharding import Shard, Shards, expected_of_a_shard, seconds_of_a_shard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..engines.scanning import EventTuple, OutcomeTuple
    from ..engines.selection import Impl

_SLICE = 0.05  # seconds between two looks of a task at its scan and its deadline
_LOST = 1 << 20  # reasons from here on are no engine's: a shard that nobody could ask
_log = logging.getLogger("oxisock")


_cancelled: set[str] = set()
"""Scans that ended before their tasks; heeded by those that run in this process."""


def scan_shard(
    impl: Impl, version: str, scan: str, task: int, plan: tuple[Any, ...], concurrency: int | None, seconds: float
) -> tuple[Any, ...]:
    """Ask one shard, and give what came of it: what an executor runs, on whatever machine.

    All arguments are plain values. ``scan`` and ``task`` make every call different: some executors give equal calls
    the same result. Raises RuntimeError where this is another version of oxisock, and TimeoutError past ``seconds``:
    nobody can end a task from outside.
    """
    if version != VERSION:
        raise RuntimeError(f"this worker has oxisock {VERSION}, and the scan needs {version}")
    ranges, ports, *rest = plan
    whole = ScanPlan([AddressRange(*each) for each in ranges], ports, *rest)
    if concurrency is None:
        whole = whole._replace(concurrency=default_concurrency(), descriptors=free_descriptors())
    else:
        whole = whole._replace(concurrency=concurrency, descriptors=concurrency)
    began = time.monotonic()
    run = engine(impl).scanning.start_scan(with_links(whole))
    outcomes: list[OutcomeTuple] = []
    try:
        while not run.done():
            outcomes += run.wait(_SLICE)
            if scan in _cancelled:
                raise RuntimeError("the scan has ended")
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"a part of the scan took more than {seconds:.0f} s")
    finally:
        run.cancel()
    outcomes += run.wait(0)
    took, tally = time.monotonic() - began, tuple(run.tally())
    source = (task, socket.gethostname(), source_address(whole.ranges[0]), took, Tally(*tally).probes)
    events = [tuple(event) for event in run.trace()]
    return tally, [tuple(outcome) for outcome in outcomes], source, events


class ExecutorRun(SpreadRun):
    """Shards given to the tasks of an executor; the machine says which, this moves futures."""

    def __init__(self, impl: Impl, plan: ScanPlan, shards: Shards, spread: Spread, slots: int) -> None:
        super().__init__(shards, spread.checkpoint)
        assert spread.executor is not None
        self._impl: Impl = impl
        self._executor = spread.executor
        self._scan = uuid.uuid4().hex
        self._keep_errors = bool(plan.keep >> ERROR & 1)
        self._interval = plan.interval * slots
        self._threads = spread.threads
        self._deadline = spread.deadline
        self._concurrency = spread.concurrency
        if self._concurrency is None and isinstance(spread.executor, ThreadPoolExecutor):
            self._concurrency = default_concurrency()  # all tasks are in this process, and share its descriptors
        if self._concurrency is not None:
            self._concurrency = max(1, self._concurrency // slots)
        expected = expected_of_a_shard(shards[0], slots)
        self._machine = Coordinator(shards.count, slots, expected, plan.interval > 0, self.before)
        self._returned: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._out: dict[int, tuple[Task, Shard, float]] = {}  # by task: with the time at which nobody waits any longer
        self._futures: dict[int, Future[Any]] = {}
        self._warned = set[str]()
        self._submit()
        self._finish()

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes and give those there are."""
        if not self._fresh and not self._stopped:
            try:
                returned = self._returned.get(timeout=timeout) if timeout > 0 else self._returned.get_nowait()
            except queue.Empty:
                returned = None
            with self._lock:
                if returned is not None:
                    self._note(*returned)
                self._overdue()
                self._submit()
        return self._take()

    def done(self) -> bool:
        """Say whether everything is decided (or cancelled) and every outcome given."""
        return self._stopped and not self._fresh

    def cancel(self) -> None:
        """Give out nothing more; tasks that run end by themselves, and nobody waits for them."""
        with self._lock:
            if not self._stopped:
                self._stopped = True
                self._machine.stop()
                self._close()
                self._forget()

    def _forget(self) -> None:
        """Let go of tasks that nobody waits for: those that have not begun never will."""
        _cancelled.add(self._scan)
        left = list(self._futures.values())
        for future in left:
            future.cancel()
        running = [future for future in left if not future.done()]
        if running:
            release = _Countdown(len(running), self._scan)
            for future in running:
                future.add_done_callback(release)
        else:
            _cancelled.discard(self._scan)

    def _submit(self) -> None:
        """Give out what there is a slot for."""
        while not self._stopped and (task := self._machine.next(time.monotonic_ns())) is not None:
            shard = self._shards[task.shard]
            now = time.monotonic()
            seconds = min(seconds_of_a_shard(shard), max(_SLICE, self._deadline - now))
            plan = shard.plan._replace(interval=self._interval, threads=self._threads, links=())
            plain = (tuple(map(tuple, plan.ranges)), tuple(plan.ports), *plan[2:])
            self._out[task.number] = task, shard, now + 2 * seconds
            try:
                future = self._executor.submit(
                    scan_shard, self._impl, VERSION, self._scan, task.number, plain, self._concurrency, seconds
                )
            except Exception as error:
                self._failed(task, shard, error)
                if isinstance(error, (BrokenExecutor, RuntimeError)):
                    self._refused(error)
                continue
            self._futures[task.number] = future
            future.add_done_callback(partial(self._back, task.number))

    def _back(self, number: int, future: Future[Any]) -> None:
        # On whatever thread the executor has for this, which must not be held up.
        self._returned.put((number, future))

    def _note(self, number: int, future: Future[Any]) -> None:
        """Take what came of a task."""
        self._futures.pop(number, None)
        task, shard, _ = self._out.pop(number, (None, None, 0.0))
        if task is None or shard is None or self._stopped:
            return
        try:
            tally, outcomes, source, events = _checked(future.result(timeout=0), shard)
        except BaseException as error:  # CancelledError among them: whatever an executor has
            self._failed(task, shard, error)
            if isinstance(error, BrokenExecutor):
                self._abandon(error)
            return
        if self._machine.finished(number, time.monotonic_ns()):
            moved = [(outcome[0] + shard.first_host, *outcome[1:]) for outcome in outcomes]
            self._fresh += moved
            since = time.monotonic_ns() - int(source.seconds * 1e9)
            self._events += self._moved(events, shard.first_host, since)
            self._settled(task.shard, tally, moved, source)
            self._finish()

    def _overdue(self) -> None:
        """Give out again what takes too long, and give up tasks that ought to have ended by themselves long ago."""
        now = time.monotonic()
        for number in self._machine.late(time.monotonic_ns()):
            _log.warning("task %d of the scan takes long, and its part is given out again beside it", number)
        for number, (task, shard, until) in list(self._out.items()):
            if now >= until:
                del self._out[number]
                self._failed(task, shard, TimeoutError("a task did not come back"))

    def _failed(self, task: Task, shard: Shard, error: BaseException) -> None:
        name = type(error).__name__
        self._out.pop(task.number, None)
        if name not in self._warned:
            self._warned.add(name)
            _log.warning("a task of the scan failed, and is given out again: %s: %s", name, _in_words(error))
        lost = self._machine.failed(task.number, name)
        if lost is not None:
            self._lose(shard, lost.cause)
            self._finish()

    def _abandon(self, error: BrokenExecutor) -> None:
        """Give up all that is out: a process pool that breaks while it takes a call forgets that call's future."""
        for number, (task, shard, _) in list(self._out.items()):
            if not self._futures[number].done():
                self._failed(task, shard, error)

    def _refused(self, error: Exception) -> None:
        """The executor takes nothing any more: what is left is lost."""
        if isinstance(error, BrokenExecutor):
            self._abandon(error)
        for number in self._machine.broken():
            self._lose(self._shards[number], type(error).__name__)
        self._finish()

    def _lose(self, shard: Shard, cause: str) -> None:
        """A shard that nobody could ask: its ports are errors."""
        _log.warning("%d ports could not be asked: no worker could do it (%s)", shard.total, cause)
        self._tally = sums(self._tally, NOTHING._replace(error=shard.total))
        if self._keep_errors:
            hosts = sum(each.last - each.first + 1 for each in shard.plan.ranges)
            reason = next((number for number, name in self.causes.items() if name == cause), _LOST + len(self.causes))
            self.causes[reason] = cause
            for host in range(shard.first_host, shard.first_host + hosts):
                self._fresh += [(host, port, ERROR, reason, -1, None) for port in shard.plan.ports]

    def _finish(self) -> None:
        if self._machine.over and not self._stopped:
            self._stopped = True
            self._close()
            self._forget()


class _Countdown:
    """Forgets that a scan was cancelled when the last of its tasks has ended."""

    def __init__(self, left: int, scan: str) -> None:
        self._left, self._scan = left, scan
        self._lock = threading.Lock()

    def __call__(self, future: Future[Any]) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                _cancelled.discard(self._scan)


def _in_words(error: BaseException) -> str:
    if isinstance(error, ImportError) and "oxisock" in str(error):
        return f"the worker has no oxisock, or an older one ({error})"
    return str(error)


def _checked(result: Any, shard: Shard) -> tuple[Tally, list[OutcomeTuple], ScanSource, list[EventTuple]]:
    """Give what a task gave, if it can be true of its shard; ValueError otherwise."""
    tally, outcomes, source, events = result
    tally = Tally(*tally)
    hosts = sum(each.last - each.first + 1 for each in shard.plan.ranges)
    asked = frozenset(shard.plan.ports)
    seen = {(host, port) for host, port, *_ in outcomes}
    if (
        sum(tally[:4]) != shard.total
        or len(seen) != len(outcomes)
        or len(outcomes) > shard.total
        or not all(0 <= host < hosts and port in asked for host, port in seen)
        or not all(0 <= outcome[2] <= ERROR and shard.plan.keep >> outcome[2] & 1 for outcome in outcomes)
    ):
        raise ValueError("a task gave results that are not those of its part of the scan")
    return tally, outcomes, ScanSource(*source), events
