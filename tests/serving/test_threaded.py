"""A thread for each connection, and one question with one answer."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
import threading
import time
from types import FrameType, ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import Peer
from oxisock.serving.thread_connection import Counters
from support.certificates import contexts
from support.handlers import upper
from support.hostile_user import forked
from support.processes import ended_well
from support.served import SECONDS
from support.talking import ask, connect, exactly
from support.waiting import wait_until

# --- a thread for each connection ----------------------------------------------------------------------------------


def test_a_conversation_in_a_thread(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Peer) -> None:
        assert conn.peer == peer == conn.sock.getpeername()
        size = int.from_bytes(conn.recv_exactly(2), "big")
        conn.sendall(conn.recv_exactly(size)[::-1])
        for frame in conn.frames(impl.Lines()):
            if frame == b"enough":
                break
            conn.send_frame(frame.upper(), impl.Lines())
        conn.shutdown_write()
        assert conn.recv(10) == b""

    with impl.ThreadedServer(handler) as server, connect(server) as sock:
        sock.sendall(b"\0\5hello")
        assert exactly(sock, 5) == b"olleh"
        sock.sendall(b"a\nb\nenough\n")
        assert exactly(sock, 100) == b"A\nB\n"
        sock.shutdown(socket.SHUT_WR)
        assert wait_until(lambda: server.stats().closed == 1)
        assert (server.stats().messages, server.stats().handler_errors) == (3, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_child_of_a_handler_ends_whoever_was_counting_as_it_was_forked(impl: ModuleType) -> None:
    ready, counting, done = threading.Event(), threading.Event(), threading.Event()
    children: list[int] = []

    def handler(conn: Any, peer: Peer) -> None:
        for frame in conn.frames(impl.Lines()):
            if frame == b"fork":
                ready.set()
                counting.wait(SECONDS)
                if child := forked():
                    children.append(child)
                    done.set()

    def hold(frame: FrameType, event: str, arg: object) -> Any:
        """Stop where the counters are read, under whatever guards them, until the handler has forked."""
        code = frame.f_code
        if code is Counters.stats.__code__ and event == "line" and frame.f_lineno > code.co_firstlineno + 2:
            counting.set()
            done.wait(SECONDS)
        return hold

    def look() -> None:
        sys.settrace(hold)
        server.stats()

    with impl.ThreadedServer(handler) as server, connect(server) as sock:
        sock.sendall(b"fork\nand go on\n")
        assert ready.wait(SECONDS)
        thread = threading.Thread(target=look)
        thread.start()
        thread.join(SECONDS)
        assert counting.is_set() and done.is_set()
        assert ended_well(children[0])


def test_a_thread_that_is_about_to_start_can_be_waited_for(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    start, knocked, go_on = threading.Thread.start, threading.Event(), threading.Event()

    def slowly(thread: threading.Thread) -> None:
        knocked.set()
        go_on.wait(20)
        start(thread)

    with impl.ThreadedServer(lambda conn, peer: conn.sendall(conn.recv(10))) as server:
        monkeypatch.setattr(threading.Thread, "start", slowly)
        with connect(server) as sock:
            try:
                assert knocked.wait(20)
                assert server._running.wait(0) is False
            finally:
                go_on.set()
            assert ask(sock) == b"hello\n"


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("read", ["recv", "recv_exactly", "frames"])
def test_closing_from_another_thread_ends_the_conversation(impl: ModuleType, read: str, secure: bool) -> None:
    """With all that was sent: the client sees a clean end, and the handler wakes."""
    raised: list[OSError] = []
    come: list[Any] = []

    def handler(conn: Any, peer: Peer) -> None:
        conn.sendall(b"hello\n")
        come.append(conn)
        try:
            if read == "frames":
                list(conn.frames())
            else:
                getattr(conn, read)(5)
        except OSError as error:
            raised.append(error)
            raise

    options: dict[str, Any] = {"ssl": contexts().client, "server_hostname": "localhost"} if secure else {}
    with (
        impl.ThreadedServer(handler, idle_timeout=None, ssl=contexts().server if secure else None) as server,
        impl.connect(*server.address, impl.Lines(), timeout=20.0, **options) as client,
    ):
        assert wait_until(lambda: bool(come) and come[0].waiting)
        assert client.recv() == b"hello"
        watchdog = threading.Thread(target=come[0].close, daemon=True)
        watchdog.start()
        assert client.recv() is None
        watchdog.join(20)
        assert not watchdog.is_alive()
        assert wait_until(lambda: server.stats().closed == 1)
        stats = server.stats()
        assert (stats.timeouts, stats.handler_errors, stats.frame_errors, stats.handshake_errors) == (0, 0, 0, 0)
    assert [(type(error), error.errno) for error in raised] == [(OSError, errno.EBADF)]


def test_a_codec_is_named_once(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Peer) -> None:
        for frame in conn.frames():
            conn.send_frame(frame.upper())
            if frame == b"other":
                break
        for frame in conn.frames(impl.Lines()):
            conn.send_frame(frame, impl.Netstring())

    with impl.ThreadedServer(handler, codec=impl.Netstring()) as server:
        with impl.connect(*server.address, impl.Netstring(), timeout=20.0) as client:
            assert [client.request(word) for word in (b"one", b"two", b"other")] == [b"ONE", b"TWO", b"OTHER"]
            client.sock.sendall(b"line\n")
            assert client.recv() == b"line"
    with impl.ThreadedServer(handler) as server:  # lines, as those of every other server
        assert impl.tcp_request(*server.address, b"one\ntwo") == b"ONE\nTWO\n"
    with pytest.raises(TypeError, match="codec='lines': expected a codec"):
        impl.ThreadedServer(handler, codec="lines")


def test_a_thread_that_fails_ends_its_connection_alone(impl: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    def handler(conn: Any, peer: Peer) -> None:
        data = conn.recv(100)
        if data == b"exactly":
            conn.recv_exactly(5)
        if data == b"frames":
            list(conn.frames(impl.Lines(max_frame=3)))
        if data == b"time":
            conn.settimeout(0.05)
            conn.recv(1)
        if data == b"raise":
            raise KeyError("on purpose")
        conn.sendall(data)

    with impl.ThreadedServer(handler) as server:
        before = 0
        for data, more in ((b"exactly", b"12"), (b"frames", b"12345\n"), (b"time", b""), (b"raise", b"")):
            with connect(server) as sock:
                sock.sendall(data)
                before += len(data)
                assert wait_until(lambda: server.stats().bytes_in >= before)  # noqa: B023
                before += len(more)
                sock.sendall(more)
                if data == b"exactly":
                    time.sleep(0.05)
                    sock.shutdown(socket.SHUT_WR)
                assert sock.recv(100) == b""
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
        assert wait_until(lambda: server.stats().closed == 5)
        stats = server.stats()
        assert (stats.handler_errors, stats.frame_errors, stats.timeouts) == (1, 2, 1)
    assert "on purpose" in caplog.text


def test_stop_from_a_threads_handler(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Peer) -> None:
        conn.recv(10)
        server.stop(drain=5)
        conn.sendall(b"bye")

    server = impl.ThreadedServer(handler).start()
    with connect(server) as sock:
        sock.sendall(b"x")
        assert exactly(sock, 10) == b"bye"
    assert server.stop(drain=5)[:3] == (1, 0, 0)


# --- one question, one answer --------------------------------------------------------------------------------------


def test_a_request_without_a_codec_reads_to_the_end(impl: ModuleType) -> None:
    with impl.EchoServer("127.0.0.1") as server:
        assert impl.tcp_request(*server.address, b"x" * 100_000) == b"x" * 100_000
        assert impl.tcp_request("localhost", server.address.port, b"") == b""


def test_a_request_with_a_codec_is_one_frame(impl: ModuleType) -> None:
    with impl.MessageServer(upper) as server:
        assert impl.tcp_request(*server.address, b"hello", codec=impl.Lines()) == b"HELLO"
    with impl.ThreadedServer(lambda conn, peer: conn.sendall(b"half")) as server:
        with pytest.raises(oxisock.IncompleteFrame):
            impl.tcp_request(*server.address, b"", codec=impl.Lines())
    with impl.ThreadedServer(lambda conn, peer: conn.recv(10)) as server:
        with pytest.raises(oxisock.IncompleteFrame, match="without an answer"):
            impl.tcp_request(*server.address, b"x", codec=impl.Lines())


def test_a_request_that_fails(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        address = server.address
    with pytest.raises(ConnectionRefusedError):
        impl.tcp_request(*address, b"x")
    over = threading.Event()
    with impl.ThreadedServer(lambda conn, peer: over.wait(20)) as server:
        try:
            for codec in (None, impl.Lines()):
                with pytest.raises(TimeoutError):
                    impl.tcp_request(*server.address, b"x", codec=codec, timeout=0.2)
        finally:
            over.set()
    for wrong in ({"port": 0}, {"port": 70_000}, {"timeout": -1}):
        with pytest.raises(ValueError, match="port|timeout"):
            impl.tcp_request(**{"host": "127.0.0.1", "port": 9, "payload": b"", **wrong})
    with pytest.raises(socket.gaierror):
        impl.tcp_request("nowhere.invalid", 9, b"")


def test_an_answer_without_end_is_refused(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Peer) -> None:
        piece = bytes(1 << 20)
        while True:
            conn.sendall(piece)

    with impl.ThreadedServer(handler) as server, pytest.raises(oxisock.FrameTooLong) as caught:
        impl.tcp_request(*server.address, b"")
    assert caught.value.limit == 16 << 20


def test_the_socket_itself_waits_as_a_fresh_one_does(impl: ModuleType) -> None:
    seen: list[float | None] = []

    def handler(conn: Any, peer: Peer) -> None:
        seen.append(conn.sock.gettimeout())

    with impl.ThreadedServer(handler) as server, connect(server) as sock:
        assert sock.recv(1) == b""
    assert seen == [None]


def test_a_stop_ends_a_connection_that_its_handler_has_taken(impl: ModuleType) -> None:
    """It may have wrapped the socket in another one: nobody is served after the stop, whoever holds it."""
    taken = threading.Event()

    def handler(conn: Any, peer: Peer) -> None:
        with socket.socket(fileno=conn.sock.detach()) as mine:
            taken.set()
            while data := mine.recv(100):
                mine.sendall(data)

    with impl.ThreadedServer(handler) as server, socket.create_connection(server.address, timeout=20) as sock:
        assert taken.wait(20)
        assert ask(sock) == b"hello\n"
        server.stop()
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"hello\n")
            assert sock.recv(100) == b""


def test_a_stop_cuts_and_counts_although_the_acceptor_has_had_no_time(
    impl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, began = threading.Event(), threading.Event()
    monkeypatch.setattr("oxisock.serving.threaded._LAST_WORDS", 1.0)  # as late as it would be on a busy machine

    def stuck(conn: Any, peer: Peer) -> None:
        began.set()
        go.wait(SECONDS)

    with contextlib.closing(socket.socket()) as sock:
        server = impl.ThreadedServer(stuck).start()
        sock.connect(server.address)
        assert began.wait(SECONDS)
        report = server.stop(drain=0.0)
        assert (report.drained, report.aborted, report.stuck_handlers) == (0, 1, 1)
        go.set()
