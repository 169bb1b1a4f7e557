"""The chat hub as a machine: who is in the room, who gets which line, who must leave. It has no socket and no clock.

A driver reports what happened (``joined``, ``line``, ``left``, ...), with the time in nanoseconds.

Before each further report, the driver does two things until there is nothing left to do. It flushes the clients in
``take_pressed()``, and reports with ``backlog`` what the system did not accept. It closes the clients in
``take_closes()``, after sending their last bytes. Once a turn, it sends ``take(client)`` to each client in
``take_dirty()``.

One report appends at most one line to each queue. So no client is judged by more than one line that it had no chance to
take. All clients get lines in the same order, because a line is appended to all queues before the next line.

A client is a number that the driver chooses. Numbers grow with every join.
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
    """The state of one member."""

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
        self.last = now  # when a line last came
        self.out = bytearray()  # bytes that the driver has not taken
        self.backlog = 0  # bytes that the driver has taken and could not send
        self.missed = 0  # missed lines that the member is still to be told of
        self.skipped = 0  # all lines that the member has missed
        self.tat = now  # token bucket: the time when it is full again
        self.warned = now - _SECOND
        self.dirty = False  # whether the client is in the list of dirty ones; `pressed` is the same for its list
        self.pressed = False
        self.doomed = False  # whether the client is too slow and is to be removed


class Hub:
    """The room: its members, history and limits."""

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
        self.timeouts = 0  # members who were silent for too long

    # --- what happened -------------------------------------------------------------------------------------------

    @property
    def full(self) -> bool:
        """Whether nobody else can join."""
        return self._closing or len(self._clients) >= self._plan.max_clients

    def joined(self, client: int, now: int, where: str = "") -> bool:
        """Add a client, who comes from ``where`` if that matters. Returns False if there is no room."""
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
        """Take a line from a client, without its end."""
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
        """Note that a line was over the limit, and is lost."""
        member = self._clients.get(client)
        if member is None:
            return
        member.last = now
        if self._allowed(client, member, now):
            self._deliver(client, member, b"! line too long\n")

    def left(self, client: int, lost: bool) -> None:
        """Remove a client who has closed its end, or whose connection is ``lost``."""
        if client in self._clients:
            self._remove(client, "lost" if lost else "quit", "")

    def tick(self, now: int) -> None:
        """Remove one member who was silent for too long, if there is one; ``deadline`` says when there may be more."""
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
        """Note that ``size`` bytes could not be sent. Returns True if the driver is to report when there are fewer."""
        member = self._clients.get(client)
        if member is None:
            return False
        member.backlog = size
        if member.missed and size + len(member.out) <= self._plan.queue_limit // 2:
            missed, member.missed = member.missed, 0
            self._deliver(client, member, f"* {missed} lines skipped\n".encode())
        return member.missed > 0

    def broadcast(self, text: str) -> None:
        """Send a line to all members on behalf of the server."""
        line = f"* {clean(text)}\n".encode()
        self._history.append(line)
        self._everybody(line)

    def kick(self, nick: str, reason: str) -> bool:
        """Remove a member. Returns False if nobody has this nick."""
        client = self._nicks.get(nick.lower()) if nick.isascii() else None
        if client is None:
            return False
        reason = clean(reason)
        self._deliver(client, self._clients[client], f"! {_because('you were kicked', reason)}\n".encode())
        self._remove(client, "kicked", reason)
        return True

    def close(self) -> None:
        """Tell all members that the server is closing, and remove them. From now on, nobody can join."""
        self._closing = True
        for client, member in list(self._clients.items()):
            member.doomed = False  # it makes no difference any more
            self._append(client, member, b"* server is closing\n")
            self._forget(client, "closing", "")
        self._doomed.clear()

    def entry(self, entry: HubEntry) -> None:
        """Ignore an entry of a log, because this room is not shared."""

    # --- what to do ----------------------------------------------------------------------------------------------

    def take_pressed(self) -> list[int]:
        """Return the clients whose queue is over the limit. They miss the next lines unless the queue is sent now."""
        pressed, self._pressed = self._pressed, []
        for client in pressed:
            if client in self._clients:
                self._clients[client].pressed = False
        return pressed

    def take_closes(self) -> list[HubClose]:
        """Return the clients to close, the last bytes for each, and whether to cut it off instead.

        At most one of them is removed for being too slow, so that the news of it cannot be too much for another client.
        """
        while self._doomed:
            client = self._doomed.popleft()
            if client in self._clients:
                self._remove(client, "too slow", "")
                break
        closes, self._closes = self._closes, []
        return closes

    def take_dirty(self) -> list[int]:
        """Return the clients who have something to ``take``, and perhaps some who have left since."""
        dirty, self._dirty = self._dirty, []
        for client in dirty:
            if client in self._clients:
                self._clients[client].dirty = False
        return dirty

    def take(self, client: int) -> bytes:
        """Return what to send to a client. Unless ``backlog`` says otherwise, this and all before it was sent."""
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
        """Return the time at which to call ``tick``."""
        return self._timers.next()

    def members(self) -> list[HubMember]:
        """Return the members, in order of joining."""
        return [
            (client, member.nick, member.joined, member.backlog + len(member.out), member.skipped)
            for client, member in self._clients.items()
        ]

    def take_appends(self) -> list[HubAppend]:
        """Return nothing, because this room is not shared and has no log."""
        return []

    def residents(self) -> list[HubResident]:
        """Return nothing, because this room is not shared."""
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
        """Take a token. Returns False if there is none, with a warning once a second."""
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
        """Append a line to the queues of all members but one. A chat spends most of its time in this loop."""
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
        """Append a line to one queue, unless that is over its limit."""
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
        except MemoryError:  # a client for whom there is no memory is treated as too slow
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
        """Handle a line that does not fit: the client misses it, or is removed."""
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
        """Forget the timers of members who have left, when these are the majority."""
        self._timers.tidy(len(self._clients), lambda _, client: client in self._clients)

    def _remembered(self) -> list[bytes]:
        """Return the last lines of the history, up to half of the queue's limit."""
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
