"""The message benchmark: a Python handler answers lines in capitals; also measures waiting during a flood."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from . import Clocked, Scenario
from .stage import HOST, NOTE, Answers, Asking, contenders, protocols

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from . import Contender

_HANDLER = """
from oxisock import {impl}
def handler(message, peer):
    return message.upper()
server = {impl}.MessageServer(handler, ssl=context).start()
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
    server = await asyncio.start_server(upper, "127.0.0.1", 0, ssl=context)
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
    async with aio.start_server(upper, ssl=context) as server:
        tell(server.address.port)
        await asyncio.Event().wait()
asyncio.run(main())
"""

_NOTES = (
    NOTE,
    "Native batch: `MessageServer(handler, batch=True)`. asyncio and uvloop: a hand-written `Protocol` that splits "
    "and answers a whole chunk in one call, without limits. Streams: `asyncio.start_server` with `readline`. "
    "oxisock.aio: `aio.start_server` with its lines, on asyncio's loop.",
    "At 50 × 32, the hand-written `Protocol` saves the handler call for each line, 45 ns, which is more than its lead. "
    "Of these, the call takes 20 ns, and the checks of the answer take 25 ns: its type, its length, and whether the "
    "handler forked. A native line there takes 160 ns in the system, 115 ns in Python and 40 ns in the engine.",
    "At 50 × 1, a poll finds 15 to 30 connections ready, with streams and with oxisock.aio. A line takes 8.4 µs with "
    "oxisock.aio: 5 µs in the system, 1.7 µs in the event loop, and 1.7 µs between socket and handler. Of these, 1.1 "
    "µs are the least that cuts a frame, runs the coroutine and frames the answer, and 0.6 µs are for limits, "
    "counters and writes that leave together. Without the 0.6 µs it was 1.3 times as fast as streams, as was a "
    "`Protocol` without coroutines.",
    "At 1 × 1, most of the time goes into waking: about 25 µs each way if a core sleeps, and almost nothing if it does "
    "not. The native server polls for 20 µs before it sleeps. So its peer gets the answer before its core sleeps, and "
    "asks again within those 20 µs. In a virtual machine, the host decides when a core sleeps, so one run may be 2.5 "
    "times as fast as another.",
)

LINE = b"hello world 001\n"
_QUIET, _RATE = 100, 2000  # connections with little to say, and what they say in a second, together
_FLOOD = 512  # lines in flight of the one that floods

_QUIET_NOTES = (
    f"{_QUIET} connections together ask {_RATE:,} times a second. Latency counts from the time when a line was due. "
    f"One floods: another connection always has {_FLOOD} lines in flight. Its thread runs with the lowest priority, on "
    "the core of the load.",
    "asyncio and uvloop: a hand-written `Protocol`, without limits.",
)


class Quiet(NamedTuple):
    """The load: many that say little, at a constant rate, and perhaps one that floods the server."""

    flooded: bool
    messages: int

    def ask(self, port: int) -> Answers:
        """Ask the server and compare each answer."""
        from .. import native

        with _flooding(port) if self.flooded else contextlib.nullcontext():
            report = native.load_test(
                HOST, port, connections=_QUIET, rate=_RATE, duration=self.messages / _RATE, size=len(LINE) - 1,
                codec="lines", expect="upper", prefix=b"", timeout=30.0,
            )  # fmt: skip
        figures = report.figures
        latency = figures["latency"]
        waits = None if latency is None else (latency["p50"], latency["p99"])
        # What a busy machine had no time to send is not wrong.
        return Answers(figures["answered"] + figures["unsent"], Clocked(figures["elapsed"], waits))


@contextlib.contextmanager
def _flooding(port: int) -> Iterator[None]:
    """Flood the server over one connection until the block ends."""
    from .. import _native

    over = threading.Event()

    def flood() -> None:
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # not every system allows it
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        while not over.is_set():
            # So many that the connection lasts: that others come and go is another matter.
            _native.load_tcp(f"{HOST}:{port}", 1, _FLOOD, LINE, LINE.upper(), 200 * _FLOOD)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def servers() -> dict[str, str]:
    """Return those who answer each line with capitals, in Python; they speak TLS where there is a ``context``."""
    return {
        "pure": _HANDLER.format(impl="pure"),
        "native": _HANDLER.format(impl="native"),
        **protocols(_PROTOCOL),
        "streams": _STREAMS,
        "oxisock.aio": _AIO,
    }


def scenarios() -> list[Scenario]:
    """Return one scenario for each number of connections and of lines in flight, and what floods cost others."""
    return [
        _scenario(50, 32, 100_000, quick=24_000),
        _scenario(50, 1, 15_000),
        _scenario(1, 1, 2_000),
        _quiet_scenario("", flooded=False),
        _quiet_scenario(", one floods", flooded=True),
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
    return contenders({**servers(), "native batch": _BATCH}, Asking(connections, depth, LINE, LINE.upper(), amount))


def _quiet_scenario(words: str, flooded: bool) -> Scenario:
    return Scenario(
        group="message",
        name=f"message, {_QUIET} with little to say{words}",
        amount=1_000,
        unit="lines",
        contenders=lambda amount: _quiet_contenders(flooded, amount),
        cost=2.5,
        notes=_QUIET_NOTES,
    )


@contextlib.contextmanager
def _quiet_contenders(flooded: bool, amount: int) -> Iterator[list[Contender]]:
    some = {name: code for name, code in servers().items() if name != "streams"}
    with contenders(some, Quiet(flooded, amount)) as found:
        # The CPU time of a server that is flooded says nothing of the few lines.
        yield [each._replace(cpu=lambda: None) for each in found] if flooded else found
