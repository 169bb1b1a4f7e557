"""Scans carried out shard by shard: the machine that gives shards out, how a plan is cut, executors, checkpoints."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oxisock
from oxisock import PortState, ScanInterrupted, ScanReport
from oxisock.engines.scanning import AddressRange, ScanPlan
from oxisock.scanning.coordinating import Coordinator
from oxisock.scanning.sharding import Shards
from oxisock.scanning.spreading import scan_shard
from support.waiting import wait_until

# --- the machine: workers that do whatever they like -----------------------------------------------------------------


class Workers:
    """A model of what any executor may do with tasks; it knows by itself what has to become of each shard."""

    def __init__(self, shards: int, slots: int, done: frozenset[int]) -> None:
        self.machine = Coordinator(shards, slots, done)
        self.shards, self.slots, self.done = shards, slots, done
        self.out: dict[int, int] = {}
        self.given: Counter[int] = Counter()
        self.failures: Counter[int] = Counter()
        self.settled: dict[int, str] = dict.fromkeys(done, "before")
        self.used: set[int] = set()

    def give_out(self) -> None:
        """Take what the machine gives; nothing twice, nothing that is settled, never more than there are slots."""
        while (task := self.machine.next()) is not None:
            assert task.number not in self.used
            assert task.shard not in self.settled
            assert list(self.out.values()).count(task.shard) < 3
            self.used.add(task.number)
            self.out[task.number] = task.shard
            self.given[task.shard] += 1
            assert len(self.out) <= self.slots

    def finish(self, number: int) -> None:
        """A task gives its results, once more or for the first time."""
        shard = self.out.pop(number, None)
        counts = shard is not None and shard not in self.settled
        assert self.machine.finished(number) is counts
        if counts:
            self.settled[shard] = "finished"

    def fail(self, number: int) -> None:
        """A task fails, in whatever way."""
        shard = self.out.pop(number, None)
        lost = self.machine.failed(number, "Name")
        if shard is None or shard in self.settled:
            assert lost is None
            return
        self.failures[shard] += 1
        final = self.failures[shard] >= 3 and shard not in self.out.values()
        assert (lost is not None) is final
        if lost is not None:
            assert lost == (shard, "Name")
            self.settled[shard] = "lost"


@given(
    st.integers(1, 12),
    st.integers(1, 5),
    st.sets(st.integers(0, 11)),
    st.lists(st.tuples(st.sampled_from(["finish", "fail", "again", "late failure"]), st.integers(0, 100)), max_size=80),
)
def test_every_shard_ends_once_whatever_workers_do(
    shards: int, slots: int, done: set[int], events: list[tuple[str, int]]
) -> None:
    world = Workers(shards, slots, frozenset(number for number in done if number < shards))
    world.give_out()
    for event, which in events:
        if event == "finish" and world.out:
            world.finish(sorted(world.out)[which % len(world.out)])
        elif event == "fail" and world.out:
            world.fail(sorted(world.out)[which % len(world.out)])
        elif event == "again" and world.used:  # a task that is over, or that never was
            world.machine.finished(max(world.used) + 1 + which)
            over = sorted(world.used - set(world.out))
            if over:
                world.finish(over[which % len(over)])
        elif event == "late failure" and world.used:
            over = sorted(world.used - set(world.out))
            if over:
                world.fail(over[which % len(over)])
        world.give_out()
    # From here on all goes well: whatever is left comes to an end.
    while world.out and not world.machine.over:
        world.finish(min(world.out))
        world.give_out()
    assert world.machine.over
    assert set(world.settled) == set(range(shards))
    assert all(world.given[shard] <= 5 for shard in range(shards)), "three tries, and two copies"


@given(st.integers(1, 12), st.integers(1, 5), st.integers(0, 12))
def test_a_broken_executor_settles_what_is_not_out(shards: int, slots: int, finished: int) -> None:
    world = Workers(shards, slots, frozenset())
    world.give_out()
    for _ in range(finished):
        if world.out:
            world.finish(min(world.out))
            world.give_out()
    left = set(range(shards)) - set(world.settled) - set(world.out.values())
    assert set(world.machine.broken()) == left
    assert world.machine.next() is None or world.machine.out
    for number, shard in list(world.out.items()):
        lost = world.machine.failed(number, "Name")
        copies = [other for key, other in world.out.items() if other == shard and key != number]
        world.out.pop(number)
        assert (lost is None) is (bool(copies) or shard in world.settled)
        if lost:
            world.settled[shard] = "lost"
    assert world.machine.over


# --- how a plan is cut ------------------------------------------------------------------------------------------------

PLAN = ScanPlan(
    ranges=(), ports=array("H"), first_ports=0, timeout=10**9, retries=1, adaptive=True, concurrency=100, interval=0,
    threads=1, random=True, seed=7, shard=0, shards=1, banner=0, keep=1, trace=False,
)  # fmt: skip


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=5),
    st.sets(st.integers(1, 65535), min_size=1, max_size=60),
    st.integers(1, 300),
    st.booleans(),
    st.integers(0, 2**64 - 1),
)
def test_shards_are_disjoint_and_complete(
    sizes: list[int], ports: set[int], probes: int, random_order: bool, seed: int
) -> None:
    ranges = [AddressRange(4, 1000 * n, 1000 * n + size - 1) for n, size in enumerate(sizes)]
    plan = PLAN._replace(ranges=ranges, ports=array("H", sorted(ports)), first_ports=3, random=random_order, seed=seed)
    shards = Shards(plan, probes)
    addresses = [address for each in ranges for address in range(each.first, each.last + 1)]
    asked: list[tuple[int, int]] = []
    for number in range(shards.count):
        shard = shards[number]
        own = [address for each in shard.plan.ranges for address in range(each.first, each.last + 1)]
        assert own == addresses[shard.first_host : shard.first_host + len(own)]
        assert shard.total == len(own) * len(shard.plan.ports)
        assert shard.total <= max(probes, 1)
        assert shard.plan.first_ports <= len(shard.plan.ports)
        asked += [(address, port) for address in own for port in shard.plan.ports]
    assert sorted(asked) == sorted((address, port) for address in addresses for port in ports)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 50), st.integers(1, 5), st.data())
def test_parts_of_a_part_of_the_order_are_disjoint_and_complete(
    hosts: int, ports: int, probes: int, of: int, data: st.DataObject
) -> None:
    part = data.draw(st.integers(0, of - 1))
    plan = PLAN._replace(ranges=[AddressRange(4, 1, hosts)], ports=array("H", range(1, ports + 1)))
    plan = plan._replace(shard=part, shards=of)
    if of == 1:
        return
    shards = Shards(plan, probes)
    places = [p for n in range(shards.count) for p in range(shards[n].plan.shard, hosts * ports, shards[n].plan.shards)]
    assert sorted(places) == list(range(part, hosts * ports, of))
    assert sum(shards[n].total for n in range(shards.count)) == len(places)
    assert all(shards[n].total <= probes for n in range(shards.count))


# --- executors -------------------------------------------------------------------------------------------------------


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    """Five ports of 127.0.0.7 on which somebody listens, which answer at once."""
    with ExitStack() as stack:
        ports = []
        for _ in range(5):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.7", 0))
            sock.listen(200)
            ports.append(sock.getsockname()[1])
        yield sorted(ports)


def ports_around(listening: list[int], count: int) -> list[int]:
    """Give ``count`` ports of which some listen; of the others nobody knows whether another test opens them."""
    return sorted({*listening, *random.Random(5).sample(range(1, 1024), count - len(listening))})


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


EVERYTHING = "open,closed,filtered,error"


@pytest.fixture(scope="module", autouse=True)
def tracker() -> None:
    """Let multiprocessing start its helper process, which it keeps, before leaks are watched."""
    resource_tracker.ensure_running()


def processes() -> ProcessPoolExecutor:
    """Two processes."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut scans into shards of at most 50 probes."""
    monkeypatch.setattr("oxisock.scanning.spreading.probes_of_a_shard", lambda plan, total, workers: 50)


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
        def submit(self, fn: Any, /, impl: str, version: str, *args: Any) -> Future[Any]:
            return Inline().submit(fn, impl, "0.0.1", *args)

    with caplog.at_level(logging.WARNING, "oxisock"):
        report = impl.scan("127.0.0.7", [1], executor=Older(), keep="error")
    assert [result.reason for result in report.results] == ["worker-lost: RuntimeError"]
    assert f"this worker has oxisock {oxisock.__version__}, and the scan needs 0.0.1" in caplog.text


