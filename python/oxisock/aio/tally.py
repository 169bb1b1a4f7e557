"""What streams have in common, those of a server or one alone: counters, and the end of the loop's turn to write at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Tally:
    """The counters that streams add to, and the streams that have something to write.

    What the tasks of one turn of the loop send is written at its end, for all streams together: that makes one write of
    many frames, one callback of the loop for all, and fewer peers that are woken for each answer.

    Attributes:
        only: the inbox of the stream that alone had something to write at the last time, and only one frame: it seems
            to be the only one again, and then its frame need not wait.
    """

    messages = bytes_in = bytes_out = timeouts = 0
    child = False  # this is the copy of a child that a handler or a codec has forked
    shut_first = False  # a forked child may hold duplicates, so closing alone ends nothing

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.only: object = None
        self._due: list[Callable[[], object]] = []

    def write_soon(self, write: Callable[[], object]) -> None:
        """Have this called at the end of the loop's turn; it gives the inbox of a stream that wrote a single frame."""
        self.only = None
        self._due.append(write)
        if len(self._due) == 1:
            self.loop.call_soon(self._write_all)

    def _write_all(self) -> None:
        due, self._due = self._due, []
        rest = iter(due)
        try:
            for write in rest:
                self.only = write()
        except BaseException:
            for write in rest:
                self.write_soon(write)
            raise
        if len(due) > 1:
            self.only = None
