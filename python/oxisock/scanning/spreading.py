"""Carries a scan out shard by shard: by the tasks of an executor, or here; and writes down what is done."""

from __future__ import annotations

import logging
import operator
import queue
import socket
import threading
import time
import uuid
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from ..engines.binding import Engine, engine
from ..engines.scanning import ERROR, AddressRange, ScanPlan, ScanRun, Tally
from ..sockets.addresses import format_key, make_key
from ..types import ScanSource
from ..version import VERSION
from .checkpoint import Checkpoint, Done, Header
from .coordinating import Coordinator, Task
from .plan import Spread, default_concurrency, free_descriptors, with_links
from .sharding import Shard, Shards, digest, probes_of_a_shard, seconds_of_a_shard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..engines.scanning import EventTuple, OutcomeTuple, ScanningModule, TallyTuple
    from ..engines.selection import Impl

_SLICE = 0.05  # seconds between two looks of a task at its scan and its deadline
_DEFAULT_TASKS = 8
_LOST = 1 << 20  # reasons from here on are no engine's: a shard that nobody could ask
_NOTHING = Tally(*[0] * len(Tally._fields))
_HOSTS = ("hosts", "hosts_up", "hosts_unreachable", "hosts_silent")

_log = logging.getLogger("oxisock")


# --- what a task does -------------------------------------------------------------------------------------------------

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
    source = (task, socket.gethostname(), _source_address(whole.ranges[0]), took, Tally(*tally).probes)
    events = [tuple(event) for event in run.trace()]
    return tally, [tuple(outcome) for outcome in outcomes], source, events


def _source_address(target: AddressRange) -> str | None:
    """Say from which address this machine asks another one; connecting a datagram socket sends nothing."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    address = format_key(make_key(target.version, target.first, target.scope_id))
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            where = (address, 9) if target.version == 4 else (address, 9, 0, target.scope_id)
            sock.connect(where)
            found: str = sock.getsockname()[0]
            return found
    except OSError:
        return None


# --- the caller's side ------------------------------------------------------------------------------------------------


def start_spread(engine: Engine, plan: ScanPlan, spread: Spread) -> SpreadRun:
    """Begin to scan shard by shard."""
    slots = 1
    if spread.executor is not None:
        workers = _workers(spread.executor)
        # All that are out share the rate, so that it is kept however many of them are at work.
        each = 1 if plan.interval else 2
        slots = spread.tasks or (each * workers if workers else _DEFAULT_TASKS)
    checkpoint = spread.checkpoint
    try:
        probes = probes_of_a_shard(plan, spread.total, slots)
        if checkpoint is not None and checkpoint.header is not None:
            probes = max(1, checkpoint.header.probes)
        shards = Shards(plan, probes)
        if checkpoint is not None:
            checkpoint.begin(Header(digest(plan), plan.seed, probes, shards.count))
            if checkpoint.torn:
                _log.warning("%s: the last line is torn; what it was about is asked again", checkpoint.path)
        if spread.executor is None:
            return _LocalRun(engine.scanning, shards, checkpoint)
        return _ExecutorRun(engine.impl, plan, shards, spread, slots)
    except BaseException:
        if checkpoint is not None:
            checkpoint.close()
        raise


def _workers(executor: Any) -> int | None:
    """Say how many workers an executor knows of."""
    for name in ("num_workers", "_max_workers"):
        found = getattr(executor, name, None)
        if isinstance(found, int) and found > 0:
            return found
    try:  # Dask's has a client, which knows the threads of each worker
        return sum(executor._client.nthreads().values()) or None
    except Exception:
        return None


class SpreadRun(ScanRun):
    """A scan that is carried out shard by shard, for `Scan` like any other; all but the running of the shards."""

    def __init__(self, shards: Shards, checkpoint: Checkpoint | None) -> None:
        self._shards = shards
        self._checkpoint = checkpoint
        self._tally = _NOTHING
        self._of_hosts: dict[int, Tally] = {}  # of hosts whose ports are in several shards, which count once
        self._fresh: list[OutcomeTuple] = []
        self._events: list[EventTuple] = []
        self._began = time.monotonic_ns()
        self._stopped = False
        self._lock = threading.RLock()
        self.sources: list[ScanSource] = []
        self.causes: dict[int, str] = {}  # why nobody asked a port, by the reason of its outcome
        self.before = frozenset[int]()
        if checkpoint is not None:
            self.before = frozenset(checkpoint.done)
            for done in checkpoint.done.values():
                self._tally = self._including(done.shard, done.tally, True)
                self._fresh += done.outcomes
                self.sources.append(done.source)
            checkpoint.done.clear()

    def tally(self) -> TallyTuple:
        """Give the totals of the shards that are done."""
        return self._tally

    def trace(self) -> Sequence[EventTuple]:
        """Give the events of the shards that are done, in order of time."""
        return sorted(self._events)

    def _take(self) -> list[OutcomeTuple]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh

    def _settled(self, shard: int, tally: Tally, outcomes: list[OutcomeTuple], source: ScanSource) -> None:
        """Note that a shard is done; its outcomes have the host numbers of the whole scan."""
        self._tally = self._including(shard, tally, True)
        self.sources.append(source)
        if self._checkpoint is not None:
            self._checkpoint.add(Done(shard, tally, outcomes, source))

    def _including(self, shard: int, tally: Tally, settled: bool) -> Tally:
        """Give the totals with those of one more shard."""
        group = self._shards.same_hosts(shard)
        if group is None:
            return _sum(self._tally, tally)
        before = self._of_hosts.get(group, _NOTHING)
        after = _of_same_hosts(before, tally)
        if settled:
            self._of_hosts[group] = after
        change = {name: getattr(after, name) - getattr(before, name) for name in _HOSTS}
        return _sum(self._tally, tally._replace(**change))

    def _moved(self, events: Iterable[EventTuple], first_host: int, since: int) -> list[EventTuple]:
        """Give the events of a shard that began at ``since`` with the hosts and on the clock of the whole scan."""
        start = since - self._began
        return [(start + event[0], first_host + event[1], *event[2:]) for event in events]

    def _close(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.close()


class _LocalRun(SpreadRun):
    """One shard after the other, in this process: results come as they are found."""

    def __init__(self, scanning: ScanningModule, shards: Shards, checkpoint: Checkpoint | None) -> None:
        super().__init__(shards, checkpoint)
        self._scanning = scanning
        self._left = iter(number for number in range(shards.count) if number not in self.before)
        self._run: ScanRun | None = None
        self._shard = shards[0]
        self._number = 0
        self._outcomes: list[OutcomeTuple] = []  # of the shard under way
        self._over = False
        self._advance()

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes and give those there are."""
        run = self._run
        if run is not None and not self._fresh:
            came = run.wait(timeout)
            first = self._shard.first_host
            moved = [(outcome[0] + first, *outcome[1:]) for outcome in came]
            self._outcomes += moved
            with self._lock:
                self._fresh += moved
                if run is self._run and run.done() and not self._stopped:
                    self._conclude(run)
                    self._advance()
        return self._take()

    def tally(self) -> TallyTuple:
        """Give the totals, those of the shard under way among them."""
        run = self._run
        return self._tally if run is None else self._including(self._number, Tally(*run.tally()), False)

    def trace(self) -> Sequence[EventTuple]:
        """Give the events so far, in order of time."""
        events = list(super().trace())
        if self._run is not None:
            events += self._moved(self._run.trace(), self._shard.first_host, self._since)
        return events

    def done(self) -> bool:
        """Say whether everything is decided (or cancelled) and every outcome given."""
        return self._over and not self._fresh

    def cancel(self) -> None:
        """End the scan; on return every descriptor is back."""
        with self._lock:
            self._stopped = self._over = True
            if self._run is not None:
                self._run.cancel()
            self._close()

    def _conclude(self, run: ScanRun) -> None:
        run.cancel()
        took = (time.monotonic_ns() - self._since) / 1e9
        tally = Tally(*run.tally())
        address = _source_address(self._shard.plan.ranges[0])
        self._run = None
        self._events += self._moved(run.trace(), self._shard.first_host, self._since)
        source = ScanSource(len(self.sources), socket.gethostname(), address, took, tally.probes)
        outcomes, self._outcomes = self._outcomes, []
        self._settled(self._number, tally, outcomes, source)

    def _advance(self) -> None:
        """Begin the next shard, if there is one."""
        number = next(self._left, None)
        if number is None:
            self._over = True
            self._close()
            return
        self._number, self._shard = number, self._shards[number]
        self._since = time.monotonic_ns()
        self._run = self._scanning.start_scan(with_links(self._shard.plan))


