"""Random rooms: any rules, any bytes, sockets that take any part of what waits; both hubs make the same of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oxisock import _native
from oxisock.engines.chat import HubPlan
from oxisock.engines.serving import NEVER
from oxisock.pure.chat.hub import Hub

MANY = settings(max_examples=settings().max_examples * 12)  # some 6 s where CI runs it
LONG = 1 << 60
MS = 1_000_000

RULES = st.builds(
    HubPlan,
    name=st.just("den"),
    max_clients=st.integers(1, 6),
    max_line=st.just(4096),
    history=st.integers(0, 4),
    queue_limit=st.integers(1, 300) | st.integers(1, 5000),
    drop=st.booleans(),
    interval=st.just(0) | st.integers(1, 2000 * MS) | st.integers(1, LONG),
    burst=st.integers(1, 4) | st.integers(1, (1 << 31) - 1),
    idle_timeout=st.just(NEVER) | st.integers(1, 5000 * MS) | st.integers(1, LONG),
    echo=st.booleans(),
    events=st.booleans(),
    shared=st.just(False),  # test_replica.py has rooms that are shared
)
TEXT = st.binary(max_size=30) | st.text(max_size=12).map(lambda text: text.encode("utf-8", "surrogatepass"))
WORDS = [b"", b"", b"/nick ", b"/msg guest-1 ", b"/msg ", b"/me ", b"/who", b"/quit ", b"/help", b"/ping", b"//", b"/"]
LINES = st.tuples(st.sampled_from(WORDS), TEXT).map(lambda line: b"".join(line).replace(b"\n", b""))
# What happens, to whom, after how long; how much each socket takes next; a line.
EVENTS = st.tuples(
    st.sampled_from(
        [
            "join",
            "join",
            "line",
            "line",
            "line",
            "line",
            "long",
            "left",
            "lost",
            "tick",
            "due",
            "send",
            "broadcast",
            "kick",
            "close",
        ]
    ),
    st.integers(1, 9),
    st.integers(0, 3000 * MS) | st.integers(0, 1 << 50),
    st.lists(st.integers(0, 400), min_size=1, max_size=4),
    LINES,
)


class Driver:
    """A hub and its clients' sockets; everything that comes out of it is kept."""

    def __init__(self, kind: Any, rules: HubPlan) -> None:
        self.hub = kind(rules)
        self.now = self.comers = 0
        self.waiting: dict[int, int] = {}
        self.seen: list[Any] = []
        self.takes = [0]

    def step(self, what: str, who: int, passed: int, takes: list[int], line: bytes) -> list[Any]:
        hub, self.seen, self.takes = self.hub, [], takes
        self.now = min(self.now + passed, LONG)
        text = line.decode("utf-8", "replace")
        match what:
            case "join":
                self.comers += 1
                self.keep(hub.full, hub.joined(self.comers, self.now))
            case "line":
                hub.line(who, line, self.now)
            case "long":
                hub.too_long(who, self.now)
            case "left" | "lost":
                hub.left(who, what == "lost")
            case "tick" | "due":
                if what == "due":
                    self.now = max(self.now, min(hub.deadline(), LONG))
                while hub.deadline() <= self.now:
                    hub.tick(self.now)
                    self.see_to()
            case "send":
                for client in hub.take_dirty():
                    self.send(client)
            case "broadcast":
                hub.broadcast(text)
            case "kick":
                self.keep(hub.kick(next((member[1] for member in hub.members()), "nobody"), text))
            case "close" if who == 1:  # seldom: nothing comes after it
                hub.close()
        self.see_to()
        self.keep(hub.members(), hub.take_events(), hub.deadline(), hub.timeouts, hub.full)
        return self.seen

    def keep(self, *facts: Any) -> None:
        self.seen.extend(facts)

    def send(self, client: int) -> None:
        data = self.hub.take(client)
        self.takes.append(self.takes.pop(0))
        self.waiting[client] = max(0, self.waiting.get(client, 0) + len(data) - self.takes[0])
        self.keep(client, data, self.hub.backlog(client, self.waiting[client]))

    def see_to(self) -> None:
        """Do what the hub wants before it is told of anything else."""
        while True:
            pressed, closes = self.hub.take_pressed(), []
            for client in pressed:
                self.send(client)
            closes = self.hub.take_closes()
            self.keep(pressed, closes)
            if not pressed and not closes:
                return


@MANY
@given(RULES, st.lists(EVENTS, max_size=25))
def test_random_rooms_are_the_same_on_both_engines(rules: HubPlan, events: list[Any]) -> None:
    one, other = Driver(Hub, rules), Driver(_native.Hub, rules)
    for event in events:
        what, who, passed, takes, line = event
        assert one.step(what, who, passed, list(takes), line) == other.step(what, who, passed, list(takes), line), event
