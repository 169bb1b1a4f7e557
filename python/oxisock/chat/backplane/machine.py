"""What a node of a shared room does and when, as a machine: it knows neither Redis nor sockets, and reads no clock.

A driver tells it what the hub proposes, what a call of a script answered, what stands in the log, and the time in
nanoseconds. It asks ``next_call`` for what to call, one call at a time, ``reading`` for where to read on, and hands
``take_news`` to the hub and ``take_notices`` to whoever watches.

Nothing is told to be refused that may be in the log. So a node that was idle asks whether anybody answers before it
sends what it has; and a batch without an answer has a number by which it is asked for again, and counts once.

Redis may lose what it has acknowledged. Its scripts are told with every call what the node knows of, and say if that is
no longer there; and each entry has the id of the one before, so that nothing is missed in reading. Whoever finds a loss
enters again, which begins a new epoch, so that all do. What the log then says is the truth, but of who is on a node:
that the node says itself.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engines.chat import HubAppend, HubEntry

_SECOND = 1_000_000_000
PATIENCE: Final = _SECOND
"""Nanoseconds without an answer after which Redis is away."""
RETRY: Final = _SECOND // 4
"""Nanoseconds between two tries while it is away."""
_BATCH = 500  # items in a call
_BATCH_BYTES = 1 << 20
_BUSY = 64  # items that wait as an answer comes: then the next call goes out without asking first
_KEPT_BYTES = 16 << 20  # that wait to be sent
_LASTING = ("join", "leave")  # what waits for Redis to come back; other proposals are refused meanwhile


class Entry(NamedTuple):
    """An entry of the log that was read, and the id of the one ``before`` it; ``fields`` is None for one that no
    oxisock wrote."""

    id: str
    serial: int
    before: str
    fields: HubEntry | None


class Call(NamedTuple):
    """A script to call, and its arguments behind the common ones; "ping" is none, and asks for an answer only."""

    script: str
    arguments: list[str | int]


class Answer(NamedTuple):
    """What scripts answer: ok, fenced, epoch or lost; a letter for each item; the newest entry. A ping: ok."""

    status: str
    letters: str = ""
    serial: int = 0
    last: str = "0-0"


class Entered(NamedTuple):
    """What "enter" answers, if all is well, with the letters of the last batch: the epoch, whether the log has all that
    the node knew of, the number of that batch, who is in the room, and what was said, oldest first."""

    answer: Answer
    epoch: str
    whole: bool
    batch: int
    members: list[HubEntry]
    history: list[Entry]


class Backplane:
    """The decisions of one node."""

    serial: int  # of the last entry that was read
    _own_id: str  # of that entry
    _read_id: str  # of the last that was looked at, whoever wrote it
    _known: tuple[str, int]  # id and serial of the newest entry that is known of

    def __init__(self, base: str, lease: int, history: int, now: int) -> None:
        """``base`` begins the names of this node, like which there is no other; ``lease`` is nanoseconds.

        ``history`` is how many of the last entries the hub is told of when the node begins.
        """
        self._base, self._history = base, history
        self._tend_every = min(lease // 3, _SECOND // 2)
        self._turns = self._losses = 0
        self.ended = False
        self._generation = 0
        self._entered = self._closing = self._skipping = self._lost = self._away = False
        self._ever = False
        self._fresh = self._asked = False  # an answer has just come, and it was to a ping
        self._again = False  # whether the batch under way was sent before
        self._call: Call | None = None  # under way
        self._sent_at = 0
        self._sent_in = 0  # which generation
        self._limbo: list[HubAppend] = []  # sent, and not answered
        self._batch = 0  # the number of these
        self._shown: set[tuple[str, int, str]] = set()  # which of these have been read, before the answer
        self._queue: deque[HubAppend] = deque()
        self._queued = 0
        self._mine: dict[int, tuple[str, str, int]] = {}  # nick, where from, when
        self._joining: dict[int, HubAppend] = {}  # proposed, and not read yet
        self._parting: dict[int, HubAppend] = {}
        self._retry_at = now
        self._tend_at = now
        self._foreign = 0
        self._news: list[HubEntry] = []
        self._notices: list[str] = []
        self._begin_as_another()

    # --- what happened -------------------------------------------------------------------------------------------

    def proposed(self, appends: Sequence[HubAppend], now: int) -> None:
        """The hub wants this in the log."""
        for append in appends:
            kind, client, _, _ = append
            if kind == "fenced":
                self._skipping = False
            elif self._skipping:
                continue
            elif kind == "close":
                self._closing = True
                if self._away or not self._entered:
                    self.ended = True
            elif kind in _LASTING:
                (self._joining if kind == "join" else self._parting)[client] = append
                self._put(append)
                if kind == "leave" and self._away:
                    self._refuse(append, "not delivered")
            elif self._away or self._queued > _KEPT_BYTES:
                self._refuse(append, "not delivered")
            else:
                self._put(append)

    def answered(self, answer: Entered | Answer, now: int) -> None:
        """The call under way was answered."""
        call, self._call = self._call, None
        if call is None:
            return
        self._fresh, self._asked = True, call.script == "ping"
        if self._away:
            self._away = False
            self._notices.append("Redis is back")
        if self._sent_in != self._generation:
            return  # it went out before the node was fenced, or before something was lost
        if isinstance(answer, Entered):
            self._begin(answer)
        elif call.script == "leave":
            self.ended = True
        elif answer.status == "fenced":
            self._fence()
        elif answer.status == "epoch":
            self._lose("the room is another one")
        elif answer.status == "lost":
            self._lose("the last entries are gone")
        elif call.script == "append":
            self._settle(answer.letters)
        if self._entered and not isinstance(answer, Entered) and answer.serial > self._known[1]:
            self._known = answer.last, answer.serial
        if call.script in ("tend", "append"):
            self._tend_at = now + self._tend_every

    def unsent(self, why: str, now: int) -> None:
        """The call under way could not be sent as a whole, so that Redis will not execute it."""
        if self._call is not None and self._call.script == "append" and not self._again:
            self._take_back()
        self.broken(why, now)

    def broken(self, why: str, now: int) -> None:
        """The connection for calls is gone, or could not be made."""
        self._call = None
        self._fresh = self._asked = False
        self._retry_at = now + RETRY
        if self._closing:
            self.ended = True
        if self._away:
            return
        self._away = True
        self._notices.append(f"Redis is away: {why}")
        kept = [item for item in self._queue if item[0] in _LASTING]
        for item in self._queue:
            if item[0] not in _LASTING:
                self._refuse(item, "not delivered")
        for item in self._parting.values():
            self._refuse(item, "not delivered")  # nobody waits for it
        self._queue.clear()
        self._queued = 0
        for item in kept:
            self._put(item)

    def read(self, generation: int, entries: Sequence[Entry], now: int) -> None:
        """This stands in the log, where ``reading`` has said."""
        if generation != self._generation or not self._entered:
            return
        for entry in entries:
            if entry.fields is not None and entry.serial > self.serial and entry.before != self._own_id:
                self._lose("entries were removed before they were read")
                return
            self._read_id = entry.id
            if entry.fields is None or entry.serial != self.serial + 1:
                self._foreign += 1
                if self._foreign & (self._foreign - 1) == 0:
                    self._notices.append(f"{self._foreign} entries that no oxisock wrote were ignored")
                continue
            self.serial, self._own_id = entry.serial, entry.id
            if self.serial > self._known[1]:
                self._known = entry.id, entry.serial
            kind, node, client = entry.fields[:3]
            if kind == "node":
                continue
            ended = kind == "leave" and node == self.node and client not in self._parting
            if self._limbo and node == self.node:
                self._shown.add(_marks(kind, client, *entry.fields[3:5]))
            self._note(entry.fields)
            self._news.append(entry.fields)
            if ended and not self._closing:  # others took this node for dead, and have said so in the log
                self._fence()
                return

    def tick(self, now: int) -> bool:
        """Time has passed; True if the connection for calls is to be given up, because no answer came."""
        if self._call is None or now < self._sent_at + PATIENCE:
            return False
        self.broken("no answer", now)
        return True

    # --- what to do ----------------------------------------------------------------------------------------------

    def next_call(self, now: int) -> Call | None:
        """Return what to call now, if anything."""
        if self._call is not None or self.ended or now < self._retry_at:
            return None
        call = self._choose(now)
        self._asked = False
        if call is None:
            self._fresh = False
        else:
            self._call, self._sent_at, self._sent_in = call, now, self._generation
        return call

    def deadline(self) -> int:
        """Return the time at which ``tick`` or ``next_call`` has something to say, if nothing happens before."""
        if self._call is not None:
            return self._sent_at + PATIENCE
        idle = self._entered and not self._queue and not self._limbo and not self._closing
        return max(self._retry_at, self._tend_at if idle else 0)

    def common(self) -> tuple[str | int, ...]:
        """Return what all scripts are told of the node: the last serial read; id and serial of what it knows of."""
        return (self.serial, *self._known)

    def reading(self) -> tuple[int, str] | None:
        """Return where to read on: a number to give back, and the id behind which."""
        return (self._generation, self._read_id) if self._entered else None

    def take_news(self) -> list[HubEntry]:
        """Return what the hub is to be told."""
        news, self._news = self._news, []
        return news

    def take_notices(self) -> list[str]:
        """Return what whoever runs the server may want to know."""
        notices, self._notices = self._notices, []
        return notices

    # --- inside --------------------------------------------------------------------------------------------------

    def _choose(self, now: int) -> Call | None:
        if not self._entered:
            here = [(client, *known) for client, known in self._mine.items() if client not in self._parting]
            epoch = f"{self._base}/{self._losses}"
            return Call("enter", [self._number(), epoch, self._history, *(part for member in here for part in member)])
        if self._limbo or self._queue:
            if not (self._asked or (self._fresh and len(self._queue) >= _BUSY)):
                return Call("ping", [])
            self._again = bool(self._limbo)
            if not self._limbo:
                self._batch = self._number()
                self._shown.clear()
                size = 0
                while self._queue and len(self._limbo) < _BATCH and size < _BATCH_BYTES:
                    item = self._queue.popleft()
                    size += _size(item)
                    self._limbo.append(item)
                self._queued -= size
            return Call("append", [self._batch, *(part for item in self._limbo for part in item)])
        if self._closing:
            return Call("leave", [])
        return Call("tend", []) if now >= self._tend_at else None

    def _number(self) -> int:
        """Number a call that changes something, so that Redis knows one that comes late."""
        self._numbers += 1
        return self._numbers

    def _put(self, item: HubAppend, first: bool = False) -> None:
        (self._queue.appendleft if first else self._queue.append)(item)
        self._queued += _size(item)

    def _take_back(self) -> None:
        """What was sent did not come about, and will not."""
        for item in reversed(self._limbo):
            self._put(item, first=True)
        self._limbo.clear()

    def _tell(self, kind: str, client: int = 0, nick: str = "", text: str = "") -> None:
        self._news.append((kind, self.node, client, nick, text, 0))

    def _refuse(self, item: HubAppend, why: str) -> None:
        kind, client, _, _ = item
        if kind in ("cast", "kick"):  # the server's own
            self._notices.append(f"not delivered: {kind}")
        else:
            self._tell("refused", client, kind, why)

    def _settle(self, letters: str) -> None:
        """What was sent has come about, but for what is answered by another letter."""
        sent, self._limbo = self._limbo, []
        for item, letter in zip(sent, letters, strict=False):
            if letter == "t":
                self._refuse(item, f"{item[2]} is taken")
            elif letter == "g":
                if item[0] == "leave":  # it will not be read
                    self._parting.pop(item[1], None)
                self._refuse(item, "not delivered")

    def _begin(self, answer: Entered) -> None:
        """The node is in the room."""
        again, self._entered, self._ever = self._ever, True, True
        self.epoch, (_, letters, self.serial, self._own_id) = answer.epoch, answer.answer
        self._read_id, self._known = self._own_id, (self._own_id, self.serial)
        self._generation += 1
        if self._limbo and answer.batch == self._batch:
            self._settle(letters)
        elif answer.whole:
            self._take_back()
        else:  # others may have seen it, in what was lost
            for item in self._limbo:
                if item[0] not in _LASTING and _marks(*item) not in self._shown:
                    self._refuse(item, "not delivered")
            self._limbo.clear()
        self._mine.clear()
        self._tell("entered")
        self._tell("reset")
        for member in sorted(answer.members, key=lambda one: (one[5], one[1], one[2])):
            self._note(member)
            self._news.append(member)
        self._tell("ready")
        # What is to last and is not in the room is proposed anew: who comes, then what was said, then who goes.
        waiting = [item for item in self._queue if item[0] not in _LASTING]
        self._parting = {
            client: item for client, item in self._parting.items() if client in self._mine or client in self._joining
        }
        self._queue.clear()
        self._queued = 0
        for item in (*self._joining.values(), *waiting, *self._parting.values()):
            self._put(item)
        for entry in answer.history:
            if entry.fields is not None and entry.fields[0] in ("say", "cast"):
                kind, _, _, nick, text, when = entry.fields
                self._news.append(("past", "", 0, nick if kind == "say" else "", text, when))
        if self._lost:
            self._lost = False
            self._tell("missing")
        self._notices.append(f"{'in the room again' if again else 'in the room'} as {self.node}")

    def _fence(self) -> None:
        """Others took this node for dead, and its clients with it."""
        self._notices.append("fenced: the lease ran out, and all clients are closed")
        self._leave_room()
        self._tell("fenced")
        self._skipping = not self._closing
        self._begin_as_another()
        self._limbo.clear()
        self._queue.clear()
        self._queued = 0
        self._mine.clear()
        self._joining.clear()
        self._parting.clear()
        if self._closing:
            self.ended = True

    def _begin_as_another(self) -> None:
        """Know nothing of the room, under a name that no node has had."""
        self._turns += 1
        self.node = f"{self._base}/{self._turns}"
        self.epoch = ""
        self.serial = 0
        self._own_id = self._read_id = "0-0"
        self._known = "0-0", 0
        self._numbers = 0

    def _lose(self, why: str) -> None:
        """What the hub knows is not what the log says: begin again with those who are here."""
        self._notices.append(f"lines may be missing: {why}")
        self._leave_room()
        self._lost = True
        self._losses += 1

    def _leave_room(self) -> None:
        self._entered = False
        self._fresh = self._asked = False
        self._generation += 1

    def _note(self, fields: HubEntry) -> None:
        """Keep in mind who is here."""
        kind, node, client, nick, text, when = fields
        if node != self.node:
            return
        if kind in ("join", "member"):
            self._joining.pop(client, None)
            self._mine[client] = (nick, text, when)
        elif kind == "nick" and client in self._mine:
            self._mine[client] = (nick, *self._mine[client][1:])
        elif kind in ("leave", "kick"):
            self._mine.pop(client, None)
            self._parting.pop(client, None)


def _size(item: HubAppend) -> int:
    return len(item[3]) + 64


def _marks(kind: str, client: int, nick: str, text: str) -> tuple[str, int, str]:
    """Return what an item and the entry that comes of it have in common."""
    return kind, client, nick if kind == "nick" else text
