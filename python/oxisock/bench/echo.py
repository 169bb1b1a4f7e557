"""The echo benchmark: messages to an echo server and back, one in flight on each connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Scenario
from .stage import NOTE, Asking, contenders, protocols

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_OURS = "from oxisock import {impl}\nserver = {impl}.EchoServer().start()\ntell(server.address.port)\nwait()"
_THREADS = """
from oxisock import native
def echo(conn, peer):
    while data := conn.recv(65536):
        conn.sendall(data)
server = native.ThreadedServer(echo).start()
tell(server.address.port)
wait()
"""
_CEILING = "from oxisock import _native\n_native.raw_echo_loop(tell)"
_PROTOCOL = "        self.transport.write(data)"

_NOTES = (
    NOTE,
    "Ceiling: a loop of epoll, read and write in the native core, without limits or timers. Threads: a thread for each "
    "connection (`ThreadedServer`). asyncio and uvloop: a `Protocol` that writes what it received.",
)


def scenarios() -> list[Scenario]:
    """Return one scenario for each number of connections and size of message."""
    return [
        _scenario(50, 64, 15_000, quick=8_000),
        _scenario(50, 1024, 15_000),
        _scenario(1000, 64, 30_000),
        _scenario(1000, 1024, 30_000),
    ]


def _scenario(connections: int, size: int, amount: int, quick: int = 0) -> Scenario:
    return Scenario(
        group="echo",
        name=f"echo, {size:,} bytes, {connections:,} connections",
        amount=amount,
        unit="messages",
        contenders=lambda amount: _contenders(connections, size, amount),
        quick=quick,
        cost=amount / 13_000,
        notes=_NOTES,
    )


def _contenders(connections: int, size: int, amount: int) -> AbstractContextManager[list[Contender]]:
    message = bytes(index * 7 % 256 for index in range(size))
    servers = {
        "pure": _OURS.format(impl="pure"),
        "native": _OURS.format(impl="native"),
        "ceiling": _CEILING,
        **protocols(_PROTOCOL),
        "threads": _THREADS,
    }
    return contenders(servers, Asking(connections, 1, message, message, amount))
