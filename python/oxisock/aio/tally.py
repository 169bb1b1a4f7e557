"""What streams share: counters, and the write at the end of the loop's turn."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .moving import Moving


class Tally:
    """The counters that streams add to, and the streams that have something to write.

    What the tasks of one turn of the loop send is written at its end, for all streams together: that makes one write of
    many frames, one callback of the loop for all, and fewer peers that are woken for each answer.

    Attributes:
        due: the streams that have something to write; who puts the first one there calls `write_soon` before.
        only: the inbox of the stream that alone had something to write at the last time, and only one frame: it seems
            to be the only one again, and then its frame need not wait.
    """

    messages = bytes_in = bytes_out = timeouts = 0
    child = False  # this is the copy of a child that a handler or a codec has forked
    shut_first = False  # a forked child may hold duplicates, so closing alone ends nothing

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.only: object = None
        self.due: list[Moving] = []

    def write_soon(self) -> None:
        """Have those that are due write at the end of the loop's turn."""
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
