"""The hub of a chat in both engines, and a room around one."""

from __future__ import annotations

from typing import Any

from oxisock import _native
from oxisock.engines.chat import HubPlan
from oxisock.engines.serving import NEVER
from oxisock.pure.chat.hub import Hub

SECOND = 10**9
HUBS = {"pure": Hub, "native": _native.Hub}


def plan(**changes: Any) -> HubPlan:
    usual = HubPlan("den", 10, 4096, 0, 1 << 18, False, 0, 1, NEVER, True, True)
    return usual._replace(**changes)


class Lockstep:
    """Hubs that are told the same and have to answer the same; a driver says in ``flush`` and ``part`` what it does."""

    hubs: list[Any]

    def both(self, name: str, *arguments: Any) -> Any:
        first, *others = (getattr(hub, name)(*arguments) for hub in self.hubs)
        assert all(first == other for other in others), name
        return first

    def told(self, name: str, *arguments: Any) -> Any:
        """Tell them something, and do at once what they want before anything else."""
        result = self.both(name, *arguments)
        while True:
            pressed = self.both("take_pressed")
            for client in pressed:
                self.flush(client)
            closes = self.both("take_closes")
            if not pressed and not closes:
                return result
            for client, last, cut in closes:
                self.part(client, last, cut)

    def flush(self, client: int) -> None:
        raise NotImplementedError

    def part(self, client: int, last: bytes, cut: bool) -> None:
        raise NotImplementedError


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
