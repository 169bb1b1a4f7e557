"""TLS of a threaded server: handshakes that end, fail and never end; limits, stops and cuts as without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import IncompleteFrame, Peer
from support.certificates import self_signed
from support.talking import adds_up
from support.waiting import wait_until


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def trusting(request: pytest.FixtureRequest, certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = request.param
    return context


@pytest.fixture
def make(impl: ModuleType, context: ssl.SSLContext) -> Callable[..., Any]:
    def upper(conn: Any, peer: Peer) -> None:
        for line in conn.frames(impl.Lines(eof_frame=True)):
            conn.send_frame(line.upper(), impl.Lines())

    return lambda handler=upper, **options: impl.ThreadedServer(handler, ssl=context, **options)


@contextlib.contextmanager
def joined(impl: ModuleType, server: Any, trusting: ssl.SSLContext) -> Iterator[Any]:
    with impl.connect(*server.address, impl.Lines(), timeout=30, ssl=trusting, server_hostname="localhost") as framed:
        yield framed


def test_a_conversation(impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    with make() as server:
        with joined(impl, server, trusting) as framed:
            for line in (b"hello", b"x" * 300_000):
                framed.send(line)
                assert framed.recv() == line.upper()
        assert wait_until(lambda: server.stats().closed == 1)
        stats = server.stats()
        assert (stats.messages, stats.handshake_errors, stats.frame_errors, stats.handler_errors) == (2, 0, 0, 0)


def test_the_end_that_a_handler_makes_is_clean(
    impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    with make(lambda conn, peer: conn.sendall(b"bye\n")) as server, joined(impl, server, trusting) as framed:
        assert list(framed) == [b"bye"]


def test_a_stop_ends_cleanly(impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    with make() as server, joined(impl, server, trusting) as framed:
        framed.send(b"one")
        assert framed.recv() == b"ONE"
        report = server.stop(drain=20.0)
        assert (report.drained, report.aborted, report.stuck_handlers) == (1, 0, 0)
        assert framed.recv() is None
    assert (server.stats().frame_errors, server.stats().handler_errors) == (0, 0)


def test_a_cut_within_a_frame_is_incomplete(
    impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    raised: list[BaseException] = []

    def handler(conn: Any, peer: Peer) -> None:
        try:
            for line in conn.frames(impl.Lines(eof_frame=True)):
                conn.send_frame(line, impl.Lines())
        except BaseException as error:
            raised.append(error)
            raise

    with make(handler) as server:
        for number, (words, kind) in enumerate([(b"one\ntw", IncompleteFrame), (b"one\n", ssl.SSLEOFError)], 1):
            raw = socket.create_connection(server.address, timeout=30)
            with trusting.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(words)
                assert sock.recv(4) == b"one\n"
            # That was no close_notify.
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
            assert type(raised[-1]) is kind
        assert (server.stats().frame_errors, server.stats().handler_errors) == (1, 0)


def test_handshakes_that_fail(make: Callable[..., Any]) -> None:
    heard: list[Peer] = []
    with make(lambda conn, peer: heard.append(peer)) as server:
        for number in range(1, 4):
            with socket.create_connection(server.address, timeout=30) as sock, contextlib.suppress(OSError):
                sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
                while sock.recv(100):
                    pass
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
        stats = server.stats()
        assert (stats.handshake_errors, stats.timeouts, stats.handler_errors, heard) == (3, 0, 0, [])
        assert adds_up(stats)


def test_handshakes_that_never_end_hold_nobody_up(
    impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    with make(handshake_timeout=0.5) as server, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(server.address, timeout=30)) for _ in range(50)]
        silent[0].sendall(b"\x16\x03")
        with joined(impl, server, trusting) as framed:
            framed.send(b"hello")
            assert framed.recv() == b"HELLO"
        assert wait_until(lambda: server.stats().timeouts == 50)
        assert (server.stats().handshake_errors, server.stats().handler_errors) == (0, 0)


def test_a_stop_in_the_middle_of_a_handshake_is_on_time(make: Callable[..., Any]) -> None:
    with make(handshake_timeout=None) as server, socket.create_connection(server.address, timeout=30) as sock:
        sock.sendall(b"\x16\x03\x01")
        assert wait_until(lambda: server.stats().active == 1)
        began = time.monotonic()
        report = server.stop(drain=15.0)
        assert time.monotonic() - began < 15.0  # the end of the input ends the handshake
        assert report.stuck_handlers == 0
        assert (server.stats().handshake_errors, server.stats().timeouts) == (0, 0)


def test_certificates_of_clients(
    impl: ModuleType, make: Callable[..., Any], context: ssl.SSLContext, trusting: ssl.SSLContext, certificate: Path
) -> None:
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[Any] = []

    def handler(conn: Any, peer: Peer) -> None:
        seen.append(conn.peer_certificate)
        conn.sendall(b"seen\n")

    with make(handler) as server:
        with joined(impl, server, trusting) as framed:
            assert framed.recv() == b"seen"
        trusting.load_cert_chain(certificate)
        with joined(impl, server, trusting) as framed:
            assert framed.recv() == b"seen"
    assert seen[0] is None
    assert seen[1]["subject"] == ((("commonName", "localhost"),),)


@pytest.mark.parametrize(
    ("options", "name"),
    [({"ssl": 5}, "ssl"), ({"handshake_timeout": 0}, "handshake_timeout")],
)
def test_what_makes_no_sense(impl: ModuleType, options: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name}="):
        impl.ThreadedServer(print, **options)
