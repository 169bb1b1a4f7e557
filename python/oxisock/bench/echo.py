"""The echo benchmark: messages to an echo server and back, one in flight on each connection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import Scenario
from .stage import Asking, contenders, has_uvloop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_AMOUNT = 50_000
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
_RAW = "from oxisock import _native\n_native.raw_echo_loop(tell)"
_PROTOCOL = """
import asyncio, {loop} as loop
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=4096)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()
loop.run(main())
"""


def scenarios() -> list[Scenario]:
    """Give one scenario for each number of connections and size of message."""
    return [_scenario(connections, size) for connections in (50, 1000) for size in (64, 1024)]


def _scenario(connections: int, size: int) -> Scenario:
    return Scenario(
        name=f"echo, {size} bytes, {connections} connections",
        amount=_AMOUNT,
        unit="messages",
        contenders=partial(_contenders, connections, size, _AMOUNT),
        ratios=[
            ("native", "raw loop"),
            ("uvloop", "native"),
            ("asyncio", "native"),
            ("threads", "native"),
            ("pure", "native"),
        ],
        notes=("The CPU time is the server's alone; every answer is compared with what was sent.",),
    )


def _contenders(connections: int, size: int, amount: int) -> AbstractContextManager[list[Contender]]:
    message = bytes(index * 7 % 256 for index in range(size))
    servers = {
        "raw loop": _RAW,
        "native": _OURS.format(impl="native"),
        "pure": _OURS.format(impl="pure"),
        "threads": _THREADS,
        "asyncio": _PROTOCOL.format(loop="asyncio"),
    }
    if has_uvloop():
        servers["uvloop"] = _PROTOCOL.format(loop="uvloop")
    return contenders(servers, Asking(connections, 1, message, message, amount))
