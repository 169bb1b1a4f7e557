"""The hub of a shared room: both engines side by side on nodes that read one log, each at its own pace."""

from __future__ import annotations

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
from oxisock.pure.chat.replica import Replica
from support.hubs import Lockstep
from support.room_log import RoomLog

HUBS = {"pure": Replica, "native": _native.Hub}
LEASE = 10_000


def plan(**changes: Any) -> HubPlan:
    usual = HubPlan("den", 10, 4096, 0, 1 << 18, False, 0, 1, NEVER, True, True, shared=True)
    return usual._replace(**changes)


@pytest.fixture(params=sorted(HUBS))
def make(request: pytest.FixtureRequest) -> Any:
    return HUBS[request.param]


class Node(Lockstep):
    """Hubs of both engines, or of one, in lockstep, and a driver whose sockets take everything."""

    def __init__(self, log: RoomLog, name: str, makes: Any, rules: HubPlan) -> None:
        self.log, self.base, self.rules = log, name, rules
        self.hubs = [make(rules) for make in makes]
        self.now = 1000
        self.batch = self.turns = self.read = 0
        self.heard: dict[int, list[bytes]] = {}
        self.closed: dict[int, bool] = {}
        self.waiting: list[Any] = []
        self.enter()

    def part(self, client: int, last: bytes, cut: bool) -> None:
        self.keep(client, last)
        assert client not in self.closed, "closed twice"
        self.closed[client] = cut

    def act(self, name: str, *arguments: Any) -> Any:
        result = self.told(name, *arguments)
        for client in self.both("take_dirty"):
            self.flush(client)
        self.both("members")
        for kind, *rest in self.both("take_appends"):
            if kind == "fenced":
                self.waiting.clear()
            else:
                self.waiting.append((kind, *rest))
        return result

    def flush(self, client: int) -> None:
        self.keep(client, self.both("take", client))
        self.both("backlog", client, 0)

    def keep(self, client: int, data: bytes) -> None:
        assert not data or data.endswith(b"\n")
        self.heard.setdefault(client, []).extend(data.split(b"\n")[:-1])

    def last(self, client: int) -> list[str]:
        lines, self.heard[client] = self.heard.get(client, []), []
        return [line.decode() for line in lines]

    def tell(self, kind: str, client: int = 0, nick: str = "", text: str = "", node: str = "", when: int = 0) -> None:
        self.act("entry", (kind, node, client, nick, text, when))

    def enter(self) -> None:
        self.turns += 1
        self.name = f"{self.base}/{self.turns}"
        self.batch = 1
        answer = self.log.enter(self.name, self.batch, LEASE)
        self.epoch, self.read = answer.epoch, answer.serial
        self.tell("entered", node=self.name)
        self.tell("reset")
        for node, client, nick, when, where in sorted(answer.there, key=lambda one: (one[3], one[0], one[1])):
            self.tell("member", client, nick, where, node, when)
        self.tell("ready")

    def append(self) -> None:
        """Carry to the log what waits."""
        items, self.waiting = self.waiting, []
        self.batch += 1
        status, answers, *_ = self.log.append(self.name, self.epoch, self.batch, LEASE, items)
        if status == "fenced":
            self.fence()
            return
        for (kind, client, nick, _), answer in zip(items, answers, strict=True):
            if answer == "t":
                self.tell("refused", client, kind, f"{nick} is taken")
            elif answer == "g":
                self.tell("refused", client, kind, "not delivered")

    def fence(self) -> None:
        self.tell("fenced")
        self.enter()

    def hear(self, count: int = 1 << 30) -> None:
        """Read so many entries of the log."""
        for entry in self.log.entries[self.read : self.read + count]:
            self.read = entry.serial
            self.act("entry", entry.fields)


def rooms(makes: Any, count: int = 2, **changes: Any) -> tuple[RoomLog, list[Node]]:
    log = RoomLog()
    return log, [Node(log, name, makes, plan(**changes)) for name in "abc"[:count]]


def settle(*nodes: Node) -> None:
    for node in nodes:
        node.append()
    for node in nodes:
        node.hear()


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


NICKS = ["ann", "Ann", "bob", "guest-1", "x" * 25, "a b", "\u00e9", "-", "", "guest-2"]
TEXTS = st.one_of(
    st.sampled_from(["hi", "x" * 60, "", "\t", "* server is closing", "//me", "\u202egnp"]), st.text(max_size=8)
)
KINDS = ["join", "member", "nick", "say", "msg", "leave", "kick", "cast", "past", "entered", "reset", "ready"]
KINDS += ["missing", "refused", "fenced", "wat"]

HARMLESS = ["say", "msg", "cast", "past", "wat"]


ENTRIES = st.tuples(
    st.sampled_from(KINDS),
    st.sampled_from(["a/1", "a/2", "z/1", ""]),
    st.integers(0, 3),
    st.sampled_from(NICKS),
    TEXTS.map(lambda text: text.encode("utf-8", "replace").decode()),
    st.integers(0, 1 << 50),
)


@given(entries=st.lists(st.one_of(ENTRIES, st.integers(0, 3)), max_size=30))
def test_whatever_stands_in_the_log_is_read_alike(entries: list[Any]) -> None:
    node = Node(RoomLog(), "a", HUBS.values(), plan(history=3))
    for entry in entries:
        if not isinstance(entry, int):
            node.act("entry", entry)
        elif entry:
            node.closed.clear()
            node.now += 1
            node.act("joined", node.now, node.now)
            node.act("entry", ("join", "a/1", node.now, f"guest-{node.now}", "", 0))
        else:
            node.act("line", node.now, b"hello", node.now)
        nicks = [one[0].lower() for one in node.both("residents")]
        assert len(set(nicks)) == len(nicks)


