"""What streams share: counters, and the write at the end of the loop's turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .moving import Moving


class Tally:
    """The counters that streams add to, and the streams that have something to write.

    At the end of a turn of the loop, one callback writes what all tasks of the turn sent, for all streams together. So
    many frames become one write, and fewer peers are woken for each answer.

    Attributes:
        due: the streams that have something to write. Call `write_soon` before you add the first.
        only: the inbox of the stream that was alone in the last turn, with a single frame. Its next frame does not wait
            for the end of the turn, because it is probably alone again.
    """

    messages = bytes_in = bytes_out = timeouts = 0
    child = False  # whether this is the copy in a child that a handler or a codec has forked
    shut_first = False  # shut sockets down before closing them, because a forked child may hold duplicates

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.only: object = None
        self.due: list[Moving] = []

    def write_soon(self) -> None:
        """Write the due streams at the end of the loop's turn."""
        self.only = None
        self.loop.call_soon(self._write_all)

    def _write_all(self) -> None:
        due, self.due = self.due, []
        alone = len(due) == 1 and len(due[0]._pending) == 1
        rest = iter(due)
        try:
            for stream in rest:
                stream._due = False
                pending = stream._pending
                if len(pending) == 1:
                    stream._pending_size = 0
                    stream._hand_over(pending.pop())
                else:
                    stream._flush()
        except BaseException:
            if left := list(rest):
                if not self.due:
                    self.write_soon()
                self.due += left
            raise
        if alone:
            self.only = due[0]._inbox
