"""A thread for each connection: the server to begin with, the same class for both engines."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from . import binding
from .errors import FrameError, IncompleteFrame
from .servers import StreamServer
from .types import Peer, ServerStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .framing import Codec, StreamDecoder
    from .servers import Limits

_CHUNK = 1 << 16
_LAST_WORDS = 0.03  # seconds past the drain, for handlers that read the end of the stream just now
_LINGER = 2.0  # seconds at most, for the last bytes of a connection to arrive
_LINGER_LOOK = 0.005  # between two looks whether they have
_BACK_OFF = 0.05  # seconds before accepting again when there is no descriptor even to turn people away


class ThreadConnection:
    """A connection in the hands of its handler: blocking calls with timeouts, in the handler's own thread.

    Reading waits ``idle_timeout`` seconds and writing ``write_timeout`` seconds without progress, as the server has
    them, until `settimeout` says otherwise for both.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        idle_timeout: float | None,
        write_timeout: float | None,
        counters: Counters,
    ) -> None:
        self._sock = sock
        self.peer = peer
        self._idle_timeout = idle_timeout
        self._write_timeout = write_timeout
        self._counters = counters
        self._stream: tuple[Codec, StreamDecoder, deque[bytes]] | None = None
        self.waiting = False  # for the peer to say something
        self.failed: BaseException | None = None  # what the connection itself raised last

    @property
    def sock(self) -> socket.socket:
        """The socket itself."""
        return self._sock

    def settimeout(self, seconds: float | None) -> None:
        """Set how long each call waits, for reading and writing; None for no limit. ValueError if not positive."""
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a timeout must be a positive number of seconds, or None, not {seconds!r}")
        self._idle_timeout = self._write_timeout = seconds

    def recv(self, n: int) -> bytes:
        """Give what has come, from 1 to ``n`` bytes; b"" at the end of the stream. TimeoutError, OSError."""
        return self._recv(n, _deadline(self._idle_timeout))

    def recv_exactly(self, n: int) -> bytes:
        """Give ``n`` bytes, all within one timeout.

        Raises IncompleteFrame (an EOFError) where the stream ends before, TimeoutError, OSError.
        """
        deadline = _deadline(self._idle_timeout)
        data = bytearray()
        while len(data) < n:
            piece = self._recv(min(n - len(data), _CHUNK), deadline)
            if not piece:
                self.failed = IncompleteFrame(f"the stream ended after {len(data)} of {n} bytes", 0, n, n)
                raise self.failed
            data += piece
        return bytes(data)

    def frames(self, codec: Codec) -> Iterator[bytes]:
        """Give frame after frame up to the end of the stream, each within one timeout.

        May be left and entered again with the same codec. Raises FrameError (IncompleteFrame where the stream ends
        within a frame), TimeoutError, OSError.
        """
        if self._stream is None or self._stream[0] is not codec:
            self._stream = codec, codec.decoder(), deque()
        _, decoder, frames = self._stream
        ended = False
        while True:
            deadline = _deadline(self._idle_timeout)
            while not frames:
                if ended:
                    return
                data = self._recv(_CHUNK, deadline)
                ended = not data
                try:
                    frames.extend(decoder.feed(data) if data else decoder.eof())
                except FrameError as error:
                    yield from self._counted(error.frames)
                    self.failed = error
                    raise
            while frames:
                yield from self._counted([frames.popleft()])

    def sendall(self, data: bytes) -> None:
        """Send all of it; TimeoutError where the peer takes nothing for the timeout, OSError."""
        with memoryview(data) as view, view.cast("B") as rest:
            sent = 0
            while sent < len(rest):
                self._sock.settimeout(self._write_timeout)
                try:
                    count = self._sock.send(rest[sent : sent + _CHUNK])
                except OSError as error:
                    self.failed = error
                    raise
                sent += count
                self._counters.add(bytes_out=count)

    def send_frame(self, payload: bytes, codec: Codec) -> None:
        """Frame a payload and send it; ValueError for one that the codec refuses, else as `sendall`."""
        self.sendall(codec.encode(payload))

    def shutdown_write(self) -> None:
        """Say that nothing more will be sent; the peer reads the end of the stream."""
        with suppress(OSError):  # gone already
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the connection; leaving the handler does it too."""
        self._sock.close()

    def _recv(self, n: int, deadline: float | None) -> bytes:
        left = None
        if deadline is not None:
            left = max(deadline - time.monotonic(), 1e-6)
        self._sock.settimeout(left)
        self.waiting = True
        try:
            data = self._sock.recv(n)
        except OSError as error:
            self.failed = error
            raise
        finally:
            self.waiting = False
        self._counters.add(bytes_in=len(data))
        return data

    def _counted(self, frames: list[bytes]) -> Iterator[bytes]:
        for frame in frames:
            self._counters.add(messages=1)
            yield frame


class Counters:
    """ServerStats that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(ServerStats._fields, 0)

    def add(self, **more: int) -> None:
        """Add to some of them."""
        with self._lock:
            for name, value in more.items():
                self._values[name] += value

    def stats(self) -> ServerStats:
        """Give them all."""
        with self._lock:
            return ServerStats(**self._values)


