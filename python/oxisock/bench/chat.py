"""The chat benchmark: one talks with 8 lines in flight, and everybody else hears every line."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from . import Scenario
from .stage import contenders, has_uvloop

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_DELIVERIES = 200_000
_DEPTH = 8

_OURS = """
from oxisock import {impl}
server = {impl}.ChatServer(rate=None, echo=False, idle_timeout=None, max_clients=2000).start()
tell(server.address.port)
wait()
"""
_RAW = "from oxisock import _native\n_native.raw_chat_loop(tell)"
_PROTOCOL = """
import asyncio, {loop} as loop
clients = set()
class Chat(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.rest = transport, b""
        clients.add(transport)
    def connection_lost(self, error):
        clients.discard(self.transport)
    def data_received(self, data):
        *lines, self.rest = (self.rest + data).split(b"\\n")
        for line in lines:
            line = b"[somebody] " + line + b"\\n"
            for other in clients:
                if other is not self.transport:
                    other.write(line)
async def main():
    server = await asyncio.get_running_loop().create_server(Chat, "127.0.0.1", 0, backlog=4096)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()
loop.run(main())
"""


class Chatting(NamedTuple):
    """The load: how many listen, and how many deliveries there are to be; its notes are about latency."""

    listeners: int
    messages: int
    latencies: dict[str, list[tuple[float, float]]]
    notes: list[str]

    def ask(self, name: str, address: str) -> int:
        """Talk to the server called ``name`` and give the number of deliveries; ValueError for a wrong one."""
        from statistics import median

        from .. import _native

        lines = self.messages // self.listeners
        deliveries, _, *latency = _native.load_chat(address, self.listeners, _DEPTH, lines)
        self.latencies.setdefault(name, []).append((latency[0], latency[1]))
        self.notes[1:] = [
            f"{name}: half of the deliveries within {median(half for half, _ in rounds) * 1000:.2f} ms, "
            f"99 % within {median(most for _, most in rounds) * 1000:.2f} ms"
            for name, rounds in self.latencies.items()
        ]
        return deliveries


def scenarios() -> list[Scenario]:
    """Give one scenario for each number of listeners."""
    return [_scenario(listeners) for listeners in (100, 1000)]


def _scenario(listeners: int) -> Scenario:
    deliveries = _DELIVERIES // listeners * listeners
    notes = ["The CPU time is the server's alone; every line is looked for at every listener, in order."]
    return Scenario(
        name=f"chat, {listeners} listeners",
        amount=deliveries,
        unit="deliveries",
        contenders=partial(_contenders, Chatting(listeners, deliveries, {}, notes)),
        ratios=[("native", "raw loop"), ("uvloop", "native"), ("asyncio", "native"), ("pure", "native")],
        notes=notes,
    )


def _contenders(chatting: Chatting) -> AbstractContextManager[list[Contender]]:
    servers = {
        "raw loop": _RAW,
        "native": _OURS.format(impl="native"),
        "pure": _OURS.format(impl="pure"),
        "asyncio": _PROTOCOL.format(loop="asyncio"),
    }
    if has_uvloop():
        servers["uvloop"] = _PROTOCOL.format(loop="uvloop")
    return contenders(servers, chatting)
