"""Standard streams that are closed, full, slow, or not UTF-8: no word is lost without a word."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import pytest

from oxisock import wait_for_port
from support.commands import environment, listening, oxisock, refusing


def shell(line: str, *words: object, **env: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of bash in which $OX is the command and $1... are the words."""
    command = ["bash", "-c", line, "bash", *map(str, words)]
    env = environment(OX=f"{sys.executable} -m oxisock", **env)
    return subprocess.run(command, capture_output=True, timeout=60, env=env, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_what_the_exit_code_or_a_file_says_needs_no_stream(redirection: str, tmp_path: Path) -> None:
    with listening() as (port,):
        for words in (
            f"check 127.0.0.1:{port}",
            f"wait 127.0.0.1:{port}",
            f"scan 127.0.0.1 -p {port} -o {tmp_path}/a.json",
        ):
            done = shell(f"$OX {words} {redirection}")
            assert (done.returncode, done.stderr) == (0, b""), words
    assert '"open"' in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("words", ["scan 127.0.0.1 -p 1", "source reactor", "completion bash", "send 127.0.0.1:1 x"])
def test_an_answer_for_a_closed_stdout_is_an_error(words: str) -> None:
    done = shell(f"$OX {words} >&-")
    assert (done.returncode, done.stderr) == (
        2,
        b"oxisock: the standard output is closed, and the answer was to go there\n",
    )


def test_a_server_without_stdout_serves() -> None:
    with refusing() as port:
        pass
    line = f"exec $OX serve echo --port {port} >&-"
    env = environment(OX=f"{sys.executable} -m oxisock")
    with subprocess.Popen(["bash", "-c", line], stderr=subprocess.PIPE, env=env) as process:
        try:
            wait_for_port("127.0.0.1", port)
        finally:
            process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"Traceback" not in told


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_what_the_encoding_lacks_is_escaped(encoding: str) -> None:
    with listening(banner="220 \u2603 Gr\u00fc\u00dfe\n".encode()) as (port,):
        made = {
            form: oxisock(
                "scan",
                "127.0.0.1",
                "-p",
                port,
                "--banner",
                "--format",
                form,
                text=False,
                env={"PYTHONIOENCODING": encoding},
            )
            for form in ("plain", "table", "csv", "xml")
        }
    assert {done.returncode for done in made.values()} == {0}
    assert {done.stderr for done in made.values()} == {b""}
    for form in ("plain", "table"):
        assert b"220 \\u2603" in made[form].stdout  # type: ignore[operator]
    assert "220 \u2603 Gr\u00fc\u00dfe".encode() in made["csv"].stdout  # type: ignore[operator]
    assert "\u2603" in xml.etree.ElementTree.tostring(xml.etree.ElementTree.fromstring(made["xml"].stdout), "unicode")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["plain", "ndjson"])
def test_all_arrives_on_a_stdout_that_does_not_block(unbuffered: str, form: str) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, fcntl.fcntl(writer, fcntl.F_GETFL) | os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)  # so that much less than all fits
    command = [sys.executable, "-m", "oxisock", "scan", "127.0.0.1", "-p", "1-2000", "--all", "--format", form]
    with subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, env=environment(PYTHONUNBUFFERED=unbuffered)
    ) as process:
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            lines = stream.read().splitlines()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert (process.returncode, len(lines)) == (0, 2000 + (form == "ndjson"))


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", ["scan 127.0.0.1 -p 1-2000 --all", "source reactor", "--help"])
def test_a_reader_that_is_gone_is_told_by_the_exit_code(words: str, unbuffered: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "oxisock", *words.split()]
    env = environment(PYTHONUNBUFFERED=unbuffered)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, env=env)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_is_told() -> None:
    done = shell("$OX source reactor >/dev/full")
    assert (done.returncode, done.stderr) == (2, b"oxisock: standard output: No space left on device\n")


def test_the_file_is_written_though_nobody_reads_the_messages(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    done = shell(f"$OX scan 127.0.0.1 unknown.invalid -p 1 -o {path} 2> >(true); exit $?")
    assert done.returncode == 0
    assert '"unresolved"' in path.read_text()


def test_a_pipe_has_a_name_and_a_name_may_be_long(tmp_path: Path) -> None:
    piped = shell("$OX scan 127.0.0.1 -p 1 --format json -o /dev/stdout | cat")
    assert b'"schema"' in piped.stdout
    long = tmp_path / ("a" * 250)
    assert shell(f"$OX scan 127.0.0.1 -p 1 --format json -o {long}").returncode == 0
    assert '"schema"' in long.read_text()


def test_a_message_is_one_line_of_reasonable_length(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("a" * (1 << 20))
    done = shell(f"$OX scan @{tmp_path}/long")
    assert done.returncode == 2
    assert len(done.stderr) < 5000
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("words", ["--version", "check 127.0.0.1:1"])
def test_an_engine_that_is_none_is_one_line(words: str) -> None:
    done = shell(f"$OX {words}", OXISOCK_IMPL="foo")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"oxisock: OXISOCK_IMPL='foo' names no engine: expected 'native' or 'pure'\n"


@pytest.mark.parametrize("words", [("scan", "127.0.0.1"), ("diff", "a", "b")])
def test_a_suffix_that_names_no_format_is_wrong_usage(words: tuple[str, ...]) -> None:
    done = oxisock(*words, "-o", "report.yaml")
    assert done.returncode == 2
    assert "'.yaml' names no format: expected .txt, .tsv, .json" in done.stderr
