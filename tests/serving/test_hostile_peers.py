"""Whatever a stranger does to a connection costs that connection: others are served, and all adds up afterwards."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import oxisock
from support.certificates import contexts
from support.chatting import HOST
from support.hostile_peer import DATAGRAMS, STREAMS
from support.resources import resident
from support.served import SECONDS, Client, served
from support.talking import adds_up
from support.waiting import wait_until

LIMITS: dict[str, Any] = {"max_buffered": 1 << 16}


def echo(message: bytes, peer: Any) -> bytes:
    return message


def echo_all(batch: list[Any]) -> list[bytes]:
    return [message for message, *_ in batch]


def talk(conn: Any, peer: Any) -> None:
    for message in conn.frames(oxisock.Lines()):
        conn.send_frame(message, oxisock.Lines())


async def answer(stream: Any, peer: Any) -> None:
    async for message in stream:
        await stream.send(message)


SERVERS: dict[str, Callable[[ModuleType], Any]] = {
    "echo": lambda impl: impl.EchoServer(**LIMITS),
    "echo by three": lambda impl: impl.EchoServer(workers=3, **LIMITS),
    "messages": lambda impl: impl.MessageServer(echo, **LIMITS),
    "messages by three": lambda impl: impl.MessageServer(echo, dispatchers=3, **LIMITS),
    "batches": lambda impl: impl.MessageServer(echo_all, batch=True, **LIMITS),
    "threads": lambda impl: impl.ThreadedServer(talk, **LIMITS),
    "chat": lambda impl: impl.ChatServer(HOST, rate=1000.0, burst=100),
    "coroutines": lambda impl: impl.aio.start_server(answer, **LIMITS),
    "messages over TLS": lambda impl: impl.MessageServer(echo, ssl=contexts().server, **LIMITS),
    "threads over TLS": lambda impl: impl.ThreadedServer(talk, ssl=contexts().server, **LIMITS),
    "coroutines over TLS": lambda impl: impl.aio.start_server(answer, ssl=contexts().server, **LIMITS),
    "datagrams": lambda impl: impl.UdpServer(lambda datagram: datagram.data),
    "batches of datagrams": lambda impl: impl.UdpServer(echo_all, batch=True),
    "echo of datagrams": lambda impl: impl.UdpEchoServer(),
}

MOST_MEMORY = 100 << 20
"""What all that strangers hold and do may cost here: some hundred connections with their buffers, and our own."""


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_what_a_stranger_does_costs_one_connection(impl: ModuleType, kind: str) -> None:
    before = resident()
    with served(SERVERS[kind](impl), kind) as server:
        with Client(server) as good, contextlib.ExitStack() as held:
            assert good.is_served()
            for name, deed in (DATAGRAMS if server.datagrams else STREAMS).items():
                try:
                    for sock in deed(server):
                        held.enter_context(sock)
                    assert good.is_served(), "another client is not served"
                except BaseException as error:
                    error.add_note(f"a stranger who {name}")
                    raise
            assert resident() - before < MOST_MEMORY
            held.close()
            assert good.is_served(), "another client is not served when all have gone"
            if not server.datagrams:
                assert wait_until(lambda: server.stats().active == 1)
        report = server.stop(drain=SECONDS)
        assert report.stuck_handlers == 0
        stats = server.stats()
        assert adds_up(stats)
        assert stats.active == 0
        assert stats.handler_errors == 0
        assert stats.shed == 0


@pytest.mark.parametrize("kind", sorted(SERVERS))
def test_a_stop_in_the_middle_of_it(impl: ModuleType, kind: str) -> None:
    with served(SERVERS[kind](impl), kind) as server, contextlib.ExitStack() as held:
        for deed in (DATAGRAMS if server.datagrams else STREAMS).values():
            for sock in deed(server):
                held.enter_context(sock)
        began = time.monotonic()
        server.stop()  # on a busy machine handlers may end a little later
        assert time.monotonic() - began < SECONDS
        assert wait_until(lambda: server.stats().active == 0)
        assert adds_up(server.stats())
