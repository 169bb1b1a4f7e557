"""Timers that are dropped late: who is gone, or waits for another time by now, is told apart when his time comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from ..engines.serving import NEVER

_KEPT = 64  # that nobody waits for any more, beside as many as there are owners


class Timers:
    """When who is to be judged: the earliest time first, and of one time the lowest number."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int]] = []

    def set(self, due: int, owner: int) -> None:
        """Set a timer."""
        heapq.heappush(self._heap, (due, owner))

    def next(self) -> int:
        """Return the time at which the next is due."""
        return self._heap[0][0] if self._heap else NEVER

    def take(self, now: int) -> tuple[int, int] | None:
        """Take the next that is due by ``now``: its time, and whose it is."""
        return heapq.heappop(self._heap) if self._heap and self._heap[0][0] <= now else None

    def tidy(self, owners: int, waited_for: Callable[[int, int], bool]) -> None:
        """Where most are waited for by none of so many owners, drop those."""
        if len(self._heap) > 2 * owners + _KEPT:
            self._heap = [timer for timer in self._heap if waited_for(*timer)]
            heapq.heapify(self._heap)
