"""The command ``oxisock load``: every answer checked, every loss counted, latencies from when a message was meant."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import EchoServer, Faults, _native
from oxisock.cli import main
from oxisock.framing.specs import parse_codec
from oxisock.load import plan as load
from support.commands import environment, listening, oxisock, refusing, silent, terminal_text
from support.ipv6 import has_ipv6
from support.pages import DOCS
from support.waiting import wait_until

LOCAL = "127.0.0.1"
SHORT = ("--duration", "100ms")


@pytest.fixture(autouse=True)
def same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command leave the limit of open files as it is: most of these tests run it in their own process."""
    monkeypatch.setattr("oxisock.cli.load.raise_descriptor_limit", lambda: None)


def loaded(address: Any, *words: object) -> tuple[int, dict[str, Any]]:
    """Run the command with ``--json``, here; give the exit code and the document."""
    host, port = address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["load", name, "--json", *map(str, words)])
    return code, json.loads(out.getvalue())


def upper(message: bytes, peer: object) -> bytes:
    return b"Echo: " + message.upper()


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None], kind: int = socket.SOCK_STREAM) -> Iterator[tuple[str, int]]:
    """Run a server written for one test: ``serve`` gets its one connection, or its datagram socket."""

    def run() -> None:
        with contextlib.suppress(OSError):
            if kind == socket.SOCK_DGRAM:
                serve(sock)
                return
            conn, _ = sock.accept()
            with conn:
                serve(conn)

    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind((LOCAL, 0))
        sock.settimeout(20)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockname()
        finally:
            sock.shutdown(socket.SHUT_RDWR) if kind == socket.SOCK_STREAM else sock.close()
            thread.join(20)


# --- servers that do well ------------------------------------------------------------------------------------------


