"""The pure chat server: the hub on a reactor, on a thread of its own."""

from __future__ import annotations

import socket
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ...engines.serving import NEVER
from ...sockets.addresses import network_of
from ..framing.framers import lines_framer
from ..serving.connection import CUT, OPEN
from ..serving.reactor import Reactor
from ..serving.reactors import Reactors
from ..serving.service import Link, Service
from .hub import Hub
from .porter import Porter
from .replica import Replica

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engines.chat import HubAppend, HubClose, HubEntry, HubEvent, HubPlan, HubResident
    from ...engines.framing import FrameDecoder
    from ...engines.serving import ServerPlan
    from ...types import Peer

_PATIENCE = 5_000_000_000  # nanoseconds until a client that is removed and does not read is cut
_KEPT_EVENTS = 1 << 16  # the most events that wait for a slower thread


class Events:
    """Events on their way from the loop to another thread."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._waiting: list[HubEvent] = []
        self._lost = 0
        self._ended = False

    def put(self, events: list[HubEvent]) -> None:
        """Add events. Events beyond the limit are lost."""
        with self._arrived:
            room = _KEPT_EVENTS - len(self._waiting)
            self._waiting += events[:room]
            self._lost += len(events[room:])
            self._arrived.notify_all()

    def end(self) -> None:
        """Note that no more events will come."""
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def wait(self, timeout: float) -> tuple[list[HubEvent], int] | None:
        """Wait at most ``timeout`` seconds. Return the events and how many were lost, or None at the end."""
        with self._arrived:
            self._arrived.wait_for(lambda: self._waiting or self._ended, timeout)
            if self._ended and not self._waiting:
                return None
            waiting, self._waiting = self._waiting, []
            lost, self._lost = self._lost, 0
            return waiting, lost


class Outbox:
    """Entries to append to the log of a shared room, on their way to another thread."""

    def __init__(self) -> None:
        self.bell: socket.socket | None = None
        self._lock = threading.Lock()
        self._waiting: list[HubAppend] = []
        self._ended = False

    def put(self, appends: list[HubAppend]) -> None:
        """Add entries and ring the bell."""
        with self._lock:
            self._waiting += appends
            self._ring()

    def end(self) -> None:
        """Note that no more entries will come."""
        with self._lock:
            self._ended = True
            self._ring()
            if self.bell is not None:
                self.bell.close()
                self.bell = None

    def take(self) -> list[HubAppend] | None:
        """Return the waiting entries, or None at the end."""
        with self._lock:
            if self._ended and not self._waiting:
                return None
            waiting, self._waiting = self._waiting, []
            return waiting

    def _ring(self) -> None:
        if self.bell is not None:
            with suppress(OSError):  # if there is no room for another ring, the bell rings already
                self.bell.send(b"!")


class Chat(Service):
    """The service: carries lines to the hub, and the hub's output to the connections."""

    # Members who say much do not delay others.
    chunk = 1 << 10
    patience = 10_000_000

    def __init__(self, plan: HubPlan) -> None:
        self.hub = Replica(plan) if plan.shared else Hub(plan)
        self.outbox = Outbox()
        self._porter = Porter(plan.interval, plan.burst)
        self.events = Events()
        self._framer = lines_framer(False, False, plan.max_line)
        self._decoders: dict[int, FrameDecoder] = {}
        self._leaving: deque[tuple[int, int]] = deque()  # clients that are removed, and until when they may still read
        self._joined: dict[int, int] = {}  # when each client joined
        self._gone: list[int] = []  # clients whose connection has ended; the hub is told of them one by one
        self._parted: list[tuple[int, int]] = []  # their networks and times of joining, for the porter
        self.newcomers = min(self.newcomers, self._porter.most)
        # The times, tokens and networks of newcomers of whom it is not known whether they have left again.
        self._unheard: deque[tuple[int, int, int]] = deque()

    # --- from the loop -------------------------------------------------------------------------------------------

    def opened(self, reactor: Reactor, link: Link, now: int) -> None:
        """Welcome a newcomer."""
        self._joined[link.token] = now
        network = network_of(link.peer.host)
        self._porter.came(network)
        self._unheard.append((now, link.token, network))
        if not self.hub.joined(link.token, now, f"{link.peer.host} {link.peer.port}"):
            link.machine.finish(now)
        self.see_to(reactor, now)

    def refusal(self, peer: Peer, now: int) -> bytes | None:
        """Return what to tell a newcomer if there is no room, or if too many from its network have come and gone."""
        if self.hub.full:
            return b"! server is full\n"
        return None if self._porter.admits(network_of(peer.host), now) else b"! slow down\n"

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Cut input into lines, one by one, so that a line that is too long is reported in its place."""
        hub, token = self.hub, link.token
        decoder = self._decoders.get(token)
        if decoder is None:
            decoder = self._decoders[token] = self._framer.decoder(True)
        for piece in _pieces(data):
            skipped = decoder.skipped_count
            if lines := decoder.feed(piece):
                hub.line(token, lines[0], now)
            elif decoder.skipped_count > skipped:
                decoder.take_skipped()
                reactor.frame_errors += 1
                hub.too_long(token, now)
            else:
                continue
            reactor.messages += 1
            self.see_to(reactor, now)

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """Treat the end of the input as leaving."""
        self.hub.left(link.token, False)
        self.see_to(reactor, now)
        link.machine.ended(now)

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """Report to the hub that a member who missed lines reads again."""
        link.held = self.hub.backlog(link.token, link.machine.queued)

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note that the connection has ended; a client who is still in the hub was lost."""
        self._decoders.pop(link.token, None)
        self._gone.append(link.token)
        self._parted.append((network_of(link.peer.host), self._joined.pop(link.token)))

    def turned(self, reactor: Reactor, now: int, heard: int) -> None:
        """Check the timers, and send to each client once what waits for it."""
        hub = self.hub
        while hub.deadline() <= heard:
            before = hub.timeouts
            hub.tick(heard)
            reactor.timeouts += hub.timeouts - before
            self.see_to(reactor, now)
        while self._leaving and self._leaving[0][0] <= now:
            link = reactor.links.get(self._leaving.popleft()[1])
            if link is not None:
                link.machine.abort(CUT, now)
                reactor.settle(link, now)
        self.see_to(reactor, now)
        while True:
            # Sending may find that other connections have ended.
            gone, self._gone = self._gone, []
            for token in gone:
                hub.left(token, True)
                self.see_to(reactor, now)
            dirty = hub.take_dirty()
            for token in dirty:
                self._flush(reactor, token, now)
            self.see_to(reactor, now)
            if not dirty and not self._gone:
                break
        if events := hub.take_events():
            self.events.put(events)
        if appends := hub.take_appends():
            self.outbox.put(appends)

    def stopping(self, reactor: Reactor, now: int) -> None:
        """Tell all members that the server is closing."""
        self.hub.close()
        self.see_to(reactor, now)
        self.events.put(self.hub.take_events())
        self.outbox.put(self.hub.take_appends())

    def deadline(self) -> int:
        """Return the latest time at which to call ``turned``."""
        return min(self.hub.deadline(), self._leaving[0][0] if self._leaving else NEVER)

    def over(self) -> None:
        """Note that there will be no more events, and no more entries."""
        self.events.end()
        self.outbox.end()

    # --- what the hub wants --------------------------------------------------------------------------------------

    def see_to(self, reactor: Reactor, now: int) -> None:
        """Do what the hub wants before anything else is reported to it."""
        hub = self.hub
        while True:
            pressed = hub.take_pressed()
            for token in pressed:
                self._flush(reactor, token, now, pressed=True)
            closes = hub.take_closes()
            for close in closes:
                self._part(reactor, close, now)
            if not pressed and not closes:
                return

    def _flush(self, reactor: Reactor, token: int, now: int, pressed: bool = False) -> None:
        """Send what waits for a client. For a ``pressed`` client, try even if the system took no more before."""
        link = reactor.links.get(token)
        if link is None:
            return
        data = self.hub.take(token)
        if link.machine.queued and not pressed:
            # The system took no more, and will say when it does.
            reactor.queue(link, data, now)
        else:
            reactor.send(link, data, now)
        if pressed or link.machine.closed != OPEN or link.machine.queued:
            link.held = self.hub.backlog(token, link.machine.queued)
            reactor.settle(link, now)

    def before_newcomers(self, reactor: Reactor, now: int, heard: int) -> None:
        """Tell the porter which clients have left, and which are known to be still there."""
        for network, joined in self._parted:
            self._porter.left(network, joined, now)
        self._parted.clear()
        while self._unheard and self._unheard[0][0] < heard:
            _, token, network = self._unheard[0]
            link = reactor.links.get(token)
            if link is not None and link.behind and link.machine.room():
                return
            self._unheard.popleft()
            self._porter.heard(network)

    def _part(self, reactor: Reactor, close: HubClose, now: int) -> None:
        client, last, cut = close
        link = reactor.links.get(client)
        if link is None:
            return
        link.held = False
        reactor.send(link, last, now)
        if cut:
            link.machine.abort(CUT, now)
        else:
            link.machine.finish(now)
            self._leaving.append((now + _PATIENCE, client))
        reactor.settle(link, now)


