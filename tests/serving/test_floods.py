"""Message servers with more to do than they can: answers wait for room, the others have their turn, nothing is kept."""

from __future__ import annotations

import gc
import socket
import threading
import time
import weakref
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from support.answering import PLAIN, answering
from support.handlers import upper
from support.served import SECONDS
from support.talking import ask, connect, stuff_until_it_stops, until_the_end
from support.users_codecs import Reversed
from support.waiting import wait_until


def test_answers_wait_for_room(impl: ModuleType) -> None:
    made = [0]

    def handler(message: bytes, peer: Peer) -> bytes:
        made[0] += 1
        return message * 100_000

    for codec in (None, Reversed()):
        end = b"\n" if codec is None else b"\0"
        made[0] = 0
        with impl.MessageServer(handler, codec=codec, max_buffered=200_000) as server, socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(server.address)
            sock.sendall((b"x" + end) * 100)
            assert wait_until(lambda: made[0] >= 2)
            time.sleep(0.2)
            # Two fill the room; the system's own buffers take some more.
            assert made[0] < 80
            sock.shutdown(socket.SHUT_WR)
            expected = 100 * 100_001
            assert len(until_the_end(sock)) == expected
            assert made[0] == 100
            assert server.stats().messages == 100


def test_a_trickle_that_never_makes_a_message_ends(impl: ModuleType) -> None:
    for codec in (None, Reversed()):
        with impl.MessageServer(upper, codec=codec, idle_timeout=0.5) as server, connect(server) as sock:
            began = time.monotonic()
            while time.monotonic() - began < 20:
                try:
                    sock.sendall(b"x")
                    sock.settimeout(0.05)
                    if sock.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            assert wait_until(lambda: server.stats().timeouts == 1)


class Nothing:
    """A codec to which nothing is a message."""

    buffered = 0

    def encode(self, payload: bytes) -> bytes:
        return payload

    def decoder(self) -> Nothing:
        return self

    def feed(self, data: bytes) -> list[bytes]:
        return []

    def eof(self) -> list[bytes]:
        return []


@pytest.mark.parametrize("kind", PLAIN)
def test_a_flood_that_never_makes_a_message_ends(impl: ModuleType, kind: str) -> None:
    """Its next bytes are always there before a timer is judged."""
    never = answering(impl, kind, codec=Nothing(), idle_timeout=0.3)
    with never as running, running.connect() as sock, suppress(ConnectionError):
        deadline = time.monotonic() + SECONDS
        while running.stats().closed == 0:
            sock.sendall(bytes(1 << 12))
            assert time.monotonic() < deadline, "and goes on for ever"
    assert running.stats().timeouts == 1


def test_a_flood_of_small_messages(impl: ModuleType) -> None:
    count = 50_000
    with impl.MessageServer(upper) as server, connect(server) as sock:
        writer = threading.Thread(target=sock.sendall, args=(b"".join(b"%d\n" % n for n in range(count)),))
        writer.start()
        lines = sock.makefile("rb")
        for number in range(count):
            assert lines.readline() == b"%d\n" % number
        writer.join()
        lines.close()
        assert wait_until(lambda: server.stats().messages == count)


def test_who_never_reads_does_not_slow_the_others(impl: ModuleType) -> None:
    with impl.MessageServer(upper, max_buffered=10_000) as server, connect(server) as deaf, connect(server) as other:
        deaf.setblocking(False)
        stuff_until_it_stops(deaf, 0.1, b"x" * 1023 + b"\n")
        for _ in range(20):
            assert ask(other, b"HELLO\n") == b"HELLO\n"


def test_more_connections_are_ready_than_one_turn_takes(impl: ModuleType) -> None:
    wanted = [b"line %d of 200" % n for n in range(200)]
    begun, go_on = threading.Event(), threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        if message == b"wait":
            begun.set()
            assert go_on.wait(20)
        return message.upper()

    with impl.MessageServer(handler) as server, ExitStack() as stack:
        first, *others = [stack.enter_context(connect(server)) for _ in range(20)]
        first.sendall(b"wait\n")
        assert begun.wait(20)
        for sock in others:
            sock.sendall(b"\n".join(wanted) + b"\n")
        go_on.set()
        for sock in others:
            lines = stack.enter_context(sock.makefile("rb"))
            assert [lines.readline() for _ in wanted] == [line.upper() + b"\n" for line in wanted]
        # A server counts a turn's messages before it sends the answers.
        assert server.stats().messages == 1 + 19 * len(wanted)


def test_nothing_is_kept_for_those_who_have_gone(impl: ModuleType) -> None:
    class Own:
        """A codec of the user's, so that Python frames in both engines."""

        def encode(self, payload: bytes) -> bytes:
            return impl.Lines().encode(payload)

        def decoder(self) -> Any:
            decoder = Decoder(impl.Lines().decoder())
            decoders.add(decoder)
            return decoder

    class Decoder:
        def __init__(self, inner: Any) -> None:
            self.feed, self.eof = inner.feed, inner.eof

    decoders: weakref.WeakSet[Decoder] = weakref.WeakSet()
    with impl.MessageServer(lambda message, peer: message, codec=Own()) as server:
        for _ in range(20):
            with connect(server) as sock:
                assert ask(sock) == b"hello\n"
                sock.sendall(b"half a mess")
        # Nobody says anything any more, and yet it is forgotten.
        assert wait_until(lambda: not gc.collect() and not decoders)
