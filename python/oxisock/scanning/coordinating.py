"""Decides when a shard is submitted: first, again after a failure, or a second time if workers are idle.

A machine without executor and clock. Its inputs are the ends of tasks and the time in nanoseconds. Its outputs are
tasks to submit, and lost shards.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

_NEVER = 1 << 63
_TRIES = 3  # of a shard: it is submitted again at most twice
_COPIES = 3  # the most tasks of one shard at a time, if workers are idle; two of them may hang
_PATIENCE = 60_000_000_000  # ns: the least time after which a task is late, and its shard is submitted again
_FACTOR = 4  # a task is late after so many times the longest time of a good task, if that is longer


class Task(NamedTuple):
    """A task to submit: its unique number, and the number of its shard.

    ``limit`` is the number of nanoseconds after which the task ends by itself.
    """

    number: int
    shard: int
    limit: int


class Lost(NamedTuple):
    """A shard that no task could scan, and the name of the last error."""

    shard: int
    cause: str


class Passed(NamedTuple):
    """The tasks and shards whose state changes because time has passed."""

    late: list[int]  # tasks that take too long; their shards are submitted again
    gone: list[int]  # tasks that did not end by themselves in time; they have failed
    lost: list[Lost]


class _Given:
    """A task that was submitted."""

    __slots__ = ("limit", "shard", "since")

    def __init__(self, shard: int, since: int, limit: int) -> None:
        self.shard, self.since, self.limit = shard, since, limit


class _Pending:
    """A shard that was submitted and is not settled."""

    __slots__ = ("copies", "failures", "given", "queued", "waited")

    def __init__(self) -> None:
        self.copies = 0  # submitted tasks, without late ones
        self.given = 0  # when the last of them was submitted
        self.failures = 0
        self.waited = 0  # how often a task of it was late
        self.queued = False  # to be submitted again


class Coordinator:
    """Decides what to submit for ``shards`` shards, at most ``slots`` at a time. Shards in ``done`` are finished.

    A task should take ``expected`` nanoseconds, until the first task that ends shows how long. It ends by itself after
    ``limit`` nanoseconds, and at the time ``deadline`` of the whole scan. If all tasks ``share`` a rate, a late task
    keeps its slot, because it may still send.
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
        self._next = 0  # the first shard that was never submitted
        self._again: list[int] = []
        self._out: dict[int, _Given] = {}  # by task, the oldest first
        self._late: dict[int, _Given] = {}  # late tasks; their results count if they come
        self._pending: dict[int, _Pending] = {}  # by shard
        self._longest = 0  # ns: the longest time of a task that ended well
        self._numbers = 0
        self._stopped = False
        self._broken = False

    @property
    def over(self) -> bool:
        """Whether all shards are settled, or it is stopped and no task runs."""
        return self._left == 0 or (self._stopped and not self._out)

    def next(self, now: int) -> Task | None:
        """Return a task to submit at the time ``now``; None if there is no task, or no free slot."""
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
        """Note that a task returned the results of its shard. Return whether they count, which only the first do."""
        task = self._end(number)
        if task is None:
            return False
        self._longest = max(self._longest, now - task.since)
        if task.shard not in self._pending:
            return False
        self._settle(task.shard)
        return True

    def failed(self, number: int, cause: str, now: int) -> Lost | None:
        """Note that a task failed. Return its shard if that was the last try, and the scan is not over."""
        task = self._end(number)
        shard = None if task is None else self._pending.get(task.shard)
        if task is None or shard is None or now >= self._deadline:
            return None
        shard.failures += 1
        if shard.copies:  # another task of the shard still runs
            return None
        if shard.failures < _TRIES and not self._broken:
            if not shard.queued:
                shard.queued = True
                self._again.append(task.shard)
            return None
        self._settle(task.shard)
        return Lost(task.shard, cause)

    def passed(self, now: int) -> Passed:
        """Take the time. Return the tasks that are late, the tasks that are gone, and the shards that are lost.

        Workers may hang. A late task frees its slot, and its shard is submitted again. The next task of the shard is
        late after twice the time, because the work itself may be slow.
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
        """Stop submitting, make failures final, and yield as settled every shard without a running task."""
        self._broken = True
        waiting, first = list(self._again), self._next
        self._next = self._shards
        for number in waiting:
            self._settle(number)
        self._left = len(self._pending)
        return chain(waiting, (number for number in range(first, self._shards) if number not in self._before))

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopped = True

    def _choose(self, now: int) -> int | None:
        if self._again:
            return self._again.pop(0)
        while self._next < self._shards:
            self._next += 1
            if self._next - 1 not in self._before:
                return self._next - 1
        # An idle worker gets a copy of the oldest task that is overdue, because the worker of that task may hang or be
        # slow. An earlier copy would only ask the same ports twice.
        due = now - (self._longest + self._longest // 2 or self._expected)
        return next((task.shard for task in self._out.values() if self._worth_a_copy(task.shard, due)), None)

    def _worth_a_copy(self, number: int, due: int) -> bool:
        shard = self._pending.get(number)
        return shard is not None and shard.copies < _COPIES and shard.failures < _TRIES and shard.given <= due

    def _end(self, number: int) -> _Given | None:
        """Note the end of a task, and return it; None if it has ended before."""
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
