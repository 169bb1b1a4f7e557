"""TLS of servers: handshakes that end, fail and never end; limits, stops and cuts as without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import IncompleteFrame, Peer
from oxisock.serving import secured, thread_connection
from oxisock.sockets import closing
from oxisock.sockets.tls import Session
from support.addresses import HOST
from support.certificates import CLOSE_NOTIFY, client_hello
from support.talking import adds_up
from support.waiting import wait_until

KINDS = ["threads", "messages", "batches"]

FAILING = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"",
    b"\x16\x03\x01",
    bytes(70_000),
    CLOSE_NOTIFY,
    client_hello() + CLOSE_NOTIFY,
]
"""What clients say before they end their output, instead of a handshake."""


def server_of(kind: str, impl: ModuleType, **options: Any) -> Any:
    """Give a server that answers lines in capitals."""

    def talk(conn: Any, peer: Peer) -> None:
        for line in conn.frames(impl.Lines(eof_frame=True)):
            conn.send_frame(line.upper(), impl.Lines())

    if kind == "threads":
        return impl.ThreadedServer(talk, **options)
    if kind == "messages":
        return impl.MessageServer(lambda line, peer: line.upper(), **options)
    return impl.MessageServer(lambda batch: [line.upper() for line, _ in batch], batch=True, **options)


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, impl: ModuleType, context: ssl.SSLContext) -> Callable[..., Any]:
    return lambda **options: server_of(request.param, impl, ssl=context, **options)


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
        assert stats.bytes_in == stats.bytes_out == 300_000 + len(b"hello") + 2, "and not those of the wire"


def test_the_end_that_a_handler_makes_is_clean(
    impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    with impl.ThreadedServer(lambda conn, peer: conn.sendall(b"bye\n"), ssl=context) as server:
        with joined(impl, server, trusting) as framed:
            assert list(framed) == [b"bye"]


@pytest.mark.parametrize("batch", [False, True])
def test_the_end_after_a_handler_that_fails_is_clean(
    impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext, batch: bool
) -> None:
    def handler(*given: Any) -> None:
        raise RuntimeError("no")

    with impl.MessageServer(handler, batch=batch, ssl=context) as server, joined(impl, server, trusting) as framed:
        framed.send(b"hello")
        assert framed.recv() is None
        assert server.stats().handler_errors == 1


def test_the_end_for_want_of_messages_is_clean(
    impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    with make(idle_timeout=0.3) as server, joined(impl, server, trusting) as framed:
        assert framed.recv() is None
        assert wait_until(lambda: server.stats().timeouts == 1)


def test_a_stop_ends_cleanly(impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    with make() as server, joined(impl, server, trusting) as framed:
        framed.send(b"one")
        assert framed.recv() == b"ONE"
        report = server.stop(drain=20.0)
        assert (report.drained, report.aborted, report.stuck_handlers) == (1, 0, 0)
        assert framed.recv() is None
    assert (server.stats().frame_errors, server.stats().handler_errors) == (0, 0)


def test_a_cut_is_told_from_an_end(impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    with make() as server:
        for number, (words, errors) in enumerate([(b"one\ntw", 1), (b"one\n", 1)], 1):
            raw = socket.create_connection(server.address, timeout=30)
            with trusting.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(words)
                assert sock.recv(4) == b"ONE\n"
            # That was no close_notify.
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
            assert server.stats().frame_errors == errors
        assert (server.stats().messages, server.stats().handler_errors) == (2, 0)


def test_what_a_handler_hears_of_a_cut(impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    raised: list[BaseException] = []

    def handler(conn: Any, peer: Peer) -> None:
        try:
            for line in conn.frames(impl.Lines(eof_frame=True)):
                conn.send_frame(line, impl.Lines())
        except BaseException as error:
            raised.append(error)
            raise

    with impl.ThreadedServer(handler, ssl=context) as server:
        for number, (words, kind) in enumerate([(b"one\ntw", IncompleteFrame), (b"one\n", ssl.SSLEOFError)], 1):
            raw = socket.create_connection(server.address, timeout=30)
            with trusting.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(words)
                assert sock.recv(4) == b"one\n"
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
            assert type(raised[-1]) is kind


def test_the_last_answer_arrives_although_the_client_goes_on_sending(
    impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing with input that nobody has read would throw away what is on its way."""
    size = 100_000  # more than the client's system takes, and less than that of the server holds
    looked = threading.Event()

    def look(sock: socket.socket, unsent: int) -> bool:
        found = closing.still_sending(sock, unsent)
        looked.set()
        return found

    monkeypatch.setattr(thread_connection, "still_sending", look)
    for module in (closing, thread_connection):  # the client may be slow on a busy machine
        monkeypatch.setattr(module, "LINGER", 60_000_000_000)

    def handler(conn: Any, peer: Peer) -> None:
        conn.recv(100)
        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * size)
        conn.sendall(bytes(size))

    with impl.ThreadedServer(handler, ssl=context) as server, Spoken(server, trusting, room=4096) as client:
        client.send(b"go\n")
        assert looked.wait(20)
        client.send(b"more\n")
        assert len(client.until_the_end()) == size
        assert wait_until(lambda: server.stats().closed == 1)