def test_an_idle_worker_takes_over_from_one_that_hangs(impl: ModuleType, listeners: list[int]) -> None:
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
    report = impl.scan("127.0.0.7-8", listeners, executor=executor, tasks=2, rate=10)
    assert [result.port for result in report.open if result.address == "127.0.0.7"] == listeners
    assert not report.partial
    assert executor.hung is not None
    executor.hung.set_result(None)  # late, and nobody is there any more


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
    # Nobody answers there, so that tasks would take a minute.
    with ThreadPoolExecutor(2) as pool:
        scan = impl.scan_iter("127.0.0.7", "1-1000", rate=10, executor=pool)
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
        ({"executor": Inline(), "shard": "1/2", "seed": 1}, ValueError, "shard='1/2': expected None with an executor"),
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


# --- going on ------------------------------------------------------------------------------------------------------


def test_a_finished_scan_is_read_from_its_checkpoint(impl: ModuleType, listeners: list[int], tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    ports = ports_around(listeners, 60)
    first = impl.scan("127.0.0.7-8", ports, keep=EVERYTHING, rate=3000, checkpoint=path)
    size = path.stat().st_size
    again = impl.scan("127.0.0.7-8", ports, keep=EVERYTHING, rate=3000, checkpoint=str(path))
    assert facts(again) == facts(first)
    assert again.seed == first.seed, "the seed is in the file"
    assert again.sources == first.sources
    assert path.stat().st_size == size


def test_a_scan_goes_on_where_it_was(impl: ModuleType, listeners: list[int], tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    options: dict[str, Any] = {"rate": 40, "keep": EVERYTHING, "seed": 9, "checkpoint": path, "banner": 0.01}
    ports = listeners * 1
    asked: list[str] = []
    with impl.scan_iter("127.0.0.1-100", ports, **options) as scan:
        for result in scan:
            asked.append(f"{result.address}:{result.port}")
            if len(asked) == 420:  # a shard is some 400 probes: one is done
                break
    done = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert len(done) == 1
    # The same with another rate and an executor goes on, and asks only what is not done.
    report = impl.scan("127.0.0.1-100", ports, **{**options, "rate": None}, executor=Inline())
    assert len(report.results) == 500
    assert report.counts[PortState.OPEN] == 5
    assert sum(source.probes for source in report.sources[1:]) == 500 - len(done[0]["outcomes"])


def test_another_scan_is_told_from_the_one_of_the_file(impl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    impl.scan("127.0.0.7", [1, 2], checkpoint=path)
    for other in ({"ports": [1, 3]}, {"targets": "127.0.0.8"}, {"keep": "closed"}, {"seed": 5}, {"exclude_ports": "2"}):
        arguments: dict[str, Any] = {"targets": "127.0.0.7", "ports": [1, 2], **other}
        with pytest.raises(ValueError, match="is of another scan: expected the targets, ports, excludes"):
            impl.scan(**arguments, checkpoint=path)


@pytest.mark.parametrize(
    ("content", "words"),
    [("hello\n", ":1: no line of a checkpoint"), ('{"a":1}\n', ":1: no line of a checkpoint: expected a checkpoint")],
)
def test_a_file_that_is_something_else_is_left_alone(
    impl: ModuleType, tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=words):
        impl.scan("127.0.0.7", [1], checkpoint=path)
    assert path.read_text() == content


def test_a_torn_last_line_is_told_and_asked_again(
    impl: ModuleType, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "scan.ndjson"
    first = impl.scan("127.0.0.7", [1, 2], keep=EVERYTHING, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with caplog.at_level(logging.WARNING, "oxisock"):
        again = impl.scan("127.0.0.7", [1, 2], keep=EVERYTHING, checkpoint=path)
    assert facts(again) == facts(first)
    assert "the last line is torn" in caplog.text
    assert json.loads(path.read_bytes().splitlines()[-1])["shard"] == 0


def test_a_host_whose_ports_are_in_several_shards_counts_once(
    impl: ModuleType, listeners: list[int], small_shards: None, tmp_path: Path
) -> None:
    ports = ports_around(listeners, 180)
    for options in ({"checkpoint": tmp_path / "scan"}, {"checkpoint": tmp_path / "scan"}, {"executor": Inline()}):
        report = impl.scan("127.0.0.7", ports, **options)
        assert len(report.sources) == 4
        assert (report.stats.hosts, report.stats.hosts_up) == (1, 1)
    part = impl.scan("127.0.0.7-8", ports, shard="1/2", seed=1, checkpoint=tmp_path / "part")
    assert (part.stats.hosts, part.stats.hosts_up) == (2, 2)


def test_a_trace_has_each_event_once_however_often_it_is_asked_for(
    impl: ModuleType, small_shards: None, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"trace": True, "keep": "closed", "rate": 500, "checkpoint": tmp_path / "scan"}
    with impl.scan_iter("127.0.0.7", "1-120", **options) as scan:
        for _ in scan:
            trace = scan.report().trace
            assert len(set(trace)) == len(trace)
    assert len([event for event in scan.report().trace if event.event == "sent"]) == scan.report().stats.probes


def test_two_scans_do_not_share_a_file(impl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    with impl.scan_iter("127.0.0.7", "1-100", rate=10, checkpoint=path):
        with pytest.raises(BlockingIOError, match="is in use by another scan"):
            impl.scan("127.0.0.7", "1-100", checkpoint=path)


FULL = """
import resource, sys, oxisock
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
try:
    getattr(oxisock, sys.argv[1]).scan("127.0.0.7", [1, 2, 3], keep="closed", checkpoint=sys.argv[2])
except OSError as error:
    print(error, error.report.partial, error.report.counts["closed"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_full_disk_is_told_and_the_file_stays_whole(impl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    command = [sys.executable, "-c", FULL, impl.__name__.rpartition(".")[2], str(path)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert out.startswith(f"[Errno {errno.EFBIG}] cannot write to checkpoint {str(path)!r}: ")
    assert out.split()[-1] == "3"
    assert all(json.loads(line) for line in path.read_text().splitlines())
    assert path.read_bytes().endswith(b"\n")


def test_a_device_is_no_checkpoint(impl: ModuleType) -> None:
    with pytest.raises(ValueError, match="checkpoint='/dev/null': expected the path of a file"):
        impl.scan("127.0.0.7", [1], checkpoint="/dev/null")


PROGRAM = """
import sys, oxisock
face = getattr(oxisock, sys.argv[1])
report = face.scan("127.0.0.1-40", [int(p) for p in sys.argv[3].split(",")], exclude="127.0.0.3", rate=1500, seed=4,
                   keep="open,closed", checkpoint=sys.argv[2])
opened = [result.port for result in report.open if result.address == "127.0.0.7"]
print(report.counts["closed"] + report.counts["open"], len(report.results), len(opened), report.seed)
"""


def test_a_scan_that_is_killed_at_any_moment_goes_on(impl: ModuleType, listeners: list[int], tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    chance = random.Random(impl.__name__)
    ports = ",".join(map(str, [*listeners, *range(1, 150)]))
    engine = impl.__name__.rpartition(".")[2]
    command = [sys.executable, "-c", PROGRAM, engine, str(path), ports]
    sizes = [0]
    for _ in range(10):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                process.wait(chance.uniform(0.1, 1.2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
        sizes.append(path.stat().st_size if path.exists() else 0)
    assert sizes == sorted(sizes), "what is done stays done"
    out = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    total = 39 * (149 + 5)
    assert out.split() == [str(total), str(total), "5", "4"]
