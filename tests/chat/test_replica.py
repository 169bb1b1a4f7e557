"""The hub of a shared room: both engines side by side on nodes that read one log, each at its own pace."""

from __future__ import annotations

from typing import Any

import pytest

from oxisock import _native
from support.shared_rooms import HUBS, LEASE, plan, rooms, settle


@pytest.fixture(params=sorted(HUBS))
def make(request: pytest.FixtureRequest) -> Any:
    return HUBS[request.param]


def test_nothing_is_shown_before_it_stands_in_the_log(make: Any) -> None:
    _, (one, two) = rooms([make])
    one.act("joined", 1, one.now, "127.0.0.1 7")
    assert one.last(1) == [] and one.both("members") == []
    settle(one, two)
    assert one.last(1) == ["* welcome to den, you are guest-1"]
    two.act("joined", 1, two.now, "127.0.0.2 8")
    settle(two, one)
    assert two.last(1) == ["* welcome to den, you are guest-2"]
    assert one.last(1) == ["* guest-2 joined"]
    one.act("line", 1, b"hello", one.now)
    assert one.last(1) == []
    one.append()
    assert one.last(1) == []
    two.hear()
    assert two.last(1) == ["[guest-1] hello"]
    one.hear()
    assert one.last(1) == ["[guest-1] hello"]
    assert one.both("residents")[1][:2] == ("guest-2", "127.0.0.2 8")
    assert one.both("residents")[1][5] == "b/1"


def test_every_line_of_a_shared_room(make: Any) -> None:
    _, (one, two) = rooms([make])
    one.act("joined", 1, one.now)
    two.act("joined", 1, two.now)
    settle(one, two)
    one.act("line", 1, b"/nick ann", 0)
    two.act("line", 1, b"/nick Bob", 0)
    settle(one, two)
    assert one.last(1)[-2:] == two.last(1)[-2:] == ["* guest-1 is now ann", "* guest-2 is now Bob"]
    for line, answers in {
        "/who": ["* 2 online: ann, Bob"],
        "/ping": ["* pong"],
        "/nope": ["! unknown command"],
        "/nick ann": ["! you are ann already"],
        "/nick bOB": ["! bOB is taken"],
        "/nick guest-9": ["! bad nick: guest-N is given, not chosen"],
        "/nick": ["! bad nick: 1 to 24 letters, digits, _ and -"],
        "/me": ["! usage: /me ACTION"],
        "/msg bob": ["! usage: /msg NICK TEXT"],
        "/msg zoe hi": ["! nobody is called zoe"],
        "/msg \u00e9 hi": ["! nobody is called \u00e9"],
        "/msg ann note": ["[ann -> ann] note"],
        "/msg bob  psst  you": ["[ann -> Bob] psst  you"],
        "/me waves": ["[ann] ~ waves"],
        "//quit is it": ["[ann] /quit is it"],
    }.items():
        one.act("line", 1, line.encode(), 0)
        settle(one, two)
        assert one.last(1) == answers, line
    assert two.last(1) == ["[ann -> Bob] psst  you", "[ann] ~ waves", "[ann] /quit is it"]
    two.act("broadcast", "fire\x1b!")
    settle(one, two)
    settle(one, two)
    assert one.last(1) == two.last(1) == ["* fire!"]
    assert not one.act("kick", "zoe", "") and one.act("kick", "BOB", "spam")
    settle(one, two)
    assert two.last(1) == ["! you were kicked: spam"] and two.closed == {1: False}
    assert one.last(1) == ["* Bob left (kicked: spam)"]
    one.act("line", 1, b"bye", 0)
    one.act("line", 1, b"/quit so long", 0)
    one.act("line", 1, b"never said", 0)
    assert one.closed == {}
    settle(one, two)
    assert one.last(1) == ["[ann] bye"] and one.closed == {1: False}
    assert two.both("take_events")[-1] == ("leave", "ann", "quit: so long")


