"""Servers as processes: signals, the end of the interpreter, few descriptors, many connections, peers of others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conftest import wait_until
from test_servers import ask, connect, exactly

OXISOCK = [sys.executable, "-m", "oxisock"]


@contextlib.contextmanager
def process(*command: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run a server until the block ends; give it and where it listens."""
    # Its standard error goes where nobody has to read it for the server to go on.
    with subprocess.Popen([*command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("Listening on "), server.stderr and server.stderr.read()
            host, _, port = line.removeprefix("Listening on ").strip().rpartition(":")
            yield server, (host, int(port))
        finally:
            if server.poll() is None:
                server.kill()


def script(impl: ModuleType, body: str, prelude: str = "") -> list[str]:
    code = f"""
import sys, threading, time
{prelude}
from oxisock import {impl.impl} as impl
def listening(server):
    print("Listening on %s:%d" % server.address, flush=True)
{body}
"""
    return [sys.executable, "-W", "error", "-X", "faulthandler", "-c", code]


def ended(server: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = server.communicate(timeout=30)
    return server.returncode, out, err


# --- the command ----------------------------------------------------------------------------------------------------


def serve(impl: ModuleType, *arguments: str) -> list[str]:
    return [*OXISOCK, "serve", *arguments, "--impl", impl.impl]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_echo_ends_with_a_signal(impl: ModuleType, number: signal.Signals) -> None:
    with process(*serve(impl, "echo", "-v", "--workers", "2")) as (server, address):
        with socket.create_connection(address, timeout=20) as sock:
            assert ask(sock) == b"hello\n"
            server.send_signal(number)
            assert sock.recv(1) == b""
        code, out, err = ended(server)
        assert (code, out) == (0, "")
        assert "accepted 1" in err
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
        for _ in range(50):
            with contextlib.suppress(BlockingIOError):
                sock.send(bytes(1 << 20))
            time.sleep(0.01)
        server.terminate()
        assert wait_until(lambda: not listens(address))
        time.sleep(0.3)
        assert server.poll() is None
        server.terminate()
        code, _, err = ended(server)
        assert code == 0
        assert "aborted 1" in err


def listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=20).close()
    except OSError:
        return False
    return True


def test_faults_by_command(impl: ModuleType) -> None:
    with process(*serve(impl, "echo", "--cut", "1", "--delay", "20ms")) as (_, address):
        with socket.create_connection(address, timeout=20) as sock:
            began = time.monotonic()
            assert ask(sock) == b"hello\n"
            assert time.monotonic() - began >= 0.12


@pytest.mark.parametrize(
    "wrong",
    [["echo", "--port", "70000"], ["echo", "--workers", "0"], ["echo", "--drop", "2"], ["nothing"], []],
)
def test_wrong_usage(wrong: list[str]) -> None:
    done = subprocess.run([*OXISOCK, "serve", *wrong], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("oxisock: ")
    assert done.stderr.count("\n") == 1


def test_a_port_in_use_is_one_line(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
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


def test_send_without_an_answer(impl: ModuleType) -> None:
    with impl.MessageServer(lambda message, peer: None) as server:
        done = send(impl, server, "hello", "--timeout", "200ms")
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
    done = source("nothing")
    assert done.returncode == 2
    assert "reactor" in done.stderr


# --- the process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", ["EchoServer()", "MessageServer(lambda m, p: m)", "ThreadedServer(lambda c, p: c.recv(1))"]
)
def test_the_interpreter_ends_cleanly_without_a_stop(impl: ModuleType, kind: str) -> None:
    body = f"server = impl.{kind}.start(); listening(server); sys.stdin.readline()"
    command = script(impl, body)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().split()[-1].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as sock:
            sock.sendall(b"half a mess")
            began = time.monotonic()
            _, err = child.communicate(b"\n", timeout=30)
            assert (child.returncode, err) == (0, b"")
            assert time.monotonic() - began < 10


def test_the_interpreter_ends_while_a_handler_is_stuck(impl: ModuleType) -> None:
    body = """
def handler(message, peer):
    print("in", flush=True)
    time.sleep(1000)
server = impl.MessageServer(handler).start()
listening(server)
sys.stdin.readline()
"""
    command = script(impl, body)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().split()[-1].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as sock:
            sock.sendall(b"x\n")
            assert child.stdout.readline() == b"in\n"
            _, err = child.communicate(b"\n", timeout=30)
            assert (child.returncode, err) == (0, b"")


def test_sigterm_at_full_load_answers_what_was_read(impl: ModuleType) -> None:
    body = """
def handler(message, peer):
    return message
server = impl.MessageServer(handler)
report = server.serve_forever(drain=20, on_start=lambda: listening(server))
print("report", *report[:3], "messages", server.stats().messages, flush=True)
"""
    with process(*script(impl, body)) as (server, address):
        socks = [socket.create_connection(address, timeout=20) for _ in range(20)]
        try:
            for sock in socks:
                sock.sendall(b"".join(b"%d\n" % number for number in range(200)))
            server.terminate()
            answers = 0
            for sock in socks:
                data = bytearray()
                with contextlib.suppress(ConnectionResetError):
                    while piece := sock.recv(1 << 16):
                        data += piece
                # In order, and whole.
                lines = data.split(b"\n")
                assert lines.pop() == b""
                assert lines == [b"%d" % number for number in range(len(lines))]
                answers += len(lines)
        finally:
            for sock in socks:
                sock.close()
        _, out, err = ended(server)
        assert f"messages {answers}" in out, err
        assert out.split()[2:4] == ["0", "0"]


def test_a_flood_of_connects_with_few_descriptors(impl: ModuleType) -> None:
    for kind in ("EchoServer()", "ThreadedServer(echo)"):
        body = f"""
def echo(conn, peer):
    while data := conn.recv(100):
        conn.sendall(data)
server = impl.{kind}.start()
listening(server)
sys.stdin.readline()
"""
        prelude = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
        command = script(
            impl,
            body + "stats = server.stats()\nserver.stop()\nprint(stats.shed, *server.stats()[:3])",
            prelude,
        )
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            host, port = child.stdout.readline().decode().split()[-1].split(":")
            socks = [socket.create_connection((host, int(port)), timeout=20) for _ in range(150)]
            served = 0
            for sock in socks:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"x")
                    served += sock.recv(1) == b"x"
            assert 10 < served < 64
            for sock in socks:
                sock.close()

            def recovered() -> bool:
                with socket.create_connection((host, int(port)), timeout=20) as sock:  # noqa: B023
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(b"x")
                        return sock.recv(1) == b"x"
                return False

            assert wait_until(recovered)
            out, err = child.communicate(b"\n", timeout=30)
            shed, accepted, active, closed = map(int, out.split())
            assert (child.returncode, err) == (0, b"")
            assert shed >= 150 - served
            assert (active, accepted) == (0, closed)


def test_ten_thousand_connections(impl: ModuleType) -> None:
    count = 10_000
    if impl.impl == "pure":
        pytest.skip("a thousand is what is asked of the pure engine")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"at most {hard} descriptors here")
    clients = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({count + 200}, {hard}))
