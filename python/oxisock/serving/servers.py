"""TCP servers on a reactor: echo, and a handler for each message; faces of both engines."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from ..engines.serving import NEVER, FaultPlan, ServerPlan
from ..framing.codecs import MIB, Codec, StreamCodec
from ..sockets import listening as binding
from ..types import Peer, ServerStats
from .lifecycle import Server, drain_nanoseconds
from .threads import Dispatcher, UserFramer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engines.framing import Framer
    from ..engines.serving import EchoRun


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


class Limits:
    """The limits that every TCP server takes, by keyword.

    Arguments:
        backlog: the most newcomers that wait to be accepted; the system may allow fewer.
        max_connections: the most connections at once; more wait in the backlog.
        idle_timeout: seconds since the last complete message (EchoServer: byte) after which a connection is closed;
            None: never.
        write_timeout: seconds without progress of a peer that does not read, after which it is reset; None: never.
        max_buffered: bytes on their way to one peer past which nothing more is read from it.
        reuse_port: share the port with other processes that say so too (SO_REUSEPORT).
        nodelay: send small answers at once (TCP_NODELAY).
        keepalive: let the system look whether silent peers are still there (SO_KEEPALIVE).
        dual_stack: with an IPv6 address such as "::", take IPv4 too.

    Raises ValueError for a number that makes no sense. (Seconds become integer nanoseconds in ``plan``.)
    """

    def __init__(
        self,
        *,
        backlog: int = 1024,
        max_connections: int = 10_000,
        idle_timeout: float | None = 300.0,
        write_timeout: float | None = 30.0,
        max_buffered: int = 1 << 20,
        reuse_port: bool = False,
        nodelay: bool = True,
        keepalive: bool = False,
        dual_stack: bool = False,
    ) -> None:
        self.backlog = positive("backlog", backlog)
        self.reuse_port = bool(reuse_port)
        self.dual_stack = bool(dual_stack)
        self.idle_timeout = idle_timeout
        self.write_timeout = write_timeout
        self.plan = ServerPlan(
            max_connections=positive("max_connections", max_connections),
            idle_timeout=nanoseconds("idle_timeout", idle_timeout),
            write_timeout=nanoseconds("write_timeout", write_timeout),
            max_buffered=positive("max_buffered", max_buffered),
            nodelay=bool(nodelay),
            keepalive=bool(keepalive),
        )

    def listen(self, host: str, port: int, sock: socket.socket | None) -> socket.socket:
        """Make the listener, or take over ``sock``; raises as ``binding`` does."""
        if sock is not None:
            return binding.adopt(sock, socket.SOCK_STREAM, backlog=self.backlog)
        return binding.bind(
            host,
            port,
            socket.SOCK_STREAM,
            reuse_port=self.reuse_port,
            dual_stack=self.dual_stack,
            backlog=self.backlog,
        )


def positive(name: str, value: int) -> int:
    """Give ``value`` back; raise ValueError unless it is an integer from 1 to 2**31 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
        raise ValueError(f"{name} must be an integer from 1 to 2**31 - 1, not {value!r}")
    return value


def nanoseconds(name: str, seconds: float | None) -> int:
    """Give a timeout in nanoseconds, NEVER for None; raise ValueError unless it is a positive number."""
    if seconds is None:
        return NEVER
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds > 0:
        raise ValueError(f"{name} must be a positive number of seconds, or None, not {seconds!r}")
    return NEVER if math.isinf(seconds) else min(int(seconds * 1e9), NEVER)


class StreamServer(Server):
    """What the TCP servers have in common: host, port or socket, and limits."""

    def __init__(self, host: str, port: int, sock: socket.socket | None, limits: dict[str, Any]) -> None:
        self._host = host
        self._port = binding.check_port(port)
        self._limits = Limits(**limits)
        super().__init__(sock=sock)

    def _listen(self) -> tuple[socket.socket, Peer]:
        listener = self._limits.listen(self._host, self._port, self._sock)
        address = binding.address_of(listener)
        binding.warn_unless_loopback(self._kind, address)
        return listener, address


