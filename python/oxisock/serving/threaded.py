"""A thread for each connection: the server to begin with, the same class for both engines."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias, Unpack

from .. import arguments
from ..arguments import spelled_out
from ..sockets import listening as binding
from ..sockets.addresses import peer_of
from ..types import Peer, ServerStats
from . import log as server_log
from .limits import LimitKeywords, Limits, StreamServer
from .thread_connection import Counters, ThreadConnection

if TYPE_CHECKING:
    from ..engines.framing import FramingModule

ThreadHandler: TypeAlias = Callable[[ThreadConnection, Peer], None]
"""``handler(conn, peer)``: one conversation, by a plain function; its result is ignored."""

_LAST_WORDS = 0.03  # seconds past the drain, for handlers that read the end of the stream just now
_LINGER = 2.0  # seconds at most, for the last bytes of a connection to arrive
_LINGER_LOOK = 0.005  # between two looks whether they have
_BACK_OFF = 0.05  # seconds before accepting again when there is no descriptor even to turn people away


class ThreadedServer(StreamServer):
    """Calls a handler for each connection, in a thread of its own. The same class in both engines."""

    @spelled_out(Limits)
    def __init__(
        self,
        handler: ThreadHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        **limits: Unpack[LimitKeywords],
    ) -> None:
        """Say what to do with connections, where to listen, and within which limits; ``start`` does it.

        Arguments:
            handler: ``handler(conn, peer)`` gets a ThreadConnection and the ``(host, port)`` at its other end; the
                connection is closed when it returns. What it raises is logged and ends its connection alone.
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            **limits: those of EchoServer; ``idle_timeout`` and ``write_timeout`` are how long each operation waits.

        At a stop, handlers read the end of the stream; past the drain their connections are cut.

        Raises ValueError or TypeError for what makes no sense; errors of binding come from ``start``.
        """
        super().__init__(host, port, sock, limits)
        self._handler = arguments.function(handler, "handler")

    def _launch(self) -> tuple[_Threads, Peer]:
        listener, address = self._listen()
        return _Threads(listener, self._handler, self._limits, self._engine.framing), address


class _Threads:
    """A threaded server under way: one thread that accepts, and one for each connection."""

    def __init__(self, listener: socket.socket, handler: ThreadHandler, limits: Limits, engine: FramingModule) -> None:
        self._listener = listener
        self._handler = handler
        self._limits = limits
        self._plan = limits.plan()
        self._engine = engine
        self._counters = Counters()
        self._lock = threading.Lock()
        self._connections: dict[threading.Thread, ThreadConnection] = {}
        self._drained = self._aborted = 0
        self._stop_at: float | None = None
        self._cut = False
        self._shut_first = False
        self._spare = binding.Spare()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._acceptor = threading.Thread(target=self._accept, name="oxisock-threaded", daemon=True)
        self._acceptor.start()

    # --- what the lifecycle asks ---------------------------------------------------------------------------------

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        stop_at = float("inf") if drain is None else time.monotonic() + drain
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)
        self._wake()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether all threads have ended."""
        deadline = time.monotonic() + timeout
        self._acceptor.join(max(0.0, timeout))
        for thread in list(self._connections):
            # One that is about to start cannot be joined; while there are such, the acceptor has not ended either.
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        return not self._acceptor.is_alive() and not self._connections

    def outcome(self) -> tuple[int, int, int]:
        """Give the connections drained and aborted by the stop, and the handlers that still run."""
        with self._lock:
            return self._drained, self._aborted, len(self._connections)

    def stats(self) -> ServerStats:
        """Give the counters."""
        return self._counters.stats()

    def inside(self) -> bool:
        """Say whether the calling thread is a handler's."""
        return threading.current_thread() in self._connections

    def forked(self) -> None:
        """This is the parent of a fork."""
        self._shut_first = True

    def abandon(self) -> None:
        """This is the child of a fork."""
        self._listener.close()
        for conn in self._connections.values():
            conn.sock.close()

    # --- accepting -----------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector, self._wake_in, self._wake_out:
            selector.register(self._wake_in, selectors.EVENT_READ)
            listening = False
            again = 0.0
            while True:
                now = time.monotonic()
                if self._stop_at is not None:
                    break
                wanted = len(self._connections) < self._plan.max_connections and now >= again
                if wanted and not listening:
                    selector.register(self._listener, selectors.EVENT_READ)
                elif listening and not wanted:
                    selector.unregister(self._listener)
                listening = wanted
                for key, _ in selector.select(max(0.0, again - now) if again > now else None):
                    if key.fileobj is self._wake_in:
                        self._drain_wakes()
                    elif not self._take():
                        again = time.monotonic() + _BACK_OFF
            if listening:
                selector.unregister(self._listener)
            if self._shut_first:
                with suppress(OSError):
                    self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._spare.close()
            self._end(selector)

    def _take(self) -> bool:
        """Accept one connection and start its thread; False if that has to wait."""
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return True
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self._spare.turn_away(self._listener):
                self._counters.add(shed=1)
                return True
            return False
        binding.prepare(sock, self._plan.nodelay, self._plan.keepalive)
        peer = peer_of(address)
        conn = ThreadConnection(
            sock, peer, self._limits.idle_timeout, self._limits.write_timeout, self._counters, self._engine
        )
        thread = threading.Thread(target=self._serve, args=(conn,), name=f"oxisock-{peer}", daemon=True)
        with self._lock:
            self._connections[thread] = conn
        self._counters.add(accepted=1, active=1)
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            with self._lock:
                del self._connections[thread]
            sock.close()
            self._counters.add(accepted=-1, active=-1, shed=1)
            return False
        return True

    def _end(self, selector: selectors.BaseSelector) -> None:
        """Let handlers come to an end: first by letting them read the end of the stream, then by force."""
        for conn in list(self._connections.values()):
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RD)
        while self._connections:
            assert self._stop_at is not None
            left = self._stop_at + _LAST_WORDS - time.monotonic()
            if left <= 0:
                break
            if selector.select(min(left, 3600.0)):
                self._drain_wakes()
        with self._lock:
            self._cut = True
            for conn in self._connections.values():
                with suppress(OSError):
                    if conn.waiting:  # about to read the end of the stream
                        self._drained += 1
                    else:
                        self._aborted += 1
                        conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    conn.sock.shutdown(socket.SHUT_RDWR)

    def _wake(self) -> None:
        with suppress(OSError):  # full, so it is awake; or closed, so it has ended
            self._wake_out.send(b"\0")

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._wake_in.recv(4096):
                pass

    # --- one connection ------------------------------------------------------------------------------------------

    def _serve(self, conn: ThreadConnection) -> None:
        try:
            with conn.sock:
                if self._stop_at is None:
                    self._call(conn)
                self._part(conn.sock)
        finally:
            self._counters.add(active=-1, closed=1)
            with self._lock:
                del self._connections[threading.current_thread()]
                if self._stop_at is not None and not self._cut:
                    self._drained += 1
            self._wake()

    def _part(self, sock: socket.socket) -> None:
        """End a conversation without losing what was said last."""
        with suppress(OSError):  # closed already, by the handler or the peer
            sock.setblocking(False)
            if not self._cut and binding.still_sending(sock, 0):
                sock.shutdown(socket.SHUT_WR)
                until = time.monotonic() + _LINGER
                while not self._cut and time.monotonic() < until and binding.still_sending(sock, 1):
                    time.sleep(_LINGER_LOOK)
            if self._shut_first:
                sock.shutdown(socket.SHUT_RDWR)

    def _call(self, conn: ThreadConnection) -> None:
        try:
            self._handler(conn, conn.peer)
        except BaseException as error:
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
