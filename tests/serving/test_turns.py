"""Whose turn it is: one client's burst keeps nobody waiting, and what is cut of it before it is handled is bounded."""

from __future__ import annotations

import socket
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from support.talking import connect, exactly, until_the_end
from support.waiting import wait_until

COUNT = 20_000


@pytest.mark.parametrize("own", [False, True])
def test_a_burst_keeps_nobody_waiting(impl: ModuleType, own: bool) -> None:
    order: list[bytes] = []
    begun, asked, served = threading.Event(), threading.Event(), threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        order.append(message)
        begun.set()
        asked.wait(20)
        if message == b"p":
            served.set()
        elif not served.is_set():
            time.sleep(0.001)
        return message

    with impl.MessageServer(handler, codec=OwnLines() if own else impl.Lines()) as server:
        with connect(server) as greedy, connect(server) as polite:
            greedy.sendall(b"g\n" * 3000)
            assert begun.wait(20)
            polite.sendall(b"p\n")
            asked.set()
            assert exactly(polite, 2) == b"p\n"
            before = order.index(b"p")
            assert exactly(greedy, 6000) == b"g\n" * 3000
    # It takes a moment until somebody looks who else has something; all of them is what it took before.
    assert before < 2500


def test_who_comes_while_many_messages_are_handled_is_next(impl: ModuleType) -> None:
    order: list[bytes] = []

    def handler(message: bytes, peer: Peer) -> bytes:
        order.append(message)
        if len(order) == 1:
            polite.sendall(b"p\n")
        until = time.perf_counter() + 0.00001
        while time.perf_counter() < until:
            pass
        return message

    with impl.MessageServer(handler) as server, connect(server) as greedy, connect(server) as polite:
        greedy.sendall(b"g\n" * 400)
        assert exactly(polite, 2) == b"p\n"
        assert exactly(greedy, 800) == b"g\n" * 400
    # At most a turn of the other's, and the next, in which both are read.
    assert order.index(b"p") <= 64


class OwnLines:
    """A user's own codec."""

    def encode(self, payload: bytes) -> bytes:
        return payload + b"\n"

    def decoder(self) -> Any:
        return OwnDecoder()


class OwnDecoder:
    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.rest = (self.rest + data).split(b"\n")
        return lines

    def eof(self) -> list[bytes]:
        return []


CODECS = {
    "lines": lambda impl: impl.Lines(),
    "lengths": lambda impl: impl.LengthPrefix(1),
    "own": lambda impl: OwnLines(),
}


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_burst_of_tiny_messages_is_answered_whole_and_in_order(impl: ModuleType, codec: str, batch: bool) -> None:
    sizes: list[int] = []

    def one(message: bytes, peer: Peer) -> bytes:
        return message

    def many(messages: list[tuple[bytes, Peer]]) -> list[bytes]:
        sizes.append(len(messages))
        return [message for message, _ in messages]

    framing = CODECS[codec](impl)
    wire = b"".join([framing.encode(b"%x" % (number % 256)) for number in range(COUNT)])
    with impl.MessageServer(many if batch else one, batch=batch, codec=framing) as server, connect(server) as sock:
        with connect(server) as other:
            sock.sendall(wire)
            sock.shutdown(socket.SHUT_WR)
            assert until_the_end(sock) == wire
            other.sendall(framing.encode(b"other"))
            assert exactly(other, len(framing.encode(b"other"))) == framing.encode(b"other")
        assert server.stats().messages == COUNT + 1
        assert server.stats().frame_errors == 0
    if batch:
        assert sum(sizes) == COUNT + 1
        if codec != "own":
            assert max(sizes) <= 2 * 4096


@pytest.mark.parametrize("codec", ["lines", "lengths"])
def test_a_stop_answers_all_that_was_read(impl: ModuleType, codec: str) -> None:
    begun, stopping = threading.Event(), threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        begun.set()
        stopping.wait(20)
        return message

    framing = CODECS[codec](impl)
    wire = framing.encode(b"ab") * COUNT
    server = impl.MessageServer(handler, codec=framing).start()
    with connect(server) as sock:
        sock.sendall(wire)
        assert begun.wait(20)
        read = server.stats().bytes_in
        stopper = threading.Thread(target=server.stop, args=(60,))
        stopper.start()
        assert wait_until(lambda: "stopped" in repr(server))
        stopping.set()
        answered = until_the_end(sock)
        stopper.join(60)
    # All that had been read; more may have been by the time of the stop, and the last message may be a part.
    assert len(answered) >= read - len(framing.encode(b"ab"))
    assert wire.startswith(answered)
    report = server.stop()
    assert (report.drained, report.aborted) == (1, 0)


def test_a_bad_message_in_a_burst_comes_in_its_place(impl: ModuleType) -> None:
    codec = impl.Lines(max_frame=10)
    with impl.MessageServer(lambda message, peer: message, codec=codec) as server, connect(server) as sock:
        sock.sendall(b"ab\n" * 5000 + b"x" * 11 + b"\n" + b"ab\n" * 5000)
        assert until_the_end(sock) == b"ab\n" * 5000
        assert wait_until(lambda: server.stats().closed == 1)
        assert (server.stats().messages, server.stats().frame_errors) == (5000, 1)


@pytest.mark.parametrize("kind", ["one", "batch"])
def test_a_peer_that_does_not_read_holds_what_it_said(impl: ModuleType, kind: str) -> None:
    answer = bytes(999)

    def one(message: bytes, peer: Peer) -> bytes:
        return answer

    def many(messages: list[tuple[bytes, Peer]]) -> list[bytes]:
        return [answer] * len(messages)

    handler = one if kind == "one" else many
    with impl.MessageServer(handler, batch=kind == "batch", max_buffered=64 << 10) as server:
        with connect(server) as sock:
            writer = threading.Thread(target=sock.sendall, args=(b"ab\n" * COUNT,))
            writer.start()
            assert exactly(sock, 1000 * COUNT) == (answer + b"\n") * COUNT
            writer.join(20)
        assert server.stats().messages == COUNT
