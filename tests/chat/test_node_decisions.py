"""What a node of a shared room does, step by step, where Redis loses something or the connection to it does."""

from __future__ import annotations

from oxisock.chat.backplane.machine import PATIENCE, RETRY, Answer, Backplane, Call, Entered, Entry
from oxisock.engines.chat import HubEntry

SAYING = ("say", 1, "", "hello")


def begun() -> Backplane:
    """Give a node that is in an empty room with client 1."""
    machine = Backplane("node", 10 * 10**9, 0, 0)
    machine.proposed([("join", 1, "", "here")], 0)
    enter(machine, 0, serial=0, last="0-0")
    assert step(machine, 0).script == "ping"
    machine.answered(Answer("ok"), 0)
    assert step(machine, 0).script == "append"
    machine.answered(Answer("ok", "o", 1, "1-1"), 0)
    machine.read(reading(machine), [Entry("1-1", 1, "0-0", ("join", machine.node, 1, "guest-1", "here", 0))], 0)
    machine.take_news()
    machine.take_notices()
    return machine


def enter(machine: Backplane, now: int, *, serial: int, last: str, whole: bool = True, batch: int = 0) -> None:
    """Let the next call be that to enter, and answer it."""
    assert step(machine, now).script == "enter"
    members: list[HubEntry] = [("member", machine.node, 1, "guest-1", "here", 0)] if serial else []
    machine.answered(Entered(Answer("ok", "", serial, last), "1 node/0", whole, batch, members, []), now)


def step(machine: Backplane, now: int) -> Call:
    call = machine.next_call(now)
    assert call is not None
    return call


def reading(machine: Backplane) -> int:
    place = machine.reading()
    assert place is not None
    return place[0]


def refused(machine: Backplane) -> list[tuple[str, str]]:
    """Give what the hub is told to be refused, and in which words."""
    return [(entry[3], entry[4]) for entry in machine.take_news() if entry[0] == "refused"]


def appended(machine: Backplane, now: int) -> Call:
    """Let somebody say something, and give the call that brings it to the log."""
    machine.proposed([SAYING], now)
    assert step(machine, now).script == "ping"
    machine.answered(Answer("ok"), now)
    call = step(machine, now)
    assert call.script == "append"
    assert call.arguments[1:] == list(SAYING)
    return call


def test_an_entry_that_does_not_follow_the_one_before_is_a_loss() -> None:
    # Redis forgot 1-2 and gave its number away again: only the id of the one before tells.
    machine = begun()
    said: HubEntry = ("say", "another", 7, "ann", "what nobody may take for the next line", 0)
    machine.read(reading(machine), [Entry("1-3", 2, "1-2", said)], 0)
    assert said not in machine.take_news()
    assert "lines may be missing" in str(machine.take_notices())
    assert machine.reading() is None
    assert step(machine, 0).script == "enter"


def test_what_could_not_be_sent_is_refused() -> None:
    machine = begun()
    appended(machine, 0)
    machine.unsent("no connection", 0)
    assert refused(machine) == [("say", "not delivered")]
    assert machine.next_call(RETRY) is None, "nothing is left to append"


def test_what_may_have_been_executed_is_asked_for_again_and_not_refused() -> None:
    machine = begun()
    call = appended(machine, 0)
    assert machine.tick(PATIENCE)
    assert refused(machine) == []
    now = PATIENCE + RETRY
    assert step(machine, now).script == "ping"
    machine.answered(Answer("ok"), now)
    assert step(machine, now) == call, "its number tells Redis that it is the same"
    # Sending it again fails: that says nothing of the first time.
    machine.unsent("no connection", now)
    assert refused(machine) == []
    now += RETRY
    assert step(machine, now).script == "ping"
    machine.answered(Answer("ok"), now)
    assert step(machine, now) == call
    machine.answered(Answer("ok", "o", 2, "1-2"), now)
    assert refused(machine) == []


def test_an_answer_from_before_a_loss_says_nothing_of_what_is_there_after_it() -> None:
    machine = begun()
    call = appended(machine, 0)
    machine.read(reading(machine), [Entry("1-3", 2, "1-2", ("say", "another", 7, "ann", "hi", 0))], 0)
    machine.answered(Answer("ok", "o", 2, "1-2"), 0)
    assert refused(machine) == []
    # The room is another one, in which this batch is not the last of the node: the line is gone.
    enter(machine, 0, serial=1, last="1-1", whole=False, batch=0)
    assert refused(machine) == [("say", "not delivered")]
    # Where it is the last, it has come about.
    machine = begun()
    call = appended(machine, 0)
    machine.read(reading(machine), [Entry("1-3", 2, "1-2", ("say", "another", 7, "ann", "hi", 0))], 0)
    machine.broken("no answer", 0)
    batch = call.arguments[0]
    assert isinstance(batch, int)
    enter(machine, RETRY, serial=1, last="1-1", whole=False, batch=batch)
    assert refused(machine) == []


def test_a_batch_that_was_not_executed_is_sent_anew_after_entering_again() -> None:
    machine = begun()
    call = appended(machine, 0)
    machine.answered(Answer("epoch"), 0)
    enter(machine, 0, serial=1, last="1-1", whole=True, batch=0)
    assert refused(machine) == []
    assert step(machine, 0).script == "ping"
    machine.answered(Answer("ok"), 0)
    anew = step(machine, 0)
    assert anew.arguments[1:] == list(SAYING)
    assert anew.arguments[0] != call.arguments[0], "a number that Redis has not had"
