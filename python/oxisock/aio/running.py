"""A running server of framed connections on an event loop: accepts, calls handlers, stops."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING
from weakref import ref

from .. import hooks
from ..framing.bound import BoundCodec
from ..serving import log as server_log
from ..serving.limits import Limits
from ..sockets import forks
from ..sockets import listening as binding
from ..sockets.accepting import Door
from ..sockets.proxies import ProxyHeader
from ..types import Peer, ServerStats, StopReport
from .connection import ServedStream
from .knocking import Knocks
from .protocol import StreamProtocol
from .stream import FramedStream
from .tally import Tally

if TYPE_CHECKING:
    from ssl import SSLContext

Handler = Callable[[FramedStream, Peer], Awaitable[object]]
"""``async def handler(stream, peer)`` serves one connection. Its result is ignored."""

_ACCEPT_BATCH = 16  # newcomers in a row before other tasks run
# A handler that reads the end of the stream has this long, even without a drain.
_LAST_WORDS = 0.02
# A cancelled handler has this long: `stop` promises to return a tenth of a second after its drain.
_GRACE = 0.05

_serving: ContextVar[FramedRunning | None] = ContextVar("_serving", default=None)  # the server that a task belongs to


class FramedRunning(Tally):
    """A started server, as its own tasks hold it; the user holds the handle."""

    def __init__(
        self,
        listener: socket.socket,
        lent: ref[hooks.Lent[Handler]],
        bound: BoundCodec,
        limits: Limits,
        tls: SSLContext | None,
        handshake_timeout: float | None,
    ) -> None:
        self._tls = tls
        if tls is not None:
            from .secured import shake_hands  # import it now: later, there may be no free descriptor to read it with

            self._shake_hands = shake_hands
        self._handshake_timeout = handshake_timeout
        super().__init__(asyncio.get_running_loop())
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self.report = StopReport()
        self.stopping = False
        self._accepted = self._closed = self._handler_errors = self._frame_errors = self._handshake_errors = 0
        self._lent = lent
        self._bound = bound
        self._limits = limits
        self._plan = limits.plan()
        self._door = Door(listener, self._plan)
        self._knocks = Knocks(self.loop, listener, self._knocked)
        self._streams: dict[asyncio.Task[None], ServedStream] = {}
        self._changed = asyncio.Event()
        self._stop_at = float("inf")
        self._signals = 0  # how many signals asked it to stop
        self._listening = self.loop.create_task(self._listen())
        self._end_task: asyncio.Task[None] | None = None
        forks.live.add(self)

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening and end within ``drain`` seconds. Another call may bring the end forward."""
        if drain is not None:
            self._stop_at = min(self._stop_at, self.loop.time() + drain)
        self._changed.set()
        if not self.stopping:
            self.stopping = True
            self._end_task = self.loop.create_task(self._end())

    def signalled(self, drain: float | None, number: int, frame: FrameType | None) -> None:
        """Stop with ``drain`` at the first signal, and at once at the second."""
        self._signals += 1
        # A signal handler may call only this; it also wakes the loop.
        self.loop.call_soon_threadsafe(self.begin_stop, drain if self._signals == 1 else 0.0)

    def inside(self) -> bool:
        """Return whether the running task is a handler's."""
        return asyncio.current_task() in self._streams

    def stats(self) -> ServerStats:
        """Return the counters."""
        streams = list(self._streams.values())  # a copy, because another thread may call this
        return ServerStats(
            accepted=self._accepted,
            active=self._accepted - self._closed,
            closed=self._closed,
            shed=self._door.shed,
            rejected=self._door.rejected,
            messages=self.messages - sum(stream.unhandled() for stream in streams),
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out - sum(stream.unsaid() for stream in streams),
            handler_errors=self._handler_errors,
            frame_errors=self._frame_errors,
            timeouts=self.timeouts,
            handshake_errors=self._handshake_errors,
        )

    def forked(self) -> None:
        """Note that this is the parent of a fork."""
        self.shut_first = True

    def abandon(self) -> None:
        """Close the listening descriptor in a forked child."""
        self._door.abandon()
        if _serving.get() is self:
            # If the handler waits for something in the child, the loop would serve there too.
            self.child = True
            for stream in self._streams.values():
                stream.copied()
            self.loop.call_soon(forks.end_child, server_log.child_returned)

    # --- accepting -------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """Accept until a stop or the end of the loop cancels this."""
        _serving.set(self)
        # Not sock_accept: if it is cancelled while a connection waits, it accepts the connection and loses it.
        door = self._door
        try:
            while True:
                if self._room() > 0 and time.monotonic_ns() >= door.again:
                    try:
                        self._knocks.watch()
                    except OSError:  # the system cannot watch more sockets
                        self._back_off()
                await self._changed.wait()
                self._changed.clear()
        finally:
            self._knocks.close()
            door.close(self.shut_first)

    def _room(self) -> int:
        return self._plan.max_connections - len(self._streams)

    def _knocked(self) -> None:
        door, now = self._door, time.monotonic_ns()
        for sock, peer in door.newcomers(min(self._room(), _ACCEPT_BATCH), now):
            self._take(sock, peer)
        if door.again > now:
            self._back_off()
        elif self._room() <= 0:
            self._knocks.ignore()

    def _back_off(self) -> None:
        self._knocks.ignore()
        self._door.back_off(time.monotonic_ns())
        self.loop.call_later((self._door.again - time.monotonic_ns()) / 1e9, self._changed.set)

    def _take(self, sock: socket.socket, peer: Peer) -> None:
        binding.prepare(sock, self._plan.nodelay, self._plan.keepalive)
        stream = ServedStream(self._bound, self._limits, self)
        if self.child:  # the codec has forked
            forks.end_child(server_log.child_returned)
        self._accepted += 1
        task = self.loop.create_task(self._serve(sock, stream, peer))
        self._streams[task] = stream
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self.messages -= self._streams.pop(task).unhandled()
        self._closed += 1
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.call_exception_handler({"message": "a connection ended badly", "exception": error, "task": task})

    # --- one connection --------------------------------------------------------------------------------------------

    async def _serve(self, sock: socket.socket, stream: ServedStream, peer: Peer) -> None:
        """Serve one connection from its beginning to its end."""
        _serving.set(self)
        task = asyncio.current_task()
        source = await self._admitted(sock, stream, peer)
        if source is None:
            sock.close()
            return
        # No coroutine stands between this one and the handler's, because each would cost time for every message.
        try:
            if not await self._opened(sock, stream, source):
                return
            try:
                stream.begin(source)
                try:
                    if (conversation := self._conversation(stream, source)) is not None:
                        hooks.check_ran("a handler", await stream.driven(conversation))
                except BaseException as error:
                    if not self._told(task, stream, source, error):
                        raise
                finally:
                    if self.child:
                        forks.end_child(server_log.child_returned)
                await stream.part()
            finally:
                if not stream.gone():
                    stream.abort()
                    await stream.wait_closed()
        finally:
            self._door.left(source)

    async def _admitted(self, sock: socket.socket, stream: ServedStream, peer: Peer) -> Peer | None:
        """Return the peer, which a proxy names first; None if the connection is not to be served."""
        if not self._door.is_proxy(peer):
            return peer
        stream.expected = True
        try:
            source = await self._introduced(sock, peer)
        except BaseException:
            sock.close()
            raise
        stream.expected = False
        if source is None or self._door.admit(source):
            return source
        self._accepted -= 1  # there are too many connections from that address
        self._closed -= 1
        return None

    async def _introduced(self, sock: socket.socket, peer: Peer) -> Peer | None:
        """Read the proxy's header and return the peer; None if no good header comes."""
        header, patience = ProxyHeader(), self._plan.header_timeout / 1e9
        wrong: ValueError | None = None
        try:
            async with asyncio.timeout(patience):
                while data := await self.loop.sock_recv(sock, header.wanted):
                    if header.feed(data) >= 0:
                        return header.source or peer
            wrong = ValueError("the stream ended within a PROXY header")
        except ValueError as error:
            wrong = error
        except TimeoutError:
            wrong = ValueError(f"no PROXY header within {patience:g} s")
        except OSError as error:
            server_log.lost(peer, error)
        if wrong is not None:
            self._frame_errors += 1
            server_log.framing_broken(peer, wrong)
        return None

    async def _opened(self, sock: socket.socket, stream: ServedStream, peer: Peer) -> bool:
        """Open the stream, with TLS after a handshake. Return whether that succeeded."""
        try:
            if self._tls is None:
                await self.loop.connect_accepted_socket(partial(StreamProtocol, stream), sock)
            elif not await self._secured(sock, stream, peer, self._tls):
                return False
        except BaseException:
            sock.close()
            raise
        if not self._plan.nodelay:
            with suppress(OSError):  # the loop has switched it on
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        return True

    async def _secured(self, sock: socket.socket, stream: ServedStream, peer: Peer, context: SSLContext) -> bool:
        """Do the handshake and return whether it succeeded."""
        stream.expected = True
        try:
            async with asyncio.timeout(self._handshake_timeout):
                await self._shake_hands(stream, sock, context, None)
        except TimeoutError:
            self.timeouts += 1
            server_log.timed_out(peer)
        except (OSError, ValueError) as error:
            self._handshake_errors += 1
            server_log.lost(peer, error)
        stream.expected = False
        return stream.begun()

    def _conversation(self, stream: ServedStream, peer: Peer) -> Awaitable[object] | None:
        """Call the handler; return None if the server has been dropped and is stopping."""
        lent = self._lent()
        if lent is None:
            return None
        conversation = lent.function(stream, peer)
        if not inspect.isawaitable(conversation):
            raise hooks.wrong("a handler returns something to await", conversation)
        return conversation

    def _told(self, task: asyncio.Task[None] | None, stream: ServedStream, peer: Peer, error: BaseException) -> bool:
        """Log how a handler failed. Return False if the exception is to be raised instead."""
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return False  # a cancellation from outside is no failure of the handler
        if isinstance(error, GeneratorExit) and asyncio.current_task(self.loop) is not task:
            return False  # the loop has ended, and the coroutine is being collected
        self._failed(stream, peer, error)
        return not hooks.is_ctrl_c(error)

    def _failed(self, stream: ServedStream, peer: Peer, error: BaseException) -> None:
        if not stream.raised(error):
            self._handler_errors += 1
            server_log.handler_failed(peer, error)
        elif stream.broken():
            self._frame_errors += 1
            server_log.framing_broken(peer, error)
        elif isinstance(error, TimeoutError):
            server_log.timed_out(peer)
        else:
            server_log.lost(peer, error)

    # --- the end ---------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        """End the handlers: first let them read the end of the stream, then cancel them."""
        began = time.monotonic()
        try:
            self._listening.cancel()
            await asyncio.wait([self._listening])
            total = len(self._streams)
            for task, stream in self._streams.items():
                if stream.expected:
                    task.cancel()
                else:
                    stream.end_input()
            await self._emptied(lambda: self._stop_at + _LAST_WORDS)
            left = dict(self._streams)
            aborted = sum(not stream.at_rest() for stream in left.values())
            for task, stream in left.items():
                task.cancel()
                if stream.begun():
                    stream.abort()
            until = self.loop.time() + _GRACE
            await self._emptied(lambda: until)
            elapsed = time.monotonic() - began
            self.report = StopReport(total - aborted, aborted, len(self._streams), elapsed)
        finally:
            forks.live.discard(self)
            self.ended.set_result(None)

    async def _emptied(self, until: Callable[[], float]) -> None:
        """Wait for all handlers to end, until a time that may move closer."""
        while self._streams and (left := until() - self.loop.time()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if left == float("inf") else left):
                    await self._changed.wait()