address = (sys.argv[1], int(sys.argv[2]))
socks = []
for number in range({count}):
    sock = socket.create_connection(address, timeout=60)
    socks.append(sock)
for number, sock in enumerate(socks):
    sock.sendall(b"%06d" % number)
assert all(sock.recv(6, socket.MSG_WAITALL) == b"%06d" % number for number, sock in enumerate(socks))
print("all", flush=True)
sys.stdin.readline()
"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    try:
        with impl.EchoServer() as server:
            before = resident()
            command = [sys.executable, "-c", clients, *map(str, server.address)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                assert child.stdout.readline() == b"all\n"
                assert server.stats().active >= count
                assert (resident() - before) / count < 4096
                child.communicate(b"\n", timeout=60)
            assert wait_until(lambda: server.stats().closed >= count), server.stats()
            assert server.stats().bytes_out == 6 * count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident() -> int:
    """Give the bytes of memory that this process has resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_much_through_echo_by_another_process(impl: ModuleType) -> None:
    """256 MiB here (1 GiB by hand): random writes, a half-close, byte for byte."""
    size = (256 if impl.impl == "native" else 64) << 20
    block = random.Random(3).randbytes(1 << 20)
    with process(*serve(impl, "echo")) as (_, address), socket.create_connection(address, timeout=60) as sock:
        generator = random.Random(4)
        sent = got = 0
        stream = memoryview(block * 2)
        sock.setblocking(False)
        ended = False
        import select

        while not ended:
            readers, writers, _ = select.select([sock], [sock] if sent < size else [], [], 60)
            assert readers or writers
            if writers:
                start = sent % len(block)
                step = min(generator.choice([1, 1000, 65_536, 1 << 20]), size - sent)
                sent += sock.send(stream[start : start + step])
                if sent == size:
                    sock.shutdown(socket.SHUT_WR)
            if readers:
                piece = sock.recv(1 << 20)
                start = got % len(block)
                assert piece == stream[start : start + len(piece)]
                got += len(piece)
                ended = not piece
        assert got == size


# --- peers that others wrote ----------------------------------------------------------------------------------------


def needs(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        pytest.skip(f"{tool} is not installed")
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["nc.openbsd", "-N", "HOST", "PORT"],
        ["ncat", "HOST", "PORT"],
        ["socat", "-t", "20", "-", "TCP:HOST:PORT"],
    ],
    ids=lambda command: command[0],
)
def test_lines_by_netcats(impl: ModuleType, command: list[str]) -> None:
    needs(command[0])
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        host, port = server.address
        words = [word.replace("HOST", host).replace("PORT", str(port)) for word in command]
        done = subprocess.run(words, input=b"one\ntwo\nthree", capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"ONE\nTWO\nTHREE\n")


def test_redis_benchmark_pings(impl: ModuleType) -> None:
    tool = needs("redis-benchmark")

    def handler(message: bytes, peer: Any) -> bytes | None:
        # Inline commands, and RESP arrays whose last element is the command's only word.
        if message.upper() == b"PING":
            return b"+PONG"
        return b"*0" if message.upper() == b"CONFIG" else None

    with impl.MessageServer(handler, codec=impl.presets.redis_inline()) as server:
        host, port = server.address
        words = [tool, "-h", host, "-p", str(port), "-t", "ping", "-n", "2000", "-c", "20", "-q"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "requests per second" in done.stdout.replace("\r", "\n"), done.stderr
    assert server.stats().handler_errors == 0


def dns_answer(query: bytes, peer: Any) -> bytes:
    """Answer any question with 192.0.2.7."""
    question = query[12 : query.index(b"\0", 12) + 5]
    header = query[:2] + b"\x84\0" + b"\0\1\0\1\0\0\0\0"
    return header + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 7])


def test_dig_over_tcp(impl: ModuleType) -> None:
    tool = needs("dig")
    with impl.MessageServer(dns_answer, codec=impl.presets.dns_tcp()) as server:
        host, port = server.address
        words = [tool, "+tcp", "+short", "+noedns", f"@{host}", "-p", str(port), "example.test"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout == "192.0.2.7\n", done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _uvloop_opens_a_pipe_for_good() -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(asyncio.sleep(0))


async def converse() -> None:
    """Five hundred lines by asyncio streams, on whichever loop runs."""
    host, port = converse.address  # type: ignore[attr-defined]
    reader, writer = await asyncio.open_connection(host, port)
    for number in range(500):
        writer.write(b"line %d\n" % number)
        assert await reader.readline() == b"LINE %d\n" % number
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def on_asyncio() -> None:
    asyncio.run(converse())


def on_uvloop() -> None:
    pytest.importorskip("uvloop").run(converse())


def on_trio() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        stream = await trio.open_tcp_stream(*converse.address)  # type: ignore[attr-defined]
        async with stream:
            await stream.send_all(b"one\ntwo\n")
            await stream.send_eof()
            assert b"".join([piece async for piece in stream]) == b"ONE\nTWO\n"

    trio.run(main)


@pytest.mark.parametrize("client", [on_asyncio, on_uvloop, on_trio])
def test_asynchronous_clients(impl: ModuleType, client: Callable[[], None]) -> None:
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        converse.address = server.address  # type: ignore[attr-defined]
        with connect(server) as sock:
            client()
            assert ask(sock, b"X\n") == b"X\n"
