"""The commands that serve, send and show the source: what is printed, exit codes, signals."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import oxisock.native
import oxisock.pure
from support.commands import on_terminal
from support.commands import oxisock as commanded
from support.processes import OXISOCK, ended, process, serve
from support.talking import ask, exactly, stuff_until_it_stops
from support.waiting import wait_until


@pytest.mark.parametrize("server", ["echo", "upper", "udp", "chat"])
@pytest.mark.parametrize("host", ["10.0.0.256", "127.0.0.1:7000", "a b", " "])
def test_a_host_that_is_none(server: str, host: str) -> None:
    done = commanded("serve", server, "--host", host)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"oxisock: argument --host: {host!r}: expected "), done.stderr
    assert done.stderr.count("\n") == 1


def test_files_that_cannot_be_written_are_found_before_the_work(tmp_path: Path) -> None:
    for words in (
        ["scan", "127.0.0.1", "-p", "1", "-o", ""],
        ["load", "127.0.0.1:1", "--html", tmp_path / "no" / "page"],
    ):
        done = commanded(*words)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.endswith(("the name of the output file is empty\n", "No such file or directory\n"))


def listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=20).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_echo_ends_with_a_signal(impl: ModuleType, number: signal.Signals) -> None:
    with process(*serve(impl, "echo", "-v", "--workers", "2")) as (server, address):
        with socket.create_connection(address, timeout=20) as sock:
            name = sock.getsockname()
            assert ask(sock) == b"hello\n"
            server.send_signal(number)
            assert sock.recv(1) == b""
        code, out, err = ended(server)
        assert (code, out) == (0, "")
        peer = "{}:{}".format(*name)
        shown = [line.split("  ") for line in err.splitlines()]
        assert [line[1:] for line in shown[:3]] == [
            [peer, "opened"],
            [peer, "received 6 bytes"],
            [peer, "closed: done"],
        ]
        assert all(re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3}", line[0]) for line in shown[:3])
        assert "stats: accepted 1, closed 1, bytes_in 6, bytes_out 6; drained 1, aborted 0" in err


def test_serve_upper_answers_lines_and_the_tail(impl: ModuleType) -> None:
    with process(*serve(impl, "upper", "-v")) as (server, address):
        with socket.create_connection(address, timeout=20) as sock:
            sock.sendall("  hello\r\nw\u00f6rld\n\xff".encode())
            sock.sendall(b"\xff tail")
            sock.shutdown(socket.SHUT_WR)
            expected = "Echo: HELLO\nEcho: W\u00d6RLD\nEcho: \u0178\ufffd TAIL\n".encode()
            assert exactly(sock, 1000) == expected
        server.terminate()
        code, _, err = ended(server)
        assert code == 0
        assert "messages 3" in err
        assert "b'Echo: HELLO'" in err


def test_a_second_signal_ends_at_once(impl: ModuleType) -> None:
    with process(*serve(impl, "echo", "--drain", "60s")) as (server, address), socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(address)
        sock.setblocking(False)
        stuff_until_it_stops(sock)
        server.terminate()
        assert wait_until(lambda: not listens(address))
        time.sleep(0.3)
        assert server.poll() is None
        server.terminate()
        code, _, err = ended(server)
        assert code == 0
        assert "aborted 1" in err


def test_faults_by_command(impl: ModuleType) -> None:
    with process(*serve(impl, "echo", "--cut", "1", "--delay", "20ms")) as (_, address):
        with socket.create_connection(address, timeout=20) as sock:
            began = time.monotonic()
            assert ask(sock) == b"hello\n"
            assert time.monotonic() - began >= 0.12


@pytest.mark.parametrize(
    "wrong",
    [
        ["echo", "--port", "70000"],
        ["echo", "--workers", "0"],
        ["echo", "--workers", "5000"],
        ["echo", "--cut", "99999999999"],
        ["echo", "--reset-after", "9" * 5000],
        ["echo", "--drop", "2"],
        ["echo", "--drop", "nan"],
        ["echo", "--seed", "-1"],
        ["chat", "--history", "99999999999"],
        ["nothing"],
        [],
    ],
)
def test_wrong_usage(wrong: list[str]) -> None:
    done = subprocess.run([*OXISOCK, "serve", *wrong], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("oxisock: ")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(impl: ModuleType) -> None:
    with impl.EchoServer("127.0.0.1") as server:
        port = str(server.address.port)
        done = subprocess.run(serve(impl, "echo", "--port", port), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"oxisock: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def send(impl: ModuleType, server: Any, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    where = ":".join(map(str, server.address))
    command = [*OXISOCK, "send", where, *arguments, "--impl", impl.impl]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **more)


def test_send_prints_one_reply_for_each_message(impl: ModuleType) -> None:
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        done = send(impl, server, "one", "two words")
        assert (done.returncode, done.stdout, done.stderr) == (0, "ONE\nTWO WORDS\n", "")
        done = send(impl, server, input="three\nfour")
        assert (done.returncode, done.stdout) == (0, "THREE\nFOUR\n")
        assert server.stats().accepted == 2
    for name, codec in (("length:2", impl.LengthPrefix(2)), ("netstring", impl.Netstring())):
        with impl.MessageServer(lambda message, peer: message.upper(), codec=codec) as server:
            assert send(impl, server, "a", "b", "--codec", name).stdout == "A\nB\n"
    with impl.EchoServer() as server:
        assert send(impl, server, "a", "b", "--codec", "none").stdout == "a\nb\n"
        assert server.stats().accepted == 2


def test_serve_udp_acknowledges(impl: ModuleType) -> None:
    for more in ([], ["-v"]):
        with process(*serve(impl, "udp", *more)) as (server, address):
            where = ":".join(map(str, address))
            command = [*OXISOCK, "send", "--udp", where, "one", "two", "--impl", impl.impl]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            assert (done.returncode, done.stdout, done.stderr) == (0, "ACK: one\nACK: two\n", "")
            server.terminate()
            code, _, err = ended(server)
            assert code == 0
            assert "messages 2" in err
            assert ("b'one'" in err) is bool(more)


def test_send_shows_what_a_terminal_would_do() -> None:
    reply = b"\x1b]0;owned\x07 a\\b \xff\n"
    with oxisock.native.UdpServer(lambda datagram: reply) as server:
        words = ("send", "--udp", server.address, "x")
        with on_terminal(*words) as (_, output):
            pass
        piped = subprocess.run([*OXISOCK, *map(str, words)], capture_output=True, timeout=60)
    assert b"".join(output) == b"\\x1b]0;owned\\x07 a\\\\b \\xff\r\n"
    assert piped.stdout == reply


def test_send_without_an_answer(impl: ModuleType) -> None:
    with impl.MessageServer(lambda message, peer: None) as server:
        done = send(impl, server, "hello", "--timeout", "1s")
        where = ":".join(map(str, server.address))
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"oxisock: {where}: timed out\n")
    done = send(impl, server, "hello")
    assert (done.returncode, done.stderr) == (1, f"oxisock: {where}: Connection refused\n")
    done = send(impl, server, "hello", "--codec", "morse")
    assert done.returncode == 2


def test_source_prints_the_pure_engine() -> None:
    def source(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*OXISOCK, "source", *arguments], capture_output=True, text=True, timeout=60)

    assert "class Connection:" in source("connection").stdout
    assert "reactor\tThe pure reactor" in source().stdout
    # Every file is a part, wherever it stands, and each has a name of its own.
    parts = [line.partition("\t")[0] for line in source().stdout.splitlines()]
    assert len(set(parts)) == len(parts) == len(list(Path(oxisock.pure.__file__).parent.glob("*/**/*.py")))
    assert "class ScanEngine" in source("engine").stdout
    assert source("serving/service").stdout != source("chat/service").stdout
    done = source("nothing")
    assert done.returncode == 2
    assert "reactor" in done.stderr
