"""The message benchmark: a Python handler that gives each line back in capitals."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from . import Scenario
from .stage import Asking, contenders, has_uvloop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_HANDLER = """
from oxisock import {impl}
def handler(message, peer):
    return message.upper()
server = {impl}.MessageServer(handler).start()
tell(server.address.port)
wait()
"""
_BATCH = """
from oxisock import native
def handler(batch):
    return [message.upper() for message, peer in batch]
server = native.MessageServer(handler, batch=True).start()
tell(server.address.port)
wait()
"""
_PROTOCOL = """
import asyncio, {loop} as loop
class Upper(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\\n")
        if lines:
            self.transport.write(b"\\n".join([line.upper() for line in lines]) + b"\\n")
async def main():
    server = await asyncio.get_running_loop().create_server(Upper, "127.0.0.1", 0)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()
loop.run(main())
"""
_STREAMS = """
import asyncio
async def upper(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
async def main():
    server = await asyncio.start_server(upper, "127.0.0.1", 0)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()
asyncio.run(main())
"""


def scenarios() -> list[Scenario]:
    """Give one scenario for each number of connections and of lines in flight."""
    return [_scenario(50, 32, 400_000), _scenario(50, 1, 40_000), _scenario(1, 1, 10_000)]


def _scenario(connections: int, depth: int, messages: int) -> Scenario:
    return Scenario(
        name=f"message, {connections} connections, {depth} in flight",
        amount=messages,
        unit="lines",
        contenders=partial(_contenders, connections, depth, messages),
        ratios=[
            ("uvloop Protocol", "native"),
            ("native", "native, batch"),
            ("asyncio streams", "native"),
            ("asyncio Protocol", "native"),
            ("pure", "native"),
        ],
        notes=("The CPU time is the server's alone; every answer is compared with the line in capitals.",),
    )


def _contenders(connections: int, depth: int, messages: int) -> AbstractContextManager[list[Contender]]:
    servers = {
        "native": _HANDLER.format(impl="native"),
        "native, batch": _BATCH,
        "pure": _HANDLER.format(impl="pure"),
        "asyncio Protocol": _PROTOCOL.format(loop="asyncio"),
        "asyncio streams": _STREAMS,
    }
    if has_uvloop():
        servers["uvloop Protocol"] = _PROTOCOL.format(loop="uvloop")
    line = b"hello world 001\n"
    return contenders(servers, Asking(connections, depth, line, line.upper(), messages))
