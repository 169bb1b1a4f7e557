"""A TCP server with coroutine handlers: thousands of framed connections on one thread, with limits and drain."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import ref

from .. import arguments, hooks
from ..engines.selection import Impl
from ..framing.bound import BoundCodec
from ..serving import log as server_log
from ..serving.background import in_thread
from ..serving.lifecycle import Handle, heeding_signals
from ..serving.limits import Limits
from ..sockets import listening as binding
from ..sockets import secure
from ..types import ServerStats, StopReport
from .running import FramedRunning, Handler

if TYPE_CHECKING:
    from ssl import SSLContext


class FramedServer(Handle):
    """A TCP server on the event loop in which it was started. ``aio.start_server`` makes it.

    ``await`` starts and returns it. ``async with`` starts it, if it is not started, and stops it at the end.
    """

    def __init__(
        self,
        impl: Impl,
        handler: Handler,
        bound: BoundCodec,
        host: str,
        port: int,
        sock: socket.socket | None,
        ssl: SSLContext | None,
        handshake_timeout: float | None,
        limits: Mapping[str, Any],
    ) -> None:
        super().__init__(host, port, sock)
        self.impl: Impl = impl
        self._handler = hooks.Lent(arguments.coroutine_function(handler, "handler"))
        self._bound = bound
        self._tls = secure.server_side(ssl)
        self._handshake_timeout = arguments.timeout(handshake_timeout, "handshake_timeout")
        self._limits = Limits.of("start_server", limits)
        self._starting = False
        self._running: FramedRunning | None = None

    async def start(self) -> Self:
        """Bind, serve, and return the server itself.

        Raises OSError if the server cannot bind; the message has host and port, and the error keeps its errno. Raises
        RuntimeError for a second start.
        """
        self._check_process()
        if self._starting:
            raise RuntimeError("the server was started before: create a new one to serve again")
        self._starting = True
        try:
            # Looking up a name may take a while.
            listener = await in_thread(self._listen, undo=socket.socket.close)
        except BaseException:
            self._starting = False
            raise
        self._pid = os.getpid()
        self._address = binding.address_of(listener)
        server_log.listens("an asyncio server", self._address)
        try:
            self._running = FramedRunning(
                listener, ref(self._handler), self._bound, self._limits, self._tls, self._handshake_timeout
            )
        except BaseException:
            listener.close()
            self._starting = False
            raise
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self.start().__await__()

    async def __aenter__(self) -> Self:
        if self._running is None:
            await self.start()
        self._check_process()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self, drain: float | None = 0.0) -> StopReport:
        """Stop listening, wait for the handlers at most ``drain`` seconds (None: no limit), then cancel them.

        Handlers read the end of their streams at once. After the drain, the server cancels those that still run and
        cuts their connections. Returns a StopReport. Before the start it returns a report of zeros, and after the end
        the last report. If one of its own handlers calls this, the call begins the stop and returns at once. Raises
        ValueError for a negative ``drain``.
        """
        self._check_process()
        drain = arguments.timeout(drain, "drain", zero=True)
        running = self._running
        if running is None:
            return StopReport()
        running.begin_stop(drain)
        if self._sock is not None:
            self._sock.close()
        if not running.inside():
            await asyncio.wait([running.ended])
        return running.report

    async def serve_forever(self, drain: float | None = 5.0) -> StopReport:
        """Serve until SIGTERM, Ctrl-C or a ``stop`` elsewhere, then return the report. Starts the server if necessary.

        The first signal stops the server with ``drain`` (seconds; None: no limit), the second one at once. Signals are
        handled in the main thread only. Cancelling this stops the server at once.
        """
        self._check_process()
        drain = arguments.timeout(drain, "drain", zero=True)
        if self._running is None:
            await self.start()
        running = self._running
        assert running is not None
        try:
            with heeding_signals(partial(running.signalled, drain)):
                await asyncio.wait([running.ended])
        finally:
            await self.stop()
        return running.report

    def stats(self) -> ServerStats:
        """Return the counters: zeros before the start, the final counters after ``stop``."""
        self._check_process()
        return ServerStats() if self._running is None else self._running.stats()

    def __repr__(self) -> str:
        return self._shown(self.impl, self._running is None or self._running.stopping)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        running = getattr(self, "_running", None)
        if running is None or ending() or running.stopping or self._pid != os.getpid() or running.loop.is_closed():
            return
        warnings.warn(f"{self!r} was dropped while running", ResourceWarning, stacklevel=1, source=self)
        with suppress(RuntimeError):  # the loop was closed meanwhile
            running.loop.call_soon_threadsafe(running.begin_stop, 0.0)

    def _listen(self) -> socket.socket:
        return self._limits.listen(self._host, self._port, self._sock)
