"""FramedSocket and connect: deadlines, both directions at once, TLS, and ends of every kind, on both engines."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import oxisock.native
import oxisock.pure
from oxisock import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame
from support.talking import reset
from support.threads import beside
from support.waiting import wait_until


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_frames_go_both_ways(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    codec = impl.LengthPrefix(4)
    with impl.FramedSocket(pair[0], codec) as one, impl.FramedSocket(pair[1], codec, timeout=20.0) as other:
        one.send(b"hello")
        one.send_many([b"", bytearray(b"x" * 100_000), memoryview(b"bye")])
        pair[0].shutdown(socket.SHUT_WR)
        assert other.recv() == b"hello"
        assert list(other) == [b"", b"x" * 100_000, b"bye"]
        assert other.recv() is None
        assert other.recv() is None
        other.send(b"still here")
        assert one.recv() == b"still here"
        assert one.sock is pair[0]
        assert "LengthPrefix(4)" in repr(one)
    assert "closed" in repr(one)
    assert pair[0].fileno() == -1
    one.close()


def test_a_codec_of_either_engine_will_do(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    with impl.FramedSocket(pair[0], oxisock.pure.Lines()) as one:
        with impl.FramedSocket(pair[1], oxisock.native.Lines()) as other:
            one.send(b"hi")
            assert other.recv() == b"hi"


def test_anybodys_own_codec_will_do(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    class Bits:
        class Decoder:
            def feed(self, data: bytes) -> list[bytes]:
                return [data[at : at + 1] for at in range(len(data))]

            def eof(self) -> list[bytes]:
                return [b"."]

        def encode(self, payload: bytes) -> bytes:
            return payload

        def decoder(self) -> Any:
            return self.Decoder()

    with impl.FramedSocket(pair[0], Bits()) as one, impl.FramedSocket(pair[1], Bits()) as other:
        one.send(b"ab")
        one.send_many([b"c", b"d"])
        pair[0].shutdown(socket.SHUT_WR)
        assert list(other) == [b"a", b"b", b"c", b"d", b"."]


def test_a_cut_at_every_position_of_a_frame(impl: ModuleType) -> None:
    for codec in (impl.LengthPrefix(4), impl.Netstring(), impl.Lines(), impl.Varint()):
        stream = codec.encode(b"first") + codec.encode(b"second")
        clean = {0, len(codec.encode(b"first")), len(stream)}
        for cut in range(len(stream) + 1):
            ours, theirs = socket.socketpair()
            with impl.FramedSocket(ours, codec, timeout=20.0) as framed:
                theirs.sendall(stream[:cut])
                theirs.close()
                frames, end = [], "clean"
                try:
                    frames += framed
                except IncompleteFrame as error:
                    end = "cut"
                    assert error.frames == []
                    with pytest.raises(IncompleteFrame) as again:
                        framed.recv()
                    assert again.value == error
                assert frames == [b"first", b"second"][: sum(cut >= each for each in clean) - 1]
                assert end == ("clean" if cut in clean else "cut")


def test_good_frames_come_before_the_fault(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].sendall(b"1:a,1:b,junk")
    with impl.FramedSocket(pair[0], impl.Netstring(), timeout=20.0) as framed:
        assert (framed.recv(), framed.recv()) == (b"a", b"b")
        for _ in range(2):
            with pytest.raises(FrameCorrupt) as caught:
                framed.recv()
            assert (caught.value.offset, caught.value.frames) == (8, [])


def test_a_payload_that_cannot_be_framed_sends_nothing(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    with impl.FramedSocket(pair[0], impl.Lines(), timeout=20.0) as one:
        with pytest.raises(ValueError):
            one.send(b"two\nlines")
        with pytest.raises(ValueError):
            one.send_many([b"fine", b"two\nlines"])
        one.send(b"one line")
        one.close()
        assert pair[1].recv(100) == b"one line\n"


def test_a_receive_that_timed_out_may_be_called_again(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    with impl.FramedSocket(pair[0], impl.LengthPrefix(2), timeout=0.05) as framed:
        for part in (b"\0", b"\x02", b"h"):
            pair[1].sendall(part)
            with pytest.raises(TimeoutError):
                framed.recv()
        pair[1].sendall(b"i")
        framed.settimeout(20.0)
        assert framed.recv() == b"hi"
        framed.settimeout(0)
        with pytest.raises(TimeoutError):
            framed.recv()


def test_the_deadline_is_for_the_whole_call_however_slowly_bytes_come(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    done = threading.Event()

    def drip() -> None:
        while not done.wait(0.05):
            pair[1].sendall(b"x")

    with impl.FramedSocket(pair[0], impl.Lines(), timeout=0.5) as framed:
        with beside(drip):
            start = time.monotonic()
            try:
                with pytest.raises(TimeoutError):
                    framed.recv()
                took = time.monotonic() - start
            finally:
                done.set()
        assert took >= 0.5
        pair[1].sendall(b"\n")
        framed.settimeout(20.0)
        line = framed.recv()
        assert line
        assert set(line) == set(b"x")


def test_after_a_send_that_timed_out_only_close_works(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    with impl.FramedSocket(pair[0], impl.LengthPrefix(4), timeout=0.2) as framed:
        with pytest.raises(TimeoutError):
            framed.send(b"x" * (8 << 20))
        for call in (lambda: framed.send(b"y"), framed.recv, lambda: framed.send_many([])):
            with pytest.raises(ConnectionError, match=r"only close\(\) works"):
                call()
    assert framed.sock.fileno() == -1


def test_a_closed_one_is_an_os_error(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    framed = impl.FramedSocket(pair[0], impl.Lines())
    framed.close()
    for call in (framed.recv, lambda: framed.send(b"x"), lambda: next(iter(framed))):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()


@pytest.mark.parametrize("timeout", [None, 60.0])
def test_closing_ends_a_receive_under_way(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket], timeout: float | None
) -> None:
    framed = impl.FramedSocket(pair[0], impl.Lines(), timeout=timeout)

    def receive() -> None:
        with pytest.raises(OSError):
            framed.recv()

    with beside(receive):
        assert wait_until(framed._receiving.locked)
        framed.close()


def test_bad_timeouts_are_value_errors(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    for timeout in (-1, float("nan")):
        with pytest.raises(ValueError, match="^timeout=.*: expected seconds from 0 up, or None for no limit$"):
            impl.FramedSocket(pair[0], impl.Lines(), timeout=timeout)
    with impl.FramedSocket(pair[0], impl.Lines(), timeout=float("inf")) as framed:
        pair[1].sendall(b"x\n")
        assert framed.recv() == b"x"


def exchange(one: Any, other: Any, count: int) -> None:
    """Move frames both ways at once, a reader and a writer thread on each side."""
    messages = [bytes([n % 251]) * (n * 37 % 5000) for n in range(count)]

    def receive(framed: Any) -> list[bytes]:
        return [framed.recv() for _ in messages]

    with beside(lambda: receive(one)) as at_one, beside(lambda: receive(other)) as at_other:
        with beside(lambda: [one.send(message) for message in messages]):
            for first in range(0, count, 10):
                other.send_many(messages[first : first + 10])
    assert at_one == [messages]
    assert at_other == [messages]


def test_one_thread_reads_while_another_one_writes(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    with impl.FramedSocket(pair[0], impl.Varint(), timeout=60.0) as one:
        with impl.FramedSocket(pair[1], impl.Varint()) as other:
            exchange(one, other, 500)


def test_frames_of_several_writers_do_not_mix(impl: ModuleType, pair: tuple[socket.socket, socket.socket]) -> None:
    with impl.FramedSocket(pair[0], impl.LengthPrefix(4), timeout=60.0) as one:
        with impl.FramedSocket(pair[1], impl.LengthPrefix(4), timeout=60.0) as other:
            with contextlib.ExitStack() as stack:
                for byte in b"abc":
                    message = bytes([byte]) * 300_000
                    stack.enter_context(beside(lambda message=message: [one.send(message) for _ in range(5)]))
                frames = [other.recv() for _ in range(15)]
            assert sorted((frame[:1], len(frame), len(set(frame))) for frame in frames) == sorted(
                [(bytes([byte]), 300_000, 1) for byte in b"abc"] * 5
            )


@contextlib.contextmanager
def tls_pair(certificate: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()
    with beside(lambda: server_context.wrap_socket(theirs, server_side=True)) as results:
        client = client_context.wrap_socket(ours)
    with client, results[0]:
        yield client, results[0]


def test_tls_both_ways_at_once(impl: ModuleType, certificate: Path) -> None:
    with tls_pair(certificate) as (client, server):
        with impl.FramedSocket(client, impl.LengthPrefix(4), timeout=60.0) as one:
            with impl.FramedSocket(server, impl.LengthPrefix(4), timeout=60.0) as other:
                exchange(one, other, 300)
                with beside(lambda: one.send(b"x" * (1 << 20))):
                    assert other.recv() == b"x" * (1 << 20)


def test_tls_deadlines(impl: ModuleType, certificate: Path) -> None:
    with tls_pair(certificate) as (client, server):
        with impl.FramedSocket(client, impl.Lines(), timeout=0.1) as framed:
            server.sendall(b"par")
            with pytest.raises(TimeoutError):
                framed.recv()
            server.sendall(b"tial\n")
            framed.settimeout(20.0)
            assert framed.recv() == b"partial"
            framed.settimeout(0.2)
            with pytest.raises(TimeoutError):
                framed.send_many([b"x" * (1 << 20)] * 8)
            with pytest.raises(ConnectionError):
                framed.send(b"x")


# --- connect -------------------------------------------------------------------------------------------------------


def test_connect_and_talk(impl: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            with impl.connect(host, port, impl.Lines(), timeout=20.0) as framed:
                assert framed.peer == ("127.0.0.1", port)
                assert type(framed) is impl.FramedSocket
                assert framed.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                accepted = listener.accept()[0]
                with accepted:
                    framed.send(b"hello")
                    assert accepted.recv(100) == b"hello\n"
                    accepted.sendall(b"bye\n")
                assert list(framed) == [b"bye"]


def test_a_peer_that_resets_is_an_os_error_after_its_frames(impl: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with impl.connect("127.0.0.1", listener.getsockname()[1], impl.Lines(), timeout=20.0) as framed:
            accepted = listener.accept()[0]
            accepted.sendall(b"one\ntwo\n")
            assert framed.recv() == b"one"
            reset(accepted)
            assert framed.recv() == b"two"
            with pytest.raises(ConnectionResetError):
                framed.recv()


def test_connecting_fails_as_sockets_do(impl: ModuleType) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nobody listens there, and nobody else gets the port meanwhile
        with pytest.raises(ConnectionRefusedError):
            impl.connect("127.0.0.1", bound.getsockname()[1], impl.Lines())
    with pytest.raises(socket.gaierror):
        impl.connect("no-such-host.invalid", 80, impl.Lines(), timeout=60.0)
    for port in (0, -1, 65536):
        with pytest.raises(ValueError, match="^port=.*: expected a port from 1 to 65535$"):
            impl.connect("127.0.0.1", port, impl.Lines())
    with pytest.raises(TypeError):
        impl.connect("127.0.0.1", "80", impl.Lines())
    with pytest.raises(ValueError):
        impl.connect("127.0.0.1", 80, impl.Lines(), timeout=-1)


def test_closing_from_a_signal_handler_does_not_hang(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    framed = impl.FramedSocket(pair[0], impl.Lines())
    before = signal.signal(signal.SIGUSR1, lambda *_: framed.close())
    try:

        def interrupt() -> None:
            assert wait_until(framed._receiving.locked)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

        with beside(interrupt), pytest.raises(OSError):
            framed.recv()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_frame_errors_of_a_socket_are_those_of_the_decoder(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    pair[1].sendall(b"\0\x09")
    with impl.FramedSocket(pair[0], impl.LengthPrefix(2, max_frame=8), timeout=20.0) as framed:
        with pytest.raises(FrameTooLong) as caught:
            framed.recv()
    assert isinstance(caught.value, FrameError)
    assert (caught.value.offset, caught.value.declared, caught.value.limit) == (0, 9, 8)


class Greenlets(socket.socket):
    """As gevent's sockets are: a call waits even where it is told not to, and within is a socket whose calls do not."""

    def __init__(self, within: socket.socket) -> None:
        super().__init__(fileno=within.detach())
        self._sock = socket.socket(fileno=os.dup(self.fileno()))
        self._sock.setblocking(False)

    def recv(self, *_: object) -> bytes:
        raise AssertionError("this would wait for ever")

    def send(self, *_: object) -> int:
        raise AssertionError("this would wait for ever")

    def close(self) -> None:
        self._sock.close()
        super().close()