class Rooms(RuleBasedStateMachine):
    """Nodes append and read at their own pace; foreign entries stand between; some are taken for dead."""

    @initialize(
        echo=st.booleans(),
        history=st.integers(0, 3),
        queue_limit=st.sampled_from([60, 300, 1 << 18]),
        drop=st.booleans(),
        idle=st.sampled_from([NEVER, 50]),
        interval=st.sampled_from([0, 10]),
    )
    def open(self, idle: int, **rules: Any) -> None:
        self.log, self.nodes = rooms(HUBS.values(), 3, idle_timeout=idle, max_clients=4, **rules)
        self.clients = 0
        self.serial = 0

    def client(self, data: Any, node: Node) -> int:
        return int(data.draw(st.integers(1, max(1, self.clients))))

    @rule(at=st.integers(0, 2))
    def join(self, at: int) -> None:
        self.clients += 1
        self.nodes[at].act("joined", self.clients, self.nodes[at].now, f"127.0.0.1 {self.clients}")

    @rule(at=st.integers(0, 2), data=st.data(), text=TEXTS)
    def say(self, at: int, data: Any, text: str) -> None:
        node = self.nodes[at]
        node.act("line", self.client(data, node), text.replace("\n", "").encode("utf-8", "replace"), node.now)

    @rule(at=st.integers(0, 2), data=st.data(), count=st.integers(1, 12))
    def flood(self, at: int, data: Any, count: int) -> None:
        node = self.nodes[at]
        client = self.client(data, node)
        for _ in range(count):
            self.serial += 1
            node.act("line", client, b"flood %d" % self.serial, node.now)

    @rule(at=st.integers(0, 2), data=st.data(), word=st.sampled_from(["nick", "msg", "me", "who", "quit"]), text=TEXTS)
    def command(self, at: int, data: Any, word: str, text: str) -> None:
        node = self.nodes[at]
        rest = data.draw(st.sampled_from(NICKS)) + (f" {text}" if word == "msg" else "") if word in "nick msg" else text
        line = f"/{word} {rest}".replace("\n", "").encode("utf-8", "replace")
        node.act("line", self.client(data, node), line, node.now)

    @rule(at=st.integers(0, 2), data=st.data(), how=st.sampled_from(["too_long", "lost", "quit"]))
    def other(self, at: int, data: Any, how: str) -> None:
        node = self.nodes[at]
        client = self.client(data, node)
        if how == "too_long":
            node.act("too_long", client, node.now)
        else:
            node.act("left", client, how == "lost")

    @rule(at=st.integers(0, 2), nick=st.sampled_from(NICKS), text=TEXTS)
    def kick(self, at: int, nick: str, text: str) -> None:
        self.nodes[at].act("kick", nick, text.encode("utf-8", "replace").decode())

    @rule(at=st.integers(0, 2))
    def append(self, at: int) -> None:
        self.nodes[at].append()

    @rule(at=st.integers(0, 2), count=st.integers(1, 9))
    def hear(self, at: int, count: int) -> None:
        self.nodes[at].hear(count)

    @rule(at=st.integers(0, 2))
    def taken_for_dead(self, at: int) -> None:
        self.log.end(self.nodes[at].name, "lost")

    @rule(passed=st.sampled_from([1, 60]), at=st.integers(0, 2))
    def wait(self, passed: int, at: int) -> None:
        node = self.nodes[at]
        node.now += passed
        while node.both("deadline") <= node.now:
            node.act("tick", node.now)

    @rule(
        data=st.data(),
        kind=st.sampled_from(HARMLESS),
        nick=st.sampled_from(NICKS),
        text=TEXTS,
        at=st.integers(0, 2),
    )
    def foreign(self, data: Any, kind: str, nick: str, text: str, at: int) -> None:
        """Somebody else can write into the log what changes nobody's place in the room, and all read the same."""
        node = data.draw(st.sampled_from([self.nodes[at].name, "z/1"]))
        self.log._add(kind, node, self.client(data, self.nodes[at]), nick, text.encode("utf-8", "replace").decode())

    @invariant()
    def the_rooms_are_good(self) -> None:
        if not hasattr(self, "nodes"):
            return
        for node in self.nodes:
            nicks = [one[0].lower() for one in node.both("residents")]
            assert len(set(nicks)) == len(nicks)
            node.both("take_events")

    @precondition(lambda self: len({node.read for node in getattr(self, "nodes", [])}) == 1)
    @invariant()
    def who_has_read_the_same_knows_the_same(self) -> None:
        first, *others = ([one[:3] + one[5:] for one in node.both("residents")] for node in self.nodes)
        for other in others:
            assert sorted(first) == sorted(other)

    def teardown(self) -> None:
        if not hasattr(self, "nodes"):
            return
        for node in self.nodes:
            node.append()
        for node in self.nodes:
            node.hear()
        self.who_has_read_the_same_knows_the_same()
        floods = []
        for node in self.nodes:
            floods += [
                [line.split(b"] ", 1)[1] for line in lines if b"] flood " in line] for lines in node.heard.values()
            ]
        for one in floods:
            assert len(set(one)) == len(one), "a line was shown twice"
            for other in floods:
                shared = set(one) & set(other)
                assert [line for line in one if line in shared] == [line for line in other if line in shared]
        for node in self.nodes:
            node.act("close")
            assert node.both("members") == [] and node.waiting[-1][0] == "close"


def test_nodes_of_both_engines_live_the_same_life() -> None:
    run_state_machine_as_test(Rooms)