def _pieces(data: bytes) -> list[bytes]:
    """Cut after each LF, and nowhere else."""
    *whole, rest = data.split(b"\n")
    pieces = [line + b"\n" for line in whole]
    return [*pieces, rest] if rest else pieces


class ChatReactor(Reactors):
    """The reactor of a chat server, on a thread of its own."""

    def __init__(self, listener: int, server: ServerPlan, plan: HubPlan, bell: int | None) -> None:
        self._chat = Chat(plan)
        if bell is not None:
            self._chat.outbox.bell = socket.socket(fileno=bell)
        self._reactor = Reactor(socket.socket(fileno=listener), server, self._chat)
        super().__init__([self._reactor])
        self._start("oxisock-chat")

    def now(self) -> int:
        """Return the time on the clock of ``members``, in nanoseconds."""
        return time.monotonic_ns()

    def members(self) -> list[tuple[str, str, int, int, int, int]]:
        """Return nick, host, port, time of joining, bytes queued and lines skipped of all members."""
        with self._reactor.lock:
            links = self._reactor.links
            return [
                (nick, links[token].peer.host, links[token].peer.port, joined, queued, skipped)
                for token, nick, joined, queued, skipped in self._chat.hub.members()
                if token in links
            ]

    def broadcast(self, text: str) -> None:
        """Send a line to all members."""
        with self._reactor.lock:
            self._chat.hub.broadcast(text)
            self._chat.see_to(self._reactor, self.now())
        self._reactor.wake()

    def kick(self, nick: str, reason: str) -> bool:
        """Remove a member. Returns False if nobody has this nick."""
        with self._reactor.lock:
            kicked = self._chat.hub.kick(nick, reason)
            self._chat.see_to(self._reactor, self.now())
        self._reactor.wake()
        return kicked

    def take_appends(self) -> list[HubAppend] | None:
        """Return what to append to the log of a shared room; None if nothing more will come."""
        return self._chat.outbox.take()

    def entries(self, entries: Sequence[HubEntry]) -> None:
        """Apply entries of that log, in their order."""
        with self._reactor.lock:
            for entry in entries:
                self._chat.hub.entry(entry)
                self._chat.see_to(self._reactor, self.now())
        self._reactor.wake()

    def residents(self) -> list[HubResident]:
        """Return the members of the shared room, in order of joining."""
        with self._reactor.lock:
            return self._chat.hub.residents()

    def events(self, timeout: float) -> tuple[list[HubEvent], int] | None:
        """Wait at most ``timeout`` seconds for events. Return them and how many were lost, or None at the end."""
        return self._chat.events.wait(timeout)


def start_chat(listener: int, server: ServerPlan, plan: HubPlan, bell: int | None = None) -> ChatReactor:
    """Start a chat on the listening descriptor ``listener``. This takes over ``listener`` and ``bell``."""
    return ChatReactor(listener, server, plan, bell)
