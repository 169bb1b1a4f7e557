"""A connection that speaks in frames, for coroutines: bytes go straight from the socket into the engine's decoder."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
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

_FAIR_SHARE = 128  # frames given or taken in a row, before others have their turn


class FramedStream(Moving):
    """A connection and a codec, for the tasks of one event loop: one may receive while others send.

    Made by ``aio.open_framed``, and by the server for each connection. Used with ``async with``, leaving the block
    closes it: after what was sent has left, or, where an exception leaves the block, at once.
    """

    __slots__ = ()

    @property
    def codec(self) -> Codec:
        """How the messages stand in the stream."""
        return self._bound.codec

    @property
    def peer(self) -> Peer:
        """The other end."""
        return self._peer

    @property
    def sock(self) -> TransportSocket:
        """The socket, to ask things of; what is received and sent belongs to the stream."""
        found: TransportSocket = self._transport.get_extra_info("socket")
        return found

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """What the peer's certificate says, as ``ssl.SSLSocket.getpeercert`` gives it; None without TLS, or where the
        peer has shown none."""
        found: dict[str, Any] | None = self._transport.get_extra_info("peercert")
        return found

    async def send(self, payload: Buffer) -> None:
        """Frame a payload and send it; waits while more is under way than the peer and the limits take.

        A frame that was begun is sent whole, also when the waiting is cancelled; while there is no room, none is begun.
        Raises ValueError for a payload that the codec cannot frame, with nothing sent, and OSError if the connection
        is closed or lost, or `shutdown_write` was called.
        """
        if self._room is not None:
            await self._give_way()
        self._write(self._encode, payload)
        if self._room is not None or self._given >= _FAIR_SHARE:
            await self._give_way()

    async def send_many(self, payloads: Iterable[Buffer]) -> None:
        """Frame payloads and send them in one go; raises as `send` does."""
        if self._room is not None:
            await self._give_way()
        self._write(self._bound.encode_many, payloads)
        if self._room is not None or self._given >= _FAIR_SHARE:
            await self._give_way()

    async def recv(self) -> bytes | None:
        """Return the next frame, or None at a clean end of the stream. Nothing is lost when it is cancelled.

        Raises FrameError (IncompleteFrame if the stream ended within a frame), or whatever a user's decoder raises,
        after the good frames before it; OSError if the connection is closed or lost; RuntimeError if another task
        receives. A fault stays: every later call raises an equal one.
        """
        if self._given >= _FAIR_SHARE:
            await self._give_way()
        frames = self._frames
        while not frames:
            more = self._next_input()
            if more is None:
                return None
            await more
        self._given += 1
        self._took = True
        frame = frames.popleft()
        if not self._reading:
            self._made_room()
        return frame

    async def request(self, payload: Buffer) -> bytes:
        """Send a frame, and return the next one that comes: for protocols in which each message has one answer.

        It is for one task at a time: whatever comes next is the answer. Raises what `send` and `recv` do, and
        IncompleteFrame (an EOFError) where the peer closes the connection without an answer.
        """
        await self.send(payload)
        answer = await self.recv()
        if answer is None:
            raise no_answer()
        return answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next frame, up to the end of the stream; raises as `recv` does."""
        # The same once more: a coroutine within another one would cost a tenth of a small message.
        if self._given >= _FAIR_SHARE:
            await self._give_way()
        frames = self._frames
        while not frames:
            more = self._next_input()
            if more is None:
                raise StopAsyncIteration
            await more
        self._given += 1
        self._took = True
        frame = frames.popleft()
        if not self._reading:
            self._made_room()
        return frame

    def shutdown_write(self) -> None:
        """End the sending side; the peer reads the end of the stream. OSError once it is closed."""
        self._check_open()
        self._flush()
        self._output_ended = True
        self._end_output()

    def close(self, *, linger: float | None = QUIET / 1e9) -> None:
        """Send what is under way, then close; returns at once, and `wait_closed` waits for it. May be called again.

        Once all is sent, the peer's system is waited for, for 2 seconds after it took something last, and what the peer
        still says is discarded. Then a peer that is about to close as well has ``linger`` seconds to do so, counted
        from what it said last (at most 2 in all, which None stands for, too). ValueError for a negative ``linger``.
        """
        quiet = arguments.nanoseconds(linger, "linger", zero=True)
        if not self._closed:
            self._flush()
            self._closed = self._discarding = True
            self._frames.clear()
            self._receiver.wake()
            parting = self._loop.create_task(self._part(quiet))
            _partings.add(parting)
            parting.add_done_callback(_partings.discard)

    def abort(self) -> None:
        """Close at once, with a reset: what is under way is lost, and the peer does not take it for all there was."""
        self._abort(owed=True)

    async def wait_closed(self) -> None:
        """Wait until a connection that was closed is gone; cancelled, it is closed at once, by `abort`.

        Raises TimeoutError if what was sent may be lost: a peer that takes nothing goes on talking, and the system
        throws away what has not arrived.
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
            # Whichever thread drops it, transports are touched on the loop's.
            self._loop.call_soon_threadsafe(_drop, transport)


_partings: set[asyncio.Task[None]] = set()  # which the loop alone does not hold


def _drop(transport: asyncio.Transport) -> None:
    """Close a connection that nobody holds: nobody says that what was sent on it is whole."""
    if not transport.is_closing():
        reset_on_close(transport.get_extra_info("socket"))
    transport.abort()
