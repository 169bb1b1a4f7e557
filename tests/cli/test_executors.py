"""``oxisock scan`` in processes of its own and from a checkpoint: results, wrong usage, how it ends."""

from __future__ import annotations

import importlib.util
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from oxisock import ScanReport
from support.commands import environment, listening, oxisock, refusing
from support.waiting import wait_until

HOST = "127.0.0.1"


def spec(ports: list[int]) -> str:
    return ",".join(map(str, ports))


def test_processes_scan_as_one_does(impl: ModuleType) -> None:
    with listening(3) as ports, refusing() as closed:
        words = ("scan", HOST, "-p", spec([*ports, closed]), "--keep", "open,closed", "--impl", impl.impl)
        expected = oxisock(*words, "--format", "json")
        done = oxisock(*words, "--format", "json", "--processes", 2)
    assert (done.returncode, expected.returncode) == (0, 0), done.stderr
    one, other = (ScanReport.from_json(each.stdout) for each in (expected, done))
    assert [(r.port, r.state) for r in other] == [(r.port, r.state) for r in one]
    assert len(other.sources) == 1
    assert not one.sources


def test_a_scan_goes_on_from_its_checkpoint(impl: ModuleType, tmp_path: Path) -> None:
    with listening(3) as ports:
        words = ("scan", HOST, "-p", spec(ports), "--impl", impl.impl, "--checkpoint", tmp_path / "scan.ndjson")
        first = oxisock(*words)
        second = oxisock(*words)
    assert first.stdout == second.stdout, "rtt and all: nobody was asked again"
    assert len(first.stdout.splitlines()) == 3
    other = oxisock("scan", HOST, "-p", 1, "--checkpoint", tmp_path / "scan.ndjson")
    assert other.returncode == 2
    assert "belongs to another scan" in other.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--processes", "0"), "--processes 0: expected a number of processes, 1 to 512"),
        (("--processes", "1000"), "--processes 1000: expected a number of processes, 1 to 512"),
        (("--dask", "nonsense"), "--dask nonsense: no scheduler answers there"),
        (("--processes", "2", "--dask", "tcp://127.0.0.1:1"), "not allowed with"),
        (("--checkpoint", "/no/such/folder/file"), "No such file or directory"),
        (("--checkpoint", "x", "--impl", "both"), "--checkpoint is for one scan, and --impl both makes two"),
        (("--tasks", "3"), "--tasks 3: expected --processes or --dask too"),
    ],
)
def test_wrong_usage_of_executors_and_checkpoints(words: tuple[str, ...], message: str) -> None:
    if words[0] == "--dask" and importlib.util.find_spec("distributed") is None:
        message = "--dask needs Dask: pip install 'oxisock[dask]'"
    done = oxisock("scan", HOST, "-p", 1, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_torn_line_of_a_checkpoint_is_told_as_all_else_is(tmp_path: Path) -> None:
    words = ("scan", HOST, "-p", 1, "--all", "--checkpoint", tmp_path / "scan")
    first = oxisock(*words)
    (tmp_path / "scan").write_bytes((tmp_path / "scan").read_bytes()[:-9])
    second = oxisock(*words)
    assert second.stderr == f"oxisock: {tmp_path}/scan: the last line is torn; what it was about is asked again\n"
    assert second.stdout.split()[:3] == first.stdout.split()[:3]


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits on files")
def test_a_full_disk_ends_the_scan_with_what_is_known(impl: ModuleType, tmp_path: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200));"
        "from oxisock.cli import main; sys.exit(main())"
    )
    words = ["scan", HOST, "-p", "1-3", "--all", "--impl", impl.impl, "--checkpoint", str(tmp_path / "scan")]
    for form, lines in (("plain", 3), ("ndjson", 4)):
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--format", form], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == lines, done.stderr
        assert done.stderr.startswith("oxisock: cannot write to checkpoint ")


def children_of(number: int) -> set[int]:
    return {int(child) for child in Path(f"/proc/{number}/task/{number}/children").read_text().split()}


def lives(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_scan_without_a_word(number: signal.Signals) -> None:
    # Calls of so many ports fill the pipe to the processes, so that some of them are on their way.
    words = ("scan", "127.0.0.1-200", "-p", "1-9000", "--processes", "2", "--format", "ndjson", "--keep", "closed")
    command = [sys.executable, "-m", "oxisock", *words]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), "a part is done, and others are under way"
            children = children_of(process.pid)
            assert len(children) >= 3, "two, and a tracker of resources"
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert wait_until(lambda: not any(map(lives, children)), 30.0)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert re.fullmatch(r"oxisock: the scan ended early, after [\d,]+ ports: the result is incomplete\n", err)
