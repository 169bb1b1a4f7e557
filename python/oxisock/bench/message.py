"""The message benchmark: a Python handler that gives each line back in capitals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Scenario
from .stage import NOTE, Asking, contenders, protocols

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
_PROTOCOL = r"""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if lines:
            self.transport.write(b"\n".join([line.upper() for line in lines]) + b"\n")
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
_AIO = """
import asyncio
from oxisock.native import aio
async def upper(stream, peer):
    async for line in stream:
        await stream.send(line.upper())
async def main():
    async with aio.start_server(upper) as server:
        tell(server.address.port)
        await asyncio.Event().wait()
asyncio.run(main())
"""

_NOTES = (
    NOTE,
    "Native batch: `MessageServer(handler, batch=True)`. asyncio and uvloop: a hand-written `Protocol` that splits "
    "and answers a whole chunk in one call, without limits. Streams: `asyncio.start_server` with `readline`. "
    "oxisock.aio: `aio.start_server` with its lines, on asyncio's loop.",
)


def scenarios() -> list[Scenario]:
    """Give one scenario for each number of connections and of lines in flight."""
    return [
        _scenario(50, 32, 100_000, quick=24_000),
        _scenario(50, 1, 15_000),
        _scenario(1, 1, 2_000),
    ]


def _scenario(connections: int, depth: int, amount: int, quick: int = 0) -> Scenario:
    return Scenario(
        group="message",
        name=f"message, {connections} × {depth} in flight",
        amount=amount,
        unit="lines",
        contenders=lambda amount: _contenders(connections, depth, amount),
        quick=quick,
        cost=1.1,
        notes=_NOTES,
    )


def _contenders(connections: int, depth: int, amount: int) -> AbstractContextManager[list[Contender]]:
    servers = {
        "pure": _HANDLER.format(impl="pure"),
        "native": _HANDLER.format(impl="native"),
        "native batch": _BATCH,
        **protocols(_PROTOCOL),
        "streams": _STREAMS,
        "oxisock.aio": _AIO,
    }
    line = b"hello world 001\n"
    return contenders(servers, Asking(connections, depth, line, line.upper(), amount))
