"""Scans that go on: what a checkpoint holds, and what is told of one that is torn, foreign, full or in use."""

from __future__ import annotations

import errno
import json
import logging
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import PortState
from oxisock.scanning.checkpoint import Checkpoint, NotWritten
from support.spreading import EVERYTHING, Inline, facts, ports_around
from support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("tracker")

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


def test_a_scan_goes_on_where_it_was(
    impl: ModuleType, listeners: list[int], small_shards: None, tmp_path: Path
) -> None:
    path = tmp_path / "scan.ndjson"
    options: dict[str, Any] = {"rate": 40, "keep": EVERYTHING, "seed": 9, "checkpoint": path, "banner": 0.01}
    with impl.scan_iter("127.0.0.1-100", listeners, **options) as scan:
        for number, _ in enumerate(scan, 1):
            if number == 60:  # of 500, and a shard is 50 probes: one is done, and not all can be
                break
    done = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert 1 <= len(done) < 10
    # The same with another rate and an executor goes on, and asks only what is not done.
    report = impl.scan("127.0.0.1-100", listeners, **{**options, "rate": None}, executor=Inline())
    assert len(report.results) == 500
    assert report.counts[PortState.OPEN] == 5
    found_before = sum(len(shard["outcomes"]) for shard in done)
    assert sum(source.probes for source in report.sources[len(done) :]) == 500 - found_before


def test_another_scan_is_told_from_the_one_of_the_file(impl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "scan.ndjson"
    impl.scan("127.0.0.7", [1, 2], checkpoint=path)
    for other in (
        {"ports": [1, 3]}, {"targets": "127.0.0.8"}, {"keep": "closed"}, {"seed": 5}, {"exclude_ports": "2"},
        {"banner": True}, {"skip_silent": True}, {"order": "sequential"},
    ):  # fmt: skip
        arguments: dict[str, Any] = {"targets": "127.0.0.7", "ports": [1, 2], **other}
        with pytest.raises(ValueError, match="belongs to another scan: expected the targets, ports, excludes"):
            impl.scan(**arguments, checkpoint=path)


def test_parts_of_a_scan_have_files_of_their_own(impl: ModuleType, tmp_path: Path) -> None:
    options: dict[str, Any] = {"seed": 5, "checkpoint": tmp_path / "scan.ndjson"}
    impl.scan("127.0.0.7-10", [1, 2], shard="1/2", **options)
    with pytest.raises(ValueError, match="belongs to another scan"):
        impl.scan("127.0.0.7-10", [1, 2], shard="2/2", **options)


def test_what_a_file_says_of_a_banner_and_of_earlier_runs_is_read(impl: ModuleType, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.7", 0)) as server:
        ports = [1, server.getsockname()[1]]

        def greet() -> None:
            with server.accept()[0] as client:
                client.sendall(b"220 hello\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        first = impl.scan("127.0.0.7", ports, banner=10, checkpoint=tmp_path / "scan")
        greeter.join()
    with impl.scan_iter("127.0.0.7", ports, banner=10, checkpoint=tmp_path / "scan") as scan:
        again = list(scan)
    assert [result.banner for result in again] == [result.banner for result in first] == [b"220 hello\r\n"]
    assert first.stats.rate > 0
    # This run decided nothing, whatever it knows.
    assert (scan.report().stats.rate, scan.progress().rate, scan.progress().done) == (0, 0, 2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"shard": 1}, ":2: no line of a checkpoint: shard 1: expected 0 to 0"),
        ({"shard": -1}, ":2: no line of a checkpoint: shard -1: expected 0 to 0"),
        ({"shard": 0}, ":2: no line of a checkpoint: expected 'outcomes'"),
        ([], ":2: no line of a checkpoint"),
    ],
)
def test_a_line_that_cannot_be_of_this_scan_is_told(impl: ModuleType, tmp_path: Path, line: object, words: str) -> None:
    path = tmp_path / "scan.ndjson"
    impl.scan("127.0.0.7", [1], checkpoint=path)
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n{json.dumps(line)}\n")
    with pytest.raises(ValueError, match=words):
        impl.scan("127.0.0.7", [1], checkpoint=path)
    older = json.loads(header) | {"oxisock_checkpoint": 1}
    path.write_text(json.dumps(older) + "\n")
    with pytest.raises(ValueError, match=":1: no line of a checkpoint: it has version 1: expected version"):
        impl.scan("127.0.0.7", [1], checkpoint=path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello\n", ":1: no line of a checkpoint: expected JSON, not 'hello'"),
        ('{"a":1}\n', ":1: no line of a checkpoint: expected a checkpoint"),
    ],
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


