"""The hub of a chat: both engines side by side, a model beside them, and the invariants of a good room."""

from __future__ import annotations

import re
from typing import Any

import pytest
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

from oxisock import _native
from oxisock.engines.chat import HubPlan
from oxisock.engines.serving import NEVER
from oxisock.pure.chat.hub import Hub

SECOND = 10**9
HUBS = {"pure": Hub, "native": _native.Hub}
NEWS = re.compile(
    rb"\* (guest-\d+|[\w-]{1,24}) (joined|left \((quit|lost|too slow|idle|kicked|closing)(: .*)?\)|is now [\w-]{1,24})"
)

LONGEST = 300  # bytes of a line in this life
FLOOD = re.compile(rb"\[[\w-]+\] flood \d+")


def plan(**changes: Any) -> HubPlan:
    usual = HubPlan("den", 10, 4096, 0, 1 << 18, False, 0, 1, NEVER, True, True)
    return usual._replace(**changes)


@pytest.fixture(params=sorted(HUBS))
def make(request: pytest.FixtureRequest) -> Any:
    return HUBS[request.param]


class Room:
    """A hub with a driver whose sockets take everything, and keeps it."""

    def __init__(self, make: Any, **changes: Any) -> None:
        self.hub = make(plan(**changes))
        self.heard: dict[int, list[bytes]] = {}
        self.closed: dict[int, bool] = {}
        self.now = 1000

    def join(self, client: int) -> bool:
        self.heard[client] = []
        return self.see(self.hub.joined(client, self.now))

    def say(self, client: int, line: str | bytes) -> None:
        self.see(self.hub.line(client, line if isinstance(line, bytes) else line.encode(), self.now))

    def see(self, result: Any) -> Any:
        for client in self.hub.take_pressed():
            self.keep(client, self.hub.take(client))
            self.hub.backlog(client, 0)
        for client, last, cut in self.hub.take_closes():
            self.keep(client, last)
            self.closed[client] = cut
        for client in self.hub.take_dirty():
            self.keep(client, self.hub.take(client))
        return result

    def keep(self, client: int, data: bytes) -> None:
        assert not data or data.endswith(b"\n")
        self.heard[client] += data.split(b"\n")[:-1]

    def last(self, client: int) -> list[str]:
        lines, self.heard[client] = self.heard[client], []
        return [line.decode() for line in lines]


def test_every_line_there_is(make: Any) -> None:
    room = Room(make)
    for client in (1, 2, 3):
        assert room.join(client)
    assert room.last(1) == ["* welcome to den, you are guest-1", "* guest-2 joined", "* guest-3 joined"]
    assert room.last(3) == ["* welcome to den, you are guest-3"]
    room.last(2)
    room.say(1, "/nick ann")
    room.say(2, "/nick Bob")
    assert room.last(3) == ["* guest-1 is now ann", "* guest-2 is now Bob"]
    room.last(1), room.last(2)
    room.say(1, "hello  there ")
    room.say(1, "/me waves\tback")
    room.say(1, "//quit is a command")
    assert room.last(1) == room.last(2) == ["[ann] hello  there ", "[ann] ~ waves back", "[ann] /quit is a command"]
    room.last(3)
    room.say(1, "/msg BOB  psst  you")
    assert room.last(1) == room.last(2) == ["[ann -> Bob] psst  you"]
    room.say(1, "/msg ann note to self")
    assert room.last(1) == ["[ann -> ann] note to self"]
    assert room.last(3) == []
    for line, answer in {
        "/who": "* 3 online: ann, Bob, guest-3",
        "/ping": "* pong",
        "/nope": "! unknown command",
        "/ who": "! unknown command",
        "/": "! unknown command",
        "/who is there": "* 3 online: ann, Bob, guest-3",
        "/nick ann": "! you are ann already",
        "/nick bOB": "! bOB is taken",
        "/nick guest-9": "! bad nick: guest-N is given, not chosen",
        "/nick GUEST-1": "! bad nick: guest-N is given, not chosen",
        "/nick": "! bad nick: 1 to 24 letters, digits, _ and -",
        "/nick " + "x" * 25: "! bad nick: 1 to 24 letters, digits, _ and -",
        "/nick \u00e9": "! bad nick: 1 to 24 letters, digits, _ and -",
        "/me": "! usage: /me ACTION",
        "/msg": "! usage: /msg NICK TEXT",
        "/msg Bob": "! usage: /msg NICK TEXT",
        "/msg zoe hi": "! nobody is called zoe",
    }.items():
        room.say(1, line)
        assert room.last(1) == [answer], line
    room.say(1, "/help")
    (answer,) = room.last(1)
    assert answer.startswith("* ") and all(
        word in answer for word in ("/nick", "/who", "/msg", "/me", "/ping", "/quit")
    )
    room.say(1, "/nick ANN")
    assert room.last(1) == ["* ann is now ANN"]
    room.say(1, "")
    room.say(1, "  ")
    assert room.last(1) == []
    room.hub.too_long(1, room.now)
    room.see(None)
    assert room.last(1) == ["! line too long"]
    room.last(2)
    room.see(room.hub.broadcast("fire\x1b[31m!"))
    assert room.last(2) == ["* fire[31m!"]
    room.last(1), room.last(3)
    room.say(1, "/quit so long")
    assert room.last(2) == ["* ANN left (quit: so long)"]
    assert room.last(1) == [] and room.closed == {1: False}
    assert room.see(room.hub.kick("bob", "spam"))
    assert not room.see(room.hub.kick("bob", ""))
    assert room.last(2) == ["! you were kicked: spam"]
    assert room.last(3) == ["* ANN left (quit: so long)", "* Bob left (kicked: spam)"]
    room.see(room.hub.close())
    assert room.last(3) == ["* server is closing"]
    assert room.hub.members() == [] and room.hub.full
    assert not room.hub.joined(9, room.now)
    assert room.hub.take_events()[-3:] == [
        ("leave", "ANN", "quit: so long"),
        ("leave", "Bob", "kicked: spam"),
        ("leave", "guest-3", "closing"),
    ]


