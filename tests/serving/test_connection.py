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
        self.waiting = 0
        self.owed = self.silent = False
        self.quiet_since = self.progress = self.now
        self.paused = False

    def open(self) -> bool:
        return self.machine.closed == pure.OPEN

    def said_all(self) -> None:
        if self.silent and not self.waiting and not self.owed:
            assert self.machine.closed == pure.DONE

    @precondition(lambda self: self.open())
    @rule(passed=st.integers(0, 300))
    def wait(self, passed: int) -> None:
        self.now += passed
        due = self.progress + self.write if self.waiting else self.quiet_since + self.idle
        if not self.waiting and self.owed:
            due = pure.NEVER
        assert self.machine.deadline() == due
        self.machine.tick(self.now)
        if self.now >= due:
            assert self.machine.closed == (pure.STALLED if self.waiting else pure.IDLE)
        else:
            assert self.open()

    @precondition(lambda self: self.open() and not self.owed and self.machine.room())
    @rule()
    def message_comes(self) -> None:
        self.machine.active(self.now)
        self.machine.deliver(self.now)
        self.quiet_since, self.owed = self.now, True

    @precondition(lambda self: self.open() and self.owed)
    @rule(size=st.integers(0, 60), messages=st.integers(0, 2))
    def answer(self, size: int, messages: int) -> None:
        if size and not self.waiting:
            self.progress = self.now
        self.waiting += size
        self.paused = self.paused or self.waiting >= self.most
        self.machine.queue(size, self.now)
        self.machine.answered(messages, self.now)
        if messages:
            self.quiet_since = self.now
        self.owed = False
        self.said_all()

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
        if not self.waiting and not self.owed:
            self.quiet_since = self.now
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
