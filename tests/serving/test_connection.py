"""The machine of a connection: against a model, and where faults are planned, in each engine."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from oxisock import _native
from oxisock.pure.serving import connection as pure

MACHINES = {"pure": pure.Connection, "native": _native.Connection}


class Life(RuleBasedStateMachine):
    """One connection without faults, beside a model that keeps plain facts."""

    kind: Any = pure.Connection

    @initialize(idle=st.integers(1, 500), write=st.integers(1, 500), room=st.integers(1, 40))
    def begin(self, idle: int, write: int, room: int) -> None:
        self.now = 1000
        self.idle, self.write, self.most = idle, write, room
        self.machine = self.kind(self.now, idle, write, room)
        self.waiting = self.answers = 0
        self.late: list[int] = []  # when input without a message came, after its time
        self.owed = self.silent = False
        self.quiet_since = self.progress = self.now
        self.paused = False

    def open(self) -> bool:
        return self.machine.closed == pure.OPEN

    def is_quiet_from_now(self) -> None:
        self.quiet_since = self.now
        self.late = []

    def said_all(self) -> None:
        if self.silent and not self.waiting and not self.owed:
            assert self.machine.closed == pure.DONE

    @precondition(lambda self: self.open())
    @rule(passed=st.integers(0, 300))
    def wait(self, passed: int) -> None:
        self.now += passed
        stalls = self.progress + self.write if self.waiting else pure.NEVER
        excused = self.owed or self.answers or self.silent
        due = min(stalls, pure.NEVER if excused else self.quiet_since + self.idle)
        assert self.machine.deadline() == due
        self.machine.tick(self.now)
        if self.now >= due:
            assert self.machine.closed == (pure.STALLED if self.now >= stalls else pure.IDLE)
        else:
            assert self.open()

    @precondition(lambda self: self.open() and not self.owed and self.machine.room())
    @rule()
    def message_comes(self) -> None:
        self.machine.active(self.now)
        self.machine.deliver(self.now)
        self.owed, self.answers = True, self.waiting
        self.is_quiet_from_now()

    @precondition(lambda self: self.open() and self.owed)
    @rule(size=st.integers(0, 60), messages=st.integers(0, 2))
    def answer(self, size: int, messages: int) -> None:
        if size and not self.waiting:
            self.progress = self.now
        self.waiting += size
        self.paused = self.paused or self.waiting >= self.most
        self.machine.queue(size, self.now)
        self.machine.answered(messages, self.now)
        self.owed = False
        if messages:
            self.answers = self.waiting
            self.is_quiet_from_now()
        elif not (self.answers or self.silent) and self.now >= self.quiet_since + self.idle:
            self.late.append(self.now)
        if len(self.late) > pure.FRUITLESS and self.now >= self.late[0] + self.idle:
            assert self.machine.closed == pure.IDLE
            return
        self.said_all()

    @rule(times=st.integers(1, 2 * pure.FRUITLESS), passed=st.integers(0, 9), size=st.sampled_from([0, 1]))
    def says_much_and_no_message(self, times: int, passed: int, size: int) -> None:
        for _ in range(times):
            if not self.open() or not (self.owed or self.machine.room()):
                break
            self.now += passed
            self.machine.deliver(self.now)
            self.answer(size, 0)

    @precondition(lambda self: self.open() and self.waiting)
    @rule(data=st.data())
    def peer_reads(self, data: Any) -> None:
        assert self.machine.allowance() == self.waiting
        size = data.draw(st.integers(1, self.waiting))
        self.machine.wrote(size, self.now)
        self.waiting -= size
        self.progress = self.now
        if self.waiting <= self.most // 2:
            self.paused = False
        if self.answers:
            self.answers = max(0, self.answers - size)
            if not self.answers:
                self.is_quiet_from_now()
        self.said_all()

    @precondition(lambda self: self.open())
    @rule(drain=st.booleans())
    def input_ends(self, drain: bool) -> None:
        (self.machine.finish if drain else self.machine.ended)(self.now)
        self.silent = True
        self.said_all()

    @precondition(lambda self: self.open())
    @rule()
    def breaks(self) -> None:
        self.machine.abort(pure.LOST, self.now)
        assert self.machine.closed == pure.LOST

    @rule(passed=st.integers(0, 10))
    def comes_late(self, passed: int) -> None:
        if not self.open():
            before = self.machine.closed
            self.machine.tick(self.now + passed)
            self.machine.ended(self.now + passed)
            self.machine.finish(self.now + passed)
            assert self.machine.closed == before

    @invariant()
    def does_what_it_should(self) -> None:
        if not hasattr(self, "machine"):
            return
        if not self.open():
            assert (self.machine.room(), self.machine.allowance(), self.machine.deadline()) == (0, 0, pure.NEVER)
            return
        assert self.machine.queued == self.waiting
        reads = not (self.owed or self.silent or self.paused)
        assert self.machine.room() == (self.most - self.waiting if reads else 0)


class PureLife(Life):
    kind = pure.Connection


class NativeLife(Life):
    kind = _native.Connection


TestPureLife = PureLife.TestCase
TestNativeLife = NativeLife.TestCase


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_faults_cut_delay_and_reset(name: str) -> None:
    machine = MACHINES[name](0, pure.NEVER, 100, 1000, 3, 10, 7)
    machine.queue(20, 0)
    assert (machine.allowance(), machine.deadline()) == (0, 10)
    machine.tick(10)
    assert (machine.allowance(), machine.deadline()) == (3, 110)
    machine.wrote(3, 10)
    assert (machine.allowance(), machine.deadline()) == (0, 20)
    machine.tick(20)
    machine.wrote(3, 20)
    machine.tick(30)
    assert machine.allowance() == 1
    machine.wrote(1, 30)
    assert machine.closed == pure.RESET


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_machine_is_never_idle_while_its_answer_is_made(name: str) -> None:
    machine = MACHINES[name](0, 100, 100, 1000)
    machine.active(50)
    machine.deliver(50)
    assert machine.deadline() == pure.NEVER
    machine.tick(10**6)
    assert machine.closed == pure.OPEN
    machine.answered(1, 10**6)
    assert machine.deadline() == 10**6 + 100


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_trickle_that_never_makes_a_message_is_idle(name: str) -> None:
    machine = MACHINES[name](0, 100, 100, 1000)
    for now in range(10, 100, 10):
        machine.deliver(now)
        machine.answered(0, now)
    machine.tick(100)
    assert machine.closed == pure.IDLE


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_who_says_for_ever_what_is_no_message_is_idle(name: str) -> None:
    """His next input is always there before a timer is judged, and some of it is answered: TLS does that by itself."""
    machine = MACHINES[name](0, 100, pure.NEVER, 1000)
    for now in range(10, 1000, 10):
        machine.deliver(now)
        machine.queue(5, now)
        machine.answered(0, now)
        if machine.closed:
            break
        machine.wrote(5, now)
    assert (machine.closed, now) == (pure.IDLE, 100 + 10 * pure.FRUITLESS)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_what_waited_while_the_server_was_late_may_still_become_a_message(name: str) -> None:
    machine = MACHINES[name](0, 100, pure.NEVER, 1000)
    for late in (10**6, 2 * 10**6):
        for now in range(late, late + pure.FRUITLESS * 1000, 1000):
            machine.deliver(now)
            machine.answered(0, now)
            assert machine.closed == pure.OPEN
        machine.deliver(now)
        machine.answered(1, now)


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_what_is_no_answer_and_waits_to_be_read_is_no_excuse(name: str) -> None:
    machine = MACHINES[name](0, 100, 1000, 1000)
    machine.deliver(10)
    machine.queue(5, 10)
    machine.answered(0, 10)
    assert machine.deadline() == 100
    machine.tick(100)
    assert machine.closed == pure.IDLE


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_an_answer_that_waits_to_be_read_is_one(name: str) -> None:
    machine = MACHINES[name](0, 100, 1000, 1000)
    machine.deliver(10)
    machine.queue(5, 10)
    machine.answered(1, 10)
    machine.deliver(20)
    machine.queue(7, 20)
    machine.answered(0, 20)
    machine.wrote(4, 200)
    assert machine.deadline() == 1200
    machine.wrote(1, 300)
    assert machine.deadline() == 400
