"""A connection in the hands of a handler that has a thread of its own, and the counters that such threads share."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from .. import arguments
from ..errors import FrameError, IncompleteFrame
from ..types import Peer, ServerStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..framing.codecs import Codec, StreamDecoder

_CHUNK = 1 << 16
_MOST = 1 << 20  # bytes received at once, however many are asked for: room is made for all of them


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
        self._idle_timeout = self._write_timeout = arguments.timeout(seconds, "seconds")

    def recv(self, n: int) -> bytes:
        """Give what has come, from 1 to ``n`` bytes; b"" at the end of the stream. TimeoutError, OSError."""
        return self._recv(min(arguments.size(n, "n"), _MOST), _deadline(self._idle_timeout))

    def recv_exactly(self, n: int) -> bytes:
        """Give ``n`` bytes, all within one timeout.

        Raises IncompleteFrame (an EOFError) where the stream ends before, TimeoutError, OSError.
        """
        n = arguments.size(n, "n", 0)
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
            self._stream = arguments.codec(codec), codec.decoder(), deque()
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
        with arguments.view(data, "data") as rest:
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
        self.sendall(arguments.codec(codec).encode(payload))

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


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
