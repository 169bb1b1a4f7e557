"""Crowds of one address cost others nothing: connections beyond its share, and handshakes that never end."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

from support.answering import SECURED, answering
from support.resources import descriptors, many_descriptors
from support.served import Client, served
from support.waiting import wait_until

SHARE = 20
CROWD = 5000
HANDSHAKES = 1000
THEIRS = "127.0.0.66"
"""The address that the crowd comes from."""


def echo(message: bytes, peer: Any) -> bytes:
    return message


def talk(conn: Any, peer: Any) -> None:
    while data := conn.recv(4096):
        conn.sendall(data)


async def answer(stream: Any, peer: Any) -> None:
    async for message in stream:
        await stream.send(message)


MAKERS: dict[str, Any] = {
    "echo": lambda impl, **options: impl.EchoServer(workers=2, **options),
    "messages": lambda impl, **options: impl.MessageServer(echo, **options),
    "threads": lambda impl, **options: impl.ThreadedServer(talk, **options),
    "coroutines": lambda impl, **options: impl.aio.start_server(answer, **options),
    "chat": lambda impl, **options: impl.ChatServer(rate=None, **options),
}


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_five_thousand_connections_of_one_address(impl: ModuleType, kind: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(many_descriptors(CROWD + 500))
        server = MAKERS[kind](impl, max_per_address=SHARE)
        running = stack.enter_context(served(server, kind))
        good = stack.enter_context(Client(running))
        assert good.is_served()
        before = len(descriptors())
        for number in range(1, CROWD + 1):
            sock = stack.enter_context(socket.socket())
            sock.settimeout(20)
            sock.bind((THEIRS, 0))
            sock.connect(running.address)
            if number % 500 == 0:  # all in the middle of it
                assert good.is_served()
                with Client(running) as another:
                    assert another.is_served()
        assert wait_until(lambda: running.stats().rejected == CROWD - SHARE)
        # Of them all the server holds no more than their share.
        assert wait_until(lambda: running.stats().active == SHARE + 1)
        assert wait_until(lambda: len(descriptors()) <= before + CROWD + SHARE)
        assert good.is_served()


@pytest.mark.parametrize("kind", SECURED)
def test_a_thousand_handshakes_that_never_end(impl: ModuleType, kind: str) -> None:
    with ExitStack() as stack:
        stack.enter_context(many_descriptors(2 * HANDSHAKES + 500))
        running = stack.enter_context(answering(impl, kind, handshake_timeout=None))
        good = stack.enter_context(Client(running))
        assert good.is_served()
        for number in range(HANDSHAKES):
            sock = stack.enter_context(running.connect())
            if number % 2:
                sock.sendall(b"\x16\x03\x01\x02")
            if number % 100 == 0:
                assert good.is_served()
        assert wait_until(lambda: running.stats().active == HANDSHAKES + 1)
        assert good.is_served()
        with Client(running) as another:
            assert another.is_served()
        report = running.stop(drain=15.0)
        assert (report.aborted, report.stuck_handlers) == (0, 0)
        assert report.elapsed < 15.0
        assert running.stats().handshake_errors == 0
