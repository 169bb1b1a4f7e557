"""The echo server: it sends back every byte, unless it misbehaves on purpose."""

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
    """The types of the faults, for ``**faults: Unpack[FaultKeywords]``. ``Faults`` explains each of them."""

    cut: int | None
    delay: float
    reset_after: int | None
    drop: float
    seed: int


class Faults(NamedTuple):
    """Faults of an EchoServer, to test the framing and the timeouts of a client.

    Attributes:
        cut: the most bytes in one write, 1 or more; None: no limit.
        delay: seconds to wait before each write.
        reset_after: the number of bytes after which a connection is reset; None: never.
        drop: the probability, from 0 to 1, that a chunk gets no answer.
        seed: random seed for ``drop``; the same seed drops the same chunks.
    """

    cut: int | None = None
    delay: float = 0.0
    reset_after: int | None = None
    drop: float = 0.0
    seed: int = 0


class EchoServer(StreamServer):
    """A TCP server that sends back every byte. After a half-close, it sends the rest and closes the connection."""

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
        """Create a server. It begins to listen on ``start`` or ``with``.

        Arguments:
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            workers: the number of threads that share the connections, 1 or more.
            faults: how the server misbehaves on purpose; None: not at all.
            **limits: the fields of ``Limits``, by keyword.

        Raises ValueError for a bad argument. ``start`` raises the errors of binding.
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