class ThreadedServer(StreamServer):
    """Calls a handler for each connection, in a thread of its own. The same class in both engines."""

    def __init__(
        self,
        handler: Callable[[ThreadConnection, Peer], Any],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        **limits: Any,
    ) -> None:
        """Call ``handler(conn, peer)`` for each connection to ``host`` and ``port`` (0: any free one), or to ``sock``.

        ``conn`` has ``recv(n)``, ``recv_exactly(n)``, ``frames(codec)``, ``sendall(data)``,
        ``send_frame(payload, codec)``, ``settimeout(s)``, ``shutdown_write()``, ``close()`` and ``sock``; it is closed
        when the handler returns. A handler that raises is logged with its peer and ends its connection alone.
        ``limits`` are those of EchoServer; ``idle_timeout`` and ``write_timeout`` are how long each operation waits.
        At a stop, handlers read the end of the stream; past the drain their connections are cut.
        """
        if not callable(handler):
            raise TypeError(f"handler must be callable, not {type(handler).__name__}")
        super().__init__(host, port, sock, limits)
        self._handler = handler

    def _launch(self) -> tuple[_Threads, Peer]:
        listener, address = self._listen()
        return _Threads(listener, self._handler, self._limits), address


class _Threads:
    """A threaded server under way: one thread that accepts, and one for each connection."""

    def __init__(self, listener: socket.socket, handler: Callable[..., Any], limits: Limits) -> None:
        self._listener = listener
        self._handler = handler
        self._limits = limits
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
                wanted = len(self._connections) < self._limits.plan.max_connections and now >= again
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
        plan = self._limits.plan
        with suppress(OSError):  # reset already: the first read will tell
            if plan.nodelay:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if plan.keepalive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        peer = Peer(address[0], address[1])
        conn = ThreadConnection(sock, peer, self._limits.idle_timeout, self._limits.write_timeout, self._counters)
        thread = threading.Thread(target=self._serve, args=(conn,), name=f"oxisock-{peer.port}", daemon=True)
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
            import logging

            log = logging.getLogger("oxisock")
            if error is not conn.failed:
                self._counters.add(handler_errors=1)
                log.error("the handler failed for %s port %d", *conn.peer, exc_info=error)
            elif isinstance(error, FrameError):
                self._counters.add(frame_errors=1)
                log.warning("%s port %d broke the framing: %s", *conn.peer, str(error))
            elif isinstance(error, TimeoutError):
                self._counters.add(timeouts=1)
                log.info("%s port %d timed out", *conn.peer)
            else:  # the network broke the connection, or a stop
                log.info("lost %s port %d: %s", *conn.peer, str(error))


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