class Failing(Session):
    """TLS that cannot encrypt an answer with an X in it, or a part of it."""

    __slots__ = ()

    def sealed(self, data: bytes | memoryview) -> bytes:
        wire = super().sealed(data)
        if b"X" in bytes(data):
            # As OpenSSL 1.1.1 does while the client asks for a new handshake.
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "on purpose")
        return wire

    def last_word(self) -> bytes:
        if self.said == len(b"Y\n"):
            raise MemoryError("on purpose")
        return super().last_word()


@pytest.mark.parametrize("kind", ["messages", "batches"])
@pytest.mark.parametrize("words", [b"x\n", b"z\nx\n", b"y\n"])
def test_an_answer_that_cannot_be_encrypted_ends_its_connection_alone(
    impl: ModuleType,
    context: ssl.SSLContext,
    trusting: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    words: bytes,
) -> None:
    monkeypatch.setattr(secured, "Session", Failing)
    with server_of(kind, impl, ssl=context) as server, joined(impl, server, trusting) as other:
        with Spoken(server, trusting) as client:
            client.send(words)
            client.end_output()
            with contextlib.suppress(EOFError, ConnectionError):
                while client.do(lambda: client.tls.read(100)) == b"Y\n":
                    pass
                pytest.fail("the client takes a part for the whole")
        assert wait_until(lambda: server.stats().closed == 1)
        assert other.request(b"hello") == b"HELLO"
        stats = server.stats()
        assert (stats.active, stats.handler_errors, stats.handshake_errors) == (1, 0, 0)


