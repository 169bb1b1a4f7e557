"""Decides which shard is given out when, again after a failure, and a second time where workers are idle.

A machine: what became of a task goes in, what to submit and what is lost comes out. It knows no executor and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_TRIES = 3  # of a shard: given out again twice
_COPIES = 3  # of a shard under way at once, when nothing else is left to do: two of them may be with one that hangs


class Task(NamedTuple):
    """A shard given out: the number of the task, which is never used again, and that of the shard."""

    number: int
    shard: int


class Lost(NamedTuple):
    """A shard that nobody could scan, and the name of what its last task died of."""

    shard: int
    cause: str


class Coordinator:
    """The fate of ``shards`` shards, of which at most ``slots`` are out at a time; those in ``done`` need nothing."""

    def __init__(self, shards: int, slots: int, done: frozenset[int] = frozenset()) -> None:
        self._shards = shards
        self._slots = slots
        self._before = done
        self._left = shards - len(done)
        self._next = 0  # the first shard that was never given out
        self._again: list[int] = []
        self._out: dict[int, int] = {}  # the shard of each task that is out, the oldest first
        self._copies: dict[int, int] = {}  # by shard, for the shards that are out
        self._failures: dict[int, int] = {}
        self._numbers = 0
        self._stopped = False
        self._broken = False

    @property
    def over(self) -> bool:
        """Whether nothing is to be expected any more."""
        return self._left == 0 or (self._stopped and not self._out)

    @property
    def out(self) -> int:
        """How many tasks are out."""
        return len(self._out)

    def next(self) -> Task | None:
        """Give out a task; None where there is none, or no free slot."""
        if self._stopped or self._broken or len(self._out) >= self._slots:
            return None
        shard = self._choose()
        if shard is None:
            return None
        task = Task(self._numbers, shard)
        self._numbers += 1
        self._out[task.number] = shard
        self._copies[shard] = self._copies.get(shard, 0) + 1
        return task

    def finished(self, number: int) -> bool:
        """A task gave the results of its shard; say whether they count: only the first that come do."""
        shard = self._end(number)
        if shard is None:
            return False
        self._settle(shard)
        return True

    def failed(self, number: int, cause: str) -> Lost | None:
        """A task ended without results; give its shard if that was its last try."""
        shard = self._end(number)
        if shard is None:
            return None
        self._failures[shard] = self._failures.get(shard, 0) + 1
        if self._copies.get(shard):  # another copy is still at it
            return None
        if self._failures[shard] < _TRIES and not self._broken:
            self._again.append(shard)
            return None
        self._settle(shard)
        return Lost(shard, cause)

    def broken(self) -> Iterator[int]:
        """No task can be given out any more: give, as settled, every shard that is not out, and make failures final."""
        self._broken = True
        waiting, first = self._again, self._next
        self._again, self._next = [], self._shards
        for shard in waiting:
            self._settle(shard)
        self._left = len(self._copies)
        return chain(waiting, (shard for shard in range(first, self._shards) if shard not in self._before))

    def stop(self) -> None:
        """Give nothing more out."""
        self._stopped = True

    def _choose(self) -> int | None:
        if self._again:
            return self._again.pop(0)
        while self._next < self._shards:
            self._next += 1
            if self._next - 1 not in self._before:
                return self._next - 1
        # Whoever is idle takes what is longest under way: its worker may hang, or be far slower than the others.
        return next(filter(self._worth_a_copy, self._out.values()), None)

    def _worth_a_copy(self, shard: int) -> bool:
        return self._copies.get(shard, _COPIES) < _COPIES and self._failures.get(shard, 0) < _TRIES

    def _end(self, number: int) -> int | None:
        """Note the end of a task; give its shard unless that is settled, or the task is over already."""
        shard = self._out.pop(number, None)
        if shard is None or shard not in self._copies:
            return None
        self._copies[shard] -= 1
        return shard

    def _settle(self, shard: int) -> None:
        self._copies.pop(shard, None)
        self._failures.pop(shard, None)
        self._left -= 1
