"""A connection that speaks in frames, for coroutines: bytes go straight from the socket into the engine's decoder."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .. import arguments
from ..engines.framing import Buffer
from ..errors import errno_words, no_answer
from ..framing.bound import BoundCodec, Inbox, equal_fault
from ..framing.codecs import Codec
from ..sockets.closing import QUIET, Parting, reset_on_close, unacknowledged
from ..types import Peer
from .tally import Tally
from .waking import Waker

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

T = TypeVar("T")

_FLUSH_AT = 64 << 10  # bytes of frames that are collected before they are written
_FAIR_SHARE = 128  # frames given or taken in a row, before others have their turn
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0001, 0.005  # seconds between two looks whether all has arrived
_UNREAD = 1 << 20  # bytes whose frames may wait to be taken, before reading pauses


class FramedStream:
    """A connection and a codec, for the tasks of one event loop: one may receive while others send.

    Made by ``aio.open_framed``, and by the server for each connection. Used with ``async with``, leaving the block
    closes it: after what was sent has left, or, where an exception leaves the block, at once.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_bound",
        "_closed",
        "_discarding",
        "_due",
        "_encode",
        "_eof_seen",
        "_frames",
        "_given",
        "_gone",
        "_heard",
        "_inbox",
        "_last",
        "_loop",
        "_lost",
        "_output_ended",
        "_peer",
        "_pending",
        "_pending_size",
        "_raised",
        "_reading",
        "_receiver",
        "_room",
        "_sent",
        "_tally",
        "_took",
        "_transport",
        "_unarrived",
        "_unread",
    )

    def __init__(self, bound: BoundCodec, tally: Tally | None = None) -> None:
        self._bound = bound
        self._encode = bound.encode
        self._loop = asyncio.get_running_loop()
        self._tally = tally or Tally(self._loop)
        self._inbox = Inbox(bound)
        self._frames = self._inbox.frames
        self._lost: Exception | None = None  # why the connection is no more
        self._raised: BaseException | None = None  # the last of that, or of the inbox's fault, that a call raised
        self._closed = self._output_ended = self._discarding = self._heard = self._eof_seen = False
        self._unarrived = 0  # bytes that had not arrived when it was closed
        self._unread = self._given = self._sent = 0
        self._reading = True
        self._took = False  # a frame, since it was waited for one
        self._last = time.monotonic()  # when the frames before that had been dealt with
        self._receiver = Waker(self._loop)
        self._pending: list[bytes] = []  # frames on their way to the transport
        self._pending_size = 0
        self._due = False  # they will be handed over at the end of the loop's turn
        self._room: asyncio.Future[None] | None = None  # there while the peer does not keep up
        self._transport: asyncio.Transport
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._peer = Peer("", 0)

    # --- for users -------------------------------------------------------------------------------------------------

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

    def _abort(self, owed: bool) -> None:
        self._closed = True
        if owed and not self._gone.done():
            reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()
        self._receiver.wake()

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

    # --- receiving -------------------------------------------------------------------------------------------------

    def _received(self, data: memoryview) -> None:
        tally, inbox = self._tally, self._inbox
        size = len(data)
        tally.bytes_in += size
        if self._discarding:
            self._heard = True
            return
        if inbox.ended or inbox.fault is not None:
            return
        frames = inbox.decode(data)
        if tally.child:
            self._end_child()
        self._unread += size
        if inbox.fault is not None:
            self._pause()
        elif not frames:
            return
        self._frames += frames
        tally.messages += len(frames)
        if self._unread > self._most_unread:
            self._pause()
        self._receiver.go_on()

    def _ended(self, cut: Exception | None = None) -> None:
        """The peer will send no more, or, where it was not the peer who said so, the stream was cut."""
        self._eof_seen = True
        if not self._inbox.over:
            if cut is not None:
                self._inbox.cut(cut)
            else:
                made = self._inbox.feed(None)
                if self._tally.child:
                    self._end_child()
                self._tally.messages += made
            self._receiver.wake()

    _most_unread = _UNREAD

    def _end_child(self) -> None:
        """In a forked child a server's connection goes no further."""

    def _over(self) -> bool:
        """Say whether no frame will come any more; raises why, where that is no clean end."""
        self._check_open(receiving=True)
        if not self._inbox.over:
            return False
        try:
            self._inbox.end()
        except BaseException as error:
            self._raised = error
            raise
        return True

    def _next_input(self) -> Waker | None:
        """Give what to wait on for more; None if no more will come. Raises why, where that is no clean end."""
        inbox, receiver = self._inbox, self._receiver
        if (self._closed or self._lost is not None or inbox.ended or inbox.fault is not None) and self._over():
            return None
        if receiver.callback is not None:
            raise RuntimeError("another task receives from this stream")
        # A child that went on would read what is its parent's, before the loop comes to end it.
        if self._tally.child:
            self._end_child()
        if self._took:
            self._took = False
            self._last = time.monotonic()
        self._given = self._sent = 0
        return receiver

    def _made_room(self) -> None:
        """A frame was taken while reading paused."""
        if not self._frames:
            self._resume()

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _resume(self) -> None:
        if (
            (self._discarding or self._inbox.fault is None)
            and not self._gone.done()
            and not self._transport.is_closing()
        ):
            self._reading = True
            self._unread = 0
            self._transport.resume_reading()

    # --- sending ---------------------------------------------------------------------------------------------------

    def _check_sending(self) -> None:
        self._check_open()
        if self._output_ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _write(self, encode: Callable[[T], bytes], what: T) -> None:
        if self._closed or self._output_ended or self._lost is not None:
            self._check_sending()
        wire = encode(what)
        self._given += 1
        self._sent += 1
        tally = self._tally
        if tally.only is self._inbox:
            if self._sent == 1 and not self._frames and not self._pending:
                self._hand_over(wire)
                return
            tally.only = None
        # Many small frames make one write: those of one turn, or as many as fill a large one.
        self._pending.append(wire)
        self._pending_size += len(wire)
        if self._pending_size >= _FLUSH_AT:
            self._flush()
        elif not self._due:
            self._due = True
            tally.write_soon(self._write_due)

    def _write_due(self) -> object:
        """Hand over what waits, as its Tally asks; give the inbox if that was one frame, and else None."""
        self._due = False
        alone = len(self._pending) == 1
        self._flush()
        return self._inbox if alone else None

    def _flush(self) -> None:
        if self._pending:
            wire = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
            self._pending.clear()
            self._pending_size = 0
            self._hand_over(wire)

    def _hand_over(self, wire: bytes) -> None:
        """Give bytes to the transport; a server's connection counts and times them."""
        if not self._gone.done():
            self._transport.write(wire)

    async def _give_way(self) -> None:
        """Wait while the peer does not keep up; or let others have a turn, however much there is to do here."""
        self._given = 0
        if self._room is None:
            await asyncio.sleep(0)
            return
        self._check_sending()
        while self._room is not None:
            await asyncio.wait([self._room])
        self._check_sending()

    def _blocked(self) -> None:
        if self._room is None:
            self._room = self._loop.create_future()

    def _relieved(self) -> None:
        if self._room is not None:
            self._room.set_result(None)
            self._room = None

    # --- the end ---------------------------------------------------------------------------------------------------

    def _end_output(self) -> None:
        if self._transport.can_write_eof():
            # Where the peer has gone, the next call says so.
            with suppress(OSError):
                self._transport.write_eof()

    async def _part(self, linger: int) -> None:
        """End our side of the conversation, wait until all has arrived, and close."""
        transport = self._transport
        try:
            if not self._gone.done() and not transport.is_closing():
                self._resume()
                transport.set_write_buffer_limits(0)
            while self._room is not None:
                await asyncio.wait([self._room])
            if not self._gone.done() and not transport.is_closing():
                # With nothing left to write, it is done at once, and what it raises is raised here.
                self._end_output()
                await self._arrive(Parting(time.monotonic_ns(), linger))
        finally:
            transport.close()

    async def _arrive(self, parting: Parting) -> None:
        sock = self._transport.get_extra_info("socket")
        tcp = sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6)
        pause = 0.0
        while tcp and sock is not None and not self._gone.done():
            heard, self._heard = self._heard, False
            if parting.over(time.monotonic_ns(), heard, self._eof_seen, unacknowledged(sock)):
                break
            await asyncio.sleep(pause)
            pause = min(max(2 * pause, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._unarrived = parting.lost

    def _check_open(self, receiving: bool = False) -> None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        if self._lost is not None and not (receiving and self._inbox.over):
            raise self._raising(self._lost)

    def _raising(self, error: Exception) -> BaseException:
        self._raised = equal_fault(error)
        return self._raised

    def _connection_lost(self, error: Exception | None) -> None:
        if self._lost is None:
            self._lost = error or ConnectionAbortedError(errno.ECONNABORTED, errno_words(errno.ECONNABORTED))
        self._relieved()
        self._receiver.wake()


_partings: set[asyncio.Task[None]] = set()  # which the loop alone does not hold


def _drop(transport: asyncio.Transport) -> None:
    """Close a connection that nobody holds: nobody says that what was sent on it is whole."""
    if not transport.is_closing():
        reset_on_close(transport.get_extra_info("socket"))
    transport.abort()
