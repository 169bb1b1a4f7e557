"""The decisions of a node in a shared room, as a machine without Redis, sockets and clock.

A driver reports what the hub proposes, the answers of scripts, the entries of the log, and the time in nanoseconds. It
calls ``next_call`` for the next script to run, one at a time, and ``reading`` for the place to read on. It passes
``take_news`` to the hub, and ``take_notices`` to the log and the user.

An item that may be in the log is never reported as refused. So an idle node sends a ping, and waits for the answer
before it sends items. A batch has a number: if no answer comes, the node sends it again, and Redis counts it once.

Redis may lose what it has acknowledged. Every call tells the script the newest entry that the node knows, and the
script reports if that entry is gone. Each entry has the id of the entry before it, so a reader finds gaps. A node that
finds a loss enters again. That begins a new epoch, so all nodes enter again. The log is then the truth about the room,
except for the members on a node: each node reports its own.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engines.chat import HubAppend, HubEntry

_SECOND = 1_000_000_000
PATIENCE: Final = _SECOND
"""Nanoseconds without an answer after which Redis counts as away."""
RETRY: Final = _SECOND // 4
"""Nanoseconds between two tries while Redis is away."""
_BATCH = 500  # items in a call
_BATCH_BYTES = 1 << 20
_BUSY = 64  # so many waiting items are sent right after an answer, without a ping
_KEPT_BYTES = 16 << 20  # of items that wait to be sent
_LASTING = ("join", "leave")  # these wait until Redis is back; other proposals are refused while it is away


class Entry(NamedTuple):
    """An entry of the log, with the id of the entry ``before`` it. ``fields`` is None if oxisock did not write it."""

    id: str
    serial: int
    before: str
    fields: HubEntry | None


class Call(NamedTuple):
    """A script to call, and its arguments after the common ones. "ping" is not a script: it only asks for an answer."""

    script: str
    arguments: list[str | int]


class Answer(NamedTuple):
    """The answer of a script: ok, fenced, epoch or lost; a letter for each item; the newest entry. A ping: ok."""

    status: str
    letters: str = ""
    serial: int = 0
    last: str = "0-0"


class Entered(NamedTuple):
    """The answer of "enter" after success, with the letters of the last batch: the epoch, whether the log has all that
    the node knew, the number of that batch, the members of the room, the past lines, oldest first, and the number of
    records among the members that oxisock did not write."""

    answer: Answer
    epoch: str
    whole: bool
    batch: int
    members: list[HubEntry]
    history: list[Entry]
    foreign: int = 0


class Backplane:
    """The decisions of one node."""

    serial: int  # of the last entry that was read
    _own_id: str  # of that entry
    _read_id: str  # of the last entry that was read, with or without fields
    _known: tuple[str, int]  # id and serial of the newest known entry

    def __init__(self, base: str, lease: int, history: int, now: int) -> None:
        """Create the machine. The unique ``base`` begins the names of this node; ``lease`` is in nanoseconds.

        ``history`` is the number of past entries that the hub gets when the node enters.
        """
        self._base, self._history = base, history
        self._tend_every = min(lease // 3, _SECOND // 2)
        self._turns = self._losses = 0
        self.ended = False
        self._generation = 0
        self._entered = self._closing = self._skipping = self._lost = self._away = False
        self._ever = False
        self._fresh = self._asked = False  # an answer has just come; it was the answer to a ping
        self._again = False  # whether the current batch was sent before
        self._call: Call | None = None  # under way
        self._sent_at = 0
        self._sent_in = 0  # the generation of the call
        self._limbo: list[HubAppend] = []  # sent, but not answered
        self._batch = 0  # the number of this batch
        self._shown: set[tuple[str, int, str]] = set()  # items of this batch that were read before the answer
        self._queue: deque[HubAppend] = deque()
        self._queued = 0
        self._mine: dict[int, tuple[str, str, int]] = {}  # by client: nick, address, time of joining
        self._joining: dict[int, HubAppend] = {}  # proposed, but not read yet
        self._parting: dict[int, HubAppend] = {}
        self._retry_at = now
        self._tend_at = now
        self._foreign = 0
        self._news: list[HubEntry] = []
        self._notices: list[str] = []
        self._begin_as_another()

    # --- what happened -------------------------------------------------------------------------------------------

    def proposed(self, appends: Sequence[HubAppend], now: int) -> None:
        """Take proposals of the hub for the log."""
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
        """Take the answer to the current call."""
        call, self._call = self._call, None
        if call is None:
            return
        self._fresh, self._asked = True, call.script == "ping"
        if self._away:
            self._away = False
            self._notices.append("Redis is back")
        if self._sent_in != self._generation:
            return  # it was sent before the node was fenced, or before a loss
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
        """Note that the current call was not sent completely, so Redis will not execute it."""
        if self._call is not None and self._call.script == "append" and not self._again:
            self._take_back()
        self.broken(why, now)

    def broken(self, why: str, now: int) -> None:
        """Note that the connection for calls is lost, or could not be made."""
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
            self._refuse(item, "not delivered")  # the client need not wait for it
        self._queue.clear()
        self._queued = 0
        for item in kept:
            self._put(item)

    def read(self, generation: int, entries: Sequence[Entry], now: int) -> None:
        """Take entries of the log, from the place that ``reading`` returned."""
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
            if ended and not self._closing:  # other nodes took this node for dead, and wrote that into the log
                self._fence()
                return

    def tick(self, now: int) -> bool:
        """Take the time. Return True if no answer came, and the driver must close the connection for calls."""
        if self._call is None or now < self._sent_at + PATIENCE:
            return False
        self.broken("no answer", now)
        return True

    # --- what to do ----------------------------------------------------------------------------------------------

    def next_call(self, now: int) -> Call | None:
        """Return the call to make now, if any."""
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
        """Return the time at which to call ``tick`` and ``next_call`` if nothing happens before."""
        if self._call is not None:
            return self._sent_at + PATIENCE
        idle = self._entered and not self._queue and not self._limbo and not self._closing
        return max(self._retry_at, self._tend_at if idle else 0)

    def common(self) -> tuple[str | int, ...]:
        """Return the common arguments of all scripts: the last serial read; id and serial of the newest known entry."""
        return (self.serial, *self._known)

    def reading(self) -> tuple[int, str] | None:
        """Return the place to read on: a number to pass to ``read``, and the id of the entry before the place."""
        return (self._generation, self._read_id) if self._entered else None

    def take_news(self) -> list[HubEntry]:
        """Return the news for the hub."""
        news, self._news = self._news, []
        return news

    def take_notices(self) -> list[str]:
        """Return the notices for the user of the server."""
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
        """Return a number for a call with changes, so that Redis recognizes a late call."""
        self._numbers += 1
        return self._numbers

    def _put(self, item: HubAppend, first: bool = False) -> None:
        (self._queue.appendleft if first else self._queue.append)(item)
        self._queued += _size(item)

    def _take_back(self) -> None:
        """Put the sent items back into the queue, because Redis did not take them and will not."""
        for item in reversed(self._limbo):
            self._put(item, first=True)
        self._limbo.clear()

    def _tell(self, kind: str, client: int = 0, nick: str = "", text: str = "") -> None:
        self._news.append((kind, self.node, client, nick, text, 0))

    def _refuse(self, item: HubAppend, why: str) -> None:
        kind, client, _, _ = item
        if kind in ("cast", "kick"):  # of the server, not of a client
            self._notices.append(f"not delivered: {kind}")
        else:
            self._tell("refused", client, kind, why)

    def _settle(self, letters: str) -> None:
        """Settle the sent items. Redis took them, except those with another letter."""
        sent, self._limbo = self._limbo, []
        for item, letter in zip(sent, letters, strict=False):
            if letter == "t":
                self._refuse(item, f"{item[2]} is taken")
            elif letter == "g":
                if item[0] == "leave":  # no such entry will be read
                    self._parting.pop(item[1], None)
                self._refuse(item, "not delivered")

    def _begin(self, answer: Entered) -> None:
        """Begin after the node has entered the room."""
        again, self._entered, self._ever = self._ever, True, True
        self.epoch, (_, letters, self.serial, self._own_id) = answer.epoch, answer.answer
        self._read_id, self._known = self._own_id, (self._own_id, self.serial)
        self._generation += 1
        if self._limbo and answer.batch == self._batch:
            self._settle(letters)
        elif answer.whole:
            self._take_back()
        else:  # other nodes may have seen an item in the entries that were lost
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
        # Propose again what the room does not have: joins first, then lines, then leaves.
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
        if answer.foreign:
            self._notices.append(f"{answer.foreign} members that no oxisock wrote were ignored")
        self._notices.append(f"{'in the room again' if again else 'in the room'} as {self.node}")

    def _fence(self) -> None:
        """Close all clients, because other nodes took this node for dead. Begin again under a new name."""
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
        """Forget the room, and take a name that no node has had."""
        self._turns += 1
        self.node = f"{self._base}/{self._turns}"
        self.epoch = ""
        self.serial = 0
        self._own_id = self._read_id = "0-0"
        self._known = "0-0", 0
        self._numbers = 0

    def _lose(self, why: str) -> None:
        """Enter again with the clients of this node, because the hub and the log differ."""
        self._notices.append(f"lines may be missing: {why}")
        self._leave_room()
        self._lost = True
        self._losses += 1

    def _leave_room(self) -> None:
        self._entered = False
        self._fresh = self._asked = False
        self._generation += 1

    def _note(self, fields: HubEntry) -> None:
        """Keep track of the clients of this node."""
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
    """Return what an item has in common with its entry in the log."""
    return kind, client, nick if kind == "nick" else text
