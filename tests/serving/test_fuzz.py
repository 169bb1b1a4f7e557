"""Random lives of the connection machine, with times and sizes of any magnitude: both engines make the same trace."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oxisock import _native
from oxisock.pure.serving import connection as pure

MANY = settings(max_examples=settings().max_examples * 12)  # some 3 s where CI runs it
LONG = 1 << 60

TIMES = st.integers(1, 100) | st.integers(1, LONG) | st.just(pure.NEVER)
SIZES = st.integers(1, 100) | st.integers(1, (1 << 31) - 1)
FAULTS = st.just((0, 0, pure.NEVER, 0, 0)) | st.tuples(
    st.integers(0, 5),
    st.integers(0, 100) | st.integers(0, LONG),
    SIZES | st.just(pure.NEVER),
    st.integers(0, 1 << 32),
    st.integers(0, (1 << 64) - 1),
)
# What happens, after how long, with how many bytes.
EVENTS = st.tuples(
    st.sampled_from(
        [
            "read",
            "read",
            "answer",
            "answer",
            "write",
            "write",
            "end",
            "finish",
            "lose",
            "cut",
            "tick",
            "tick",
            "due",
            "swallow",
        ]
    ),
    st.integers(0, 100) | st.integers(0, 1 << 50),
    st.integers(0, 100) | st.integers(0, 1 << 31),
)


def view(machine: Any) -> tuple[Any, ...]:
    flags = (machine.closed, machine.owed, machine.eof, machine.paused)
    return *flags, machine.queued, machine.room(), machine.allowance(), machine.deadline()


class Life:
    """A machine with a driver that does what it may, and nothing else."""

    def __init__(self, kind: Any, limits: tuple[int, ...], faults: tuple[int, ...]) -> None:
        self.machine = kind(0, *limits, *faults)
        self.now = 0

    def step(self, what: str, passed: int, size: int) -> object:
        machine = self.machine
        self.now = min(self.now + passed, LONG)
        if what == "due":
            self.now = max(self.now, min(machine.deadline(), LONG))
        now, is_open = self.now, machine.closed == pure.OPEN
        if what in ("tick", "due"):
            machine.tick(now)
        elif what == "read" and machine.room():
            machine.active(now)
            machine.deliver(now)
        elif what == "answer" and is_open:
            machine.queue(size, now)
            if machine.owed:
                machine.answered(size % 3, now)
        elif what == "write":
            machine.tick(now)  # the machine's clock, as a turn of the driver brings it up to date
            if allowed := machine.allowance():
                machine.wrote(1 + size % allowed, now)
        elif what == "end" and machine.room():
            machine.ended(now)
        elif what == "finish":
            machine.finish(now)
        elif what in ("lose", "cut"):
            machine.abort(pure.LOST if what == "lose" else pure.CUT, now)
        return machine.swallow() if what == "swallow" else None


@MANY
@given(st.tuples(TIMES, TIMES, SIZES), FAULTS, st.lists(EVENTS, max_size=40))
def test_random_connections_live_the_same_life_on_both_engines(
    limits: tuple[int, ...], faults: tuple[int, ...], events: list[tuple[str, int, int]]
) -> None:
    one, other = Life(pure.Connection, limits, faults), Life(_native.Connection, limits, faults)
    for event in events:
        assert one.step(*event) == other.step(*event)
        assert view(one.machine) == view(other.machine), event
