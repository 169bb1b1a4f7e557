"""Decides when a shard is submitted: first, again after a failure, or a second time if workers are idle.

A machine: what became of a task and the time (in nanoseconds) go in, what to submit and what is lost comes out. It
knows no executor and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_NEVER = 1 << 63
_TRIES = 3  # of a shard: given out again twice
_COPIES = 3  # of a shard under way at once, when nothing else is left to do: two of them may be with one that hangs
_PATIENCE = 60_000_000_000  # ns that a task may take before its shard is given out again beside it
_FACTOR = 4  # and so many times the longest that any took


class Task(NamedTuple):
    """A shard given out: the number of the task, which is never used again, and that of the shard.

    ``limit`` is when it is to end by itself, in nanoseconds after its beginning.
    """

    number: int
    shard: int
    limit: int


class Lost(NamedTuple):
    """A shard that nobody could scan, and the name of what its last task died of."""

    shard: int
    cause: str


class Passed(NamedTuple):
    """What became of tasks by time alone."""

    late: list[int]  # they take far longer than others, and their shards are given out beside them
    gone: list[int]  # they ought to have ended by themselves long ago, and have failed
    lost: list[Lost]


class _Given:
    """A task that is out."""

    __slots__ = ("limit", "shard", "since")

    def __init__(self, shard: int, since: int, limit: int) -> None:
        self.shard, self.since, self.limit = shard, since, limit


class _Pending:
    """A shard that was given out and is not settled."""

    __slots__ = ("copies", "failures", "given", "queued", "waited")

    def __init__(self) -> None:
        self.copies = 0  # tasks that are out, without late ones
        self.given = 0  # when the last of them was given out
        self.failures = 0
        self.waited = 0  # how often it was late
        self.queued = False  # to be given out again


class Coordinator:
    """The fate of ``shards`` shards, of which at most ``slots`` are out at a time; those in ``done`` need nothing.

    A task is expected to take ``expected`` nanoseconds, until the first that ends tells; it ends by itself after
    ``limit``, and at the time ``deadline`` of the whole scan. Where all ``share`` a rate, a task that is late keeps its
    slot: it may still send.
    """

    def __init__(
        self,
        shards: int,
        slots: int,
        *,
        expected: int,
        limit: int,
        share: bool,
        deadline: int = _NEVER,
        done: frozenset[int] = frozenset(),
    ) -> None:
        self._shards = shards
        self._slots = slots
        self._expected = expected
        self._limit = limit
        self._share = share
        self._deadline = deadline
        self._before = done
        self._left = shards - len(done)
        self._next = 0  # the first shard that was never given out
        self._again: list[int] = []
        self._out: dict[int, _Given] = {}  # by task, the oldest first
        self._late: dict[int, _Given] = {}  # tasks that nobody waits for, and which count if they come
        self._pending: dict[int, _Pending] = {}  # by shard
        self._longest = 0  # ns that any task took until it ended well
        self._numbers = 0
        self._stopped = False
        self._broken = False

    @property
    def over(self) -> bool:
        """Whether nothing is to be expected any more."""
        return self._left == 0 or (self._stopped and not self._out)

    def next(self, now: int) -> Task | None:
        """Give out a task at the time ``now``; None where there is none, or no free slot."""
        busy = len(self._out) + (len(self._late) if self._share else 0)
        if self._stopped or self._broken or busy >= self._slots or now >= self._deadline:
            return None
        number = self._choose(now)
        if number is None:
            return None
        task = Task(self._numbers, number, min(self._limit, self._deadline - now))
        self._numbers += 1
        self._out[task.number] = _Given(number, now, task.limit)
        shard = self._pending.setdefault(number, _Pending())
        shard.copies += 1
        shard.given = now
        shard.queued = False
        return task

    def finished(self, number: int, now: int) -> bool:
        """A task gave the results of its shard; say whether they count: only the first that come do."""
        task = self._end(number)
        if task is None:
            return False
        self._longest = max(self._longest, now - task.since)
        if task.shard not in self._pending:
            return False
        self._settle(task.shard)
        return True

    def failed(self, number: int, cause: str, now: int) -> Lost | None:
        """A task ended without results; give its shard if that was its last try, and not the end of the whole scan."""
        task = self._end(number)
        shard = None if task is None else self._pending.get(task.shard)
        if task is None or shard is None or now >= self._deadline:
            return None
        shard.failures += 1
        if shard.copies:  # another copy is still at it
            return None
        if shard.failures < _TRIES and not self._broken:
            if not shard.queued:
                shard.queued = True
                self._again.append(task.shard)
            return None
        self._settle(task.shard)
        return Lost(task.shard, cause)

    def passed(self, now: int) -> Passed:
        """Time went by: say which tasks are late, which are gone, and which shards are lost by that.

        Workers may hang. A late task frees its slot, and its shard is given out again; a shard that is late again waits
        twice as long, since it may be the work that is slow.
        """
        patience = max(_PATIENCE, _FACTOR * self._longest)
        late = [
            number for number, task in self._out.items()
            if now - task.since >= patience << (self._pending[task.shard].waited if task.shard in self._pending else 0)
        ]  # fmt: skip
        for number in late:
            task = self._late[number] = self._out.pop(number)
            shard = self._pending.get(task.shard)
            if shard is not None:
                shard.waited += 1
                shard.copies -= 1
                if not shard.copies:
                    shard.queued = True
                    self._again.insert(0, task.shard)
        gone = [
            number
            for number, task in chain(self._out.items(), self._late.items())
            if now - task.since >= 2 * task.limit
        ]
        lost = [each for number in gone if (each := self.failed(number, TimeoutError.__name__, now)) is not None]
        return Passed(late, gone, lost)

    def broken(self) -> Iterator[int]:
        """No task can be given out any more: give, as settled, every shard that is not out, and make failures final."""
        self._broken = True
        waiting, first = list(self._again), self._next
        self._next = self._shards
        for number in waiting:
            self._settle(number)
        self._left = len(self._pending)
        return chain(waiting, (number for number in range(first, self._shards) if number not in self._before))

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
        return next((task.shard for task in self._out.values() if self._worth_a_copy(task.shard, due)), None)

    def _worth_a_copy(self, number: int, due: int) -> bool:
        shard = self._pending.get(number)
        return shard is not None and shard.copies < _COPIES and shard.failures < _TRIES and shard.given <= due

    def _end(self, number: int) -> _Given | None:
        """Note the end of a task; None if it is over already."""
        task = self._out.pop(number, None)
        if task is None:
            return self._late.pop(number, None)
        if task.shard in self._pending:
            self._pending[task.shard].copies -= 1
        return task

    def _settle(self, number: int) -> None:
        if self._pending.pop(number).queued:
            self._again.remove(number)
        self._left -= 1
