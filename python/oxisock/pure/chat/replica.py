"""The hub of a room that many nodes share: it proposes what its clients want, and applies what it reads in the log.

It shows no line, gives no nick and removes no client before the entry for that has come back. So every node shows the
same lines in the same order. The place that keeps the log decides whether a proposal becomes an entry.

``entry`` takes the entries of the log in their order, and reports of the driver about the log:

| kind | fields | meaning |
|---|---|---|
| join | node, client, nick, text: where from, when | has come, with this nick |
| nick | node, client, nick | wants this nick: gets it, or has it already |
| say | node, client, text | said this |
| msg | node, client, nick: to whom, text | said this in private |
| leave | node, client, text: why | has left |
| kick | node, client, text: why | must leave |
| cast | text | said on behalf of the server |
| member | as join | is in the room; this is not news |
| past | nick (empty: a server), text | was said before: history |
| entered | node | the name of the hub's own node |
| reset | | the members that follow are all there are |
| ready | | those were all: remove clients of this node who are not among them |
| missing | | lines may be missing |
| refused | client, nick: the kind of the proposal, text | the proposal becomes no entry |
| fenced | | the node was taken for dead: remove all its clients |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ...engines.serving import NEVER
from ...text import clean
from .hub import Hub, _because, _Client
from .nicks import is_guest, is_nick

if TYPE_CHECKING:
    from ...engines.chat import HubAppend, HubEntry, HubPlan, HubResident

_LINE, _TOO_LONG, _TOO_MUCH, _END = range(4)


class _Resident(NamedTuple):
    """The state of a member of the room, on any node."""

    nick: str
    where: str
    when: int


class _Arrival:
    """A client whose joining is not in the log yet, and what it has sent meanwhile."""

    __slots__ = ("early", "since", "size")

    def __init__(self, since: int) -> None:
        self.since = since
        self.early: list[tuple[int, bytes, int]] = []
        self.size = 0  # of what is kept

    def keep(self, what: int, line: bytes, now: int) -> None:
        self.early.append((what, line, now))
        self.size += len(line) + 16


class Replica(Hub):
    """A hub that shares its room."""

    def __init__(self, plan: HubPlan) -> None:
        super().__init__(plan)
        self._node = ""
        self._residents: dict[tuple[str, int], _Resident] = {}  # in order of joining
        self._called: dict[str, tuple[str, int]] = {}  # by nick in lower case
        self._arriving: dict[int, _Arrival] = {}
        self._leaving: set[int] = set()  # clients whose leaving is not in the log yet
        self._appends: list[HubAppend] = []

    # --- what happened -------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether nobody else can join on this node."""
        return self._closing or len(self._clients) + len(self._arriving) >= self._plan.max_clients

    def joined(self, client: int, now: int, where: str = "") -> bool:
        """Add a client, who comes from ``where``. Returns False if there is no room."""
        if self.full:
            return False
        self._arriving[client] = _Arrival(now)
        self._propose("join", client, "", where)
        return True

    def line(self, client: int, line: bytes, now: int) -> None:
        """Take a line from a client, without its end."""
        if client in self._arriving:
            self._put_off(client, _LINE, line, now)
        elif client not in self._leaving:
            super().line(client, line, now)

    def too_long(self, client: int, now: int) -> None:
        """Note that a line was over the limit, and is lost."""
        if client in self._arriving:
            self._put_off(client, _TOO_LONG, b"", now)
        elif client not in self._leaving:
            super().too_long(client, now)

    def left(self, client: int, lost: bool) -> None:
        """Remove a client who has closed its end, or whose connection is ``lost``."""
        if client not in self._arriving:
            super().left(client, lost)
        elif lost:
            del self._arriving[client]
            self._propose("leave", client, "", "lost")
        else:
            self._arriving[client].keep(_END, b"", 0)

    def broadcast(self, text: str) -> None:
        """Propose a line to all members on behalf of the server."""
        self._propose("cast", 0, "", clean(text))

    def kick(self, nick: str, reason: str) -> bool:
        """Propose to remove a member. Returns False if nobody has this nick."""
        if self._find(nick) is None:
            return False
        self._propose("kick", 0, nick, clean(reason))
        return True

    def close(self) -> None:
        """Tell all members that the server is closing, and remove them. From now on, nobody can join."""
        self._closing = True
        self._part_with_all()
        self._propose("close", 0, "", "")

    def entry(self, entry: HubEntry) -> None:
        """Apply an entry of the log, or a report of the driver about the log."""
        kind, node, client, nick, text, when = entry
        key, text = (node, client), clean(text)
        match kind:
            case "join" | "member":
                self._come(kind == "join", key, _Resident(nick, text, when))
            case "nick":
                self._call(key, nick)
            case "say":
                self._show(key, text)
            case "msg":
                self._pass_on(key, nick, text)
            case "leave":
                self._go(key, text)
            case "kick":
                mine = self._mine(key)
                if mine is not None:
                    self._deliver(client, mine, f"! {_because('you were kicked', text)}\n".encode())
                    self._leaving.add(client)  # the client knows why
                self._go(key, _because("kicked", text))
            case "cast":
                line = f"* {text}\n".encode()
                self._history.append(line)
                self._everybody(line)
            case "past":
                self._history.append((f"[{nick}] {text}\n" if nick else f"* {text}\n").encode())
            case "entered":
                self._node = node
            case "reset":
                self._residents.clear()
                self._called.clear()
                self._history.clear()
            case "ready":
                for gone in [each for each in self._clients if (self._node, each) not in self._residents]:
                    self._part_as_lost(gone)
            case "missing":
                self._everybody(b"* lines may be missing\n")
            case "refused":
                self._refuse(client, nick, text)
            case "fenced":
                self._part_with_all()
                self._residents.clear()
                self._called.clear()
                self._appends.clear()
                self._propose("fenced", 0, "", "")

    # --- what to do ----------------------------------------------------------------------------------------------

    def take_appends(self) -> list[HubAppend]:
        """Return the proposals: kind, client, nick, text. "fenced" cancels those before it, and "close" is the last."""
        appends, self._appends = self._appends, []
        return appends

    def residents(self) -> list[HubResident]:
        """Return the members of the room, in order of joining."""
        found = []
        for key, resident in self._residents.items():
            mine = self._mine(key)
            queued, skipped = (0, 0) if mine is None else (mine.backlog + len(mine.out), mine.skipped)
            found.append((resident.nick, resident.where, resident.when, queued, skipped, key[0]))
        return found

    # --- what clients want ---------------------------------------------------------------------------------------

    def _propose(self, kind: str, client: int, nick: str, text: str) -> None:
        self._appends.append((kind, client, nick, text))

    def _put_off(self, client: int, what: int, line: bytes, now: int) -> None:
        """Keep what a client sends before its welcome, up to the limit of its queue."""
        arrival = self._arriving[client]
        if arrival.size + len(line) <= self._plan.queue_limit:
            arrival.keep(what, line, now)
        elif not arrival.early or arrival.early[-1][0] != _TOO_MUCH:
            arrival.keep(_TOO_MUCH, b"", now)

    def _names(self) -> list[str]:
        return [resident.nick for resident in self._residents.values()]

    def _rename(self, client: int, member: _Client, nick: str) -> None:
        if not is_nick(nick):
            self._deliver(client, member, b"! bad nick: 1 to 24 letters, digits, _ and -\n")
        elif is_guest(nick):
            self._deliver(client, member, b"! bad nick: guest-N is given, not chosen\n")
        else:
            self._propose("nick", client, nick, "")

    def _whisper(self, client: int, member: _Client, rest: str) -> None:
        nick, _, text = rest.partition(" ")
        text = text.lstrip(" ")
        if not text:
            self._deliver(client, member, b"! usage: /msg NICK TEXT\n")
        elif not is_nick(nick):
            self._deliver(client, member, f"! nobody is called {nick}\n".encode())
        else:
            self._propose("msg", client, nick, text)

    def _say(self, client: int, member: _Client, text: str) -> None:
        self._propose("say", client, "", text)

    def _remove(self, client: int, reason: str, text: str) -> None:
        """Propose that a client leaves. Remove it at once if it cannot receive anything."""
        if client not in self._leaving:
            self._leaving.add(client)
            self._propose("leave", client, "", _because(reason, text))
        if reason in ("lost", "too slow"):
            self._part(client, reason == "too slow")

    # --- what the log says ---------------------------------------------------------------------------------------

    def _find(self, nick: str) -> tuple[str, int] | None:
        return self._called.get(nick.lower()) if nick.isascii() else None

    def _mine(self, key: tuple[str, int]) -> _Client | None:
        """Return the client of this node with this key, if there is one."""
        return self._clients.get(key[1]) if key[0] == self._node else None

    def _come(self, news: bool, key: tuple[str, int], resident: _Resident) -> None:
        nick, client = resident.nick, key[1]
        if not is_nick(nick) or key in self._residents or nick.lower() in self._called:
            return
        self._residents[key] = resident
        self._called[nick.lower()] = key
        arrived = self._arriving.pop(client, None) if key[0] == self._node else None
        if arrived is None:
            mine = self._mine(key)
            if mine is not None and mine.nick != nick:
                old, mine.nick = mine.nick, nick
                self._everybody(f"* {old} is now {nick}\n".encode())
            elif mine is None and news:
                self._event("join", nick, "")
                self._everybody(f"* {nick} joined\n".encode())
            return
        newcomer = _Client(nick, arrived.since)
        self._clients[client] = newcomer
        if self._plan.idle_timeout != NEVER:
            self._timers.set(arrived.since + self._plan.idle_timeout, client)
        self._deliver(client, newcomer, f"* welcome to {self._plan.name}, you are {nick}\n".encode())
        for line in self._remembered():
            self._deliver(client, newcomer, line)
        self._event("join", nick, "")
        self._everybody(f"* {nick} joined\n".encode(), client)
        for what, line, then in arrived.early:
            if what == _LINE:
                self.line(client, line, then)
            elif what == _TOO_LONG:
                self.too_long(client, then)
            elif what == _TOO_MUCH:
                self._deliver(client, newcomer, b"! not delivered\n")
            else:
                self.left(client, False)

    def _call(self, key: tuple[str, int], nick: str) -> None:
        resident, mine = self._residents.get(key), self._mine(key)
        if resident is None or not is_nick(nick):
            return
        old = resident.nick
        if nick == old:
            if mine is not None:
                self._deliver(key[1], mine, f"! you are {nick} already\n".encode())
        elif self._called.get(nick.lower(), key) == key:
            del self._called[old.lower()]
            self._called[nick.lower()] = key
            self._residents[key] = resident._replace(nick=nick)
            if mine is not None:
                mine.nick = nick
            self._event("nick", old, nick)
            self._everybody(f"* {old} is now {nick}\n".encode())

    def _show(self, key: tuple[str, int], text: str) -> None:
        resident = self._residents.get(key)
        if resident is None:
            return
        line = f"[{resident.nick}] {text}\n".encode()
        self._history.append(line)
        self._event("message", resident.nick, text)
        self._everybody(line, -1 if self._plan.echo or key[0] != self._node else key[1])

    def _pass_on(self, key: tuple[str, int], nick: str, text: str) -> None:
        resident, sender, other = self._residents.get(key), self._mine(key), self._find(nick)
        if resident is None:
            return
        if other is None:
            if sender is not None:
                self._deliver(key[1], sender, f"! nobody is called {nick}\n".encode())
            return
        receiver = self._mine(other)
        if sender is None and receiver is None:
            return
        line = f"[{resident.nick} -> {self._residents[other].nick}] {text}\n".encode()
        self._event("private", resident.nick, text)
        if receiver is not None:
            self._deliver(other[1], receiver, line)
        if sender is not None and other != key:
            self._deliver(key[1], sender, line)

    def _go(self, key: tuple[str, int], why: str) -> None:
        resident = self._residents.pop(key, None)
        if resident is None:
            return
        del self._called[resident.nick.lower()]
        if self._mine(key) is not None:
            self._part_as_lost(key[1])
        self._event("leave", resident.nick, why)
        self._everybody(f"* {resident.nick} left ({why})\n".encode())

    def _refuse(self, client: int, kind: str, text: str) -> None:
        member = self._clients.get(client)
        if member is not None:
            if kind == "leave":
                self._part(client, False)
            else:
                self._deliver(client, member, f"! {text}\n".encode())
        elif client in self._arriving and kind == "join":
            del self._arriving[client]
            self._closes.append((client, f"! {text}\n".encode(), False))

    def _part(self, client: int, cut: bool) -> None:
        member = self._clients.pop(client)
        self._forget_timers()
        self._leaving.discard(client)
        self._closes.append((client, bytes(member.out), cut))

    def _part_as_lost(self, client: int) -> None:
        """Remove a client who is not in the log, and tell it, unless it wanted to leave."""
        if client not in self._leaving:
            self._append(client, self._clients[client], b"* server is closing\n")
        self._part(client, False)

    def _part_with_all(self) -> None:
        for client, member in list(self._clients.items()):
            self._append(client, member, b"* server is closing\n")
            self._event("leave", member.nick, "closing")
            self._part(client, False)
        for client in self._arriving:
            self._closes.append((client, b"* server is closing\n", False))
        self._arriving.clear()
        self._doomed.clear()
