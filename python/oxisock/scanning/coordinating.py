"""Decides which shard is given out when, again after a failure, and a second time where workers are idle.

A machine: what became of a task and the time (in nanoseconds) go in, what to submit and what is lost comes out. It
knows no executor and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_TRIES = 3  # of a shard: given out again twice
_COPIES = 3  # of a shard under way at once, when nothing else is left to do: two of them may be with one that hangs
_PATIENCE = 60_000_000_000  # ns that a task may take before its shard is given out again beside it
_FACTOR = 4  # and so many times the longest that any took


class Task(NamedTuple):
    """A shard given out: the number of the task, which is never used again, and that of the shard."""

    number: int
    shard: int


class Lost(NamedTuple):
    """A shard that nobody could scan, and the name of what its last task died of."""

    shard: int
    cause: str


class Coordinator:
    """The fate of ``shards`` shards, of which at most ``slots`` are out at a time; those in ``done`` need nothing.

    A task is expected to take ``expected`` nanoseconds, until the first that ends tells. Where all ``share`` a rate, a
    task that is late keeps its slot: it may still send.
    """

    def __init__(self, shards: int, slots: int, expected: int, share: bool, done: frozenset[int] = frozenset()) -> None:
        self._shards = shards
        self._share = share
        self._expected = expected
        self._slots = slots
        self._before = done
        self._left = shards - len(done)
        self._next = 0  # the first shard that was never given out
        self._again: list[int] = []
        self._out: dict[int, int] = {}  # the shard of each task that is out, the oldest first
        self._late: dict[int, int] = {}  # the same for tasks that nobody waits for, and which count if they come
        self._copies: dict[int, int] = {}  # by shard, for the shards that were given out: how many tasks are out
        self._since: dict[int, int] = {}  # by task that is out: when it was given out
        self._given = dict[int, int]()  # by shard: when it was last given out
        self._longest = 0  # ns that any task took until it ended well
        self._waited: dict[int, int] = {}  # by shard: how often it was late
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

    def next(self, now: int) -> Task | None:
        """Give out a task at the time ``now``; None where there is none, or no free slot."""
        busy = len(self._out) + (len(self._late) if self._share else 0)
        if self._stopped or self._broken or busy >= self._slots:
            return None
        shard = self._choose(now)
        if shard is None:
            return None
        task = Task(self._numbers, shard)
        self._numbers += 1
        self._out[task.number] = shard
        self._since[task.number] = self._given[shard] = now
        self._copies[shard] = self._copies.get(shard, 0) + 1
        return task

    def finished(self, number: int, now: int) -> bool:
        """A task gave the results of its shard; say whether they count: only the first that come do."""
        self._longest = max(self._longest, now - self._since.get(number, now))
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
        if self._copies[shard]:  # another copy is still at it
            return None
        if self._failures[shard] < _TRIES and not self._broken:
            if shard not in self._again:
                self._again.append(shard)
            return None
        self._settle(shard)
        return Lost(shard, cause)

    def late(self, now: int) -> list[int]:
        """Give the tasks that take far longer than others: each frees its slot, and its shard is given out again.

        Their workers may hang. A shard that is late again waits twice as long, since it may be the work that is slow.
        """
        patience = max(_PATIENCE, _FACTOR * self._longest)
        found = [
            number for number, shard in self._out.items()
            if now - self._since[number] >= patience << self._waited.get(shard, 0)
        ]  # fmt: skip
        for number in found:
            shard = self._late[number] = self._out.pop(number)
            if shard in self._copies:
                self._waited[shard] = self._waited.get(shard, 0) + 1
                self._copies[shard] -= 1
                if not self._copies[shard]:
                    self._again.insert(0, shard)
        return found

    def broken(self) -> Iterator[int]:
        """No task can be given out any more: give, as settled, every shard that is not out, and make failures final."""
        self._broken = True
        waiting, first = list(self._again), self._next
        self._next = self._shards
        for shard in waiting:
            self._settle(shard)
        self._left = len(self._copies)
        return chain(waiting, (shard for shard in range(first, self._shards) if shard not in self._before))

    def stop(self) -> None:
        """Give nothing more out."""
        self._stopped = True

    def _choose(self, now: int) -> int | None:
        if self._again:
            return self._again.pop(0)
        while self._next < self._shards:
            self._next += 1
            if self._next - 1 not in self._before:
                return self._next - 1
        # Whoever is idle takes what is longest under way, once it ought to have ended: its worker may hang, or be far
        # slower than the others. Before that a copy would only ask the same ports twice.
        due = now - (self._longest + self._longest // 2 or self._expected)
        return next((shard for shard in self._out.values() if self._worth_a_copy(shard, due)), None)

    def _worth_a_copy(self, shard: int, due: int) -> bool:
        few = self._copies.get(shard, _COPIES) < _COPIES and self._failures.get(shard, 0) < _TRIES
        return few and self._given[shard] <= due

    def _end(self, number: int) -> int | None:
        """Note the end of a task; give its shard unless that is settled, or the task is over already."""
        self._since.pop(number, None)
        shard = self._out.pop(number, None)
        if shard in self._copies:
            self._copies[shard] -= 1
            return shard
        shard = self._late.pop(number, None)
        return shard if shard in self._copies else None

    def _settle(self, shard: int) -> None:
        if not self._copies.pop(shard, None) and shard in self._again:
            self._again.remove(shard)
        self._failures.pop(shard, None)
        self._waited.pop(shard, None)
        self._given.pop(shard, None)
        self._left -= 1
