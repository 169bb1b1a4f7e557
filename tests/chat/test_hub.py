"""The hub of a chat: what is said to whom, in each engine."""

from __future__ import annotations

from typing import Any

import pytest

from support.hubs import HUBS, SECOND, Room, plan


@pytest.fixture(params=sorted(HUBS))
def make(request: pytest.FixtureRequest) -> Any:
    return HUBS[request.param]


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
