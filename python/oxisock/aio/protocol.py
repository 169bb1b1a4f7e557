"""The asyncio protocol of a framed stream: the buffer that the loop reads into, and the loop's events."""

from __future__ import annotations

import asyncio
import sys
import weakref
from typing import cast

from ..sockets.addresses import peer_of
from .stream import FramedStream

_READ = 64 << 10  # bytes read at once: few enough that they are cut into frames quickly, even if the frames are tiny

# A loop reads and decodes before it reads for another connection, so all its connections can share one buffer, and
# thousands of idle connections need no memory for it. Two loops must not share one: on two threads, one may read into
# it before the other has decoded what it read. The proactor of Windows has a read under way on every connection, so
# each of them has its own buffer there.
_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, bytearray] = weakref.WeakKeyDictionary()


def _buffer_of(loop: asyncio.AbstractEventLoop) -> bytearray:
    """Return the buffer that a connection of a loop reads into."""
    buffer = None if sys.platform == "win32" else _shared.get(loop)
    if buffer is None:
        buffer = bytearray(_READ)
        if sys.platform != "win32":
            _shared[loop] = buffer
    return buffer


class StreamProtocol(asyncio.BufferedProtocol):
    """The calls that asyncio makes. It does not hold the user's FramedStream, which may be dropped."""

    def __init__(self, stream: FramedStream) -> None:
        self._stream = weakref.ref(stream)
        self._gone = stream._gone
        self._buffer = _buffer_of(stream._loop)
        self._view = memoryview(self._buffer)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before all other calls."""
        tcp = cast(asyncio.Transport, transport)  # uvloop's transport has another base class
        stream = self._stream()
        if stream is None:
            tcp.abort()
            return
        stream._transport = tcp
        name = transport.get_extra_info("peername")
        if name is not None:
            stream._peer = peer_of(name)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Called before each read."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Called after each read."""
        stream = self._stream()
        if stream is not None:
            stream._received(self._view[:nbytes])

    def received(self, data: memoryview) -> None:
        """Pass on what the peer sent."""
        stream = self._stream()
        if stream is not None:
            stream._received(data)

    def eof_received(self) -> bool:
        """Called when the peer has ended its output; the other direction stays open."""
        self.ended(None)
        return True

    def ended(self, cut: Exception | None) -> None:
        """Note that the peer will send no more; ``cut`` is given if the stream was cut."""
        stream = self._stream()
        if stream is not None:
            stream._ended(cut)

    def pause_writing(self) -> None:
        """Called when the peer does not keep up."""
        stream = self._stream()
        if stream is not None:
            stream._blocked()

    def resume_writing(self) -> None:
        """Called when the peer keeps up again."""
        stream = self._stream()
        if stream is not None:
            stream._relieved()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, after all other calls."""
        if not self._gone.done():
            self._gone.set_result(None)
        stream = self._stream()
        if stream is not None:
            stream._connection_lost(exc)
