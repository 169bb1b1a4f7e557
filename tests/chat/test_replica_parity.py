"""The hubs of a shared room in both engines, whatever stands in the log and whatever becomes of the nodes."""

from __future__ import annotations

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
from support.room_log import RoomLog
from support.shared_rooms import HUBS, Node, plan, rooms

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
