"""The life of one TCP connection as a machine: events and time in, what to do next out. Holds no bytes and no socket.

A driver tells it what happened (``received``, ``queue``, ``wrote``, ...) with the time in nanoseconds, and then asks
what to do: read at most ``room()`` bytes, write at most ``allowance()`` bytes, call ``tick`` at ``deadline()``, and
close the socket once ``closed`` is not OPEN.
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
    """The decisions of one connection; times in nanoseconds, sizes in bytes, NEVER for no limit.

    ``cut``, ``delay``, ``reset_after``, ``drop`` (out of 2**32) and ``seed`` are faults made on purpose: the most bytes
    of one write (0: any), the pause before each, the bytes after which the connection is reset (NEVER: none), and the
    chance that a piece that came in is swallowed.
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
        self._last = now  # when the last complete message came, or the last answer was out
        self._progress = now  # when the peer last took bytes, or began to have some waiting
        self._next_write = now
        self._queued = 0
        self._answers = 0  # those of them up to the end of the last answer
        self.written = 0  # bytes that the socket took in all
        self._owed = False  # whether an answer is being made
        self._paused = False
        self._eof = False
        self._finishing = False
        self._due = NEVER  # when what has to come first is to be there
        self._late = OPEN  # what its absence then comes to; OPEN where nothing has to come first
        self._farewell = False  # whether a last word is to be said before the end
        self._parting = OPEN  # why it will be closed when that is said
        self._doubted = NEVER  # what _last was when input without a message came too late for the first time
        self._fruitless = 0  # how often that has happened since
        self._overdue = NEVER  # when that may be its end

    # --- what happened -------------------------------------------------------------------------------------------

    def require_by(self, due: int, now: int, late: int = BROKEN) -> None:
        """Something has to come first, by the time ``due``; else it is closed for the reason ``late``."""
        self._now = now
        self._due = due
        self._late = late

    def owe_farewell(self, now: int) -> None:
        """Who serves it has a last word to say: an end without force waits for that."""
        self._now = now
        self._farewell = True

    def begin(self, now: int) -> None:
        """It has come, and the conversation begins."""
        self._now = now
        self._due, self._late = NEVER, OPEN
        self._last = now

    def active(self, now: int) -> None:
        """A complete message came (to an echo server: a byte)."""
        self._now = now
        self._last = now
        self._answers = self._queued

    def deliver(self, now: int) -> None:
        """What came in was handed to a handler: an answer is owed, and nothing is read until it is made."""
        self._now = now
        self._owed = True

    def answered(self, messages: int, now: int) -> None:
        """The answer owed is made (and queued, where there was something to say); it was to so many messages."""
        self._now = now
        self._owed = False
        if messages:
            self._last = now
            self._answers = self._queued
        if now >= self._due:  # while the answer was made; that it is no conversation yet is what it says
            self._close(self._late, True)
        elif self._queued == 0:
            self._settle()
        if not messages:
            self._doubt(now)

    def queue(self, size: int, now: int) -> None:
        """``size`` bytes wait to be written; what is queued while an answer is owed may turn out to be none."""
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
        """The socket took ``size`` of the bytes that wait."""
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
        """The peer will send no more."""
        self._now = now
        self._eof = True
        if self._queued == 0 and not self._owed:
            self._close(DONE)

    def finish(self, now: int) -> None:
        """Read no more, and close when what is owed is answered and written."""
        self._now = now
        self._finishing = True
        if self._queued == 0 and not self._owed:
            self._close(DONE)

    def abort(self, reason: int, now: int) -> None:
        """End at once, for LOST, CUT, BROKEN or REFUSED; to CUT who is parting takes nothing from anybody."""
        self._now = now
        self._close(self._parting if reason == CUT and self._parting != OPEN else reason, True)

    def tick(self, now: int) -> None:
        """Time has passed: judge the timers."""
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
        """Decide, once, whether to ask for the last word now; it is owed as an answer is."""
        asks = self._farewell and self._parting != OPEN
        self._farewell &= not asks
        return asks

    def swallow(self) -> bool:
        """Decide whether the piece that just came in is dropped on purpose."""
        if self._drop == 0:
            return False
        chance = mix(self._random) >> 32
        self._random += STEP
        return chance < self._drop

    # --- what to do ----------------------------------------------------------------------------------------------

    def room(self) -> int:
        """Return how many bytes may be read now; 0 is not to read."""
        if self.closed != OPEN or self._eof or self._finishing or self._paused or self._owed:
            return 0
        return self._max_buffered - self._queued

    def allowance(self) -> int:
        """Return how many bytes may be written now; 0 is not to write."""
        if self.closed != OPEN or self._now < self._next_write:
            return 0
        size = min(self._queued, self._reset_after - self.written)
        return min(size, self._cut) if self._cut else size

    def deadline(self) -> int:
        """Return the time at which ``tick`` has something to judge, or a delayed write may go out."""
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
        """Whether something has to come first, and neither came nor was given up."""
        return self._late != OPEN and not self._finishing

    @property
    def eof(self) -> bool:
        """Whether the peer said that it will send no more."""
        return self._eof

    @property
    def paused(self) -> bool:
        """Whether so much waits to be written that nothing more is to be read or answered for now."""
        return self._paused

    def _idle_deadline(self) -> int:
        """Return when it has said nothing for too long; that is not asked while it is answered, or near its end."""
        if self._owed or self._answers or self._eof or self._finishing or self._parting != OPEN:
            return NEVER
        return min(self._last + self._idle_timeout, NEVER)

    def _doubt(self, now: int) -> None:
        """Input came that held no message: whoever goes on with that for too long is as idle as who is silent.

        A timer does not find him if his next input is always there before it is judged. It may also be the server that
        was late, and what waited meanwhile has its time: it is read in a few pieces, and has as long again.
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
        """Nothing is owed any more: after the end of the input that is the end."""
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
