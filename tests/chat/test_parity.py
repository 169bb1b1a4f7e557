"""The hubs of both engines side by side, a model beside them, and the invariants of a good room."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from oxisock.engines.serving import NEVER
from support.hubs import HUBS, SECOND, Lockstep, Room, plan

NEWS = re.compile(
    rb"\* (guest-\d+|[\w-]{1,24}) (joined|left \((quit|lost|too slow|idle|kicked|closing)(: .*)?\)|is now [\w-]{1,24})"
)

LONGEST = 300  # bytes of a line in this life
FLOOD = re.compile(rb"\[[\w-]+\] flood \d+")


@given(line=st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace"))))
def test_bad_bytes_come_out_the_same(line: bytes) -> None:
    line = line.replace(b"\n", b"").lstrip(b"/")
    said = []
    for make in HUBS.values():
        room = Room(make)
        room.join(1)
        room.say(1, line)
        said.append(room.last(1))
    assert said[0] == said[1]
    for text in said[0]:
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)


# --- both engines under the same life --------------------------------------------------------------------------------

NICKS = ["ann", "Ann", "bob", "guest-1", "x" * 25, "a b", "\u00e9", "-", "", "GUEST-7x"]
TEXTS = st.one_of(
    st.sampled_from(["hi", "x" * 60, "", " ", "\t", "* server is closing", "! x", "[ann] hi", "//me", "\u202egnp"]),
    st.text(max_size=8),
)


class Life(Lockstep, RuleBasedStateMachine):
    """Joins, leaves, renames, floods, slow readers and bad bytes, in both hubs at once."""

    @initialize(
        max_clients=st.integers(1, 6),
        history=st.integers(0, 3),
        queue_limit=st.sampled_from([1, 60, 150, 1 << 18]),
        drop=st.booleans(),
        interval=st.sampled_from([0, 10, SECOND]),
        burst=st.integers(1, 4),
        idle=st.sampled_from([NEVER, 50, 3 * SECOND]),
        echo=st.booleans(),
    )
    def open(self, **rules: Any) -> None:
        rules["idle_timeout"] = rules.pop("idle")
        self.plan = plan(**rules)
        self.hubs = [make(self.plan) for make in HUBS.values()]
        self.now = 0
        self.clients = 0
        self.serial = 0  # of lines that are told once each
        self.taken: dict[int, bytes] = {}  # everything that was ever sent
        self.backlog: dict[int, int] = {}
        self.blocked: set[int] = set()  # who does not read

    def part(self, client: int, last: bytes, cut: bool) -> None:
        self.taken[client] += last
        self.blocked.discard(client)
        self.backlog.pop(client)
        assert not cut or not self.plan.drop

    def flush(self, client: int) -> None:
        data = self.both("take", client)
        self.taken[client] = self.taken.get(client, b"") + data
        if client not in self.backlog:
            assert data == b""
            return
        left = self.backlog[client] + len(data) if client in self.blocked else 0
        self.backlog[client] = left
        self.both("backlog", client, left)

    @rule()
    def join(self) -> None:
        self.clients += 1
        self.taken[self.clients] = b""
        self.backlog[self.clients] = 0
        full = self.both("members")
        if not self.told("joined", self.clients, self.now):
            assert len(full) == self.plan.max_clients
            del self.backlog[self.clients]

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), text=TEXTS)
    def say(self, data: Any, text: str) -> None:
        self.told("line", self.pick(data), text.replace("\n", "").encode("utf-8", "replace"), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), line=st.binary(max_size=12))
    def babble(self, data: Any, line: bytes) -> None:
        self.told("line", self.pick(data), line.replace(b"\n", b""), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), word=st.sampled_from(["nick", "msg", "me", "who", "ping", "quit", "help", "wat"]), text=TEXTS)
    def command(self, data: Any, word: str, text: str) -> None:
        rest = data.draw(st.sampled_from(NICKS)) + (f" {text}" if word == "msg" else "") if word in "nick msg" else text
        self.told("line", self.pick(data), f"/{word} {rest}".replace("\n", "").encode("utf-8", "replace"), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data())
    def too_long(self, data: Any) -> None:
        self.told("too_long", self.pick(data), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), count=st.integers(1, 30))
    def flood(self, data: Any, count: int) -> None:
        client = self.pick(data)
        for _ in range(count):
            self.serial += 1
            self.told("line", client, b"flood %d" % self.serial, self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), lost=st.booleans())
    def leave(self, data: Any, lost: bool) -> None:
        self.told("left", self.pick(data), lost)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data())
    def stop_reading(self, data: Any) -> None:
        self.blocked.add(self.pick(data))

    @precondition(lambda self: self.blocked)
    @rule(data=st.data())
    def read_again(self, data: Any) -> None:
        client = data.draw(st.sampled_from(sorted(self.blocked)))
        self.blocked.discard(client)
        self.backlog[client] = 0
        self.both("backlog", client, 0)
        self.flush(client)

    @rule(text=TEXTS)
    def broadcast(self, text: str) -> None:
        self.told("broadcast", text.replace("\n", "").encode("utf-8", "replace").decode())

    @rule(nick=st.sampled_from([*NICKS, "guest-2"]), reason=TEXTS)
    def kick(self, nick: str, reason: str) -> None:
        self.told("kick", nick, reason.replace("\n", "").encode("utf-8", "replace").decode())

    @rule(passed=st.sampled_from([1, 10, 60, SECOND]))
    def wait(self, passed: int) -> None:
        self.now += passed
        while self.both("deadline") <= self.now:
            self.told("tick", self.now)

    @rule()
    def turn(self) -> None:
        for client in self.both("take_dirty"):
            self.flush(client)

    @invariant()
    def the_room_is_good(self) -> None:
        if not hasattr(self, "hubs"):
            return
        members = self.both("members")
        self.both("take_events")
        # Whoever is closed is forgotten entirely; whoever is not is there.
        assert [client for client, *_ in members] == sorted(self.backlog)
        nicks = [nick.lower() for _, nick, *_ in members]
        assert len(set(nicks)) == len(nicks)
        for _, _, _, queued, skipped in members:
            assert queued <= self.plan.queue_limit + LONGEST
            assert self.plan.drop or skipped == 0

    def teardown(self) -> None:
        if not hasattr(self, "hubs"):
            return
        self.told("close")
        assert self.both("members") == []
        self.transcripts_agree()

    def transcripts_agree(self) -> None:
        """No two clients saw two public lines in opposite orders, and what is not news does not look like it."""
        public: list[list[bytes]] = []
        for data in self.taken.values():
            lines = data.split(b"\n")
            assert lines.pop() == b""
            assert not lines or lines[0].startswith(b"* welcome to den, you are guest-")
            for line in lines:
                assert line[:2] in (b"* ", b"! ") or re.match(rb"\[[\w-]+( -> [\w-]+)?\] ", line), line
            public.append([line for line in lines[1:] if NEWS.fullmatch(line) or FLOOD.fullmatch(line)])
        # What is told once to each can be compared; news of the same nick may be told again.
        for one in public:
            for other in public:
                shared = [line for line in one if one.count(line) == 1 and other.count(line) == 1]
                assert shared == [line for line in other if line in shared]

    def pick(self, data: Any) -> int:
        return int(data.draw(st.sampled_from(sorted(self.backlog))))


def test_both_hubs_live_the_same_life() -> None:
    run_state_machine_as_test(Life)
