"""How connections and servers end: by a reset where something is missing, and loudly where a thread could not go on."""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import socket
import sys
import threading
import time
import types
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import aio
from oxisock.engines.serving import NEVER
from oxisock.serving.lifecycle import EngineThreads
from oxisock.sockets import closing, selecting
from oxisock.sockets.closing import Lingering
from oxisock.sockets.latch import Latch
from support.coroutines import Run
from support.processes import python
from support.talking import ask, connect
from support.waiting import wait_until

SIZE = 30 << 20


# --- what was cut ends in a reset ------------------------------------------------------------------------------------


def lazy(address: tuple[str, int]) -> socket.socket:
    """Ask for much, and read nothing yet."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.settimeout(20)
    sock.connect(address)
    sock.sendall(b"go\n")
    return sock


def ends_in_a_reset(sock: socket.socket) -> None:
    size = 0
    with sock, pytest.raises(ConnectionResetError):
        while data := sock.recv(1 << 18):
            size += len(data)
    assert size < SIZE


def much(impl: ModuleType, kind: str, **limits: Any) -> Any:
    """A server that answers a line with more than the system holds."""
    if kind == "messages":
        return impl.MessageServer(lambda message, peer: bytes(SIZE), codec=impl.Lines(max_frame=SIZE + 1), **limits)
    return impl.ThreadedServer(lambda conn, peer: (conn.recv(9), conn.sendall(bytes(SIZE))), **limits)


@pytest.mark.parametrize("kind", ["messages", "threads"])
def test_an_answer_cut_by_write_timeout_ends_in_a_reset(impl: ModuleType, kind: str) -> None:
    with much(impl, kind, write_timeout=0.2) as server:
        sock = lazy(server.address)
        assert wait_until(lambda: server.stats().closed == 1)
        ends_in_a_reset(sock)
        assert server.stats().timeouts == 1


@pytest.mark.parametrize("kind", ["messages", "threads"])
def test_an_answer_cut_by_a_stop_ends_in_a_reset(impl: ModuleType, kind: str) -> None:
    with much(impl, kind) as server:
        sock = lazy(server.address)
        assert wait_until(lambda: server.stats().bytes_out > 0)
        assert server.stop().aborted == 1
        ends_in_a_reset(sock)


@pytest.mark.parametrize("how", ["write_timeout", "stop", "abort", "error"])
def test_what_an_asyncio_server_cuts_ends_in_a_reset(run: Run, how: str) -> None:
    async def handler(stream: aio.FramedStream, peer: oxisock.Peer) -> None:
        await stream.recv()
        if how in ("abort", "error"):
            await stream.send(b"some")
        if how == "abort":
            stream.abort()
        else:
            await stream.send(bytes(SIZE - 1))

    async def main() -> None:
        limit = 0.2 if how == "write_timeout" else 30.0
        codec = oxisock.Lines(max_frame=SIZE if how != "error" else 100)
        async with aio.start_server(handler, codec=codec, write_timeout=limit) as server:
            sock = await asyncio.to_thread(lazy, server.address)
            if how == "write_timeout":
                await asyncio.to_thread(wait_until, lambda: server.stats().closed == 1)
            elif how == "stop":
                await asyncio.to_thread(wait_until, lambda: server.stats().bytes_out > 0)
                assert (await server.stop(0.05)).aborted == 1
            elif how == "error":  # that is the handler's fault, and what it had sent arrives
                with sock:
                    assert await asyncio.to_thread(sock.recv, 100) == b"some\n"
                return
            await asyncio.to_thread(ends_in_a_reset, sock)

    run(main())


@pytest.mark.parametrize("kind", ["aio", "messages", "threads"])
def test_a_stop_without_debts_ends_orderly(run: Run, impl: ModuleType, kind: str) -> None:
    async def handler(stream: aio.FramedStream, peer: oxisock.Peer) -> None:
        async for frame in stream:
            await stream.send(frame)

    def by_hand(conn: Any, peer: oxisock.Peer) -> None:
        while data := conn.recv(100):
            conn.sendall(data)

    async def main() -> None:
        if kind == "aio":
            server = await aio.start_server(handler)
        else:
            make = {"messages": lambda: impl.MessageServer(lambda message, peer: message), "threads": None}[kind]
            server = (make() if make else impl.ThreadedServer(by_hand)).start()
        sock = await asyncio.to_thread(connect, server)
        with sock:
            assert await asyncio.to_thread(ask, sock) == b"hello\n"
            stopping = server.stop(20)
            report = await stopping if kind == "aio" else stopping
            assert (report.drained, report.aborted) == (1, 0)
            assert await asyncio.to_thread(sock.recv, 10) == b""

    run(main())


# --- those who linger ------------------------------------------------------------------------------------------------


class Looked:
    """A socket that lingers, and counts how often it is looked at."""

    def __init__(self) -> None:
        self.looks = 0
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def shutdown(self, how: int) -> None:
        pass


def test_those_who_linger_are_looked_at_seldom_and_not_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(sock: Any, unsent: int) -> bool:
        sock.looks += 1
        return True

    monkeypatch.setattr(closing, "still_sending", look)
    many: list[Any] = [Looked() for _ in range(1000)]
    lingering = Lingering()
    for sock in many:
        lingering.add(sock, 0)
    assert len(lingering) == 1000
    assert sum(sock.looks for sock in many) == 0
    # A busy loop turns every 100 microseconds.
    most = before = 0
    for now in range(0, 2_500_000_000, 100_000):
        lingering.look_after(now)
        looks = sum(sock.looks for sock in many) if now % 5_000_000 == 0 else before
        most, before = max(most, looks - before), looks
    assert not len(lingering)
    assert lingering.due() == NEVER
    assert all(sock.closed for sock in many)
    assert max(sock.looks for sock in many) < 20


def test_one_look_discards_a_little_only() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        sent = 0
        try:
            while True:
                sent += there.send(bytes(1 << 16))
        except BlockingIOError:
            pass
        assert sent > 1 << 17
        closing.still_sending(here, 0)
        left = 0
        try:
            while True:
                left += len(here.recv(1 << 20))
        except BlockingIOError:
            pass
        assert sent - left <= 1 << 16


def test_those_who_linger_count_towards_the_limit(impl: ModuleType) -> None:
    def handler(message: bytes, peer: oxisock.Peer) -> bytes:
        if message == b"boom":
            raise ValueError
        return bytes(60_000)

    logging.getLogger("oxisock").disabled = True
    try:
        with impl.MessageServer(handler, max_connections=5) as server:
            kept = []
            began = time.monotonic()
            for _ in range(6):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
                sock.connect(server.address)
                sock.sendall(b"big\nboom\n")
                kept.append(sock)
            # Those that are over keep their descriptors for two seconds, so nobody takes the sixth place before.
            assert wait_until(lambda: server.stats().accepted > 5)
            assert time.monotonic() - began > 1.9
            for sock in kept:
                sock.close()
    finally:
        logging.getLogger("oxisock").disabled = False


# --- timers of connections that are gone -----------------------------------------------------------------------------


def test_memory_follows_the_open_connections(impl: ModuleType) -> None:
    code = f"""
