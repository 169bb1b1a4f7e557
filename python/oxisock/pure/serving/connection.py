"""The life of one TCP connection as a machine. It takes events and the time, and has no bytes and no socket.

A driver reports what happened (``received``, ``queue``, ``wrote``, ...) with the time in nanoseconds. Then it does what
the machine wants. It reads at most ``room()`` bytes, writes at most ``allowance()`` bytes, and calls ``tick`` at
``deadline()``. When ``closed`` is not OPEN, it closes the socket.
"""

from __future__ import annotations

from ...engines.serving import NEVER
from ..splitmix import STEP, mix

OPEN, DONE, IDLE, STALLED, LOST, CUT, RESET, BROKEN, REFUSED = range(9)
"""Why a connection is closed, in this order: it is not closed; everything was sent; no message came; the peer did not
read; the network or the peer broke it; a stop cut it; a planned fault reset it; the PROXY header or the handshake,
which must come first, was bad or late; the client that the PROXY header names is not let in."""

FRUITLESS = 64
"""A late peer may send so many inputs without a message, because the server may be late itself."""


class Connection:
    """The decisions of one connection. Times are nanoseconds, sizes are bytes, and NEVER is no limit.

    Faults made on purpose: ``cut`` is the most bytes of one write (0: no limit), and ``delay`` is the pause before each
    write. After ``reset_after`` bytes, the connection is reset (NEVER: it is not). ``drop``, out of 2**32, is the
    chance that a chunk is dropped, and ``seed`` the seed for that.
    """

    __slots__ = (
        "_answers",
        "_cut",
        "_delay",
        "_doubted",
        "_drop",
        "_due",
        "_eof",
        "_farewell",
        "_finishing",
        "_fruitless",
        "_idle_timeout",
        "_last",
        "_late",
        "_max_buffered",
        "_next_write",
        "_now",
        "_overdue",
        "_owed",
        "_parting",
        "_paused",
        "_progress",
        "_queued",
        "_random",
        "_reset_after",
        "_write_timeout",
        "closed",
        "written",
    )

    def __init__(
        self,
        now: int,
        idle_timeout: int,
        write_timeout: int,
        max_buffered: int,
        cut: int = 0,
        delay: int = 0,
        reset_after: int = NEVER,
        drop: int = 0,
        seed: int = 0,
    ) -> None:
        self.closed = OPEN
        self._now = now
        self._idle_timeout = idle_timeout
        self._write_timeout = write_timeout
        self._max_buffered = max_buffered
        self._cut = cut
        self._delay = delay
        self._reset_after = reset_after
        self._drop = drop
        self._random = seed
        self._last = now  # when the last complete message came, or the last answer was sent
        self._progress = now  # when the peer last took bytes, or bytes began to wait for it
        self._next_write = now
        self._queued = 0
        self._answers = 0  # bytes of `_queued` up to the end of the last answer
        self.written = 0  # bytes that the socket took in all
        self._owed = False  # whether an answer is being made
        self._paused = False
        self._eof = False
        self._finishing = False
        self._due = NEVER  # until when the PROXY header or the handshake must come
        self._late = OPEN  # the reason for closing if it does not come; OPEN if nothing must come first
        self._farewell = False  # whether the service wants to send last bytes before the end
        self._parting = OPEN  # the reason for closing after these bytes are sent
        self._doubted = NEVER  # the value of `_last` when input without a message first came too late
        self._fruitless = 0  # how often that has happened since
        self._overdue = NEVER  # when that may end the connection

    # --- what happened -------------------------------------------------------------------------------------------

    def require_by(self, due: int, now: int, late: int = BROKEN) -> None:
        """Require something before the conversation, by the time ``due``; otherwise close for the reason ``late``."""
        self._now = now
        self._due = due
        self._late = late

    def owe_farewell(self, now: int) -> None:
        """Note that the service has last bytes to send. An orderly end waits for them."""
        self._now = now
        self._farewell = True

    def begin(self, now: int) -> None:
        """Note that the required input has come, and the conversation begins."""
        self._now = now
        self._due, self._late = NEVER, OPEN
        self._last = now

    def active(self, now: int) -> None:
        """Note that a complete message came (for an echo server: a byte)."""
        self._now = now
        self._last = now
        self._answers = self._queued

    def deliver(self, now: int) -> None:
        """Note that input was handed to a handler. Its answer is owed, and nothing is read until it is made."""
        self._now = now
        self._owed = True

    def answered(self, messages: int, now: int) -> None:
        """Note that the owed answer is made, and queued if there is one. It answers ``messages`` messages."""
        self._now = now
        self._owed = False
        if messages:
            self._last = now
            self._answers = self._queued
        if now >= self._due:  # the time ran out while the answer was made, and the conversation has not begun
            self._close(self._late, True)
        elif self._queued == 0:
            self._settle()
        if not messages:
            self._doubt(now)

    def queue(self, size: int, now: int) -> None:
        """Note that ``size`` bytes wait to be written. If an answer is owed, they may turn out not to be part of it."""
        self._now = now
        if size == 0:
            return
        if self._queued == 0:
            self._progress = now
            self._next_write = now + self._delay
        self._queued += size
        if not self._owed:
            self._answers = self._queued
        if self._queued >= self._max_buffered:
            self._paused = True

    def wrote(self, size: int, now: int) -> None:
        """Note that the socket took ``size`` of the waiting bytes."""
        self._now = now
        self._queued -= size
        self.written += size
        self._progress = now
        self._next_write = now + self._delay
        if self._queued <= self._max_buffered // 2:
            self._paused = False
        if self.written >= self._reset_after:
            self._close(RESET)
            return
        if self._answers:
            self._answers -= size
            if self._answers <= 0:
                self._answers = 0
                self._last = now
        if self._queued == 0 and not self._owed:
            self._settle()

    def ended(self, now: int) -> None:
        """Note that the peer will send no more."""
        self._now = now
        self._eof = True
        if self._queued == 0 and not self._owed:
            self._close(DONE)

    def finish(self, now: int) -> None:
        """Read no more, and close when everything owed is answered and written."""
        self._now = now
        self._finishing = True
        if self._queued == 0 and not self._owed:
            self._close(DONE)

    def abort(self, reason: int, now: int) -> None:
        """End at once, for LOST, CUT, BROKEN or REFUSED. If only last bytes are missing, CUT keeps the old reason."""
        self._now = now
        self._close(self._parting if reason == CUT and self._parting != OPEN else reason, True)

    def tick(self, now: int) -> None:
        """Check the timers."""
        self._now = now
        if self.closed != OPEN:
            return
        if now >= self._due and not self._owed:
            self._close(self._late, True)
        elif self._queued and now >= self._stall_deadline():
            self._close(STALLED)
        elif now >= self._idle_deadline():
            self._close(IDLE)

    def parts(self) -> bool:
        """Return whether to ask the service for its last bytes now; True only once. They are owed as an answer is."""
        asks = self._farewell and self._parting != OPEN
        self._farewell &= not asks
        return asks

    def swallow(self) -> bool:
        """Decide whether to drop the chunk that just came in, on purpose."""
        if self._drop == 0:
            return False
        chance = mix(self._random) >> 32
        self._random += STEP
        return chance < self._drop

    # --- what to do ----------------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many bytes may be read now; 0 means not to read."""
        if self.closed != OPEN or self._eof or self._finishing or self._paused or self._owed:
            return 0
        return self._max_buffered - self._queued

    def allowance(self) -> int:
        """Return how many bytes may be written now; 0 means not to write."""
        if self.closed != OPEN or self._now < self._next_write:
            return 0
        size = min(self._queued, self._reset_after - self.written)
        return min(size, self._cut) if self._cut else size

    def deadline(self) -> int:
        """Return the time at which ``tick`` has a timer to check, or a delayed write may be sent."""
        if self.closed != OPEN:
            return NEVER
        due = NEVER if self._owed else min(self._due, self._idle_deadline())
        if self._queued:
            return min(due, self._next_write if self._now < self._next_write else self._stall_deadline())
        return due

    @property
    def queued(self) -> int:
        """How many bytes wait to be written."""
        return self._queued

    @property
    def owed(self) -> bool:
        """Whether an answer is being made."""
        return self._owed

    @property
    def expecting(self) -> bool:
        """Whether something must come first, has not come, and is still waited for."""
        return self._late != OPEN and not self._finishing

    @property
    def eof(self) -> bool:
        """Whether the peer has said that it will send no more."""
        return self._eof

    @property
    def paused(self) -> bool:
        """Whether so many bytes wait to be written that nothing more is read or answered now."""
        return self._paused

    def _idle_deadline(self) -> int:
        """Return when the peer is idle for too long; NEVER while an answer is made or sent, or near the end."""
        if self._owed or self._answers or self._eof or self._finishing or self._parting != OPEN:
            return NEVER
        return min(self._last + self._idle_timeout, NEVER)

    def _doubt(self, now: int) -> None:
        """Note that input without a message came. A peer that goes on with this for too long is idle, as if silent.

        The idle timer does not find such a peer if its next input always arrives before the check. But the server
        itself may have been late, so that input waited. Then the peer has as long again, because waiting input is read
        in a few chunks.
        """
        if now < self._idle_deadline():
            return
        if self._doubted != self._last:
            self._doubted, self._fruitless = self._last, 0
            self._overdue = min(now + self._idle_timeout, NEVER)
        self._fruitless += 1
        if self._fruitless > FRUITLESS and now >= self._overdue:
            self._close(IDLE)

    def _stall_deadline(self) -> int:
        return min(max(self._progress, self._next_write) + self._write_timeout, NEVER)

    def _settle(self) -> None:
        """Close if nothing is owed and the end of the input has come."""
        if self._parting != OPEN:
            self._close(self._parting)
        elif self._eof or self._finishing:
            self._close(DONE)

    def _close(self, reason: int, at_once: bool = False) -> None:
        if self.closed != OPEN:
            return
        if self._farewell and not at_once and reason in (DONE, IDLE):
            self._parting, self._owed = reason, True
        else:
            self.closed = reason
