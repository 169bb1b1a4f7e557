"""The echo server: every byte comes back, or, on purpose, does not."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from .. import arguments
from ..arguments import spelled_out
from ..engines.serving import NEVER, FaultPlan
from .lifecycle import EngineRunning
from .limits import LimitKeywords, Limits, StreamServer

if TYPE_CHECKING:
    from ..types import Peer


class FaultKeywords(TypedDict, total=False):
    """The faults by name and type, for ``**faults: Unpack[FaultKeywords]``; ``Faults`` says what they mean."""

    cut: int | None
    delay: float
    reset_after: int | None
    drop: float
    seed: int


class Faults(NamedTuple):
    """Misbehaviour on purpose, to see whether a client's framing and timeouts hold.

    Attributes:
        cut: the most bytes of one write, 1 and up; None: as many as go.
        delay: the seconds before each write.
        reset_after: the bytes after which a connection is reset; None: never.
        drop: the chance, from 0 to 1, that a piece that arrived is swallowed and never answered.
        seed: where those chances start; the same seed drops the same pieces.
    """

    cut: int | None = None
    delay: float = 0.0
    reset_after: int | None = None
    drop: float = 0.0
    seed: int = 0


class EchoServer(StreamServer):
    """Sends back every byte it gets; a half-closed connection gets the rest and is closed."""

    @spelled_out(Limits)
    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        workers: int = 1,
        faults: Faults | None = None,
        **limits: Unpack[LimitKeywords],
    ) -> None:
        """Say where to listen, and within which limits; ``start`` does it.

        Arguments:
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            workers: how many threads share the connections.
            faults: how to misbehave on purpose.
            **limits: those of ``serving.limits.Limits``.

        Raises ValueError for what makes no sense; errors of binding come from ``start``.
        """
        super().__init__(host, port, sock, limits)
        self._workers = arguments.threads(workers, "workers")
        self._faults = None if faults is None else _fault_plan(faults)

    def _launch(self) -> tuple[EngineRunning, Peer]:
        listener, address = self._listen()
        reactors = self._engine.serving.start_echo(listener.detach(), self._limits.plan(), self._workers, self._faults)
        return EngineRunning(reactors), address


def _fault_plan(faults: Faults) -> FaultPlan:
    arguments.instance(faults, "faults", Faults, "Faults, or None for none")
    return FaultPlan(
        cut=0 if faults.cut is None else arguments.count(faults.cut, "cut"),
        delay=int(arguments.seconds(faults.delay, "delay", zero=True) * 1e9),
        reset_after=NEVER if faults.reset_after is None else arguments.count(faults.reset_after, "reset_after"),
        drop=int(arguments.chance(faults.drop, "drop") * 2**32),
        seed=arguments.count(faults.seed, "seed", 0, 2**64 - 1),
    )
