"""Scans carried out shard by shard: the machine that gives shards out, how a plan is cut, executors, checkpoints."""

from __future__ import annotations

import errno
import logging
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import PortState, ScanInterrupted, ScanReport
from oxisock.scanning.tasks import scan_shard
from support.spreading import EVERYTHING, PLAN, Inline, arguments_of, facts, ports_around, processes
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tracker")

# --- executors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["processes", "threads", "inline"])
def test_the_report_is_that_of_one_process(
    impl: ModuleType, kind: str, listeners: list[int], small_shards: None
) -> None:
    ports = ports_around(listeners, 400)
    options: dict[str, Any] = {"keep": EVERYTHING, "seed": 3, "exclude": "127.0.0.9"}
    expected = impl.scan("127.0.0.7-10", ports, **options)
    with ExitStack() as stack:
        made = {"processes": processes, "threads": lambda: ThreadPoolExecutor(3), "inline": Inline}[kind]()
        executor: Executor = stack.enter_context(made)
        seen: list[Any] = []
        report = impl.scan("127.0.0.7-10", ports, executor=executor, on_result=seen.append, **options)
        again = impl.scan("127.0.0.7-10", ports, executor=executor, **options)
    assert facts(report) == facts(expected) == facts(again)
    assert {result.port for result in report.open} == set(listeners)
    assert len(seen) == len(report.results)
    assert set(seen) == set(report.results)
    assert len(report.sources) == 24
    assert sum(source.probes for source in report.sources) == report.stats.probes >= 1200
    assert {source.host for source in report.sources} == {socket.gethostname()}
    assert all(source.address and source.address.startswith("127.") for source in report.sources)
    assert ScanReport.from_json(report.to_json()) == report


def test_the_rate_is_that_of_all_tasks_together(impl: ModuleType, small_shards: None) -> None:
    with ThreadPoolExecutor(3) as pool:
        began = time.monotonic()
        report = impl.scan("127.0.0.7", "1-900", rate=600, executor=pool)
        took = time.monotonic() - began
    assert report.stats.probes >= 900
    assert took >= 0.95 * 900 / 600
    assert len(report.sources) == 18


def test_results_stream_as_tasks_end(impl: ModuleType, listeners: list[int]) -> None:
    with ThreadPoolExecutor(2) as pool, impl.scan_iter("127.0.0.7", listeners, executor=pool) as scan:
        assert sorted(result.port for result in scan) == listeners
        assert not scan.report().partial


class Deaf(Executor):
    """Refuses every call, as if it could do with another."""

    calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        raise TypeError("cannot pickle this")


def test_parts_that_an_executor_refuses_are_told_of_one_after_the_other(impl: ModuleType, small_shards: None) -> None:
    executor = Deaf()
    with impl.scan_iter("127.0.0.7-70", "1-100", keep=EVERYTHING, executor=executor) as scan:
        results = [next(scan)]
        assert executor.calls <= 6, "two shards, three times each: what is lost is held in memory until it is taken"
        results += scan
    assert {result.reason for result in results} == {"worker-lost: TypeError"}
    assert len(results) == scan.report().counts["error"] == 6400


class Failing(Executor):
    """Loses calls: by a list of exceptions (None runs one), and from then on runs them."""

    def __init__(self, faults: list[Exception | None]) -> None:
        self.faults = faults
        self.calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, BrokenExecutor):
            raise fault
        future: Future[Any] = Future()
        if fault is None:
            future.set_result(fn(*args, **kwargs))
        else:
            future.set_exception(fault)
        return future


class KilledWorker(Exception):
    """What an executor raises that knows nothing of BrokenExecutor."""


def test_a_task_that_fails_twice_is_given_out_a_third_time(impl: ModuleType, listeners: list[int]) -> None:
    executor = Failing([KilledWorker("gone"), OSError(errno.EPIPE, "gone")])
    report = impl.scan("127.0.0.7", listeners, executor=executor, tasks=1)
    assert [result.port for result in report.open] == listeners
    assert executor.calls == 3