import socket, struct
import oxisock.{impl.impl} as o
from support.resources import resident
def come_and_go(times):
    for _ in range(times):
        with socket.create_connection(server.address) as sock:
            sock.sendall(b"x")
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
with o.EchoServer(idle_timeout=86400.0) as server:
    come_and_go(3000)
    before = resident()
    come_and_go(30000)
    print(resident() - before)
"""
    path = os.pathsep.join(filter(None, ["tests", os.environ.get("PYTHONPATH")]))
    done = python(code, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    # Timers of 24 bytes each would be 720,000.
    assert int(done.stdout) < 300_000


# --- threads that cannot go on ---------------------------------------------------------------------------------------


def test_a_latch_tells_how_its_threads_ended() -> None:
    told: list[BaseException] = []
    latch = Latch(told.append)
    go = threading.Event()

    def fails() -> None:
        go.wait(20)
        raise ValueError("first")

    latch.spawn("waits", lambda: go.wait(20))
    latch.spawn("fails", fails)
    assert not latch.join(0.01)
    go.set()
    assert latch.join(20)
    assert [str(error) for error in told] == ["first"]
    with pytest.raises(ValueError, match="first"):
        latch.wait(20)
    assert latch.wait(20)


KINDS: dict[str, Any] = {
    "echo": lambda impl: impl.EchoServer(workers=2),
    "messages": lambda impl: impl.MessageServer(lambda message, peer: message, dispatchers=2),
    "threads": lambda impl: impl.ThreadedServer(lambda conn, peer: conn.recv(10)),
    "chat": lambda impl: impl.ChatServer(on_event=lambda event: None),
    "udp": lambda impl: impl.UdpServer(lambda datagram: datagram.data),
    "udp echo": lambda impl: impl.UdpEchoServer(),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_thread_that_cannot_go_on_ends_its_server_loudly(
    kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fault = [OSError(5, "on purpose")]
    armed = threading.Event()

    class Failing(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            found = super().select(timeout)
            if armed.is_set() and fault:
                raise fault.pop()
            return found

    monkeypatch.setattr(selecting, "Selector", Failing)
    server = KINDS[kind](oxisock.pure).start()
    raised: list[BaseException] = []

    def serve() -> None:
        try:
            server.serve_forever()
        except OSError as error:
            raised.append(error)

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    udp = "udp" in kind
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
        armed.set()
        sock.connect(server.address)  # that wakes a TCP server

        def over() -> bool:
            if udp:  # again and again: one that comes before the server waits for it ends no wait
                with suppress(OSError):
                    sock.send(b"x")
            return not serving.is_alive()

        assert wait_until(over)
    assert [str(error) for error in raised] == ["[Errno 5] on purpose"]
    assert "a server ended because one of its threads failed" in caplog.text
    report = server.stop(drain=20.0)
    assert report.stuck_handlers == 0
    stats = server.stats()
    assert stats.active == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as again:
        if not udp:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(server.address)


# --- what the log does to a server -----------------------------------------------------------------------------------


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise OSError("disk full")


@pytest.fixture
def broken_log() -> Any:
    handler = Broken()
    logging.getLogger("oxisock").addHandler(handler)
    yield
    logging.getLogger("oxisock").removeHandler(handler)


@pytest.mark.usefixtures("broken_log")
def test_a_log_that_cannot_be_written_costs_nobody(impl: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def handler(message: bytes, peer: oxisock.Peer) -> bytes:
        return b"%d" % (1 // len(message))

    with impl.MessageServer(handler) as server, connect(server) as good:
        for _ in range(3):
            with connect(server) as bad:
                bad.sendall(b"\n")
                assert bad.recv(10) == b""
            good.sendall(b"x\n")
            assert good.recv(10) == b"1\n"
    with impl.UdpServer(lambda datagram: b"%d" % (1 // len(datagram.data))) as udp:
        with pytest.raises(TimeoutError):
            oxisock.udp_request(*udp.address, b"", timeout=0.05)
        assert oxisock.udp_request(*udp.address, b"x", timeout=20) == b"1"
    with impl.ThreadedServer(lambda conn, peer: 1 // 0) as server:
        for _ in range(3):
            with connect(server) as sock:
                assert sock.recv(10) == b""
    assert "disk full" in capsys.readouterr().err


# --- where the process is not as usual -------------------------------------------------------------------------------


def test_how_an_engines_threads_failed_is_logged_once_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    failures = [RuntimeError("a native thread panicked: on purpose")]

    def wait(timeout: float) -> bool:
        if failures:
            raise failures.pop()
        return True

    threads = EngineThreads(wait)
    assert threads.failure() is None
    assert threads.wait(1.0)
    assert threads.wait(1.0)
    assert "on purpose" in str(threads.failure())
    assert len([record for record in caplog.records if record.levelno == logging.CRITICAL]) == 1


@pytest.mark.parametrize("kind", ["MessageServer", "EchoServer", "ThreadedServer"])
def test_a_peer_that_has_gone_ends_nobody(impl: ModuleType, kind: str) -> None:
    code = f"""