class Spoken:
    """A client whose every byte is in one's own hands: TLS between two buffers, and a plain socket."""

    def __init__(self, server: Any, context: ssl.SSLContext, piece: int = 1 << 16, room: int = 0) -> None:
        self.sock = socket.socket()
        if room:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.sock.settimeout(30)
        self.sock.connect(server.address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.piece = piece
        self.do(self.tls.do_handshake)

    def say(self) -> None:
        while piece := self.outgoing.read(self.piece):
            self.sock.sendall(piece)

    def do(self, call: Callable[[], Any]) -> Any:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self.say()
                data = self.sock.recv(1 << 16)
                if not data:
                    raise EOFError("the end, of the wire only") from None
                self.incoming.write(data)
            finally:
                self.say()

    def send(self, data: bytes) -> None:
        self.do(lambda: self.tls.write(data))

    def until_the_end(self) -> bytes:
        found = b""
        with contextlib.suppress(ssl.SSLZeroReturnError):
            while piece := self.do(lambda: self.tls.read(1 << 16)):
                found += piece
        return found

    def end_output(self) -> None:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.say()

    def __enter__(self) -> Spoken:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@pytest.mark.parametrize("kind", ["messages", "batches"])
def test_half_a_close(impl: ModuleType, kind: str, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    with server_of(kind, impl, ssl=context) as server, Spoken(server, trusting) as client:
        client.send(b"one\ntwo\nthree")
        client.end_output()
        assert client.until_the_end() == b"ONE\nTWO\nTHREE\n"  # which a close_notify ends
        assert wait_until(lambda: server.stats().closed == 1)
        assert (server.stats().messages, server.stats().frame_errors) == (3, 0)


def test_bytes_that_were_changed_on_the_way_break_the_stream(
    make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    with make() as server, Spoken(server, trusting) as client:
        client.send(b"hello\n")
        assert client.do(lambda: client.tls.read(6)) == b"HELLO\n"
        client.tls.write(b"world\n")
        wire = bytearray(client.outgoing.read())
        wire[-1] ^= 1
        client.sock.sendall(wire)
        with contextlib.suppress(ConnectionError):
            while client.sock.recv(1 << 16):
                pass
        assert wait_until(lambda: server.stats().closed == 1)
        stats = server.stats()
        assert (stats.messages, stats.handler_errors, stats.handshake_errors) == (1, 0, 0)


def test_much_both_ways_and_a_reader_that_stops(impl: ModuleType, make: Callable[..., Any], certificate: Path) -> None:
    """A reader that stops is waited for, at a bounded cost; then all comes, byte for byte."""
    lines = [b"%d " % number + bytes(range(32, 96)) * 8192 for number in range(128)]  # 64 MiB: no system holds as much
    with make(max_buffered=1 << 16) as server:
        with joined(impl, server, ssl.create_default_context(cafile=str(certificate))) as framed:
            sent = threading.Event()

            def send() -> None:
                for line in lines:
                    framed.send(line)
                sent.set()

            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            assert not sent.wait(0.3)  # so much is not taken before anything is read
            for line in lines:
                assert framed.recv() == line.upper()
            sender.join(30)
            assert sent.is_set()


def test_who_takes_nothing_is_cut(make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    with make(max_buffered=1 << 16, write_timeout=0.3) as server, Spoken(server, trusting) as client:
        client.sock.settimeout(0.2)
        with contextlib.suppress(OSError):
            while True:
                client.send(b"x" * 60_000 + b"\n")
        assert wait_until(lambda: server.stats().timeouts == 1)


def test_behind_a_proxy_its_header_comes_first(make: Callable[..., Any], trusting: ssl.SSLContext) -> None:
    header = b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\n"

    class Forwarded(Spoken):
        def say(self) -> None:
            if not hasattr(self, "introduced"):
                self.introduced = True
                self.sock.sendall(header + self.outgoing.read())
            super().say()

    with make(proxies=[HOST, "127.0.0.1"]) as server:
        with Forwarded(server, trusting) as client:
            client.send(b"hello\n")
            assert client.do(lambda: client.tls.read(6)) == b"HELLO\n"
        with socket.create_connection(server.address, timeout=30) as sock:
            sock.sendall(b"\x16\x03\x01")
            with contextlib.suppress(ConnectionError):
                assert sock.recv(10) == b""
        assert wait_until(lambda: server.stats().closed == 2)
        assert (server.stats().frame_errors >= 1, server.stats().handshake_errors) == (True, 0)


def test_handshakes_that_fail(make: Callable[..., Any]) -> None:
    with make() as server:
        for number, words in enumerate(FAILING, 1):
            with socket.create_connection(server.address, timeout=30) as sock, contextlib.suppress(OSError):
                sock.sendall(words)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(100):
                    pass
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
        stats = server.stats()
        assert (stats.handshake_errors, stats.timeouts, stats.handler_errors, stats.messages) == (len(FAILING), 0, 0, 0)
        assert adds_up(stats)


def test_handshakes_that_never_end_hold_nobody_up(
    impl: ModuleType, make: Callable[..., Any], trusting: ssl.SSLContext
) -> None:
    with make(handshake_timeout=0.5) as server, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(server.address, timeout=30)) for _ in range(50)]
        silent[0].sendall(b"\x16\x03")

        def is_served() -> bool:
            """On a busy machine, half a second may be too short for a good handshake."""
            with contextlib.suppress(ConnectionError, EOFError, ssl.SSLError):
                with joined(impl, server, trusting) as framed:
                    framed.send(b"hello")
                    return bool(framed.recv() == b"HELLO")
            return False

        assert wait_until(is_served)
        assert wait_until(lambda: server.stats().timeouts >= 50)
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
    impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext, certificate: Path
) -> None:
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    seen: list[Any] = []

    def handler(conn: Any, peer: Peer) -> None:
        seen.append(conn.peer_certificate)
        conn.sendall(b"seen\n")

    with impl.ThreadedServer(handler, ssl=context) as server:
        with joined(impl, server, trusting) as framed:
            assert framed.recv() == b"seen"
        trusting.load_cert_chain(certificate)
        with joined(impl, server, trusting) as framed:
            assert framed.recv() == b"seen"
    assert seen[0] is None
    assert (("commonName", "localhost"),) in seen[1]["subject"]


def test_a_codec_of_ones_own_and_counted_frames(
    impl: ModuleType, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    for codec in (impl.LengthPrefix(4), impl.Delimiter(b"\0")):
        with impl.MessageServer(lambda data, peer: data[::-1], codec=codec, ssl=context) as server:
            with impl.connect(*server.address, codec, timeout=30, ssl=trusting, server_hostname="localhost") as framed:
                for size in (0, 1, 16_383, 16_384, 16_385, 500_000):
                    framed.send(b"ab" * size)
                    assert framed.recv() == b"ba" * size


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ssl": 5}, "ssl"),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "ssl"),
        ({"handshake_timeout": 0}, "handshake_timeout"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_makes_no_sense(impl: ModuleType, kind: str, options: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name}="):
        server_of(kind, impl, **options)
