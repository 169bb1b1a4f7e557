"""Hubs of a room that many nodes share, of both engines or of one, and the log that they read."""

from __future__ import annotations

from typing import Any

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