def test_how_a_connection_ends_is_news(make: Any) -> None:
    room = Room(make)
    for client in (1, 2, 3):
        room.join(client)
    room.last(3)
    room.see(room.hub.left(1, False))
    room.see(room.hub.left(2, True))
    room.see(room.hub.left(2, True))
    assert room.last(3) == ["* guest-1 left (quit)", "* guest-2 left (lost)"]


def test_text_is_cleaned(make: Any) -> None:
    room = Room(make)
    room.join(1)
    room.last(1)
    removed = [*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
    removed.remove(9)
    text = "a" + "".join(map(chr, removed)) + "b\tc\u200b\u00e9\u4e2d\U0001f600"
    room.say(1, text.replace("\n", ""))
    assert room.last(1) == ["[guest-1] ab c\u200b\u00e9\u4e2d\U0001f600"]
    for bad, good in {b"a\xffb": "a\ufffdb", b"\xed\xa0\x80": "\ufffd" * 3, b"\xf0\x9f\x98": "\ufffd"}.items():
        room.say(1, bad)
        assert room.last(1) == [f"[guest-1] {good}"]
    room.say(1, b"\x1b\x07")
    assert room.last(1) == []


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


def test_the_rate(make: Any) -> None:
    room = Room(make, interval=SECOND // 10, burst=3)
    room.join(1)
    room.last(1)
    for number in range(6):
        room.say(1, str(number))
    assert room.last(1) == ["[guest-1] 0", "[guest-1] 1", "[guest-1] 2", "! slow down"]
    room.now += SECOND // 10
    room.say(1, "6")
    room.say(1, "7")
    assert room.last(1) == ["[guest-1] 6"]
    room.now += SECOND - SECOND // 10
    for number in range(8, 13):
        room.say(1, str(number))
    assert room.last(1) == ["[guest-1] 8", "[guest-1] 9", "[guest-1] 10", "! slow down"]


def test_history_as_far_as_it_fits(make: Any) -> None:
    room = Room(make, history=3, queue_limit=100)
    room.join(1)
    for number in range(5):
        room.say(1, str(number))
    room.join(2)
    assert room.last(2) == ["* welcome to den, you are guest-2", "[guest-1] 2", "[guest-1] 3", "[guest-1] 4"]
    room.say(1, "x" * 30)
    room.join(3)
    assert room.last(3) == ["* welcome to den, you are guest-3", "[guest-1] " + "x" * 30]


def test_idle(make: Any) -> None:
    room = Room(make, idle_timeout=100)
    room.join(1)
    room.now += 10
    room.join(2)
    room.now += 50
    room.say(1, "/ping")
    assert room.hub.deadline() == 1100
    room.now = 1100
    room.see(room.hub.tick(room.now))
    assert room.hub.deadline() == 1110
    room.now = 1110
    room.see(room.hub.tick(room.now))
    assert room.last(1)[-1] == "* guest-2 left (idle)"
    assert room.closed == {2: False}
    assert room.hub.timeouts == 1


def test_a_full_room(make: Any) -> None:
    room = Room(make, max_clients=2)
    assert room.join(1) and room.join(2) and not room.join(3)
    room.say(1, "/quit")
    assert room.join(4)
    assert room.last(4) == ["* welcome to den, you are guest-3"]


@pytest.mark.parametrize("drop", [False, True])
def test_who_does_not_read(make: Any, drop: bool) -> None:
    hub = make(plan(queue_limit=100, drop=drop))
    hub.joined(1, 0)
    hub.joined(2, 0)
    blocked = len(hub.take(2))
    hub.backlog(2, blocked)
    heard, closes = b"", []
    for number in range(20):
        hub.line(1, b"%d says the talker" % number, 0)
        pressed = hub.take_pressed()
        heard += hub.take(1)
        if 2 in pressed:
            blocked += len(hub.take(2))
            missing = hub.backlog(2, blocked)
            assert missing == (drop and blocked > 100 and number > 2)
        closes += hub.take_closes()
    assert blocked <= 100 + len("[guest-1] 10 says the talker\n")
    members = {member[0]: member for member in hub.members()}
    if drop:
        assert members[2][3] == blocked
        assert members[2][4] >= 15
        assert hub.backlog(2, 51) and hub.take(2) == b""
        assert not hub.backlog(2, 50)
        assert hub.take(2) == b"* %d lines skipped\n" % members[2][4]
        hub.line(1, b"back again", 0)
        assert hub.take(2) == b"[guest-1] back again\n"
    else:
        assert list(members) == [1]
        assert closes == [(2, b"", True)]
        assert b"* guest-2 left (too slow)\n" in heard


# --- both engines under the same life --------------------------------------------------------------------------------

NICKS = ["ann", "Ann", "bob", "guest-1", "x" * 25, "a b", "\u00e9", "-", "", "GUEST-7x"]
TEXTS = st.one_of(
    st.sampled_from(["hi", "x" * 60, "", " ", "\t", "* server is closing", "! x", "[ann] hi", "//me", "\u202egnp"]),
    st.text(max_size=8),
)


class Life(RuleBasedStateMachine):
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

    def both(self, name: str, *arguments: Any) -> Any:
        first, second = (getattr(hub, name)(*arguments) for hub in self.hubs)
        assert first == second, name
        return first

    def act(self, name: str, *arguments: Any) -> Any:
        result = self.both(name, *arguments)
        while True:
            pressed = self.both("take_pressed")
            for client in pressed:
                self.send(client)
            closes = self.both("take_closes")
            if not pressed and not closes:
                return result
            for client, last, cut in closes:
                self.taken[client] += last
                self.blocked.discard(client)
                self.backlog.pop(client)
                assert not cut or not self.plan.drop

    def send(self, client: int) -> None:
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
        if not self.act("joined", self.clients, self.now):
            assert len(full) == self.plan.max_clients
            del self.backlog[self.clients]

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), text=TEXTS)
    def say(self, data: Any, text: str) -> None:
        self.act("line", self.pick(data), text.replace("\n", "").encode("utf-8", "replace"), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), line=st.binary(max_size=12))
    def babble(self, data: Any, line: bytes) -> None:
        self.act("line", self.pick(data), line.replace(b"\n", b""), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), word=st.sampled_from(["nick", "msg", "me", "who", "ping", "quit", "help", "wat"]), text=TEXTS)
    def command(self, data: Any, word: str, text: str) -> None:
        rest = data.draw(st.sampled_from(NICKS)) + (f" {text}" if word == "msg" else "") if word in "nick msg" else text
        self.act("line", self.pick(data), f"/{word} {rest}".replace("\n", "").encode("utf-8", "replace"), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data())
    def too_long(self, data: Any) -> None:
        self.act("too_long", self.pick(data), self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), count=st.integers(1, 30))
    def flood(self, data: Any, count: int) -> None:
        client = self.pick(data)
        for _ in range(count):
            self.serial += 1
            self.act("line", client, b"flood %d" % self.serial, self.now)

    @precondition(lambda self: self.backlog)
    @rule(data=st.data(), lost=st.booleans())
    def leave(self, data: Any, lost: bool) -> None:
        self.act("left", self.pick(data), lost)

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
        self.send(client)

    @rule(text=TEXTS)
    def broadcast(self, text: str) -> None:
        self.act("broadcast", text.replace("\n", "").encode("utf-8", "replace").decode())

    @rule(nick=st.sampled_from([*NICKS, "guest-2"]), reason=TEXTS)
    def kick(self, nick: str, reason: str) -> None:
        self.act("kick", nick, reason.replace("\n", "").encode("utf-8", "replace").decode())

    @rule(passed=st.sampled_from([1, 10, 60, SECOND]))
    def wait(self, passed: int) -> None:
        self.now += passed
        while self.both("deadline") <= self.now:
            self.act("tick", self.now)

    @rule()
    def turn(self) -> None:
        for client in self.both("take_dirty"):
            self.send(client)

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
        self.act("close")
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


def test_nothing_that_is_said_looks_like_two_lines(make: Any) -> None:
    room = Room(make)
    room.join(1)
    room.last(1)
    # Whatever anybody takes for the end of a line.
    every = "".join(filter(lambda letter: len(f"a{letter}b".splitlines()) > 1, map(chr, range(0x110000 - 1))))
    assert len(every) >= 10
    for letter in every.replace("\n", ""):
        room.say(1, f"hi{letter}* ann left (kicked)")
        assert room.last(1) == ["[guest-1] hi* ann left (kicked)"]
        room.see(room.hub.broadcast(f"hi{letter}there"))
        assert room.last(1) == ["* hithere"]
