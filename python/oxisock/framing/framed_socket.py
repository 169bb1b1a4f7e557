"""A connected socket that sends and receives frames, with a timeout for each call."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from .. import arguments
from ..engines.binding import Bound
from ..engines.framing import Buffer
from ..errors import no_answer
from ..sockets import connecting, secure
from ..sockets.addresses import peer_of
from ..sockets.calls import Deadline
from ..sockets.closing import LINGER, QUIET, Conversation, part, reset_on_close
from ..types import Peer
from .bound import BoundCodec, Inbox
from .codecs import Codec

if TYPE_CHECKING:
    from ssl import SSLContext

_CHUNK: Final = 64 << 10
_PATIENCE: Final = 1.0  # seconds that `close` waits for a running call to end
_READ: Final[int] = getattr(select, "POLLIN", 1)
_WRITE: Final[int] = getattr(select, "POLLOUT", 4)
_LOOK: Final = 0.05  # seconds between two checks of a running send whether the socket is closed
_DONTWAIT: Final = getattr(socket, "MSG_DONTWAIT", 0)

T = TypeVar("T")


class FramedSocket(Bound, Conversation):
    """A connected socket that sends and receives frames. One thread may receive while another one sends.

    ``sock`` is a connected stream socket, with or without TLS; the FramedSocket owns it and closes it. ``codec`` is a
    built-in codec of either engine, or your own `Codec`. ``timeout`` is the limit for each call in seconds; None: no
    limit.

    With TLS, a connection that was cut raises, and one that ended cleanly does not. An ``ssl.SSLSocket`` cannot tell
    the two apart if its context has ``ssl.OP_IGNORE_UNEXPECTED_EOF``. Some older versions of Python set this option,
    such as Debian's 3.11.2. Clear it before you wrap the socket, or use `connect` with ``ssl=``.
    """

    def __init__(self, sock: socket.socket, codec: Codec, *, timeout: float | None = None) -> None:
        self.settimeout(timeout)
        self._sock = arguments.stream(sock)
        self._wire = _wire(self._sock)
        self._bound = BoundCodec(codec, self._engine.framing)
        self.codec = codec
        self._encode = self._bound.encode
        self._inbox = Inbox(self._bound)
        self._closed = self._cut = False
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        # TLS has one state for both directions. Threads take turns with it, so no call may block in it.
        self._tls = _is_tls(sock)
        self._tls_state = threading.Lock()
        if self._tls and hasattr(sock, "suppress_ragged_eofs"):
            sock.suppress_ragged_eofs = False  # pyright: ignore[reportAttributeAccessIssue]
        self._flags = 0 if self._tls else _DONTWAIT
        sock.setblocking(bool(self._flags))

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        codec: Codec,
        *,
        timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> Self:
        """Connect to a TCP server and return a FramedSocket.

        Arguments:
            host: a name or an address. All addresses of a name are tried in turn.
            port: 1 to 65535.
            codec: how messages are framed.
            timeout: the limit in seconds for name look-up, connecting and TLS handshake together; None: no limit. It
                is also the limit for each later call, until you change it with `settimeout`.
            ssl: the context for a connection with TLS; None: no TLS.
            server_hostname: the name to look for in the certificate of the server; default ``host``.

        Raises ValueError for a bad host, port or timeout, ``socket.gaierror`` if the name has no address, TimeoutError,
        ``ssl.SSLError`` if the handshake fails (``ssl.SSLCertVerificationError`` if the certificate is not trusted),
        and the OSError of the last address. Each message has host and port.
        """
        arguments.codec(codec)
        destination = connecting.Destination.of(host, port, timeout)
        name = secure.server_name(ssl, server_hostname, destination.peer.host)
        deadline = Deadline(destination.timeout)
        sock = connecting.connect(host, port, timeout)
        if ssl is not None and name is not None:
            sock = secure.secured(sock, ssl, name, destination.peer, deadline, timeout)
        try:
            return cls(sock, codec, timeout=timeout)
        except BaseException:
            sock.close()
            raise

    @property
    def sock(self) -> socket.socket:
        """The socket itself. You cannot read bytes from it that the FramedSocket has already received."""
        return self._sock

    @property
    def peer(self) -> Peer:
        """The other end."""
        return peer_of(self._sock.getpeername())

    def settimeout(self, timeout: float | None) -> None:
        """Set the limit for each call in seconds, 0 or more; None: no limit. Raises ValueError for another number."""
        self._timeout = arguments.timeout(timeout, zero=True)

    def send(self, payload: Buffer) -> None:
        """Send one payload as a frame.

        Raises ValueError if the codec cannot frame the payload; nothing is sent then. Raises TimeoutError if the time
        is over; only `close` works after that, because a part of the frame may be sent. Raises OSError.
        """
        self._send_all(self._encode(payload), Deadline(self._timeout))

    def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send several payloads as frames, in one go; raises as `send` does."""
        self._send_all(self._bound.encode_many(payloads), Deadline(self._timeout))

    def recv(self) -> bytes | None:
        """Return the next frame, or None at a clean end of the stream.

        Raises FrameError (IncompleteFrame if the stream ended in the middle of a frame), or what your own decoder
        raises, after all good frames. Every later call raises an equal error. Raises TimeoutError if the time is over;
        nothing is lost, and you can call `recv` again. Raises OSError.
        """
        return self._receive(Deadline(self._timeout))

    def request(self, payload: Buffer) -> bytes:
        """Send a frame and return the next frame that comes, both within one timeout.

        Use it for protocols in which each message has one answer, from one thread at a time. Raises as `send` and
        `recv` do, and IncompleteFrame (an EOFError) if the peer closes the connection without an answer.
        """
        deadline = Deadline(self._timeout)
        self._send_all(self._encode(payload), deadline)
        answer = self._receive(deadline)
        if answer is None:
            raise no_answer()
        return answer

    def _receive(self, deadline: Deadline) -> bytes | None:
        flags = self._flags if deadline.limited else 0
        inbox = self._inbox
        with self._turn(self._receiving, deadline):
            while not inbox.frames:
                self._check_usable()
                if inbox.over:
                    inbox.end()
                    return None
                try:
                    data = self._move(partial(self._wire.recv, _CHUNK, flags), _READ, deadline)
                except OSError as error:
                    if (cut := secure.cut_by(error)) is not None:
                        inbox.cut(cut)
                        continue
                    if secure.is_end(error):
                        inbox.feed(None)
                        continue
                    # An error of the system has an errno. The system reports it once, then only the end.
                    if error.errno is not None:
                        inbox.fail(error)
                    raise
                if self._closed:  # closing has woken this call
                    self._check_usable()
                inbox.feed(data or None)
                if data and not inbox.frames:
                    deadline.took_piece()
            return inbox.frames.popleft()

    def __iter__(self) -> Iterator[bytes]:
        """Yield all frames up to the end of the stream; raises as `recv` does."""
        while (frame := self.recv()) is not None:
            yield frame

    def shutdown_write(self) -> None:
        """End the sending side: the peer then reads the end of the stream. You can still receive, also over TLS.

        With an ``ssl.SSLSocket`` of your own, call it only while the peer sends nothing. Raises OSError if the socket
        is closed.
        """
        self._check_usable()
        if self._tls:
            deadline = Deadline(self._timeout)
            with self._turn(self._sending, deadline):
                self._move(self._end_tls, _WRITE, deadline)
        socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def _end_tls(self) -> None:
        try:
            self._sock.unwrap()  # type: ignore[attr-defined]
        except OSError as error:
            if type(error).__name__ != "SSLWantReadError":  # do not wait for the end of the peer's side
                raise

    def close(self, *, linger: float | None = QUIET / 1e9) -> None:
        """Wait until everything you sent has arrived, then close the socket.

        It waits at most 2 seconds (or the timeout of a call, if that is less) after the peer's system last took
        something, and discards what the peer still sends. Then it waits ``linger`` seconds for the peer to close too,
        counted from the last bytes of the peer (None, and at most: 2 seconds). A call that runs in another thread ends
        with an OSError. If a send has timed out, close resets the connection, so that the peer does not take a part of
        a frame for a whole frame. You can call it again.

        Raises TimeoutError if data that you sent may be lost, because the peer reads nothing and goes on sending; the
        socket is closed then, too. Raises ValueError for a negative ``linger``.
        """
        quiet = arguments.nanoseconds(linger, "linger", zero=True)
        self._close(quiet, LINGER if self._timeout is None else int(min(self._timeout, 2.0) * 1e9))

    def abort(self) -> None:
        """Close at once with a reset. Data that has not arrived is lost, and the peer can see that it is."""
        self._give_up()
        self._close(0, 0)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"fd={self._sock.fileno()}"
        return f"<{type(self).__name__} {state} {self.codec!r}>"

    def _give_up(self) -> None:
        """Make the connection end with a reset when it is closed."""
        self._cut = True
        reset_on_close(self._sock)

    def _close(self, linger: int, patience: int) -> None:
        if self._closed:
            return
        self._closed = True
        if self._sending.locked():  # a send is in the middle of a frame; it will see that the socket is closed
            self._give_up()
        deaf = self._receiving.locked()
        if deaf:
            # Closing does not wake a receiving thread, so shut down. Else do not: other processes may share it.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sock, socket.SHUT_RD)
        # No call should use the descriptor when it becomes free. The wait has a limit, because this may run in a signal
        # handler that interrupted such a call.
        held = [lock for lock in (self._receiving, self._sending) if lock.acquire(timeout=_PATIENCE)]
        lost = 0
        try:
            if not self._cut and isinstance(self._sock, socket.socket) and self._sock.fileno() >= 0:
                self._sock.setblocking(False)
                if self._tls and not self._end_tls_within(patience):
                    patience = 0  # the peer took nothing for so long
                lost = part(self._sock, linger, patience, deaf)
        finally:
            self._sock.close()
            for lock in held:
                lock.release()
        if lost:
            raise TimeoutError(f"closed before {lost} bytes had arrived at the peer")

    def _end_tls_within(self, patience: int) -> bool:
        """Send the end of this side, and do not wait for the end of the peer's side. Return whether there was room."""
        until = time.monotonic_ns() + patience
        while True:
            try:
                with self._tls_state:
                    self._end_tls()
                return True
            except (OSError, ValueError) as error:
                if type(error).__name__ != "SSLWantWriteError":
                    return True  # there is nobody to tell
            left = (until - time.monotonic_ns()) / 1e9
            if left <= 0 or not _ready(self._sock, _WRITE, left):
                return False

    def _check_usable(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._cut:
            raise ConnectionError("an earlier send stopped in the middle of a frame: only close() works")

    def _send_all(self, wire: bytes, deadline: Deadline) -> None:
        with self._turn(self._sending, deadline), memoryview(wire) as view:
            self._check_usable()
            rest = view
            try:
                while rest:
                    rest = rest[self._move(partial(self._wire.send, rest, self._flags), _WRITE, deadline) :]
                    if rest:
                        deadline.took_piece()
            except BaseException:
                # A part of a frame may be sent. The peer could not decode anything after it.
                self._give_up()
                raise

    @contextlib.contextmanager
    def _turn(self, lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
        """Wait for earlier calls to end, within the deadline."""
        if not lock.acquire(timeout=deadline.seconds()):
            raise TimeoutError("timed out")
        try:
            yield
        finally:
            lock.release()

    def _move(self, call: Callable[[], T], event: int, deadline: Deadline) -> T:
        """Repeat a non-blocking call until it succeeds, within the deadline."""
        while True:
            self._check_usable()
            waited_for = event
            try:
                if not self._tls:
                    return call()
                with self._tls_state:
                    return call()
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as error:
                # ssl is not imported here, so its errors are recognized by name.
                if type(error).__name__ == "SSLWantReadError":
                    waited_for = _READ
                elif type(error).__name__ == "SSLWantWriteError":
                    waited_for = _WRITE
                else:
                    raise
            self._wait(waited_for, deadline)

    def _wait(self, event: int, deadline: Deadline) -> None:
        if self._sock.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        left = deadline.left()
        if event == _WRITE and (left is None or left > _LOOK):
            # `close` cannot wake a send without ending the stream, so look in intervals whether the socket is closed.
            _ready(self._sock, event, _LOOK)
        elif not _ready(self._sock, event, left):
            raise TimeoutError("timed out")


def _ready(sock: socket.socket, event: int, timeout: float | None) -> bool:
    """Wait at most ``timeout`` seconds until a socket is readable or writable. Return False if the time is over."""
    if sys.platform == "win32":
        readers, writers = ([sock], []) if event == _READ else ([], [sock])
        return any(select.select(readers, writers, [], timeout))
    poll = select.poll()
    poll.register(sock, event)
    # Rounded up, so that it does not return too early. At most 2**30, because poll takes a 32-bit number.
    milliseconds = None if timeout is None else min(-(-timeout * 1000 // 1), 1 << 30)
    return bool(poll.poll(milliseconds)) or (timeout is not None and timeout * 1000 > 1 << 30)


def _wire(sock: socket.socket) -> socket.socket:
    """Return the socket that moves the bytes. For a socket of gevent it is the one inside, which does not wait.

    With TLS it is always the socket itself, because bytes that bypass it are not encrypted.
    """
    patched = type(sock).__module__.startswith("gevent.") and not _is_tls(sock)
    return getattr(sock, "_sock", sock) if patched else sock


def _is_tls(sock: socket.socket) -> bool:
    """Return whether it is an ssl.SSLSocket or has the same methods. This does not import ssl."""
    return callable(getattr(sock, "unwrap", None))
