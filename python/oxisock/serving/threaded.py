"""A server with a thread for each connection, the same class for both engines."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TypeAlias, Unpack
from weakref import ref

from .. import arguments, hooks
from ..arguments import spelled_out
from ..framing.bound import BoundCodec
from ..framing.codecs import Codec
from ..sockets import secure, selecting
from ..sockets.accepting import WatchedDoor
from ..sockets.closing import reset_on_close, shut_down, shut_down_named
from ..sockets.forks import end_child
from ..sockets.listening import prepare
from ..sockets.waking import Bell
from ..types import Peer, ServerStats
from . import log as server_log
from .lifecycle import HandlerThreads
from .limits import LimitKeywords, Limits, StreamServer
from .thread_connection import Counters, ThreadConnection

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..engines.framing import FramingModule

ThreadHandler: TypeAlias = Callable[[ThreadConnection, Peer], None]
"""``handler(conn, peer)`` serves one connection. It is a plain function, and its result is ignored. A coroutine or a
generator as the result is an error, because nothing of it has run."""

_LAST_WORDS = 0.03  # seconds after the drain, for handlers that are just reading the end of the stream
_ACCEPTS = 64  # connections accepted in one turn


class ThreadedServer(StreamServer):
    """A TCP server that calls a handler for each connection, in a thread of its own. Both engines share this class."""

    @spelled_out(Limits)
    def __init__(
        self,
        handler: ThreadHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        codec: Codec | None = None,
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 5.0,
        **limits: Unpack[LimitKeywords],
    ) -> None:
        """Create a server. It begins to listen on ``start`` or ``with``.

        Arguments:
            handler: ``handler(conn, peer)`` gets a ThreadConnection and the client as ``(host, port)``. When it
                returns, the connection is closed. If it raises, that is logged, and only its connection ends.
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            codec: how messages are framed, for ``conn.frames()`` and ``conn.send_frame(payload)``; None is
                ``Lines(eof_frame=True)``.
            ssl: the context for a server with TLS; None: no TLS.
            handshake_timeout: as for MessageServer.
            **limits: those of EchoServer. ``idle_timeout`` and ``write_timeout`` limit how long each operation waits.

        When the server stops, handlers read the end of the stream. After the drain, the server cuts their connections.

        Raises ValueError or TypeError for a bad argument. ``start`` raises the errors of binding.
        """
        super().__init__(host, port, sock, limits)
        self._handler = hooks.Lent(arguments.function(handler, "handler"))
        self._codec = BoundCodec(
            self._engine.names.Lines(eof_frame=True) if codec is None else codec, self._engine.framing
        )
        self._tls = secure.server_side(ssl)
        self._handshake_timeout = arguments.timeout(handshake_timeout, "handshake_timeout")

    def _launch(self) -> tuple[_ThreadedRunning, Peer]:
        listener, address = self._listen()
        running = _ThreadedRunning(
            listener,
            ref(self._handler),
            self._limits,
            self._engine.framing,
            self._codec,
            self._tls,
            self._handshake_timeout,
        )
        return running, address


class _ThreadedRunning(HandlerThreads):
    """A started threaded server: one thread that accepts, and one for each connection."""

    def __init__(
        self,
        listener: socket.socket,
        lent: ref[hooks.Lent[ThreadHandler]],
        limits: Limits,
        engine: FramingModule,
        codec: BoundCodec,
        tls: SSLContext | None,
        handshake_timeout: float | None,
    ) -> None:
        self._tls = tls
        self._handshake_timeout = handshake_timeout
        self._lent = lent
        self._limits = limits
        self._plan = limits.plan()
        self._engine = engine
        self._codec = codec
        self._counters = Counters()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, ThreadConnection] = {}
        self._drained = self._aborted = 0
        self._stop_at: float | None = None
        self._cut = False
        self._shut_first = False
        self._abandoned = False  # whether this is a forked child's copy
        super().__init__()
        with ExitStack() as undo:
            undo.callback(listener.close)
            self._selector = undo.enter_context(selecting.Selector())
            self._bell = Bell()
            undo.callback(self._bell.close)
            self._selector.register(self._bell.heard, selectors.EVENT_READ)
            # All threads that wait for TLS watch this bell. It is rung once, and never hushed.
            self._stopping = Bell()
            undo.callback(self._stopping.close)
            self._door = WatchedDoor(listener, self._plan, self._selector)
            undo.callback(self._door.close)
            self._latch.spawn("oxisock-threaded", self._accept)
            undo.pop_all()

    # --- what the lifecycle asks ---------------------------------------------------------------------------------

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        stop_at = float("inf") if drain is None else time.monotonic() + drain
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)
        self._bell.ring()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether all threads have ended."""
        deadline = time.monotonic() + timeout
        accepting = not self._latch.join(timeout)
        for thread in list(self._connections):
            # A thread that is about to start cannot be joined. While there is one, the acceptor has not ended either.
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not accepting and not self._connections

    def outcome(self) -> tuple[int, int, int]:
        """Return the connections drained and aborted by the stop, and the handlers that still run."""
        self._cut_off()  # the acceptor may not have done it yet
        with self._lock:
            return self._drained, self._aborted, len(self._connections)

    def stats(self) -> ServerStats:
        """Return the counters."""
        return self._counters.stats()._replace(shed=self._door.shed, rejected=self._door.rejected)

    def inside(self) -> bool:
        """Return whether the calling thread is a handler's."""
        return threading.current_thread() in self._connections

    def forked(self) -> None:
        """Note that this is the parent of a fork."""
        self._shut_first = True

    def abandon(self) -> None:
        """Note that this is the child of a fork."""
        self._abandoned = True
        self._counters.abandon()
        self._door.abandon()
        for conn in self._connections.values():
            conn.sock.close()

    # --- accepting -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        door, selector, bell = self._door, self._selector, self._bell
        try:
            while self._stop_at is None:
                now = time.monotonic_ns()
                door.listen(self._room() > 0, now)
                for key, _ in selector.select((door.again - now) / 1e9 if door.again > now else None):
                    if key.fileobj is bell.heard:
                        bell.hush()
                    else:
                        self._welcome()
        finally:
            if self._stop_at is None:
                self._stop_at = time.monotonic()  # the acceptor failed; this ends its connections too
            door.close(self._shut_first)
            try:
                self._end()
            finally:
                selector.close()
                bell.close()
                self._stopping.close()

    def _room(self) -> int:
        return self._plan.max_connections - len(self._connections)

    def _welcome(self) -> None:
        """Accept waiting connections, and start a thread for each."""
        plan = self._plan
        for sock, peer in self._door.newcomers(min(self._room(), _ACCEPTS), time.monotonic_ns()):
            prepare(sock, plan.nodelay, plan.keepalive)
            conn = ThreadConnection(
                sock,
                peer,
                self._limits.idle_timeout,
                self._limits.write_timeout,
                self._counters,
                self._engine,
                self._codec,
                self._stopping,
            )
            thread = threading.Thread(target=self._serve, args=(conn,), name=f"oxisock-{peer}", daemon=True)
            with self._lock:
                self._connections[thread] = conn
            self._counters.add(accepted=1, active=1)
            try:
                thread.start()
            except RuntimeError:  # there are no more threads
                with self._lock:
                    del self._connections[thread]
                sock.close()
                if not self._door.is_proxy(peer):  # whoever is behind a proxy was not counted yet
                    self._door.left(peer)
                self._counters.add(accepted=-1, active=-1)
                self._door.shed += 1
                self._door.back_off(time.monotonic_ns())
                return

    def _end(self) -> None:
        """End the handlers: first let them read the end of the stream, then cut their connections."""
        for conn in list(self._connections.values()):
            with suppress(OSError):
                conn.stopping = True
                if self._tls is None:
                    conn.sock.shutdown(socket.SHUT_RD)
        self._stopping.ring()
        while self._connections:
            assert self._stop_at is not None
            left = self._stop_at + _LAST_WORDS - time.monotonic()
            if left <= 0:
                break
            if self._selector.select(min(left, 3600.0)):
                self._bell.hush()
        self._cut_off()

    def _cut_off(self) -> None:
        """Cut the connections whose handlers have not ended."""
        with self._lock:
            if self._cut:
                return
            self._cut = True
            for conn in self._connections.values():
                if conn.waiting:  # about to read the end of the stream
                    self._drained += 1
                else:
                    self._aborted += 1
                    conn.cut = True
                    reset_on_close(conn.sock)
                shut_down(conn.sock)
                if conn.sock.fileno() < 0:  # the handler has closed it, or wrapped it in another object
                    shut_down_named(conn.name)

    # --- one connection ------------------------------------------------------------------------------------------

    def _serve(self, conn: ThreadConnection) -> None:
        door = self._door
        admitted = not door.is_proxy(conn.peer)
        refused = False
        try:
            try:
                if not admitted and self._introduce(conn):
                    admitted = door.admit(conn.peer)
                    refused = not admitted
                if admitted and self._stop_at is None and self._secure(conn):
                    self._call(conn)
            finally:
                if self._abandoned:
                    end_child(server_log.child_returned)
                conn._end(self._shut_first)
        finally:
            if admitted:
                door.left(conn.peer)
            self._counters.add(active=-1, closed=not refused, accepted=-refused)
            with self._lock:
                del self._connections[threading.current_thread()]
                if self._stop_at is not None and not self._cut:
                    self._drained += 1
            self._bell.ring()

    def _introduce(self, conn: ThreadConnection) -> bool:
        """Read the proxy's header; return whether a good one came."""
        try:
            conn._introduce(self._plan.header_timeout / 1e9)
        except ValueError as error:
            if self._stop_at is None:
                self._counters.add(frame_errors=1)
                server_log.framing_broken(conn.peer, error)
        except OSError as error:
            server_log.lost(conn.peer, error)
        else:
            return True
        return False

    def _secure(self, conn: ThreadConnection) -> bool:
        """Do the handshake, if this is a server with TLS; return whether the connection can be used."""
        if self._tls is None:
            return True
        try:
            conn._secure(self._tls, self._handshake_timeout)
        except TimeoutError:
            self._counters.add(timeouts=1)
            server_log.timed_out(conn.peer)
        except (OSError, ValueError) as error:
            if not conn.stopping:
                self._counters.add(handshake_errors=1)
                server_log.lost(conn.peer, error)
        else:
            return not conn.stopping
        return False

    def _call(self, conn: ThreadConnection) -> None:
        lent = self._lent()
        if lent is None:  # the server has been dropped and is stopping
            return
        try:
            with suppress(OSError):  # the handler's own calls on the socket wait without a limit, as on a new socket
                conn.sock.setblocking(True)
            result: object = lent.function(conn, conn.peer)
            hooks.check_ran("a handler", result)
        except BaseException as error:
            if self._abandoned:
                return
            if error is not conn.failed:
                self._counters.add(handler_errors=1)
                server_log.handler_failed(conn.peer, error)
            elif conn.broken:
                self._counters.add(frame_errors=1)
                server_log.framing_broken(conn.peer, error)
            elif isinstance(error, TimeoutError):
                self._counters.add(timeouts=1)
                server_log.timed_out(conn.peer)
            else:
                server_log.lost(conn.peer, error)
