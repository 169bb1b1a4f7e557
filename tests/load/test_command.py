"""The command ``oxisock load``: how it is called, whom it asks first, and what it shows."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import EchoServer, _native
from oxisock.cli import main
from oxisock.load import plan as load
from support.commands import environment, oxisock, terminal_text
from support.loading import PATIENT, loaded
from support.pages import DOCS
from support.waiting import wait_until

LOCAL = "127.0.0.1"
SHORT = ("--duration", "100ms")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "HOST:PORT"),
        (["localhost"], "is not HOST:PORT"),
        (["localhost:1", "-c", 0], "expected a whole number from 1 to 100000"),
        (["localhost:1", "--size", "-1"], "expected a whole number from 1 to 16777216"),
        (["localhost:1", "--rate", "0"], "expected messages a second, from 0.001"),
        (["localhost:1", "--rate", "nan"], "expected messages a second, from 0.001"),
        (["localhost:1", "--duration", "2h"], "is no duration"),
        (["localhost:1", "--duration", "1441m"], "expected a day at most"),
        (["localhost:1", "--codec", "line"], "'line' is not one of"),
        (["localhost:1", "--codec", "lines:max_frame=10"], "no frames for messages of 64 bytes"),
        (["localhost:1", "--codec", "fixed:9", "--size", "8"], "no frames for messages of 8 bytes"),
        (["localhost:1", "--codec", "lines", "--prefix", "a\nb"], "no frames for messages"),
        (["localhost:1", "--codec", "lines", "--udp"], "expected a codec or udp"),
        (["localhost:1", "--expect", "any"], "needs a codec"),
        (["localhost:1", "--udp", "--size", "7"], "expected 8 (its number) to 65507 bytes for UDP"),
    ],
)
def test_wrong_usage_is_one_line(words: list[object], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["load", *map(str, words)])
    except SystemExit as error:
        code = int(str(error.code))
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let no load begin; the list has the addresses that were to be loaded."""
    begun: list[str] = []

    def begin(address: str, *_: object) -> None:
        begun.append(address)
        raise ValueError("not in this test")

    monkeypatch.setattr(_native, "start_tcp_load", begin)
    monkeypatch.setattr(_native, "start_udp_load", begin)
    return begun


@pytest.mark.parametrize("words", [["192.0.2.1:80"], ["--udp", "[2001:db8::1]:53"], ["[::ffff:192.0.2.1]:80"]])
def test_other_machines_are_not_loaded_unasked(
    words: list[str], no_sockets: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["load", *words]) == 2
    assert capsys.readouterr().err.count("--yes") == 1
    assert no_sockets == []
    assert main(["load", "--yes", *words]) == 2
    assert len(no_sockets) == 1


@pytest.mark.parametrize(
    ("given", "address"),
    [("127.1.2.3:80", "127.1.2.3:80"), ("[::1]:80", "[::1]:80"), ("[::ffff:127.0.0.1]:80", "127.0.0.1:80")],
)
def test_this_machine_is_loaded_without_a_question(given: str, address: str, no_sockets: list[str]) -> None:
    assert main(["load", given]) == 2
    assert no_sockets == [address]


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "code", "begun"), [("y\n", 2, 1), ("n\n", 1, 0), ("\n", 1, 0), ("", 1, 0)])
def test_who_can_answer_is_asked(
    typed: str,
    code: int,
    begun: int,
    no_sockets: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Keyboard()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdin", Keyboard(typed))
    monkeypatch.setattr(sys, "stderr", shown)
    assert main(["load", "192.0.2.1:80", "-c", "7", "--rate", "20", "-d", "3s"]) == code
    assert len(no_sockets) == begun
    assert "Load 192.0.2.1:80 over 7 connections, 20 messages a second, for 3 s?" in shown.getvalue()


def test_piped_it_is_a_name_and_a_value_on_each_line() -> None:
    with EchoServer() as server:
        host, port = server.address
        done = oxisock("load", f"{host}:{port}", "-c", 2, "-d", "100ms", *PATIENT)
    assert (done.returncode, done.stderr) == (0, "")
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    assert (figures["target"], figures["complete"], figures["lost"]) == (f"{host}:{port}", "yes", "0")
    assert [name for name in figures if name.startswith("latency_")] == [
        f"latency_{name}_ms" for name in ("min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max")
    ]
    assert figures["lag_max_ms"] == "-"


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}])
def test_on_a_terminal_the_figures_move(env: dict[str, str]) -> None:
    with EchoServer() as server:
        host, port = server.address
        code, shown = terminal_text("load", f"{host}:{port}", "-c", 2, "--rate", 1000, "-d", "700ms", *PATIENT, **env)
    assert code in (0, 1)  # a busy machine may not keep the rate
    assert "of 0.7 s" in shown and "p99.9" in shown
    assert f"{host}:{port}: 2 connections, 1,000 messages a second, 64 bytes each" in shown
    assert re.search(r"sent +[\d,]+ +in \d+\.\d+ s", shown)
    assert "Latencies count from when each message was meant to be sent" in shown
    assert bool(re.search(r"\x1b\[[\d;]*3\dm", shown)) == (not env)


def test_without_rich_a_line_rewrites_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from oxisock.cli import load_view, progress

    shown = Keyboard()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(progress, "have_rich", lambda: False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with _echo_run(rate=None) as run, load_view.watch("here", 30.0) as show:
        while "p90" not in shown.getvalue():
            assert run.step(0.05)
            show(run)
    lines = shown.getvalue().split("\r")
    assert any(re.match(r"here  [\d.]+ of 30 s  [\d,]+/s  p50 [\d.]+  p90", line) for line in lines)
    assert all(len(line.removesuffix("\x1b[K")) < 80 for line in lines) and lines[-1] == "\x1b[K"


@contextlib.contextmanager
def _echo_run(rate: int | None) -> Iterator[_native.LoadRun]:
    plan = load.LoadPlan(2, 1, rate, 30_000_000_000, 60_000_000_000)
    with EchoServer() as server:
        host, port = server.address
        run = _native.start_tcp_load(f"{host}:{port}", plan, [b"a", b"b"], [b"a", b"b"], None)
        try:
            yield run
        finally:
            run.close()


def test_a_closed_run_says_so() -> None:
    with _echo_run(None) as run:
        assert run.step(0.0)
    assert not run.step(0.1)
    with pytest.raises(RuntimeError, match="the load is closed"):
        run.figures()


def test_ctrl_c_gives_what_there_is() -> None:
    with EchoServer() as server:
        host, port = server.address
        words = [sys.executable, "-m", "oxisock", "load", f"{host}:{port}", "-d", "60s", "--json", "-c", "2"]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(words, env=environment(), **pipes) as process:
            assert wait_until(lambda: server.stats().bytes_out > 0)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    told = json.loads(out)
    assert (process.returncode, told["complete"]) == (130, False)
    assert told["answered"] > 0
    assert told["sent"] == told["answered"] + told["pending"]
    assert "interrupted after" in err


@pytest.mark.skipif(not (DOCS / "load.md").exists(), reason="the documentation is not here")
def test_the_documentation_names_every_key(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        _, told = loaded(server.address, "-c", 1, "-d", "10ms")
    table = (DOCS / "load.md").read_text().rpartition("| key | what |")[2]
    keys = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert [key for row in keys for key in re.findall("`(.*?)`", row)] == list(told)
    options = re.search(r"^\| `options` \|(.*)\|$", table, re.MULTILINE)
    assert options is not None and re.findall("`(.*?)`", options[1]) == list(told["options"])
