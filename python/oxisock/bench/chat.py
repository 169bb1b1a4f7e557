"""The chat benchmark: one client sends with 8 lines in flight, and all others receive every line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import Clocked, Scenario
from .stage import HOST, NOTE, Answers, contenders, protocols

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_DEPTH = 8

_OURS = """
from oxisock import {impl}
server = {impl}.ChatServer(rate=None, echo=False, idle_timeout=None, max_clients=2000).start()
tell(server.address.port)
wait()
"""
_CEILING = "from oxisock import _native\n_native.raw_chat_loop(tell)"
_PROTOCOL = r"""
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            line = b"[somebody] " + line + b"\n"
            for other in connected:
                if other is not self.transport:
                    other.write(line)
"""

_NOTES = (
    NOTE,
    "Every listener must get every line, in order. Latency is that of single deliveries. Ceiling: a loop in the native "
    "core that passes bytes on, with one write for each listener and line. asyncio and uvloop: a hand-written "
    "`Protocol`, without nicks, limits or slow listeners.",
)


class Talking(NamedTuple):
    """The load: how many listen, and how many deliveries there are to be."""

    listeners: int
    messages: int

    def ask(self, port: int) -> Answers:
        """Talk to the server, and wait until everybody has heard all."""
        from .. import _native

        lines = self.messages // self.listeners
        deliveries, seconds, half, most = _native.load_chat(f"{HOST}:{port}", self.listeners, _DEPTH, lines)
        return Answers(deliveries, Clocked(seconds, (half, most)))


def scenarios() -> list[Scenario]:
    """Return one scenario for each number of listeners."""
    return [_scenario(100, 80_000, quick=20_000), _scenario(1000, 200_000)]


def _scenario(listeners: int, amount: int, quick: int = 0) -> Scenario:
    return Scenario(
        group="chat",
        name=f"chat, {listeners:,} listeners",
        amount=amount,
        unit="deliveries",
        contenders=lambda amount: _contenders(listeners, amount),
        quick=quick,
        cost=amount / 50_000,
        notes=_NOTES,
    )


def _contenders(listeners: int, amount: int) -> AbstractContextManager[list[Contender]]:
    servers = {
        "pure": _OURS.format(impl="pure"),
        "native": _OURS.format(impl="native"),
        "ceiling": _CEILING,
        **protocols(_PROTOCOL),
    }
    return contenders(servers, Talking(listeners, amount))
