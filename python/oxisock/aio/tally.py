"""What streams share: counters, and the write at the end of the loop's turn."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Writing(Protocol):
    """A stream that has something to write."""

    def _write_due(self) -> object:
        """Write it; give the stream's inbox if that was a single frame, and else None."""


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
        self.due: list[Writing] = []

    def write_soon(self) -> None:
        """Have those that are due write at the end of the loop's turn."""
        self.only = None
        self.loop.call_soon(self._write_all)

    def _write_all(self) -> None:
        due, self.due = self.due, []
        rest = iter(due)
        try:
            for stream in rest:
                self.only = stream._write_due()
        except BaseException:
            if left := list(rest):
                if not self.due:
                    self.write_soon()
                self.due += left
            raise
        if len(due) > 1:
            self.only = None
