"""Moves the bytes of a framed stream: cuts input into frames, and writes output at the end of the loop's turn."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from ..errors import errno_words
from ..framing.bound import BoundCodec, Inbox, equal_fault
from ..sockets.closing import LINGER, Parting, reset_on_close, unacknowledged
from ..types import Peer
from .tally import Tally
from .waking import Waker

T = TypeVar("T")

_FLUSH_AT = 64 << 10  # bytes of frames that are collected before they are written
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0001, 0.005  # seconds between two looks whether all data has arrived
_LOOK = 0.05  # seconds between two looks whether the peer takes something
_UNREAD = 1 << 20  # bytes whose frames may wait to be taken before reading pauses


class Moving:
    """The part of a stream below its public calls. The protocol reports events, and the Tally says when to write."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_bound",
        "_closed",
        "_discarding",
        "_due",
        "_encode",
        "_eof_seen",
        "_feed",
        "_frames",
        "_gone",
        "_heard",
        "_inbox",
        "_last",
        "_loop",
        "_lost",
        "_output_ended",
        "_pause_at",
        "_peer",
        "_pending",
        "_pending_size",
        "_raised",
        "_reading",
        "_receiver",
        "_room",
        "_sent",
        "_sound",
        "_tally",
        "_took",
        "_transport",
        "_unarrived",
    )

    def __init__(self, bound: BoundCodec, tally: Tally | None = None) -> None:
        self._bound = bound
        self._encode = bound.encode
        self._loop = asyncio.get_running_loop()
        self._tally = tally or Tally(self._loop)
        self._inbox = Inbox(bound)
        self._frames = self._inbox.frames
        self._feed = self._inbox.feeder()
        self._lost: Exception | None = None  # why the connection ended
        self._raised: BaseException | None = None  # what a call last raised because of `_lost` or the inbox's fault
        self._closed = self._output_ended = self._discarding = self._heard = self._eof_seen = False
        # True until one of those happens, the input ends or breaks, or this becomes a forked child.
        self._sound = not self._inbox.over
        self._unarrived = 0  # bytes that had not arrived when the stream was closed
        self._pause_at = self._most_unread  # bytes
        self._took = self._sent = 0  # frames since the last wait
        self._reading = True
        self._last = time.monotonic()  # when the frames before that were handled
        self._receiver = Waker(self._loop)
        self._pending: list[bytes] = []  # frames on their way to the transport
        self._pending_size = 0
        self._due = False  # whether the frames will be handed over at the end of the loop's turn
        self._room: asyncio.Future[None] | None = None  # exists while the peer does not keep up
        self._transport: asyncio.Transport
        self._gone: asyncio.Future[None] = self._loop.create_future()
        self._peer = Peer("", 0)

    # --- receiving -------------------------------------------------------------------------------------------------

    def _received(self, data: memoryview) -> None:
        tally, inbox = self._tally, self._inbox
        size = len(data)
        tally.bytes_in += size
        if not self._sound and self._unwanted():
            return
        inbox.fed += size
        try:
            frames = self._feed(data)
        except BaseException as error:
            frames = inbox.failed(error)
        if not self._sound:
            self._end_child()
        if inbox.fault is not None:
            self._sound = False
            self._pause()
        elif not frames:
            return
        self._frames += frames
        tally.messages += len(frames)
        if inbox.fed > self._pause_at:
            self._pause()
        self._receiver.go_on()

    def _unwanted(self) -> bool:
        """Return whether nobody wants the bytes that arrived."""
        if self._discarding:
            self._heard = True
        return self._discarding or self._inbox.over

    def _ended(self, cut: Exception | None = None) -> None:
        """Note that the peer will send no more; ``cut`` is given if the stream was cut instead."""
        self._eof_seen = True
        self._sound = False
        if not self._inbox.over:
            if cut is not None:
                self._inbox.cut(cut)
            else:
                made = self._inbox.feed(None)
                self._end_child()
                self._tally.messages += made
            self._receiver.wake()

    _most_unread = _UNREAD

    def _end_child(self) -> None:
        """Do nothing; a server's connection exits here if it is in a forked child."""

    def _over(self) -> bool:
        """Return whether no more frames will come. Raises the error that ended the stream, unless its end was clean."""
        self._check_open(receiving=True)
        if not self._inbox.over:
            return False
        try:
            self._inbox.end()
        except BaseException as error:
            self._raised = error
            raise
        return True

    def _at_end(self) -> bool:
        """Return whether no more frames will come. Raises as `_over`, and RuntimeError if another task receives."""
        inbox = self._inbox
        if (self._closed or self._lost is not None or inbox.ended or inbox.fault is not None) and self._over():
            return True
        if self._receiver.callback is not None:
            raise RuntimeError("another task receives from this stream")
        # In a forked child, reading on would take bytes that are the parent's, before the loop ends the child.
        self._end_child()
        return False

    def _made_room(self) -> None:
        """Note that a frame was taken while reading was paused."""
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
            self._pause_at = self._inbox.fed + self._most_unread
            self._transport.resume_reading()

    # --- sending ---------------------------------------------------------------------------------------------------

    def _check_sending(self) -> None:
        self._check_open()
        if self._output_ended:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    def _write(self, encode: Callable[[T], bytes], what: T) -> None:
        if not self._sound:
            self._check_sending()
        wire = encode(what)
        pending, tally = self._pending, self._tally
        self._sent += 1
        if tally.only is self._inbox:
            if self._sent == 1 and not self._frames and not pending:
                self._hand_over(wire)
                return
            tally.only = None
        # Small frames become one write: those of one turn of the loop, or as many as fill a large write.
        pending.append(wire)
        self._pending_size += len(wire)
        if self._pending_size >= _FLUSH_AT:
            self._flush()
        elif not self._due:
            self._due = True
            due = tally.due
            if not due:
                tally.write_soon()
            due.append(self)

    def _flush(self) -> None:
        if self._pending:
            wire = b"".join(self._pending)  # join does not copy a single frame
            self._pending.clear()
            self._pending_size = 0
            self._hand_over(wire)

    def _hand_over(self, wire: bytes) -> None:
        """Give bytes to the transport. A server's connection also counts and times them."""
        if self._lost is None:
            self._transport.write(wire)

    async def _give_way(self) -> None:
        """Wait while the peer does not keep up; otherwise let other tasks run."""
        self._sent = 0
        if self._took:
            self._took = 1  # 1 says that a frame was taken
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

    def _abort(self, owed: bool) -> None:
        self._closed = True
        self._sound = False
        if owed and not self._gone.done():
            reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()
        self._receiver.wake()

    def _end_output(self) -> None:
        if self._transport.can_write_eof():
            # If the peer has gone, the next call says so.
            with suppress(OSError):
                self._transport.write_eof()

    async def _part(self, linger: int) -> None:
        """End the output, wait until everything has arrived, and close. If the peer takes nothing, give up."""
        transport = self._transport
        try:
            if not self._gone.done() and not transport.is_closing():
                self._resume()
                transport.set_write_buffer_limits(0)
            await self._hand_over_rest()
            if not self._gone.done() and not transport.is_closing():
                # If nothing is left to write, this acts at once, and raises its errors here.
                self._end_output()
                await self._arrive(Parting(time.monotonic_ns(), linger))
                if not self._gone.done() and (left := transport.get_write_buffer_size()):
                    self._give_up(left)  # the last word of TLS, behind bytes that the peer does not take
        finally:
            transport.close()

    _patience: float = LINGER  # nanoseconds without progress after which a close gives up what the system has not taken

    async def _hand_over_rest(self) -> None:
        """Wait until the system has taken what was written. If the peer takes nothing for too long, give up."""
        sock = self._stream_socket()
        left, give_up = -1, 0.0
        while self._room is not None:
            waiting = self._transport.get_write_buffer_size()
            # The system takes the next bytes only when much has arrived. So what arrived counts too.
            unsent = waiting + (0 if sock is None else unacknowledged(sock))
            now = time.monotonic_ns()
            if unsent != left:
                left, give_up = unsent, now + self._patience
            elif now >= give_up and not self._gone.done():
                self._give_up(unsent)
                return
            await asyncio.wait([self._room], timeout=_LOOK)

    def _give_up(self, unsent: int) -> None:
        """Close with a reset although bytes have not arrived: they are lost, and the peer can see that."""
        self._unarrived = unsent
        self._abort(owed=True)

    def _stream_socket(self) -> socket.socket | None:
        """Return the socket, if the system can say what has not arrived at the peer."""
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        return sock if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6) else None

    async def _arrive(self, parting: Parting) -> None:
        sock = self._stream_socket()
        pause = 0.0
        while sock is not None and not self._gone.done():
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
        self._sound = False
        if self._lost is None:
            self._lost = error or ConnectionAbortedError(errno.ECONNABORTED, errno_words(errno.ECONNABORTED))
        if self._tally.only is self._inbox:
            self._tally.only = None  # or the Tally would keep the stream alive
        self._relieved()
        self._receiver.wake()