@pytest.mark.parametrize("spread", [False, True])
def test_a_checkpoint_that_cannot_be_written_ends_a_scan_that_is_gone_through(
    impl: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: bool
) -> None:
    def add(self: Checkpoint, done: object) -> None:
        raise NotWritten(errno.ENOSPC, "no space left")

    monkeypatch.setattr(Checkpoint, "add", add)
    executor = Inline() if spread else None
    found = []
    with impl.scan_iter("127.0.0.7", "1-99", keep=EVERYTHING, checkpoint=tmp_path / "scan", executor=executor) as scan:
        with pytest.raises(NotWritten, match="no space left") as caught:
            found.extend(scan)
        found += scan
        assert len(found) == len(scan.report()) == len(caught.value.report) == 99


def test_a_device_is_no_checkpoint(impl: ModuleType) -> None:
    with pytest.raises(ValueError, match="checkpoint='/dev/null': expected the path of a file"):
        impl.scan("127.0.0.7", [1], checkpoint="/dev/null")


PROGRAM = """
import os, sys, oxisock
from oxisock.scanning import shard_runs, spreading

def noted(self, begin=shard_runs.LocalRun._advance):
    begin(self)
    if self._run is not None:
        os.write(log, b"%d\\n" % self._number)

log = os.open(sys.argv[2] + ".begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
shard_runs.LocalRun._advance = noted
spreading.probes_of_a_shard = lambda plan, total, slots: 100
report = getattr(oxisock, sys.argv[1]).scan(
    "127.0.0.1-40", sys.argv[3], exclude="127.0.0.3", rate=3000, keep="open,closed", checkpoint=sys.argv[2])
opened = [result.port for result in report.open if result.address == "127.0.0.7"]
print(report.counts["closed"] + report.counts["open"], len(report.results), len(opened), report.seed)
"""


def test_a_scan_that_is_killed_at_ten_moments_goes_on_and_asks_only_what_was_under_way(
    impl: ModuleType, listeners: list[int], tmp_path: Path
) -> None:
    path, begun = tmp_path / "scan", tmp_path / "scan.begun"
    chance = random.Random(impl.__name__)
    ports = ",".join(map(str, [*listeners, "1-149"]))
    command = [sys.executable, "-c", PROGRAM, impl.__name__.rpartition(".")[2], str(path), ports]
    killed = 0
    for _ in range(10):
        before = path.read_bytes() if path.exists() else b""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:

            def going(process: subprocess.Popen[str] = process, size: int = len(before)) -> bool:
                return process.poll() is not None or (path.exists() and path.stat().st_size > size)

            assert wait_until(going, 60.0)
            try:
                process.wait(chance.uniform(0, 0.2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                killed += 1
        assert path.read_bytes().startswith(before), "what is done stays done"
    out = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    total = 39 * (149 + 5)
    header, *lines = map(json.loads, path.read_text().splitlines())
    assert out.split() == [str(total), str(total), "5", str(header["seed"])]
    assert sorted(line["shard"] for line in lines) == list(range(header["shards"]))
    assert header["shards"] == 78 <= len(begun.read_text().split()) <= 78 + killed