class _ExecutorRun(SpreadRun):
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
        self._concurrency = spread.concurrency
        if self._concurrency is None and isinstance(spread.executor, ThreadPoolExecutor):
            self._concurrency = default_concurrency()  # all tasks are in this process, and share its descriptors
        if self._concurrency is not None:
            self._concurrency = max(1, self._concurrency // slots)
        self._machine = Coordinator(shards.count, slots, self.before)
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
        while not self._stopped and (task := self._machine.next()) is not None:
            shard = self._shards[task.shard]
            seconds = seconds_of_a_shard(shard)
            plan = shard.plan._replace(interval=self._interval, threads=self._threads, links=())
            plain = (tuple(map(tuple, plan.ranges)), tuple(plan.ports), *plan[2:])
            self._out[task.number] = task, shard, time.monotonic() + 2 * seconds
            try:
                future = self._executor.submit(
                    scan_shard, self._impl, VERSION, self._scan, task.number, plain, self._concurrency, seconds
                )
            except Exception as error:
                self._failed(task, shard, error)
                if isinstance(error, (BrokenExecutor, RuntimeError)):
                    self._broken(error)
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
            return
        if self._machine.finished(number):
            moved = [(outcome[0] + shard.first_host, *outcome[1:]) for outcome in outcomes]
            self._fresh += moved
            since = time.monotonic_ns() - int(source.seconds * 1e9)
            self._events += self._moved(events, shard.first_host, since)
            self._settled(task.shard, tally, moved, source)
            self._finish()

    def _overdue(self) -> None:
        """Give up tasks that ought to have ended by themselves long ago."""
        now = time.monotonic()
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

    def _broken(self, error: Exception) -> None:
        """The executor takes nothing any more: what is left is lost."""
        for number in self._machine.broken():
            self._lose(self._shards[number], type(error).__name__)
        self._finish()

    def _lose(self, shard: Shard, cause: str) -> None:
        """A shard that nobody could ask: its ports are errors."""
        _log.warning("%d ports could not be asked: no worker could do it (%s)", shard.total, cause)
        self._tally = _sum(self._tally, _NOTHING._replace(error=shard.total))
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


def _of_same_hosts(one: Tally, other: Tally) -> Tally:
    """Say what is known of hosts from two shards of their ports: whoever was heard by either is up."""
    hosts, up = max(one.hosts, other.hosts), max(one.hosts_up, other.hosts_up)
    unreachable = min(max(one.hosts_unreachable, other.hosts_unreachable), hosts - up)
    silent = min(max(one.hosts_silent, other.hosts_silent), hosts - up - unreachable)
    return _NOTHING._replace(hosts=hosts, hosts_up=up, hosts_unreachable=unreachable, hosts_silent=silent)


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(*map(operator.add, one, other))
