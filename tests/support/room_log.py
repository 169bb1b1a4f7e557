"""The log of a shared room as a model: what the scripts in Redis do, in Python, with a clock that the test sets."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

Id = tuple[int, int]


class Entry(NamedTuple):
    serial: int
    kind: str
    node: str
    client: int
    nick: str
    text: str
    when: int
    id: Id
    before: Id

    @property
    def fields(self) -> tuple[str, str, int, str, str, int]:
        """What a hub is told."""
        return self[1:7]


class Answer(NamedTuple):
    """What a script answers, and what "enter" does beside."""

    status: str
    letters: str
    serial: int
    last: Id
    epoch: str = ""
    whole: bool = True
    batch: int = 0
    there: tuple[tuple[str, int, str, int, str], ...] = ()


class RoomLog:
    """Redis, as far as a room is concerned; ``now`` is its clock, in milliseconds."""

    ids = itertools.count(1)  # no two entries have the same one, in whatever copy of a log

    def __init__(self) -> None:
        self.now = 1_000_000
        self.clock = 0  # where it stands still, the ids go on within a millisecond
        self.lose()

    def lose(self) -> None:
        """Forget everything."""
        self.epoch = ""
        self.serial = 0
        self.last: Id = (0, 0)
        self.guests = 0
        self.seen = 0
        self.entries: list[Entry] = []
        self.nodes: dict[str, int] = {}
        self.members: dict[tuple[str, int], tuple[str, int, str]] = {}
        self.nicks: dict[str, tuple[str, int]] = {}
        self.done: dict[str, tuple[int, int, str]] = {}

    def _add(self, kind: str, node: str, client: int, nick: str, text: str, when: int | None = None) -> None:
        self.serial += 1
        number, before = next(self.ids), self.last
        self.last = (self.clock or number, number)
        when = self.now if when is None else when
        self.entries.append(Entry(self.serial, kind, node, client, nick, text, when, self.last, before))

    def _intact(self, known: tuple[Id, int]) -> bool:
        return known == (self.last, self.serial) or known in [(entry.id, entry.serial) for entry in self.entries]

    def _holds(self, node: str, lease: int) -> bool:
        """See to the leases first: a time in which nobody asked was nobody's fault."""
        if self.seen and self.now - self.seen > 1500:
            for each, due in self.nodes.items():
                if due > self.seen:
                    self.nodes[each] = max(due, self.now + lease)
        self.seen = self.now
        return self.nodes.get(node, 0) > self.now

    def _look(self, node: str, epoch: str, known: tuple[Id, int] | None, lease: int) -> str:
        if epoch != self.epoch or not epoch:
            return "epoch"
        if known is not None and not self._intact(known):
            return "lost"
        if not self._holds(node, lease):
            return "fenced"
        self.nodes[node] = self.now + lease
        return "ok"

    def _forget(self, key: tuple[str, int]) -> None:
        nick, _, _ = self.members.pop(key)
        del self.nicks[nick.lower()]

    def _part(self, node: str, why: str, stay: set[int]) -> None:
        for key in sorted(key for key in self.members if key[0] == node and key[1] not in stay):
            self._forget(key)
            self._add("leave", *key, "", why)

    def end(self, node: str, why: str) -> None:
        """All members of a node leave."""
        self._part(node, why, set())
        self.nodes.pop(node, None)
        self.done.pop(node, None)

    def _guest(self) -> str:
        while True:
            self.guests += 1
            if (nick := f"guest-{self.guests}") not in self.nicks:
                return nick

    def _answer(self, status: str, letters: str = "") -> Answer:
        return Answer(status, letters, self.serial, self.last)

    def enter(
        self,
        node: str,
        call: int,
        lease: int,
        *,
        epoch: str = "",
        known: tuple[Id, int] = ((0, 0), 0),
        name: str = "first",
        here: list[tuple[int, str, str, int]] | None = None,
    ) -> Answer:
        """A node begins, or begins again with those who are ``here``."""
        latest, batch, letters = self.done.get(node, (0, 0, ""))
        if call <= latest:
            return self._answer("late")
        whole = self._intact(known)
        mine, now = (int(each.partition(" ")[0] or 0) for each in (epoch, self.epoch))
        if not self.epoch or (not whole and mine >= now):
            self.epoch = f"{max(mine, now) + 1} {name}"
        if not self._holds(node, lease) and whole and epoch:
            return self._answer("fenced")
        self.nodes[node] = self.now + lease
        if not whole:
            self._part(node, "lost", {client for client, *_ in here or []})
            for member in here or []:
                self._carry(node, *member)
        self._add("node", node, 0, "", "")
        self.done[node] = (call, batch, letters)
        there = tuple((*key, nick, when, where) for key, (nick, when, where) in self.members.items())
        return Answer("ok", letters, self.serial, self.last, self.epoch, whole, batch, there)

    def _carry(self, node: str, client: int, nick: str, where: str, when: int) -> None:
        key, holder = (node, client), self.nicks.get(nick.lower())
        if key not in self.members:
            nick = nick if holder is None else self._guest()
            self.members[key] = (nick, when, where)
            self.nicks[nick.lower()] = key
            self._add("member", node, client, nick, where, when)
        elif self.members[key][0] != nick and holder in (None, key):
            self._rename(key, nick)
            self._add("nick", node, client, nick, "")

    def _rename(self, key: tuple[str, int], nick: str) -> None:
        old, when, where = self.members[key]
        del self.nicks[old.lower()]
        self.nicks[nick.lower()] = key
        self.members[key] = (nick, when, where)

    def append(
        self, node: str, epoch: str, call: int, lease: int, items: list[Any], known: tuple[Id, int] | None = None
    ) -> Answer:
        """Append what may be; gives a letter for each item: o, t (taken) or g (gone)."""
        status = self._look(node, epoch, known, lease)
        if status != "ok":
            return self._answer(status)
        latest, _, letters = self.done.get(node, (0, 0, ""))
        if call > latest:
            letters = "".join(self._item(node, *item) for item in items)
            self.done[node] = (call, call, letters)
        return self._answer("ok", letters)

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
            self._rename(key, nick)
        shown = {"say": own, "leave": ""}.get(kind, nick)
        self._add(kind, node, client, shown, "" if kind == "nick" else text)
        return "o"

    def tend(self, node: str, epoch: str, lease: int, known: tuple[Id, int] | None = None) -> Answer:
        """Hold a lease, and end the nodes that did not."""
        status = self._look(node, epoch, known, lease)
        if status == "ok":
            for other in sorted(other for other, due in self.nodes.items() if due <= self.now):
                self.end(other, "lost")
        return self._answer(status)

    def leave(self, node: str, epoch: str) -> Answer:
        """A node ends of its own will."""
        if epoch == self.epoch and node in self.nodes:
            self.end(node, "closing")
        return self._answer("ok")
