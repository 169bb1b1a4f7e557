"""The connection that a ThreadedServer's handler gets, and the counters that such threads share."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from .. import arguments
from ..errors import IncompleteFrame
from ..framing.bound import BoundCodec, RewindableInbox, encoder, equal_fault
from ..sockets import secure
from ..sockets.calls import Deadline
from ..sockets.closing import LINGER, NO_SIGNAL, name_of, part, reset_on_close, shut_down, still_sending
from ..sockets.proxies import ProxyHeader
from ..sockets.waking import Bell
from ..types import Peer, ServerStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext

    from ..engines.framing import FramingModule
    from ..framing.codecs import Codec
    from ..sockets.secure_socket import SecureSocket

T = TypeVar("T")

_CHUNK = 1 << 16
_PATIENCE = 1.0  # seconds that `close` waits for a read in another thread to end
_LOOK = 0.0005  # seconds between two looks whether it has
_MOST = 1 << 20  # bytes received at once, even if more are asked for, because memory is allocated for all of them


class ThreadConnection:
    """The connection that a ThreadedServer passes to its handler. Its calls block, with timeouts.

    Reading waits at most ``idle_timeout`` seconds and writing at most ``write_timeout`` seconds without progress, as
    set for the server. `settimeout` changes both.

    `frames` reads ahead, but nothing gets lost: `recv`, `recv_exactly` and `frames` with another codec go on with the
    byte after the last frame that you took.
    """

    def __init__(
        self,
        sock: socket.socket,
        peer: Peer,
        idle_timeout: float | None,
        write_timeout: float | None,
        counters: Counters,
        engine: FramingModule,
        codec: BoundCodec,
        stopping: Bell,
    ) -> None:
        self._sock = sock
        self.name = name_of(sock)
        self.peer = peer
        self._idle_timeout = idle_timeout
        self._write_timeout = write_timeout
        self._counters = counters
        self._engine = engine
        self._codec = codec
        self._ahead = bytearray()  # bytes that were read and not taken; empty while there is an inbox
        self._inbox: RewindableInbox | None = None
        self._lost: BaseException | None = None  # why the connection ended
        self._unheard: BaseException | None = None  # the same, raised by a send; reading would not raise it again
        self.waiting = False  # whether a read waits for the peer
        self._closed = False
        # Held by a read while TLS is called, which cannot be told then that the input was shut down on this side.
        # Reentrant, because a signal handler or a finalizer may close the connection.
        self._reading = threading.RLock()
        self.stopping = False  # whether the server ended the input
        self._tls: SecureSocket | None = None
        self._certificate: dict[str, Any] | None = None
        self._stopping = stopping
        self.cut = False  # whether data that was to be sent did not leave
        self.failed: BaseException | None = None  # the last error that the connection itself raised
        self.broken = False  # whether that was a fault in the stream

    @property
    def sock(self) -> socket.socket:
        """The socket itself."""
        return self._sock

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The certificate of the peer, as ``ssl.SSLSocket.getpeercert`` returns it. None without TLS, or if the
        context did not ask for one."""
        return self._certificate

    def settimeout(self, seconds: float | None) -> None:
        """Set the limit for each call in seconds, for reading and writing; None: no limit. ValueError if 0 or less."""
        self._idle_timeout = self._write_timeout = arguments.timeout(seconds, "seconds")

    def recv(self, n: int) -> bytes:
        """Return 1 to ``n`` bytes, or b"" at the end of the stream. Raises TimeoutError and OSError."""
        n = arguments.size(n, "n")
        self._rewind()
        if not self._ahead:
            return self._recv(min(n, _MOST), Deadline(self._idle_timeout))
        data = bytes(self._ahead[:n])
        del self._ahead[:n]
        return data

    def recv_exactly(self, n: int) -> bytes:
        """Return ``n`` bytes, all within one timeout.

        Raises IncompleteFrame (an EOFError) if the stream ends before, and OSError. Raises TimeoutError if the time is
        over; the bytes that came are kept for the next call.
        """
        n = arguments.size(n, "n", 0)
        self._rewind()
        deadline = Deadline(self._idle_timeout)
        ahead = self._ahead
        while len(ahead) < n:
            try:
                piece = self._recv(min(n - len(ahead), _CHUNK), deadline)
            except OSError as error:
                if not (secure.is_cut(error) and ahead):
                    raise
                piece = b""
            if not piece:
                self.broken = True
                self.failed = IncompleteFrame(f"the stream ended after {len(ahead)} of {n} bytes", 0, n, n)
                raise self.failed
            ahead += piece
            if len(ahead) < n:
                self._took_piece(deadline)
        data = bytes(ahead[:n])
        del ahead[:n]
        return data

    def frames(self, codec: Codec | None = None) -> Iterator[bytes]:
        """Yield all frames up to the end of the stream, each within one timeout.

        ``codec`` is the server's codec by default. You can leave the loop and call `frames` again; nothing gets lost.

        Raises FrameError (IncompleteFrame if the stream ends in the middle of a frame), or what your own decoder
        raises, after all good frames. The next call raises an equal error. Raises TimeoutError and OSError. If you
        change the codec after a decoder of your own that does not decode the same bytes the same way again, raises
        TypeError.
        """
        return self._frames(self._codec if codec is None else BoundCodec(codec, self._engine))

    def _frames(self, bound: BoundCodec) -> Iterator[bytes]:
        while (frame := self._frame(bound)) is not None:
            self._counters.add(messages=1)
            yield frame

    def _frame(self, bound: BoundCodec) -> bytes | None:
        inbox = self._inbox_of(bound)
        deadline = Deadline(self._idle_timeout)
        while not inbox.frames:
            if inbox.over:
                try:
                    inbox.end()
                except BaseException as error:
                    self.failed, self.broken = error, not secure.is_cut(error)
                    raise
                return None
            try:
                data = self._recv(_CHUNK, deadline)
            except OSError as error:
                if not secure.is_cut(error):
                    raise
                inbox.cut(error)
                continue
            inbox.feed(data or None)
            if data and not inbox.frames:
                self._took_piece(deadline)
        return inbox.frames.popleft()

    def _inbox_of(self, bound: BoundCodec) -> RewindableInbox:
        """Return the inbox for a codec: the current one, or a new one with the bytes that were read and not taken."""
        inbox = self._inbox
        if inbox is not None and (inbox.codec is bound.codec or inbox.codec == bound.codec):
            return inbox
        self._rewind()
        inbox = self._inbox = RewindableInbox(bound)
        if self._ahead:
            inbox.feed(self._ahead)
            self._ahead.clear()
        return inbox

    def _rewind(self) -> None:
        """Let reading continue with the byte after the last frame that was taken."""
        if self._inbox is not None:
            self._ahead += self._inbox.rest()
            self._inbox = None

    def sendall(self, data: bytes) -> None:
        """Send all of ``data``. Raises TimeoutError if the peer takes nothing for that time, and OSError."""
        with arguments.view(data, "data") as rest:
            sent = 0
            while sent < len(rest):
                self._sock.settimeout(self._write_timeout)
                try:
                    count = self._sock.send(rest[sent : sent + _CHUNK], NO_SIGNAL if self._tls is None else 0)
                except OSError as error:
                    if sent or error.errno != errno.EPIPE:
                        # Whoever closes it later, the peer must not take a part for the whole.
                        self.cut = True
                        reset_on_close(self._sock)
                    # EPIPE also comes if this side has ended its own output.
                    if error.errno not in (None, errno.EPIPE):
                        self._unheard = equal_fault(error)
                    self._failed(error)
                sent += count
                self._counters.add(bytes_out=count)

    def send_frame(self, payload: bytes, codec: Codec | None = None) -> None:
        """Send one payload as a frame; ``codec`` is the server's codec by default.

        Raises ValueError if the codec cannot frame the payload, and as `sendall` does.
        """
        encode = self._codec.encode if codec is None else encoder(codec)
        self.sendall(encode(payload))

    def shutdown_write(self) -> None:
        """End the sending side: the peer then reads the end of the stream."""
        with suppress(OSError):  # gone already
            if self._tls is not None:
                self._tls.settimeout(self._write_timeout)
                self._tls.unwrap()
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Wait until everything you sent has arrived, then close the connection.

        The server does this when the handler returns. It waits at most 2 seconds for a peer that takes nothing. After a
        `sendall` that failed, it resets the connection. Another thread may call it: a read that waits then ends with an
        OSError.
        """
        self._end(False)

    def _end(self, shut_first: bool) -> None:
        """Do as `close`. ``shut_first``: shut down before closing, because a forked child holds a duplicate."""
        with self._sock:
            # Another thread may close it meanwhile: then its descriptor is -1, a ValueError for some calls.
            with suppress(OSError, ValueError):  # closed already, by the handler or the peer
                deaf = self._end_reading()
                self._sock.setblocking(False)
                if not self.cut:
                    self._end_tls()
                if not self.cut and (deaf or still_sending(self._sock, 0)):
                    part(self._sock, 0, LINGER, deaf)
            if shut_first:
                shut_down(self._sock)

    def _end_reading(self) -> bool:
        """Let reads fail from now on. Return whether one waited in another thread, so that the input was shut down."""
        with self._reading:
            self._closed = True  # before the look: a read says that it waits, and then looks whether this is closed
            if not self.waiting:
                return False
            # Closing does not wake the reader, and the peer would see no end before it wakes.
            with suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RD)
        # It should not use the descriptor when that becomes free, nor TLS while this thread does. The wait has a limit,
        # because this may run in a signal handler or finalizer that interrupted the reader.
        until = time.monotonic() + _PATIENCE
        while self.waiting and time.monotonic() < until:
            time.sleep(_LOOK)
        return True

    def _secure(self, context: SSLContext, timeout: float | None) -> None:
        """Do the handshake. Raises TimeoutError, or ssl.SSLError or another OSError if it fails."""
        self._sock = self._tls = secure.accepted(self._sock, context)
        self._move(lambda tls: tls.do_handshake(), timeout)
        if not self.stopping:
            self._certificate = self._tls.getpeercert() or None

    def _move(self, call: Callable[[SecureSocket], T], timeout: float | None) -> T | bytes:
        """Do a call that reads from TLS, within ``timeout`` seconds. Returns b"" if the server stops meanwhile.

        A stop does not shut down the socket's input to end the wait: TLS would treat that as a fault, and tell the
        peer.
        """
        assert self._tls is not None
        self._tls.settimeout(0)
        deadline = Deadline(timeout)
        while True:
            found: list[T] = []
            with self._reading:
                self._check_open()
                if (event := secure.blocked_on(self._tls, call, found)) is None:
                    return found[0]
            if self.stopping:
                return b""
            left = deadline.check()
            with secure.Selector() as selector:
                selector.register(self._tls, event)
                selector.register(self._stopping.heard, selectors.EVENT_READ)
                selector.select(left)

    def _end_tls(self) -> None:
        """Send close_notify if that needs no waiting. This does not wait for the peer's."""
        if self._tls is not None:
            with suppress(OSError, ValueError):
                self._tls.settimeout(0)
                self._tls.unwrap()

    def _introduce(self, timeout: float) -> None:
        """Read the proxy's header. Raises ValueError if it is bad or late."""
        header, deadline = ProxyHeader(), Deadline(timeout)
        try:
            while True:
                self._sock.settimeout(deadline.left())
                data = self._sock.recv(header.wanted)
                if not data:
                    raise ValueError("the stream ended within a PROXY header")
                if header.feed(data) >= 0:
                    break
        except TimeoutError as error:
            raise ValueError(f"no PROXY header within {timeout:g} s") from error
        self.peer = header.source or self.peer

    def _recv(self, n: int, deadline: Deadline) -> bytes:
        if self._lost is not None:
            self._failed(equal_fault(self._lost))
        left = deadline.left()
        self.waiting = True
        try:
            self._check_open()
            self._sock.settimeout(left)
            data = self._sock.recv(n) if self._tls is None else self._move(lambda tls: tls.recv(n), left)
            if not data:
                self._check_open()  # otherwise this is the end that closing has made
        except OSError as error:
            # An error of the system has a number. It is raised once; after it, the stream only ends.
            if error.errno is not None:
                self._lost = equal_fault(error)
            self._failed(error)
        finally:
            self.waiting = False
        if not data and self._unheard is not None:
            self._lost = self._unheard
            self._failed(equal_fault(self._lost))
        self._counters.add(bytes_in=len(data))
        return data

    def _check_open(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def _took_piece(self, deadline: Deadline) -> None:
        try:
            deadline.took_piece()
        except TimeoutError as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> NoReturn:
        """Raise an error of the connection, and remember it."""
        self.failed, self.broken = error, False
        raise error


class Counters:
    """ServerStats that many threads add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values = dict.fromkeys(ServerStats._fields, 0)

    def abandon(self) -> None:
        """Make a new lock in a forked child, where the thread that held the old one does not exist."""
        self._lock = threading.Lock()

    def add(self, **more: int) -> None:
        """Add to counters."""
        with self._lock:
            for name, value in more.items():
                self._values[name] += value

    def stats(self) -> ServerStats:
        """Return all counters."""
        with self._lock:
            return ServerStats(**self._values)