def test_deadlines_hold_on_sockets_of_gevent(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Greenlets, "__module__", "gevent._socket3")
    with impl.FramedSocket(Greenlets(pair[0]), impl.Lines(), timeout=0.1) as framed:
        with pytest.raises(TimeoutError):
            framed.recv()
        pair[1].sendall(b"hello\n")
        framed.settimeout(30.0)
        assert framed.recv() == b"hello"
        framed.send(b"hi")
        assert pair[1].recv(10) == b"hi\n"
        pair[1].close()
        assert framed.recv() is None


def test_nothing_goes_past_tls_on_sockets_of_gevent(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Encrypted(Greenlets):
        def unwrap(self) -> None:
            """What tells a socket with TLS."""

        def send(self, data: Any, *_: object) -> int:
            return self._sock.send(bytes(data).upper())

    monkeypatch.setattr(Encrypted, "__module__", "gevent.ssl")
    with impl.FramedSocket(Encrypted(pair[0]), impl.Lines(), timeout=30.0) as framed:
        framed.send(b"secret")
        assert pair[1].recv(100) == b"SECRET\n"
        pair[1].close()
        framed.abort()


def test_a_request_is_a_frame_and_the_next_one(impl: ModuleType) -> None:
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        with impl.connect(*server.address, impl.Lines(), timeout=20.0) as framed:
            assert [framed.request(word) for word in (b"one", b"two")] == [b"ONE", b"TWO"]
            with pytest.raises(ValueError, match="delimiter"):
                framed.request(b"two\nlines")
            assert framed.request(b"three") == b"THREE"


def test_a_request_has_one_deadline_and_says_where_no_answer_came(
    impl: ModuleType, pair: tuple[socket.socket, socket.socket]
) -> None:
    with impl.FramedSocket(pair[0], impl.Lines(), timeout=0.3) as framed:
        with pytest.raises(TimeoutError):
            framed.request(b"anybody?")
        framed.settimeout(20.0)
        pair[1].shutdown(socket.SHUT_WR)
        with pytest.raises(IncompleteFrame, match="without an answer"):
            framed.request(b"still?")
        assert pair[1].recv(100) == b"anybody?\nstill?\n"
