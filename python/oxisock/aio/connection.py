"""One connection of an asyncio server: a framed stream with the server's limits and an orderly end."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ..framing.bound import BoundCodec
from ..serving import log as server_log
from ..sockets import forks, secure
from ..sockets.closing import reset_on_close, shut_down
from .driving import Driver
from .stream import FramedStream
from .tally import Tally

if TYPE_CHECKING:
    from ..serving.limits import Limits
    from ..types import Peer

_HEARINGS = 2  # callbacks of the loop, one after the other, after which the loop has read what arrived
_LOOKS = 4  # looks at a peer that does not read, in each write_timeout
_LOOK = 1.0  # at most this many seconds between two looks: a loop that loses a connection does not say what was unsent


class ServedStream(FramedStream):
    """A stream that the server closes when no message comes, or when the peer does not read."""

    def __init__(self, bound: BoundCodec, limits: Limits, tally: Tally) -> None:
        super().__init__(bound, tally)
        self._receiver: Driver = Driver(self._loop)
        self._limits = limits
        self._most_unread = self._pause_at = limits.max_buffered
        self.expected = False  # whether a PROXY header or a handshake must come first
        self._idle_timer: asyncio.Handle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._progress = 0.0  # when the peer last took bytes
        self._write_timeout = float("inf") if limits.write_timeout is None else limits.write_timeout
        self._outgoing = self._taken = 0  # bytes given to the transport, and how many of them the system took
        self._left = 0  # how many bytes of the payload may be unsent, at the last look
        if limits.idle_timeout is not None:
            self._idle_timer = self._loop.call_later(limits.idle_timeout, self._check_idle)

    def driven(self, conversation: Awaitable[Any]) -> Awaitable[Any]:
        """Return what the task is to await, so that the handler resumes as soon as a frame arrives."""
        return self._receiver.driven(conversation)

    def begin(self, peer: Peer) -> None:
        """Record the peer, now that the connection is open."""
        self._peer = peer
        self._transport.set_write_buffer_limits(self._limits.max_buffered)

    def begun(self) -> bool:
        """Return whether the connection has been opened."""
        return hasattr(self, "_transport")

    def gone(self) -> bool:
        """Return whether the connection has ended."""
        return self._gone.done()

    def raised(self, error: BaseException) -> bool:
        """Return whether this stream raised ``error``."""
        return error is self._raised

    def broken(self) -> bool:
        """Return whether a fault in the stream has ended it."""
        fault = self._inbox.fault
        return fault is not None and not secure.is_cut(fault)

    def unsent(self) -> int:
        """Return how many bytes wait for the peer."""
        return self._transport.get_write_buffer_size() if self.begun() and not self.gone() else 0

    def unsaid(self) -> int:
        """Look how many bytes of the payload wait for the peer; with TLS, this differs from the bytes on the wire."""
        if waiting := self.unsent():
            unsaid = getattr(self._transport, "unsaid", None)
            self._left = waiting if unsaid is None else unsaid()
        elif not self.begun() or self.gone() or not self._transport.is_closing():
            return 0
        # If nothing waits while the transport closes, all may be sent, or all that waited may be lost. The loop soon
        # says which.
        return self._left

    def unhandled(self) -> int:
        """Return how many messages wait for the handler."""
        return len(self._frames)

    def at_rest(self) -> bool:
        """Return whether nothing is owed: everything is sent, and the handler waits for a message or has ended."""
        if self._pending or self.unsent():
            return False
        return self._discarding or (self._receiver.callback is not None and not self._frames)

    def end_input(self) -> None:
        """Let the handler read the end of the stream after everything that has arrived."""
        self._inbox.ended = True
        self._sound = False
        self._receiver.wake()

    def copied(self) -> None:
        """Note that this is the copy in a forked child."""
        self._sound = False

    async def part(self) -> None:
        """End the conversation without losing the last bytes that were sent."""
        self.close()
        await self.wait_closed()

    def abort(self) -> None:
        """Close at once with a reset, which tells the peer that data under way is lost."""
        self._before_abort(owed=not self.at_rest())
        self._abort(owed=False)

    _patience = float("inf")  # `_check_stall` gives up the peer, after the server's write_timeout

    def _give_up(self, unsent: int) -> None:
        self._unarrived = unsent
        self.abort()

    def _before_abort(self, owed: bool) -> None:
        self._tally.bytes_out -= self.unsaid()
        self._left = 0
        if not self.gone() and (owed or self._tally.shut_first):
            # Not every loop's transport has a socket with these methods, and there may be no free descriptor to
            # duplicate it.
            sock = socket.socket(fileno=self._transport.get_extra_info("socket").fileno())
            try:
                if owed:
                    reset_on_close(sock)
                if self._tally.shut_first:
                    shut_down(sock)
            finally:
                sock.detach()

    # --- limits ----------------------------------------------------------------------------------------------------

    def _pause(self) -> None:
        self._end_child()
        super()._pause()

    def _resume(self) -> None:
        self._end_child()
        super()._resume()

    def _end_child(self) -> None:
        """Exit if a handler or decoder has forked and this is the child.

        The child must receive nothing, send nothing, and not touch the loop, which it shares with the parent.
        """
        if self._tally.child:
            forks.end_child(server_log.child_returned)

    def _hand_over(self, wire: bytes) -> None:
        tally, transport = self._tally, self._transport
        if not self._sound:
            self._end_child()
            if self._lost is not None:
                return
        transport.write(wire)
        size = len(wire)
        tally.bytes_out += size
        self._outgoing += size
        if self._stall_timer is not None:
            self._left += size
        elif waiting := transport.get_write_buffer_size():
            self._progress = self._loop.time()
            self._taken = self._outgoing - waiting
            self.unsaid()
            self._look_later(self._write_timeout)

    def _blocked(self) -> None:
        super()._blocked()
        self._pause()

    def _relieved(self) -> None:
        super()._relieved()
        self._left = self.unsaid()
        if not self._frames and not self._reading:
            self._resume()

    def _check_idle(self, hearings: int = 0) -> None:
        assert self._limits.idle_timeout is not None
        timeout = left = self._limits.idle_timeout
        # While the handler works, the peer is not idle.
        if self._receiver.idle() and not self.unsent():
            left = self._last + timeout - time.monotonic()
        if left > 0:
            self._idle_timer = self._loop.call_later(left, self._check_idle)
        elif hearings < _HEARINGS:
            # The loop may have been late, or the whole process paused. Read first what has arrived meanwhile.
            self._idle_timer = self._loop.call_soon(self._check_idle, hearings + 1)
        else:
            self._time_out(f"no message came for {timeout:g} s")

    def _look_later(self, timeout: float) -> None:
        self._stall_timer = self._loop.call_later(min(timeout / _LOOKS, _LOOK), self._check_stall, timeout)

    def _check_stall(self, timeout: float) -> None:
        self._stall_timer = None
        waiting = self.unsent()
        self._left = self.unsaid()
        now = self._loop.time()
        if self._outgoing - waiting > self._taken:
            self._taken = self._outgoing - waiting
            self._progress = now
        if waiting and now >= self._progress + timeout:
            self._time_out(f"the peer took nothing for {timeout:g} s")
        elif waiting:
            self._look_later(timeout)

    def _time_out(self, text: str) -> None:
        self._tally.timeouts += 1
        self._lost = TimeoutError(text)
        self._sound = False
        if self.unsent():
            self._break_off(owed=True)
        else:
            if not (self._output_ended or self._closed):
                self._end_output()  # TLS must say that this was all, and some loops write later
            self._loop.call_soon(self._break_off, False)
        self._receiver.wake()

    def _break_off(self, owed: bool) -> None:
        self._before_abort(owed)
        self._transport.abort()

    def _connection_lost(self, error: Exception | None) -> None:
        if error is not None and self._stall_timer is not None:
            self._tally.bytes_out -= self._left
        for timer in (self._idle_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        self._idle_timer = self._stall_timer = None
        super()._connection_lost(error)
