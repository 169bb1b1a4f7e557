"""The log of a shared room as a model: what the scripts in Redis do, in Python, with a clock that the test sets."""

from __future__ import annotations

from typing import Any, NamedTuple


class Entry(NamedTuple):
    serial: int
    kind: str
    node: str
    client: int
    nick: str
    text: str
    when: int

    @property
    def fields(self) -> tuple[str, str, int, str, str, int]:
        """What a hub is told."""
        return self[1:]


class RoomLog:
    """Redis, as far as a room is concerned; ``now`` is its clock, in milliseconds."""

    def __init__(self) -> None:
        self.now = 1_000_000
        self.lose()

    def lose(self) -> None:
        """Forget everything."""
        self.epoch = ""
        self.serial = 0
        self.guests = 0
        self.seen = 0
        self.entries: list[Entry] = []
        self.nodes: dict[str, int] = {}
        self.members: dict[tuple[str, int], tuple[str, int, str]] = {}
        self.nicks: dict[str, tuple[str, int]] = {}
        self.done: dict[str, tuple[int, str]] = {}

    def _add(self, kind: str, node: str, client: int, nick: str, text: str) -> None:
        self.serial += 1
        self.entries.append(Entry(self.serial, kind, node, client, nick, text, self.now))

    def _look(self, node: str, epoch: str, lease: int) -> str:
        """See to the leases first: a time in which nobody asked was nobody's fault."""
        if epoch != self.epoch or not epoch:
            return "epoch"
        if self.seen and self.now - self.seen > 1500:
            for each, due in self.nodes.items():
                if due > self.seen:
                    self.nodes[each] = max(due, self.now + lease)
        self.seen = self.now
        if self.nodes.get(node, 0) <= self.now:
            return "fenced"
        self.nodes[node] = self.now + lease
        return "ok"

    def _forget(self, key: tuple[str, int]) -> None:
        nick, _, _ = self.members.pop(key)
        del self.nicks[nick.lower()]

    def _end(self, node: str, why: str) -> None:
        for key in sorted(key for key in self.members if key[0] == node):
            self._forget(key)
            self._add("leave", *key, "", why)
        self.nodes.pop(node, None)
        self.done.pop(node, None)

    def _guest(self) -> str:
        self.guests += 1
        return f"guest-{self.guests}"

    def enter(
        self, node: str, epoch: str, lease: int, carried: list[tuple[int, str, str, int]]
    ) -> tuple[str, int, list[tuple[str, int, str, int, str]]]:
        """A node begins, with those whom it has already; gives epoch, last serial, and who is there."""
        self.epoch = self.epoch or epoch
        self._look(node, self.epoch, lease)
        self.nodes[node] = self.now + lease
        for client, nick, where, when in carried:
            if (node, client) not in self.members:
                if nick.lower() in self.nicks:
                    nick = self._guest()
                self.members[node, client] = (nick, when, where)
                self.nicks[nick.lower()] = (node, client)
                self._add("member", node, client, nick, where)
        there = [(*key, nick, when, where) for key, (nick, when, where) in self.members.items()]
        return self.epoch, self.serial, there

    def append(self, node: str, epoch: str, batch: int, lease: int, items: list[Any]) -> tuple[str, str]:
        """Append what may be; gives a status, and a letter for each item: o, t (taken) or g (gone)."""
        status = self._look(node, epoch, lease)
        if status != "ok":
            return status, ""
        done, answers = self.done.get(node, (0, ""))
        if batch <= done:
            return "ok", answers
        answers = "".join(self._item(node, *item) for item in items)
        self.done[node] = (batch, answers)
        return "ok", answers

    def _item(self, node: str, kind: str, client: int, nick: str, text: str) -> str:
        key = (node, client)
        if kind == "join":
            if key not in self.members:
                nick = self._guest()
                self.members[key] = (nick, self.now, text)
                self.nicks[nick.lower()] = key
                self._add("join", node, client, nick, text)
            return "o"
        if kind == "cast":
            self._add("cast", node, 0, "", text)
            return "o"
        if kind == "kick":
            whom = self.nicks.get(nick.lower())
            if whom is None:
                return "g"
            self._forget(whom)
            self._add("kick", *whom, "", text)
            return "o"
        if key not in self.members:
            return "g"
        own = self.members[key][0]
        if kind == "leave":
            self._forget(key)
        elif kind == "nick":
            if self.nicks.get(nick.lower(), key) != key:
                return "t"
            old, when, where = self.members[key]
            del self.nicks[old.lower()]
            self.nicks[nick.lower()] = key
            self.members[key] = (nick, when, where)
        shown = {"say": own, "leave": ""}.get(kind, nick)
        self._add(kind, node, client, shown, "" if kind == "nick" else text)
        return "o"

    def tend(self, node: str, epoch: str, lease: int) -> str:
        """Hold a lease, and end the nodes that did not."""
        status = self._look(node, epoch, lease)
        if status == "ok":
            for other in sorted(other for other, due in self.nodes.items() if due <= self.now):
                self._end(other, "lost")
        return status

    def leave(self, node: str, epoch: str) -> None:
        """A node ends of its own will."""
        if epoch == self.epoch:
            self._end(node, "closing")