import signal, socket, struct, time
import oxisock.{impl.impl} as o
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
def by_hand(conn, peer):
    while data := conn.recv(1000):
        for _ in range(20):
            conn.sendall(data)
            time.sleep(0.002)
def slowly(message, peer):
    time.sleep(0.002)
    return message
make = {{
    "MessageServer": lambda: o.MessageServer(slowly),
    "EchoServer": lambda: o.EchoServer(faults=o.Faults(cut=1, delay=0.001)),
    "ThreadedServer": lambda: o.ThreadedServer(by_hand),
}}
with make[{kind!r}]() as server:
    for _ in range(10):
        with socket.create_connection(server.address) as sock:
            sock.sendall(b"hello\\n" * 20)
            sock.recv(1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with socket.create_connection(server.address) as sock:
        sock.sendall(b"hello\\n")
        print(sock.recv(1))
"""
    done = python(code)
    assert (done.returncode, done.stdout) == (0, "b'h'\n"), done.stderr


def test_servers_do_not_start_where_threads_are_greenlets(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("gevent.monkey")
    patched = {"threading"}
    module.is_module_patched = patched.__contains__  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gevent.monkey", module)
    server = impl.EchoServer()
    with pytest.raises(RuntimeError, match="does not run under gevent"):
        server.start()
    patched.clear()
    with server:
        assert server.address.port
