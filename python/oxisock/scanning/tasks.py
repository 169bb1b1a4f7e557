"""A scan in the tasks of an executor: the code of a task, and the run that submits tasks."""

from __future__ import annotations

import logging
import pickle
import queue
import socket
import threading
import time
import uuid
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.binding import Engine, engine
from ..engines.scanning import ERROR, AddressRange, ScanPlan, Tally
from ..types import ScanSource
from ..version import VERSION
from .coordinating import Coordinator, Task
from .executors import is_gone
from .plan import Spread, default_concurrency, free_descriptors, with_links
from .shard_runs import NOTHING, SpreadRun, source_address, sums
from .sharding import Shard, Shards, expected_of_a_shard, limit_of_a_shard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..engines.scanning import EventTuple, OutcomeTuple
    from ..engines.selection import Impl

_SLICE = 0.05  # seconds between two checks of a task whether to end
_LIE = "a task gave results that are not those of its part of the scan"
_GONE = "the cluster is gone"
_MOST_WARNINGS = 100
_LOST = 1 << 20  # the first reason for shards that could not be asked; reasons of engines are lower
_log = logging.getLogger("oxisock")


_cancelled: set[str] = set()
"""Scans that ended before their tasks. Tasks in this process check it."""
_ended = threading.Event()


def end_tasks() -> None:
    """End all tasks of this process, and each that begins later, because their results are not needed any more."""
    _ended.set()


