"""Timers that are removed late: when a timer is due, the caller finds out whether it still counts."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ..engines.serving import NEVER

_KEPT = 64  # timers kept beyond twice the number of owners


class Timers:
    """Timers with their owners, by time, and by number at the same time."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def set(self, due: int, owner: int) -> None:
        """Set a timer."""
        heapq.heappush(self._heap, (due, owner))

    def next(self) -> int:
        """Return the time at which the next timer is due."""
        return self._heap[0][0] if self._heap else NEVER

    def take(self, now: int) -> tuple[int, int] | None:
        """Remove and return the next timer that is due by ``now``, as time and owner; None if there is none."""
        return heapq.heappop(self._heap) if self._heap and self._heap[0][0] <= now else None

    def tidy(self, owners: int, waited_for: Callable[[int, int], bool]) -> None:
        """Drop timers that do not count any more, if most do not."""
        if len(self._heap) > 2 * owners + _KEPT:
            self._heap = [timer for timer in self._heap if waited_for(*timer)]
            heapq.heapify(self._heap)
