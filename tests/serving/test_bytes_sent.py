"""What servers count as sent to a peer who goes before all is: no more than left, over TLS as without."""

from __future__ import annotations

import ssl
from contextlib import suppress
from types import ModuleType

import pytest

from oxisock.sockets.closing import reset_on_close
from oxisock.sockets.tls import Session
from support.answering import PLAIN, SECURED, answering
from support.certificates import contexts
from support.waiting import wait_until

LARGE = b"x" * (32 << 20)  # more than any system holds


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_what_never_left_is_not_counted(impl: ModuleType, kind: str) -> None:
    codec = impl.Lines(max_frame=len(LARGE) + 1)
    with answering(impl, kind, lambda line: LARGE, codec=codec) as running:
        with running.converse() as client:
            client.sendall(b"go\n")
            heard = 0
            while heard < 1 << 20:
                heard += len(client.recv(1 << 16))
            assert wait_until(lambda: running.stats().bytes_out >= heard)
            before = running.stats().bytes_out
            reset_on_close(client)
        assert wait_until(lambda: running.stats().closed == 1)
        assert before <= running.stats().bytes_out < len(LARGE)
        assert running.stats().handler_errors == 0


def handshaken() -> tuple[Session, Session]:
    here, there = Session(contexts().server), Session(contexts().client, "localhost")
    there.received(b"")
    while not (here.begun and there.begun):
        here.received(there.unsent())
        there.received(here.unsent())
    return here, there


@pytest.mark.parametrize("size", [1, 100, 5_000, 100_000])
def test_what_is_sent_with_so_much_of_the_wire(size: int) -> None:
    here, there = handshaken()
    start, said, rest = here.wire, 0, b""
    for _ in range(600_000 // size if size > 100 else 2000):
        rest += here.sealed(b"x" * size)
        said += size
    assert (here.said, here.sent(0), here.sent(start), here.sent(here.wire)) == (said, 0, 0, said)
    heard, at = 0, start
    while rest:
        piece, rest = rest[:1111], rest[1111:]
        heard += len(there.received(piece))
        at += len(piece)
        # All that was heard was sent; of what was sent, a record and a few small ones may be missing.
        assert heard - 4096 <= here.sent(at) <= heard
        here.forget_sent(here.wire - at)
        assert here.sent(0) == here.sent(at)
    assert here.sent(0) == said


def test_small_answers_that_wait_cost_little_to_remember() -> None:
    here, _ = handshaken()
    for _ in range(10_000):
        here.sealed(b"x")
    assert len(here._marks) < 10_000 * 30 / 4096 * 2 + 2
    with suppress(ssl.SSLError):
        here.last_word()
    assert here.sent(here.wire) == 10_000
