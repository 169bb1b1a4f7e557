"""What blocking calls share: the deadline of a call, and steps that are carried out in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

_Step = TypeVar("_Step")
_Found = TypeVar("_Found")


_LATE = 64
"""Chunks of a message accepted after its deadline: they may have arrived before, if the caller is late."""


class Deadline:
    """The time by which a call must end, given in seconds from now; None for no limit."""

    __slots__ = ("_at", "_late", "limited")

    def __init__(self, timeout: float | None) -> None:
        self._at = 0.0 if timeout is None else time.monotonic() + timeout
        self._late = 0
        self.limited = timeout is not None

    def left(self) -> float | None:
        """Return the seconds left, but never 0 or less; None for no limit."""
        return max(1e-6, self._at - time.monotonic()) if self.limited else None

    def check(self) -> float | None:
        """Return the seconds left. Raises TimeoutError if there are none."""
        if self.limited and time.monotonic() >= self._at:
            raise TimeoutError("timed out")
        return self.left()

    def took_piece(self) -> None:
        """Note a chunk of an incomplete message. Raises TimeoutError if they go on after the deadline."""
        if self.limited and time.monotonic() >= self._at:
            self._late += 1
            if self._late > _LATE:
                raise TimeoutError("timed out")

    def seconds(self) -> float:
        """Return the seconds left as locks take them; -1 for no limit."""
        left = self.left()
        return -1 if left is None else min(left, threading.TIMEOUT_MAX)


def carry_out(steps: Generator[_Step, Any, _Found], do: Callable[[_Step], Any]) -> _Found:
    """Carry out the steps that a machine yields, and return what it returns.

    The machine gets the result of each step by ``send``, or its exception by ``throw``.
    """
    try:
        step = next(steps)
        while True:
            try:
                came = do(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        found: _Found = end.value
        return found
