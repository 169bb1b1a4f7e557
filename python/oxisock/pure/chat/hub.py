"""The chat hub as a machine: who is there, what everybody is sent, who has to go. Holds no socket and reads no clock.

A driver tells it what happened (``joined``, ``line``, ``left``, ...), with the time in nanoseconds. Before it tells of
anything else it flushes those in ``take_pressed()`` and reports what the system did not accept with ``backlog``, then
sends what ``take_closes()`` gives last to clients that go, and this again until there is neither. Once a turn it sends
``take(client)`` to everybody in ``take_dirty()``. What happens appends at most one line to the queue of each, so nobody
is judged by more than one line that he had no chance to take; and lines are in one order, because they are appended to
all queues one after the other.

A client is a number that the driver chooses; numbers grow with every join.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ...engines.serving import NEVER
from ...text import clean
from ..timers import Timers
from .nicks import is_guest, is_nick

if TYPE_CHECKING:
    from ...engines.chat import HubAppend, HubClose, HubEntry, HubEvent, HubMember, HubPlan, HubResident

_SECOND = 1_000_000_000

HELP = b"* /nick NAME, /who, /msg NICK TEXT, /me ACTION, /ping, /quit [TEXT], /help; //x says /x\n"


class _Client:
    """What is known of one member."""

    __slots__ = (
        "backlog",
        "dirty",
        "doomed",
        "joined",
        "last",
        "missed",
        "nick",
        "out",
        "pressed",
        "skipped",
        "tat",
        "warned",
    )

    def __init__(self, nick: str, now: int) -> None:
        self.nick = nick
        self.joined = now
        self.last = now  # when a line came
        self.out = bytearray()  # what the driver has not taken
        self.backlog = 0  # bytes that it has taken and could not send
        self.missed = 0  # lines it will be told that it missed
        self.skipped = 0  # lines that it ever missed
        self.tat = now  # token bucket: when it will be full again
        self.warned = now - _SECOND
        self.dirty = False  # stands in a list, as pressed does
        self.pressed = False
        self.doomed = False  # too slow, and to be told goodbye


class Hub:
    """The room: members, history, limits."""

    def __init__(self, plan: HubPlan) -> None:
        self._plan = plan
        self._clients: dict[int, _Client] = {}  # in order of joining
        self._nicks: dict[str, int] = {}  # in lower case
        self._guests = 0
        self._history: deque[bytes] = deque(maxlen=plan.history)
        self._timers = Timers()
        self._dirty: list[int] = []
        self._pressed: list[int] = []
        self._doomed: deque[int] = deque()
        self._closes: list[HubClose] = []
        self._events: list[HubEvent] = []
        self._closing = False
        self.timeouts = 0  # those who were silent for too long

    # --- what happened -------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether nobody else can join."""
        return self._closing or len(self._clients) >= self._plan.max_clients

    def joined(self, client: int, now: int, where: str = "") -> bool:
        """Somebody has come, from ``where`` if it matters; False if there is no room."""
        if self.full:
            return False
        self._guests += 1
        nick = f"guest-{self._guests}"
        newcomer = _Client(nick, now)
        self._clients[client] = newcomer
        self._nicks[nick] = client
        if self._plan.idle_timeout != NEVER:
            self._timers.set(now + self._plan.idle_timeout, client)
        self._deliver(client, newcomer, f"* welcome to {self._plan.name}, you are {nick}\n".encode())
        for line in self._remembered():
            self._deliver(client, newcomer, line)
        self._event("join", nick, "")
        self._everybody(f"* {nick} joined\n".encode(), client)
        return True

    def line(self, client: int, line: bytes, now: int) -> None:
        """A line came in, without its end."""
        member = self._clients.get(client)
        if member is None:
            return
        member.last = now
        text = clean(line.decode("utf-8", "replace"))
        if not text.strip(" ") or not self._allowed(client, member, now):
            return
        if text[0] != "/":
            self._say(client, member, text)
        elif text.startswith("//"):
            self._say(client, member, text[1:])
        else:
            word, _, rest = text[1:].partition(" ")
            self._obey(client, member, word, rest.strip(" "))

    def too_long(self, client: int, now: int) -> None:
        """A line came that was over the limit, and is lost."""
        member = self._clients.get(client)
        if member is None:
            return
        member.last = now
        if self._allowed(client, member, now):
            self._deliver(client, member, b"! line too long\n")

    def left(self, client: int, lost: bool) -> None:
        """A client has closed its end, or the connection is ``lost``."""
        if client in self._clients:
            self._remove(client, "lost" if lost else "quit", "")

    def tick(self, now: int) -> None:
        """Time has passed: part with one who was silent for too long, if so; there may be more at ``deadline``."""
        while timer := self._timers.take(now):
            _, client = timer
            member = self._clients.get(client)
            if member is None:
                continue
            due = member.last + self._plan.idle_timeout
            if due > now:
                self._timers.set(due, client)
            else:
                self._deliver(client, member, b"! you have been idle for too long\n")
                self._remove(client, "idle", "")
                self.timeouts += 1
                return

    def backlog(self, client: int, size: int) -> bool:
        """The driver has ``size`` bytes that it could not send; True to be told when there are fewer."""
        member = self._clients.get(client)
        if member is None:
            return False
        member.backlog = size
        if member.missed and size + len(member.out) <= self._plan.queue_limit // 2:
            missed, member.missed = member.missed, 0
            self._deliver(client, member, f"* {missed} lines skipped\n".encode())
        return member.missed > 0

    def broadcast(self, text: str) -> None:
        """Say something to everybody on behalf of the server."""
        line = f"* {clean(text)}\n".encode()
        self._history.append(line)
        self._everybody(line)

    def kick(self, nick: str, reason: str) -> bool:
        """Part with a client; False if nobody is called so."""
        client = self._nicks.get(nick.lower()) if nick.isascii() else None
        if client is None:
            return False
        reason = clean(reason)
        self._deliver(client, self._clients[client], f"! {_because('you were kicked', reason)}\n".encode())
        self._remove(client, "kicked", reason)
        return True

    def close(self) -> None:
        """The server is closing: say so to everybody, and part with them. Nobody can join any more."""
        self._closing = True
        for client, member in list(self._clients.items()):
            member.doomed = False  # now it makes no difference
            self._append(client, member, b"* server is closing\n")
            self._forget(client, "closing", "")
        self._doomed.clear()

    def entry(self, entry: HubEntry) -> None:
        """An entry of the log of a shared room; this one is not shared, so it is nothing to it."""

    # --- what to do ----------------------------------------------------------------------------------------------

    def take_pressed(self) -> list[int]:
        """Return those whose queue is over the limit: unless it can be sent now, they miss what comes next."""
        pressed, self._pressed = self._pressed, []
        for client in pressed:
            if client in self._clients:
                self._clients[client].pressed = False
        return pressed

    def take_closes(self) -> list[HubClose]:
        """Return those to be closed, what to send them last, and whether they are to be cut off instead.

        Of those who are too slow at most one, so that the news of it cannot be too much for somebody else.
        """
        while self._doomed:
            client = self._doomed.popleft()
            if client in self._clients:
                self._remove(client, "too slow", "")
                break
        closes, self._closes = self._closes, []
        return closes

    def take_dirty(self) -> list[int]:
        """Return those who have something to ``take``, and maybe some that have left since."""
        dirty, self._dirty = self._dirty, []
        for client in dirty:
            if client in self._clients:
                self._clients[client].dirty = False
        return dirty

    def take(self, client: int) -> bytes:
        """Return what is to be sent to a client; unless ``backlog`` says otherwise, all of it and before went out."""
        member = self._clients.get(client)
        if member is None:
            return b""
        member.backlog = 0
        out = bytes(member.out)
        member.out.clear()
        return out

    def take_events(self) -> list[HubEvent]:
        """Return what happened: kind, nick, text."""
        events, self._events = self._events, []
        return events

    def deadline(self) -> int:
        """Return the time at which ``tick`` has something to judge."""
        return self._timers.next()

    def members(self) -> list[HubMember]:
        """Return those who are there, in order of joining."""
        return [
            (client, member.nick, member.joined, member.backlog + len(member.out), member.skipped)
            for client, member in self._clients.items()
        ]

    def take_appends(self) -> list[HubAppend]:
        """Return what is to be appended to the log of a shared room; this one has none."""
        return []

    def residents(self) -> list[HubResident]:
        """Return those who are in the shared room, on all its nodes; this one is not shared."""
        return []

    # --- commands ------------------------------------------------------------------------------------------------

    def _obey(self, client: int, member: _Client, word: str, rest: str) -> None:
        match word:
            case "nick":
                self._rename(client, member, rest)
            case "who":
                names = self._names()
                self._deliver(client, member, f"* {len(names)} online: {', '.join(names)}\n".encode())
            case "msg":
                self._whisper(client, member, rest)
            case "me":
                if rest:
                    self._say(client, member, f"~ {rest}")
                else:
                    self._deliver(client, member, b"! usage: /me ACTION\n")
            case "ping":
                self._deliver(client, member, b"* pong\n")
            case "quit":
                self._remove(client, "quit", rest)
            case "help":
                self._deliver(client, member, HELP)
            case _:
                self._deliver(client, member, b"! unknown command\n")

    def _names(self) -> list[str]:
        return [member.nick for member in self._clients.values()]

    def _rename(self, client: int, member: _Client, nick: str) -> None:
        old, key = member.nick, nick.lower()
        if not is_nick(nick):
            self._deliver(client, member, b"! bad nick: 1 to 24 letters, digits, _ and -\n")
        elif is_guest(nick):
            self._deliver(client, member, b"! bad nick: guest-N is given, not chosen\n")
        elif nick == old:
            self._deliver(client, member, f"! you are {nick} already\n".encode())
        elif self._nicks.get(key, client) != client:
            self._deliver(client, member, f"! {nick} is taken\n".encode())
        else:
            del self._nicks[old.lower()]
            self._nicks[key] = client
            member.nick = nick
            self._event("nick", old, nick)
            self._everybody(f"* {old} is now {nick}\n".encode())

    def _whisper(self, client: int, member: _Client, rest: str) -> None:
        nick, _, text = rest.partition(" ")
        text = text.lstrip(" ")
        other = self._nicks.get(nick.lower()) if nick.isascii() else None
        if not text:
            self._deliver(client, member, b"! usage: /msg NICK TEXT\n")
        elif other is None:
            self._deliver(client, member, f"! nobody is called {nick}\n".encode())
        else:
            receiver = self._clients[other]
            line = f"[{member.nick} -> {receiver.nick}] {text}\n".encode()
            self._event("private", member.nick, text)
            self._deliver(other, receiver, line)
            if other != client:
                self._deliver(client, member, line)

    def _say(self, client: int, member: _Client, text: str) -> None:
        line = f"[{member.nick}] {text}\n".encode()
        self._history.append(line)
        self._event("message", member.nick, text)
        self._everybody(line, -1 if self._plan.echo else client)

    # --- the room ------------------------------------------------------------------------------------------------

    def _allowed(self, client: int, member: _Client, now: int) -> bool:
        """Take a token; False, with a warning once a second, if there is none."""
        interval = self._plan.interval
        if not interval:
            return True
        tat = max(member.tat, now)
        if tat - now <= (self._plan.burst - 1) * interval:
            member.tat = tat + interval
            return True
        if now - member.warned >= _SECOND:
            member.warned = now
            self._deliver(client, member, b"! slow down\n")
        return False

    def _everybody(self, line: bytes, but: int = -1) -> None:
        """Append a line to the queues of all but one; this loop is what a chat spends its time in."""
        limit, size, dirty = self._plan.queue_limit, len(line), self._dirty
        for client, member in self._clients.items():
            if client == but:
                continue
            queued = member.backlog + len(member.out)
            if queued > limit or member.missed:
                self._miss(client, member)
                continue
            try:
                member.out += line
            except MemoryError:
                self._doom(client, member)
                continue
            if not member.dirty:
                member.dirty = True
                dirty.append(client)
            if queued + size > limit:
                self._press(client, member)

    def _deliver(self, client: int, member: _Client, line: bytes) -> None:
        """Append a line to one queue, if that is not over its limit."""
        queued = member.backlog + len(member.out)
        if queued > self._plan.queue_limit or member.missed:
            self._miss(client, member)
            return
        self._append(client, member, line)
        if queued + len(line) > self._plan.queue_limit:
            self._press(client, member)

    def _append(self, client: int, member: _Client, line: bytes) -> None:
        try:
            member.out += line
        except MemoryError:  # one for whom there is no memory is as one who reads too slowly
            self._doom(client, member)
            return
        if not member.dirty:
            member.dirty = True
            self._dirty.append(client)

    def _press(self, client: int, member: _Client) -> None:
        if not member.pressed:
            member.pressed = True
            self._pressed.append(client)

    def _miss(self, client: int, member: _Client) -> None:
        """A line does not fit: the client misses it, or is to go."""
        if self._plan.drop:
            member.missed += 1
            member.skipped += 1
            self._press(client, member)
        else:
            self._doom(client, member)

    def _doom(self, client: int, member: _Client) -> None:
        if not member.doomed:
            member.doomed = True
            self._doomed.append(client)

    def _remove(self, client: int, reason: str, text: str) -> None:
        nick = self._forget(client, reason, text)
        self._everybody(f"* {nick} left ({_because(reason, text)})\n".encode())

    def _forget(self, client: int, reason: str, text: str) -> str:
        member = self._clients.pop(client)
        self._forget_timers()
        del self._nicks[member.nick.lower()]
        self._closes.append((client, bytes(member.out), reason == "too slow"))
        self._event("leave", member.nick, _because(reason, text))
        return member.nick

    def _forget_timers(self) -> None:
        """Forget the timers of members who have left, once they are most."""
        self._timers.tidy(len(self._clients), lambda _, client: client in self._clients)

    def _remembered(self) -> list[bytes]:
        """Return the last lines, as many as leave room for what comes."""
        room, lines = self._plan.queue_limit // 2, []
        for line in reversed(self._history):
            room -= len(line)
            if room < 0:
                break
            lines.append(line)
        return lines[::-1]

    def _event(self, kind: str, nick: str, text: str) -> None:
        if self._plan.events:
            self._events.append((kind, nick, text))


def _because(reason: str, text: str) -> str:
    return f"{reason}: {text}" if text else reason