def scan_shard(
    impl: Impl, version: str, scan: str, task: int, plan: tuple[Any, ...], concurrency: int | None, seconds: float
) -> tuple[Any, ...]:
    """Scan one shard, and return its tally, outcomes, source and events. Workers of an executor call this.

    All arguments are plain values. ``scan`` and ``task`` make every call different, because some executors return the
    same result for equal calls. Raises RuntimeError if this is another version of oxisock, and TimeoutError after
    ``seconds``, because a task cannot be ended from outside.
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
            if scan in _cancelled or _ended.is_set():
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


class _Call:
    """A call of `scan_shard` that runs when the task unpickles it.

    So a worker without oxisock reports an ImportError. If the executor unpickled the call, the missing module would end
    its process (the worker of Dask, or a process of a pool).
    """

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self._arguments = arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return scan_shard, self._arguments


class _Out(NamedTuple):
    """A task that was submitted."""

    task: Task
    shard: Shard
    future: Future[Any]


class ExecutorRun(SpreadRun):
    """Runs shards in the tasks of an executor. The Coordinator decides; this class handles futures."""

    def __init__(self, engine: Engine, shards: Shards, spread: Spread, slots: int) -> None:
        super().__init__(shards, spread.checkpoint)
        assert spread.executor is not None
        self._engine = engine
        self._executor = spread.executor
        self._scan = uuid.uuid4().hex
        concurrency = spread.concurrency
        if concurrency is None and isinstance(spread.executor, ThreadPoolExecutor):
            concurrency = default_concurrency()  # all tasks share the descriptors of this process
        self._concurrency = None if concurrency is None else max(1, concurrency // slots)
        largest = shards.largest
        more = {} if spread.deadline == float("inf") else {"deadline": int(spread.deadline * 1e9)}
        self._machine = Coordinator(
            shards.count,
            slots,
            expected=expected_of_a_shard(largest),
            limit=limit_of_a_shard(largest),
            share=largest.plan.interval > 0,
            done=self.before,
            **more,
        )
        self._returned: queue.SimpleQueue[tuple[int, Future[Any]]] = queue.SimpleQueue()
        self._out: dict[int, _Out] = {}
        self._left: Iterator[int] | None = None  # shards that a broken executor left; they are reported one by one
        self._broken = ""  # the name of the error
        self._warned = set[tuple[str, str]]()
        self._submit()
        self._finish()

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes and return those there are."""
        if self._broken and not self._fresh:
            with self._lock:
                number = next(self._left or iter(()), None)
                if number is None:
                    self._broken = ""
                else:
                    self._lose(self._shards[number], self._broken)
        if not self._fresh and not self._stopped:
            try:
                waits = timeout > 0 and self._out  # otherwise nothing can come
                returned = self._returned.get(timeout=timeout) if waits else self._returned.get_nowait()
            except queue.Empty:
                returned = None
            with self._lock:
                if returned is not None:
                    self._note(*returned)
                self._overdue()
                self._submit()
        return self._take()

    def done(self) -> bool:
        """Return whether everything is decided (or cancelled) and every outcome given."""
        return self._stopped and not self._fresh and not self._broken

    def cancel(self) -> None:
        """Submit nothing more. Running tasks end by themselves, and this does not wait for them."""
        with self._lock:
            self._broken = ""
            if not self._stopped:
                self._machine.stop()
                self._end()

    def _forget(self) -> None:
        """Cancel tasks that have not begun, and let running tasks end."""
        _cancelled.add(self._scan)
        left = [out.future for out in self._out.values()]
        for future in () if is_gone(self._executor) else left:
            future.cancel()
        running = [future for future in left if not future.done()]
        if running:
            release = _Countdown(len(running), self._scan)
            for future in running:
                future.add_done_callback(release)
        else:
            _cancelled.discard(self._scan)

    def _submit(self) -> None:
        """Submit tasks as long as there are free slots."""
        while not self._stopped and (task := self._machine.next(time.monotonic_ns())) is not None:
            shard = self._shards[task.shard]
            plain = (tuple(map(tuple, shard.plan.ranges)), tuple(shard.plan.ports), *shard.plan[2:])
            facts = self._engine.impl, VERSION, self._scan, task.number
            call = pickle.dumps(_Call((*facts, plain, self._concurrency, task.limit / 1e9)))
            try:
                future = self._executor.submit(pickle.loads, call)
            except Exception as error:
                self._failed(task.number, shard, error)
                if isinstance(error, (BrokenExecutor, RuntimeError)):
                    self._refused(error)
                elif is_gone(self._executor):
                    self._refused(BrokenExecutor(_GONE))
                if self._fresh:  # report each lost shard before the next one
                    break
                continue
            self._out[task.number] = _Out(task, shard, future)
            future.add_done_callback(partial(self._back, task.number))

    def _back(self, number: int, future: Future[Any]) -> None:
        # A thread of the executor calls this, so it must not block.
        self._returned.put((number, future))

    def _note(self, number: int, future: Future[Any]) -> None:
        """Process the end of a task."""
        out = self._out.pop(number, None)
        if out is None or self._stopped:
            return
        shard = out.shard
        try:
            tally, outcomes, source, events = self._checked(future.result(timeout=0), shard)
        except BaseException as error:  # an executor may raise anything, CancelledError included
            self._failed(number, shard, error)
            if isinstance(error, BrokenExecutor):
                self._abandon(error)
            return
        if self._machine.finished(number, time.monotonic_ns()):
            moved = [(outcome[0] + shard.first_host, *outcome[1:]) for outcome in outcomes]
            self._fresh += moved
            since = time.monotonic_ns() - int(source.seconds * 1e9)
            self._events += self._moved(events, shard.first_host, since)
            self._settled(out.task.shard, tally, moved, source)
            self._finish()

    def _overdue(self) -> None:
        """Submit late tasks again, and give up tasks that do not end."""
        late, gone, lost = self._machine.passed(time.monotonic_ns())
        for number in late:
            _log.warning("task %d of the scan takes long: its part is submitted again", number)
        for number in gone:
            out = self._out.pop(number)
            out.future.cancel()
            self._warn(TimeoutError(f"task {number} did not come back"))
        for each in lost:
            self._lost(self._shards[each.shard], each.cause)
        if not self._stopped and is_gone(self._executor):
            self._refused(BrokenExecutor(_GONE))

    def _failed(self, number: int, shard: Shard, error: BaseException) -> None:
        self._warn(error)
        lost = self._machine.failed(number, type(error).__name__, time.monotonic_ns())
        if lost is not None:
            self._lost(shard, lost.cause)

    def _lost(self, shard: Shard, cause: str) -> None:
        _log.warning("%d ports could not be asked: no worker could do it (%s)", shard.total, cause)
        self._lose(shard, cause)
        self._finish()

    def _warn(self, error: BaseException) -> None:
        told = type(error).__name__, str(error)
        if told not in self._warned and len(self._warned) < _MOST_WARNINGS:
            self._warned.add(told)
            _log.warning("a task of the scan failed, and is submitted again: %s", _in_words(error))

    def _abandon(self, error: BrokenExecutor) -> None:
        """Give up all submitted tasks. A process pool that breaks during a submit forgets the future."""
        for number, out in list(self._out.items()):
            if not out.future.done():
                del self._out[number]
                self._failed(number, out.shard, error)

    def _refused(self, error: Exception) -> None:
        """Give up all remaining shards, because the executor accepts no more tasks."""
        if isinstance(error, BrokenExecutor):
            self._abandon(error)
        if self._left is not None:
            return
        self._broken = type(error).__name__
        _log.warning("the executor takes no more tasks (%s); what is left cannot be asked", _in_words(error))
        self._left = self._machine.broken()
        self._finish()

    def _lose(self, shard: Shard, cause: str) -> None:
        """Report the ports of a shard that could not be asked as errors."""
        self._tally = sums(self._tally, NOTHING._replace(error=shard.total))
        reason = next((number for number, name in self.causes.items() if name == cause), _LOST + len(self.causes))
        self.causes[reason] = cause
        hosts = range(shard.hosts)
        for host, ports in zip(hosts, self._asked(shard, hosts), strict=True):
            self._fresh += [(shard.first_host + host, port, ERROR, reason, -1, None) for port in ports]

    def _asked(self, shard: Shard, hosts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return the ports that a shard asks of each host in ``hosts``."""
        if shard.plan.shards == 1:
            return [shard.plan.ports] * len(hosts)
        return self._engine.scanning.asked_ports(shard.plan, hosts)

    def _checked(self, result: Any, shard: Shard) -> tuple[Tally, list[OutcomeTuple], ScanSource, list[EventTuple]]:
        """Return the result of a task. Raises ValueError if it cannot belong to its shard."""
        tally, outcomes, source, events = result
        tally = Tally(*tally)
        seen = {(host, port) for host, port, *_ in outcomes}
        hosts = sorted({host for host, _ in seen})
        if (
            sum(tally[:4]) != shard.total
            or len(seen) != len(outcomes)
            or not all(0 <= host < shard.hosts for host in hosts)
            or not all(0 <= outcome[2] <= ERROR and shard.plan.keep >> outcome[2] & 1 for outcome in outcomes)
        ):
            raise ValueError(_LIE)
        asked = dict(zip(hosts, map(frozenset, self._asked(shard, hosts)), strict=True))
        if not all(port in asked[host] for host, port in seen):
            raise ValueError(_LIE)
        return tally, outcomes, ScanSource(*source), events

    def _finish(self) -> None:
        if self._machine.over and not self._stopped:
            self._end()

    def _end(self) -> None:
        self._stopped = True
        self._close()
        self._forget()


class _Countdown:
    """Removes a scan from the cancelled ones when the last of its tasks has ended."""

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
    return f"{type(error).__name__}: {error}".removesuffix(": ")