def test_an_echo_server(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        code, told = loaded(server.address, "-c", 5, "--depth", 3, "--size", 100, *SHORT)
        accepted = server.stats().accepted
    assert (code, accepted, told["schema"], told["complete"]) == (0, 5, 1, True)
    assert told["sent"] == told["answered"] > 0
    assert {told[name] for name in ("lost", "wrong", "late", "duplicates", "pending", "unsent")} == {0}
    assert told["connections"] == {"asked": 5, "opened": 5, "alive": 5}
    assert (told["errors"], told["local_errors"], told["lag"]) == ({}, {}, None)
    assert told["bytes"] == {"sent": 100 * told["sent"], "received": 100 * told["sent"]}
    assert told["rate"]["asked"] is None
    assert told["rate"]["achieved"] == pytest.approx(told["answered"] / told["elapsed"])
    times = list(told["latency"].values())
    assert list(told["latency"]) == ["min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"]
    assert times[0] <= times[1] <= times[-1] and times[2:] == sorted(times[2:]) and times[0] > 0
    host, port = server.address
    name = f"{host}:{port}"
    assert told["target"] == {"name": name, "host": host, "address": host, "port": port, "protocol": "tcp"}
    assert told["options"] == {
        "connections": 5,
        "depth": 3,
        "size": 100,
        "rate": None,
        "duration": 0.1,
        "timeout": 5.0,
        "codec": None,
        "expect": "echo",
        "prefix": "",
    }


@pytest.mark.parametrize("codec", ["lines", "length:2:little", "netstring", "varint", r"delimiter:a:keep", "fixed:16"])
def test_frames(impl: ModuleType, codec: str) -> None:
    with impl.MessageServer(lambda message, peer: message, codec=parse_codec(codec.partition(":keep")[0])) as server:
        code, told = loaded(server.address, "--codec", codec, "-c", 2, "--depth", 20, "-d", "100ms")
    assert (code, told["wrong"], told["lost"]) == (0, 0, 0)
    assert told["options"]["size"] == (16 if codec == "fixed:16" else 64)


def test_what_the_command_serves(impl: ModuleType) -> None:
    words = [sys.executable, "-m", "oxisock", "serve", "upper", "--impl", impl.impl]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        try:
            code, told = loaded((LOCAL, port), "--codec", "lines", "--expect", "upper", *SHORT)
            assert (code, told["options"]["prefix"]) == (0, "Echo: ")
            assert loaded((LOCAL, port), "--codec", "lines", "--expect", "any", *SHORT)[0] == 0
            code, told = loaded((LOCAL, port), "--codec", "lines", "-c", 1, "-d", "50ms")
            assert code == 1 and told["wrong"] == told["sent"] > 0
        finally:
            server.terminate()
            server.communicate(timeout=30)


def test_datagrams(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server:
        patient = ("--udp", "--timeout", "20s")
        code, told = loaded(server.address, *patient, "--prefix", "ACK: ", "-c", 5, *SHORT)
        assert (code, told["target"]["protocol"], told["lost"], told["wrong"]) == (0, "udp", 0, 0)
        assert told["sent"] == told["answered"] > 0
        assert told["bytes"]["received"] == told["answered"] * (64 + 5)
    with impl.UdpServer(lambda datagram: datagram.data.upper()) as server:
        code, told = loaded(server.address, *patient, "--expect", "upper", "--prefix", "", "--rate", 200, *SHORT)
        assert (code, told["sent"], told["answered"]) == (0, 20, 20)


def test_ipv6_and_names(impl: ModuleType) -> None:
    if has_ipv6():
        with impl.EchoServer("::1") as server:
            code, told = loaded(server.address, "-c", 2, "-d", "50ms")
            assert (code, told["target"]["address"]) == (0, "::1")
    with impl.EchoServer(LOCAL) as server:
        # Whichever address of the name comes first: where nobody is, the next one is tried.
        code, told = loaded(("localhost", server.address.port), "-c", 2, "-d", "50ms")
    assert (code, told["target"]["host"], told["target"]["address"]) == (0, "localhost", LOCAL)


# --- a constant rate -----------------------------------------------------------------------------------------------


def test_a_rate_is_all_that_was_due(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        code, told = loaded(server.address, "--rate", 200, "-c", 3, "-d", "500ms")
    assert (code, told["sent"], told["answered"], told["unsent"]) == (0, 100, 100, 0)
    assert told["rate"]["asked"] == 200
    assert told["lag"]["max"] >= told["lag"]["p50"] >= 0


@pytest.mark.parametrize("depth", [1, 64])
def test_who_stalls_once_is_found_out(depth: int) -> None:
    """A closed loop would see one slow message; at a constant rate all those count that were meant to be sent."""

    def stall_once(conn: socket.socket) -> None:
        heard = 0
        while data := conn.recv(65536):
            before, heard = heard, heard + len(data)
            if before < 64 * 50 <= heard:
                time.sleep(0.3)
            conn.sendall(data)

    with serving(stall_once) as address:
        _, told = loaded(address, "-c", 1, "--depth", depth, "--rate", 1000, "-d", "600ms")
    assert told["latency"]["max"] >= 0.25
    # Of the 600, all that were meant in the first 200 ms of the pause waited for 100 ms at least.
    assert told["latency"]["p75"] >= 0.1


def test_who_is_too_slow_is_told() -> None:
    with EchoServer(faults=Faults(delay=0.05)) as server:
        host, port = server.address
        done = oxisock("load", f"{host}:{port}", "-c", 1, "--depth", 1, "--rate", 1000, *SHORT)
    assert done.returncode == 1
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    assert int(figures["unsent"]) + int(figures["sent"]) == 100
    assert "the rate was not kept" in done.stderr


# --- servers that do badly -----------------------------------------------------------------------------------------


def test_wrong_answers_are_counted_and_the_others_go_on(impl: ModuleType) -> None:
    answers = 0

    def third_is_wrong(message: bytes, peer: object) -> bytes:
        nonlocal answers
        answers += 1
        return b"nonsense" if answers % 3 == 0 else message

    with impl.MessageServer(third_is_wrong) as server:
        code, told = loaded(server.address, "--codec", "lines", "-c", 2, *SHORT)
    assert (code, told["lost"], told["connections"]["alive"]) == (1, 0, 2)
    assert told["wrong"] == told["sent"] // 3
    assert told["answered"] + told["wrong"] == told["sent"]


def test_resets_are_told_by_name(impl: ModuleType) -> None:
    with impl.EchoServer(faults=impl.Faults(reset_after=1000)) as server:
        code, told = loaded(server.address, "-c", 3, *SHORT)
    assert (code, sum(told["errors"].values()), told["connections"]["alive"]) == (1, 3, 0)
    assert set(told["errors"]) <= {"ECONNRESET", "EPIPE", "EOF"}
    assert not told["complete"]
    assert told["answered"] + told["lost"] == told["sent"]


def test_who_closes_is_told() -> None:
    with serving(lambda conn: conn.recv(1) and None) as address:
        code, told = loaded(address, "-c", 1, *SHORT)
    assert (code, told["sent"], told["lost"]) == (1, 1, 1)
    assert set(told["errors"]) <= {"EOF", "ECONNRESET"}


def test_what_nobody_asked_for_is_no_answer() -> None:
    with listening(1, b"220 hello\r\n") as (port,):
        code, told = loaded((LOCAL, port), "-c", 2, *SHORT)
    # Where the greeting comes after the first message it is a wrong answer; both end with the server's closing.
    assert code == 1 and told["answered"] == 0 and told["errors"]


def test_what_is_no_frame_ends_a_connection() -> None:
    def babble(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(b"no netstring")
        conn.recv(65536)

    with serving(babble) as address:
        code, told = loaded(address, "--codec", "netstring", "-c", 1, *SHORT)
    assert (code, told["errors"], told["wrong"]) == (1, {"BADFRAME": 1}, 1)


def test_silence_is_told() -> None:
    def say_nothing(conn: socket.socket) -> None:
        while conn.recv(65536):
            pass

    with serving(say_nothing) as address:
        code, told = loaded(address, "-c", 1, "--timeout", "200ms", *SHORT)
    assert (code, told["errors"], told["sent"], told["lost"]) == (1, {"ETIMEDOUT": 1}, 1, 1)
    assert told["latency"] is None


def test_lost_datagrams_are_counted_exactly(impl: ModuleType) -> None:
    seen = dropped = 0

    def drop_some(datagram: Any) -> bytes | None:
        nonlocal seen, dropped
        seen += 1
        if seen % 5:
            return bytes(datagram.data)
        dropped += 1
        return None

    with impl.UdpServer(drop_some) as server:
        code, told = loaded(server.address, "--udp", "-c", 2, "--depth", 8, "--timeout", "1s", "-d", "100ms")
    assert code == 1 and dropped > 0
    assert told["sent"] == seen
    # One that came late counts as lost, too.
    assert told["lost"] - told["late"] == dropped
    assert told["answered"] == seen - told["lost"]


def test_datagrams_that_come_twice_or_from_elsewhere() -> None:
    def twice(sock: socket.socket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            while True:
                data, peer = sock.recvfrom(65536)
                if not data:
                    return
                other.sendto(data, peer)
                sock.sendto(data, peer)
                sock.sendto(data, peer)

    with serving(twice, socket.SOCK_DGRAM) as address:
        try:
            code, told = loaded(address, "--udp", "-c", 1, "--timeout", "20s", *SHORT)
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", address)
    assert (code, told["lost"]) == (1, 0)
    assert told["duplicates"] > 0 and told["wrong"] > 0


# --- nobody there, and faults of this machine ----------------------------------------------------------------------


def test_nobody_there_is_one_line() -> None:
    with refusing() as port:
        done = oxisock("load", f"{LOCAL}:{port}")
        assert (done.returncode, done.stdout) == (1, "")
        said = f"oxisock: {LOCAL}:{port}: no connection could be opened: Connection refused\n"
        assert done.stderr == said
        code, told = loaded((LOCAL, port), "-c", 3)
        assert (code, told["errors"], told["connections"]["opened"]) == (1, {"ECONNREFUSED": 3}, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind((LOCAL, 0))
        port = held.getsockname()[1]
    done = oxisock("load", "--udp", f"{LOCAL}:{port}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "nobody receives there: Connection refused" in done.stderr


def test_who_does_not_accept_is_told() -> None:
    with silent() as port:
        done = oxisock("load", f"{LOCAL}:{port}", "-c", 1, "--timeout", "300ms")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Connection timed out" in done.stderr


def test_too_few_descriptors_are_not_the_servers_fault() -> None:
    with EchoServer() as server:
        host, port = server.address
        words = f"ulimit -n 40; exec '{sys.executable}' -m oxisock load {host}:{port} -c 100 -d 100ms --json"
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=60, env=environment())
    told = json.loads(done.stdout)
    assert (done.returncode, told["errors"]) == (1, {})
    assert told["local_errors"] == {"EMFILE": 100 - told["connections"]["opened"]}
    assert told["answered"] == told["sent"] > 0
    assert "this machine is at fault, not the server: Too many open files" in done.stderr


# --- how it is called, and what it shows ---------------------------------------------------------------------------


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
        (["localhost:1", "--codec", "line"], "'line' is none of"),
        (["localhost:1", "--codec", "lines:max_frame=10"], "no frames for messages of 64 bytes"),
        (["localhost:1", "--codec", "fixed:9", "--size", "8"], "no frames for messages of 8 bytes"),
        (["localhost:1", "--codec", "lines", "--prefix", "a\nb"], "no frames for messages"),
        (["localhost:1", "--codec", "lines", "--udp"], "leave --codec or --udp out"),
        (["localhost:1", "--expect", "any"], "needs --codec"),
        (["localhost:1", "--udp", "--size", "7"], "a datagram has from 8 (its number) to 65507 bytes"),
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
        done = oxisock("load", f"{host}:{port}", "-c", 2, "-d", "100ms")
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
        code, shown = terminal_text("load", f"{host}:{port}", "-c", 2, "--rate", 1000, "-d", "700ms", **env)
    assert code in (0, 1)  # a busy machine may not keep the rate
    assert "of 0.7 s" in shown and "p99.9" in shown
    assert f"{host}:{port}: 2 connections, 1,000 messages a second, 64 bytes each" in shown
    assert re.search(r"sent +[\d,]+ +in 0\.\d+ s", shown)
    assert "Latencies count from when each message was meant to be sent" in shown
    assert bool(re.search(r"\x1b\[[\d;]*3\dm", shown)) == (not env)


def test_without_rich_a_line_rewrites_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from oxisock.cli import load_view

    shown = Keyboard()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(load_view, "have_rich", lambda: False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with _echo_run(rate=None) as run, load_view.watch("here", 0.5) as show:
        while run.step(0.05):
            show(run)
    lines = shown.getvalue().split("\r")
    assert any(re.match(r"here  [\d.]+ of 0.5 s  [\d,]+/s  p50 [\d.]+  p90", line) for line in lines)
    assert all(len(line.removesuffix("\x1b[K")) < 80 for line in lines) and lines[-1] == "\x1b[K"


@contextlib.contextmanager
def _echo_run(rate: int | None) -> Iterator[_native.LoadRun]:
    plan = load.LoadPlan(2, 1, rate, 500_000_000, 5_000_000_000)
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


# --- messages ------------------------------------------------------------------------------------------------------


def test_messages_differ_and_are_the_same_everywhere() -> None:
    requests, replies = load.messages(64, None, "echo", b"")
    assert requests == replies and len(set(requests)) == 64 and {len(each) for each in requests} == {64}
    assert load.messages(64, None, "echo", b"").requests == requests
    assert len(load.messages(1 << 20, None, "echo", b"").requests) == 2
    lines = parse_codec("lines")
    requests, replies = load.messages(10, lines, "upper", b"> ")
    assert replies == [b"> " + request[:-1].upper() for request in requests]
    assert load.messages(10, lines, "any", b"").replies is None
