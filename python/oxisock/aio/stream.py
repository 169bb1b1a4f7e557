"""A connection for coroutines that sends and receives frames: input goes straight into the engine's decoder."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .. import arguments
from ..engines.framing import Buffer
from ..errors import no_answer
from ..framing.codecs import Codec
from ..sockets.closing import QUIET, reset_on_close
from ..types import Peer
from .moving import Moving

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

_FAIR_SHARE = 64  # frames given or taken in a row before other tasks run


class FramedStream(Moving):
    """A connection that sends and receives frames, on one event loop. One task may receive while others send.

    ``aio.open_framed`` returns one, and a server passes one to its handler. If you use it with ``async with``, leaving
    the block closes it after everything is sent; an exception closes it at once.
    """

    __slots__ = ()

    @property
    def codec(self) -> Codec:
        """The codec that frames the messages."""
        return self._bound.codec

    @property
    def peer(self) -> Peer:
        """The other end."""
        return self._peer

    @property
    def sock(self) -> TransportSocket:
        """The socket, for its address and options. Do not send or receive on it."""
        found: TransportSocket = self._transport.get_extra_info("socket")
        return found

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The certificate of the peer, as ``ssl.SSLSocket.getpeercert`` returns it. None without TLS, or if the peer
        sent none."""
        found: dict[str, Any] | None = self._transport.get_extra_info("peercert")
        return found

    async def send(self, payload: Buffer) -> None:
        """Send one payload as a frame. It waits while too many bytes wait for the peer.

        If you cancel it, the frame is sent whole or not at all. Raises ValueError if the codec cannot frame the
        payload; nothing is sent then. Raises OSError if the connection is closed or lost, or after `shutdown_write`.
        """
        if self._room is not None:
            await self._give_way()
        self._write(self._encode, payload)
        if self._room is not None or self._sent >= _FAIR_SHARE:
            await self._give_way()

    async def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Send several payloads as frames, in one go; raises as `send` does."""
        if self._room is not None:
            await self._give_way()
        self._write(self._bound.encode_many, payloads)
        if self._room is not None or self._sent >= _FAIR_SHARE:
            await self._give_way()

    async def recv(self) -> bytes | None:
        """Return the next frame, or None at a clean end of the stream. If you cancel it, nothing is lost.

        Raises FrameError (IncompleteFrame if the stream ended in the middle of a frame), or what your own decoder
        raises, after all good frames. Every later call raises an equal error. Raises OSError if the connection is
        closed or lost, and RuntimeError if another task is receiving.
        """
        if self._took >= _FAIR_SHARE:
            await self._give_way()
        frames = self._frames
        while not frames:
            receiver = self._receiver
            if (not self._sound or receiver.callback is not None) and self._at_end():
                return None
            if self._took:
                self._took = 0
                self._last = monotonic()
            self._sent = 0
            await (receiver.wait or receiver)
        self._took += 1
        frame = frames.popleft()
        if not self._reading:
            self._made_room()
        return frame

    async def request(self, payload: Buffer) -> bytes:
        """Send a frame and return the next frame that comes.

        Use it for protocols in which each message has one answer, from one task at a time. Raises as `send` and `recv`
        do, and IncompleteFrame (an EOFError) if the peer closes the connection without an answer.
        """
        await self.send(payload)
        answer = await self.recv()
        if answer is None:
            raise no_answer()
        return answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next frame; StopAsyncIteration at the end of the stream. Raises as `recv` does."""
        # This repeats `recv`: awaiting another coroutine would cost a tenth of the time of a small message.
        if self._took >= _FAIR_SHARE:
            await self._give_way()
        frames = self._frames
        while not frames:
            receiver = self._receiver
            if (not self._sound or receiver.callback is not None) and self._at_end():
                raise StopAsyncIteration
            if self._took:
                self._took = 0
                self._last = monotonic()
            self._sent = 0
            await (receiver.wait or receiver)
        self._took += 1
        frame = frames.popleft()
        if not self._reading:
            self._made_room()
        return frame

    def shutdown_write(self) -> None:
        """End the sending side: the peer then reads the end of the stream. OSError if the connection is closed."""
        self._check_open()
        self._flush()
        self._output_ended = True
        self._sound = False
        self._end_output()

    def close(self, *, linger: float | None = QUIET / 1e9) -> None:
        """Close the connection after everything is sent. It returns at once; `wait_closed` waits for the end.

        In the background, it waits at most 2 seconds after the peer's system last took something, and discards what the
        peer still sends. If frames are left that could not even be handed to the system, it resets the connection. On
        a server's connection, they have the server's ``write_timeout`` instead of the 2 seconds. After the last byte,
        it waits ``linger`` seconds for the peer to close too, counted from the last bytes of the peer (None, and at
        most: 2 seconds). You can call it again. Raises ValueError for a negative ``linger``.
        """
        quiet = arguments.nanoseconds(linger, "linger", zero=True)
        if not self._closed:
            self._flush()
            self._closed = self._discarding = True
            self._sound = False
            self._frames.clear()
            self._receiver.wake()
            parting = self._loop.create_task(self._part(quiet))
            _partings.add(parting)
            parting.add_done_callback(_partings.discard)

    def abort(self) -> None:
        """Close at once with a reset. Data that has not arrived is lost, and the peer can see that it is."""
        self._abort(owed=True)

    async def wait_closed(self) -> None:
        """Wait until a connection that you closed has ended. Cancelling this calls `abort`.

        Raises TimeoutError if data that you sent may be lost, because the peer reads nothing.
        """
        try:
            await asyncio.wait([self._gone])
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._unarrived:
            raise TimeoutError(f"closed before {self._unarrived} bytes had arrived at the peer")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()
        await self.wait_closed()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "lost" if self._gone.done() else "open"
        return f"<FramedStream {self._peer} {state} {self.codec!r}>"

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing) -> None:
        transport = getattr(self, "_transport", None)
        if transport is None or ending() or self._closed or self._gone.done():
            return
        warnings.warn(f"{self!r} was dropped while open", ResourceWarning, stacklevel=1, source=self)
        with suppress(RuntimeError):  # the loop is closed
            # Any thread may drop it, but only the loop's thread may touch transports.
            self._loop.call_soon_threadsafe(_drop, transport)


_partings: set[asyncio.Task[None]] = set()  # the loop alone does not keep them alive


def _drop(transport: asyncio.Transport) -> None:
    """Close a dropped connection, with a reset, because nobody knows whether the data sent on it is complete."""
    if not transport.is_closing():
        reset_on_close(transport.get_extra_info("socket"))
    transport.abort()