class EchoServer(StreamServer):
    """Sends back every byte it gets; a half-closed connection gets the rest and is closed."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        workers: int = 1,
        faults: Faults | None = None,
        **limits: Any,
    ) -> None:
        """Say where to listen, and within which limits; ``start`` does it.

        Arguments:
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            workers: how many threads share the connections.
            faults: how to misbehave on purpose.
            **limits: those of ``servers.Limits``: backlog=1024, max_connections=10_000, idle_timeout=300.0 seconds,
                write_timeout=30.0 seconds, max_buffered=1 MiB, reuse_port=False, nodelay=True, keepalive=False,
                dual_stack=False.

        Raises ValueError for what makes no sense; errors of binding come from ``start``.
        """
        super().__init__(host, port, sock, limits)
        self._workers = positive("workers", workers)
        self._faults = None if faults is None else _fault_plan(faults)

    def _launch(self) -> tuple[_EchoRunning, Peer]:
        listener, address = self._listen()
        run = self._engine.serving.start_echo(listener.detach(), self._limits.plan, self._workers, self._faults)
        return _EchoRunning(run), address


class MessageServer(StreamServer):
    """Calls a handler for every message, and sends what it returns."""

    def __init__(
        self,
        handler: Callable[..., Any],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        codec: Codec | None = None,
        batch: bool = False,
        dispatchers: int = 1,
        **limits: Any,
    ) -> None:
        """Say what to do with messages, where to listen, and within which limits; ``start`` does it.

        Arguments:
            handler: ``handler(message, peer)`` gets bytes and the ``(host, port)`` that they came from, and gives the
                answer as bytes, or None for none.
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            codec: how messages stand in the stream; None is ``Lines(eof_frame=True)``.
            batch: call ``handler([(message, peer), ...])`` with all messages that are there; it gives a list as long,
                of bytes, None or an Exception.
            dispatchers: the most calls at once. Those of one connection never overlap, and its answers keep their
                order.
            **limits: those of EchoServer; ``idle_timeout`` is the time since the last complete message.

        A handler that raises or gives another type is logged with its peer and closes that connection; a batch that
        raises or has the wrong length closes all in it.

        Raises ValueError or TypeError for what makes no sense; errors of binding come from ``start``.
        """
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        super().__init__(host, port, sock, limits)
        self._handler = handler
        known: Framer | None = None
        if codec is None:
            known = self._engine.framing.lines_framer(False, True, MIB)
        elif isinstance(codec, StreamCodec):
            known = codec._framer_of(self._engine.framing)
        elif not callable(getattr(codec, "decoder", None)) or not callable(getattr(codec, "encode", None)):
            raise TypeError(f"codec must have encode and decoder, as {codec!r} has not")
        self._known_framer = known
        self._framer = UserFramer(codec) if known is None and codec is not None else known
        self._batch = bool(batch)
        self._dispatchers = positive("dispatchers", dispatchers)

    def _launch(self) -> tuple[Dispatcher, Peer]:
        listener, address = self._listen()
        reactor = self._engine.serving.message_reactor(listener.detach(), self._limits.plan, self._known_framer)
        assert self._framer is not None
        return Dispatcher(reactor, self._framer, self._handler, self._batch, self._dispatchers), address


class _EchoRunning:
    """An engine's echo server, as the lifecycle wants it."""

    def __init__(self, run: EchoRun) -> None:
        self._run = run
        self.wait = run.wait
        self.forked = run.forked
        self.abandon = run.abandon

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        self._run.begin_stop(drain_nanoseconds(drain))

    def outcome(self) -> tuple[int, int, int]:
        """Give the connections drained and aborted by the stop; there are no handlers."""
        return (*self._run.outcome(), 0)

    def stats(self) -> ServerStats:
        """Give the counters."""
        return ServerStats(*self._run.counters())

    def inside(self) -> bool:
        """No Python runs in an echo server."""
        return False


def _fault_plan(faults: Faults) -> FaultPlan:
    if not 0.0 <= faults.drop <= 1.0:
        raise ValueError(f"drop must be from 0 to 1, not {faults.drop!r}")
    if faults.delay < 0:
        raise ValueError(f"delay must not be negative, as {faults.delay!r} is")
    return FaultPlan(
        cut=0 if faults.cut is None else positive("cut", faults.cut),
        delay=nanoseconds("delay", faults.delay) if faults.delay else 0,
        reset_after=NEVER if faults.reset_after is None else positive("reset_after", faults.reset_after),
        drop=int(faults.drop * 2**32),
        seed=faults.seed & (2**64 - 1),
    )