def test_what_comes_before_the_welcome_is_kept_in_its_order(make: Any) -> None:
    _, (one,) = rooms([make], 1, queue_limit=120)
    one.act("joined", 1, 0)
    one.act("line", 1, b"first", 0)
    one.act("too_long", 1, 0)
    one.act("line", 1, b"/ping", 0)
    one.act("line", 1, b"x" * 100, 0)
    one.act("left", 1, False)
    one.act("joined", 2, 0)
    one.act("left", 2, True)
    settle(one)
    heard = one.last(1)
    assert heard[:4] == ["* welcome to den, you are guest-1", "! line too long", "* pong", "! not delivered"]
    assert heard[4:] == ["* guest-2 joined", "* guest-2 left (lost)"]
    settle(one)
    assert one.last(1)[0] == "[guest-1] first"
    assert one.closed == {1: False}
    assert one.both("residents") == []


def test_two_nodes_can_never_both_give_a_nick_away(make: Any) -> None:
    for first in (0, 1):
        _, nodes = rooms([make])
        for node in nodes:
            node.act("joined", 1, 0)
        settle(*nodes)
        for node in nodes:
            node.last(1)
            node.act("line", 1, b"/nick ann", 0)
        settle(nodes[first], nodes[1 - first])
        assert [line for line in nodes[first].last(1) if "ann" in line] == [f"* guest-{first + 1} is now ann"]
        assert "! ann is taken" in nodes[1 - first].last(1)


def test_a_node_that_was_taken_for_dead_parts_with_its_clients(make: Any) -> None:
    log, (one, two) = rooms([make])
    one.act("joined", 1, 0)
    two.act("joined", 1, 0)
    settle(one, two)
    one.last(1), two.last(1)
    one.act("line", 1, b"of the past", 0)
    one.act("joined", 2, 0)
    for _ in range(LEASE // 500 + 2):
        log.now += 500
        assert log.tend(two.name, two.epoch, LEASE).status == "ok"
    two.hear()
    assert two.last(1) == ["* guest-1 left (lost)"]
    one.append()
    assert one.last(1) == ["* server is closing"] and one.last(2) == ["* server is closing"]
    assert one.closed == {1: False, 2: False}
    one.act("joined", 3, 0)
    settle(one, two)
    assert one.last(3) == ["* welcome to den, you are guest-3"]
    assert two.last(1) == ["* guest-3 joined"]
    # One that reads of its end before it appends again.
    log.end(one.name, "lost")
    one.hear()
    assert one.last(3) == ["* server is closing"] and one.closed[3] is False


def test_a_new_beginning(make: Any) -> None:
    _, (one,) = rooms([make], 1, history=5)
    one.act("joined", 1, 0)
    one.act("joined", 2, 0)
    settle(one)
    one.last(1)
    one.tell("reset")
    one.tell("member", 1, "guest-7", "", one.name, 5)
    one.tell("member", 4, "zoe", "1.2.3.4 5", "z/1", 6)
    one.tell("ready")
    one.tell("past", nick="zoe", text="was here")
    one.tell("past", text="and the server")
    one.tell("missing")
    assert one.last(1) == ["* guest-1 is now guest-7", "* lines may be missing"]
    assert one.last(2)[-1] == "* server is closing"
    assert [one[0] for one in one.both("residents")] == ["guest-7", "zoe"]
    one.act("joined", 3, 0)
    one.append()
    one.hear()
    assert one.last(3)[1:] == ["[zoe] was here", "* and the server"]


def test_refused(make: Any) -> None:
    _, (one,) = rooms([make], 1)
    for client in (1, 2):
        one.act("joined", client, 0)
    settle(one)
    one.act("joined", 3, 0)
    one.last(1), one.last(2)
    one.tell("refused", 1, "say", "not delivered")
    one.act("line", 2, b"/quit", 0)
    one.tell("refused", 2, "leave", "not delivered")
    one.tell("refused", 3, "join", "server is full")
    assert one.last(1) == ["! not delivered"] and one.last(2) == [] and one.last(3) == ["! server is full"]
    assert one.closed == {2: False, 3: False}


def test_a_room_of_its_own_proposes_nothing() -> None:
    from oxisock.pure.chat.hub import Hub

    for make in (Hub, _native.Hub):
        hub = make(plan(shared=False))
        assert hub.joined(1, 0) and hub.take_appends() == [] and hub.residents() == []
        hub.take(1)
        hub.entry(("cast", "", 0, "", "hi", 0))
        assert hub.take(1) == b""