def test_ports_that_no_worker_could_ask_are_errors_and_never_closed(
    impl: ModuleType, listeners: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    executor = Failing([KilledWorker("gone") for _ in range(3)])
    with caplog.at_level(logging.WARNING, "oxisock"):
        report = impl.scan("127.0.0.7", listeners, keep=EVERYTHING, executor=executor, tasks=1)
    assert [(r.port, r.state, r.reason) for r in report.results] == [
        (port, PortState.ERROR, "worker-lost: KilledWorker") for port in listeners
    ]
    assert report.counts[PortState.ERROR] == len(listeners)
    assert not report.partial
    assert "5 ports could not be asked" in caplog.text


def test_a_broken_executor_loses_what_is_left(impl: ModuleType, listeners: list[int]) -> None:
    broken = [BrokenExecutor("a child was killed")] * 5
    report = impl.scan("127.0.0.7-8", listeners, keep=EVERYTHING, executor=Failing([None, *broken]), tasks=2, rate=10)
    lost = [r for r in report.results if r.state is PortState.ERROR]
    assert {r.reason for r in lost} <= {"worker-lost: BrokenExecutor"}
    assert len(report.results) == 10
    assert not report.partial


class Forgetful(Executor):
    """Breaks at the second call, and forgets the future of the first: a process pool does, if it breaks meanwhile."""

    def __init__(self, *, at_submit: bool) -> None:
        self._at_submit = at_submit
        self._calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._calls += 1
        if (self._calls > 1 and self._at_submit) or self._calls > 2:
            raise BrokenExecutor("a child was killed")
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        if self._calls == 2:
            future.set_exception(BrokenExecutor("a child was killed"))
        return future


@pytest.mark.parametrize("at_submit", [True, False])
@pytest.mark.timeout(60)
def test_a_broken_executor_that_forgets_a_future_is_not_waited_for(
    impl: ModuleType, listeners: list[int], small_shards: None, at_submit: bool
) -> None:
    executor = Forgetful(at_submit=at_submit)
    report = impl.scan("127.0.0.7-8", ports_around(listeners, 100), keep=EVERYTHING, executor=executor, tasks=2)
    assert {r.reason for r in report.results} == {"worker-lost: BrokenExecutor"}
    assert len(report.results) == 200


@pytest.mark.parametrize("order", ["random", "sequential"])
def test_parts_of_a_scan_over_executors_are_together_the_whole(
    impl: ModuleType, listeners: list[int], small_shards: None, order: str
) -> None:
    ports = ports_around(listeners, 130)
    options: dict[str, Any] = {"keep": EVERYTHING, "seed": 11, "order": order}
    whole = {(r.address, r.port): r.state for r in impl.scan("127.0.0.7-11", ports, **options)}
    together: dict[tuple[str, int], PortState] = {}
    with ThreadPoolExecutor(2) as pool:
        for part in ("1/3", "2/3", "3/3"):
            # Of the second part a shard is lost with its worker, and is told port by port.
            executor = Failing([KilledWorker("gone") for _ in range(3)]) if part == "2/3" else pool
            report = impl.scan("127.0.0.7-11", ports, executor=executor, tasks=1, shard=part, **options)
            assert not report.partial
            assert report.stats.hosts == (5 if executor is pool else 4)
            alone = impl.scan("127.0.0.7-11", ports, shard=part, **options)
            assert [(r.address, r.port) for r in report] == [(r.address, r.port) for r in alone]
            assert len(report.sources) == (5 if executor is pool else 4)
            found = {(r.address, r.port): r.state for r in report if r.state is not PortState.ERROR}
            lost = [r for r in report if r.state is PortState.ERROR]
            assert {r.reason for r in lost} <= {"worker-lost: KilledWorker"}
            assert 40 <= len(lost) <= 50 if executor is not pool else not lost
            assert not found.items() & together.items()
            together |= found | {(r.address, r.port): whole[r.address, r.port] for r in lost}
    assert together == whole


def test_a_pool_that_a_killed_child_breaks_keeps_what_was_done(
    impl: ModuleType, listeners: list[int], small_shards: None
) -> None:
    killed: list[int] = []

    def kill_a_child(result: object) -> None:
        if not killed:
            killed.append(next(iter(pool._processes)))
            os.kill(killed[0], signal.SIGKILL)

    ports = ports_around(listeners, 100)
    options: dict[str, Any] = {"keep": EVERYTHING, "order": "sequential"}
    with processes() as pool:
        report = impl.scan("127.0.0.7-10", ports, executor=pool, rate=100, on_result=kill_a_child, **options)
    lost = {(r.address, r.port) for r in report if r.reason == "worker-lost: BrokenProcessPool"}
    states = {(r.address, r.port): r.state for r in report}
    assert len(states) == len(report.results) == 400
    assert 0 < len(lost) < 400
    alone = impl.scan("127.0.0.7-10", ports, **options)
    assert all(states[r.address, r.port] is r.state for r in alone if (r.address, r.port) not in lost)
    assert not report.partial


def hide_oxisock() -> None:
    """In a worker: make it a machine without oxisock, whatever was imported before."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "oxisock"]:
        del sys.modules[name]
    sys.modules["oxisock"] = None  # type: ignore[assignment]


def test_workers_without_oxisock_say_so_and_live(
    impl: ModuleType, listeners: list[int], small_shards: None, caplog: pytest.LogCaptureFixture
) -> None:
    with processes(hide_oxisock) as pool, caplog.at_level(logging.WARNING, "oxisock"):
        report = impl.scan("127.0.0.7-8", ports_around(listeners, 100), keep=EVERYTHING, executor=pool)
        assert pool.submit(max, 1, 2).result() == 2
    assert {r.reason for r in report.results} == {"worker-lost: ModuleNotFoundError"}
    assert len(report.results) == 200
    assert not report.partial
    assert "the worker has no oxisock, or an older one" in caplog.text


@pytest.mark.parametrize(
    ("lie", "what"),
    [
        (lambda tally, outcomes: ((0, *tally[1:]), outcomes), "fewer ports"),
        (lambda tally, outcomes: (tally, outcomes * 2), "a port twice"),
        (lambda tally, outcomes: (tally, [(9, *outcomes[0][1:]), *outcomes[1:]]), "a host that is not of the shard"),
        (lambda tally, outcomes: (tally, [(0, 9, *outcomes[0][2:]), *outcomes[1:]]), "a port that is not of the shard"),
        (lambda tally, outcomes: (tally, "nonsense"), "no outcomes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_task_that_lies_about_its_shard_has_failed(
    impl: ModuleType, listeners: list[int], lie: Any, what: str
) -> None:
    class Lying(Executor):
        calls = 0

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            self.calls += 1
            tally, outcomes, source, events = fn(*args, **kwargs)
            future: Future[Any] = Future()
            if self.calls < 3:
                tally, outcomes = lie(tally, outcomes)
            future.set_result((tally, outcomes, source, events))
            return future

    executor = Lying()
    report = impl.scan("127.0.0.7", listeners, executor=executor, tasks=1)
    assert [result.port for result in report.open] == listeners
    assert executor.calls == 3


def test_a_worker_with_another_version_says_so(impl: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    class Older(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("oxisock.scanning.tasks.VERSION", "0.0.1")
                return Inline().submit(fn, *args)

    with caplog.at_level(logging.WARNING, "oxisock"):
        report = impl.scan("127.0.0.7", [1], executor=Older(), keep="error")
    assert [result.reason for result in report.results] == ["worker-lost: RuntimeError"]
    assert f"this worker has oxisock 0.0.1, and the scan needs {oxisock.__version__}" in caplog.text


def test_an_idle_worker_takes_over_from_one_that_hangs(
    impl: ModuleType, listeners: list[int], small_shards: None
) -> None:
    class Hanging(Executor):
        """Never ends the first task, and says that it runs."""

        def __init__(self) -> None:
            self.hung: Future[Any] | None = None

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            if self.hung is None:
                self.hung = Future()
                self.hung.set_running_or_notify_cancel()
                return self.hung
            return Inline().submit(fn, *args, **kwargs)

    executor = Hanging()
    report = impl.scan("127.0.0.7-8", ports_around(listeners, 100), executor=executor, tasks=2)
    assert [result.port for result in report.open if result.address == "127.0.0.7"] == listeners
    assert not report.partial
    assert executor.hung is not None
    executor.hung.set_result(None)  # late, and nobody is there any more


@pytest.mark.timeout(60)
def test_a_shard_is_given_out_again_beside_a_task_that_takes_long(
    impl: ModuleType, listeners: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Hanging(Executor):
        """Never ends its first two tasks, for which there are two slots."""

        def __init__(self) -> None:
            self.futures: list[Future[Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = Future() if len(self.futures) < 2 else Inline().submit(fn, *args, **kwargs)
            self.futures.append(future)
            return future

    monkeypatch.setattr("oxisock.scanning.coordinating._PATIENCE", 50_000_000)
    executor = Hanging()
    with caplog.at_level(logging.WARNING, "oxisock"):
        report = impl.scan("127.0.0.7", listeners, executor=executor, tasks=2)
    assert [result.port for result in report.open] == listeners
    assert not report.partial
    assert "task 0 of the scan takes long" in caplog.text


def test_tasks_end_when_the_time_of_the_scan_is_over(impl: ModuleType) -> None:
    class Noting(Executor):
        """Notes how many seconds each task is given, and runs none."""

        def __init__(self) -> None:
            self.seconds: list[float] = []
            self.concurrency: set[int] = set()

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            *_, concurrency, seconds = arguments_of(*args)
            self.seconds.append(seconds)
            self.concurrency.add(concurrency)
            return Future()

    executor = Noting()
    report = impl.scan("127.0.0.7", "1-100", executor=executor, tasks=4, concurrency=80, max_time=0.5)
    assert report.partial
    assert executor.seconds
    assert all(0 < seconds <= 0.5 for seconds in executor.seconds)
    assert executor.concurrency == {20}


def test_no_two_tasks_are_equal_in_whatever_scan(impl: ModuleType, small_shards: None) -> None:
    class Noting(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            calls.append(repr(args))
            return super().submit(fn, *args, **kwargs)

    calls: list[str] = []
    for _ in range(2):
        impl.scan("127.0.0.7", "1-100", seed=1, executor=Noting())
    assert len(calls) == len(set(calls)) == 4, "or an executor would serve one from another's results"


def test_ctrl_c_submits_nothing_more_and_keeps_what_came(
    impl: ModuleType, listeners: list[int], small_shards: None
) -> None:
    class Slow(Executor):
        """Runs the first call, and leaves the others where they are."""

        def __init__(self) -> None:
            self.futures: list[Future[Any]] = []

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = Inline().submit(fn, *args, **kwargs) if not self.futures else Future()
            self.futures.append(future)
            return future

    executor = Slow()

    def interrupt(result: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ScanInterrupted) as caught:
        impl.scan("127.0.0.7-50", listeners, order="sequential", executor=executor, tasks=2, on_result=interrupt)
    report = caught.value.report
    assert report.partial
    assert report.open
    assert all(future.done() for future in executor.futures), "what had not begun is cancelled"
    submitted = len(executor.futures)
    assert wait_until(lambda: len(executor.futures) == submitted, 1.0)


def test_threads_of_this_process_end_with_their_scan(impl: ModuleType) -> None:
    # At that rate tasks would take a minute.
    with ThreadPoolExecutor(2) as pool:
        scan = impl.scan_iter("127.0.0.7", "1-10000", rate=100, executor=pool)
        assert wait_until(lambda: threading.active_count() > 2, 10.0)
        began = time.monotonic()
        scan.close()
    assert time.monotonic() - began < 30
    assert scan.report().partial


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"executor": object()}, TypeError, "executor=.*expected an executor, with submit"),
        ({"executor": Inline, "tasks": 2}, TypeError, "executor=.*expected an executor"),
        ({"tasks": 2}, ValueError, "tasks=2: expected an executor"),
        ({"executor": Inline(), "tasks": 0}, ValueError, "tasks=0: expected a whole number from 1"),
        ({"executor": Inline(), "shard": "1/2"}, ValueError, "shard='1/2' needs a seed"),
        ({"checkpoint": 7}, TypeError, "checkpoint=7: expected the path of a file"),
    ],
)
def test_arguments_that_make_no_sense(
    impl: ModuleType, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        impl.scan("127.0.0.7", [1], **options)


def test_a_shard_that_is_past_its_time_raises(impl: ModuleType) -> None:
    plan = PLAN._replace(ranges=((4, 0x7F000007, 0x7F000007, 0),), ports=tuple(range(1, 100)), interval=10**9)
    with pytest.raises(TimeoutError, match="took more than 0 s"):
        scan_shard(impl.__name__.rpartition(".")[2], oxisock.__version__, "a scan", 0, tuple(plan), 10, 0.2)
