"""How connections come in: from the listener or another reactor, perhaps after a PROXY header, or not at all."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from ...engines.serving import NEVER
from ...sockets.closing import NO_SIGNAL
from ...sockets.listening import prepare
from ...sockets.proxies import ProxyHeader
from .connection import BROKEN, REFUSED, Connection
from .service import ACCEPTS, Link

if TYPE_CHECKING:
    import socket

    from ...engines.serving import FaultPlan, ServerPlan
    from ...sockets.accepting import Door
    from ...types import Peer
    from .reactor import Reactor
    from .service import Service


class Newcomers:
    """The newcomers of one reactor. The first reactor of a group accepts for all."""

    def __init__(self, reactor: Reactor, plan: ServerPlan, service: Service, faults: FaultPlan | None) -> None:
        self.accepted = self.rejected = 0
        self.withdrawn = 0  # accepted connections that were refused after their PROXY header
        self.adopted: deque[tuple[int, socket.socket, Peer]] = deque()  # connections handed over by the first reactor
        self._reactor = reactor
        self._plan = plan
        self._service = service
        self._faults = faults

    def room(self) -> int:
        """Return how many more connections there may be. Connections whose last bytes are under way count too."""
        group = self._reactor.group
        gone = sum(r.closed + r.newcomers.withdrawn for r in group)
        return self._plan.max_connections - (self.accepted - gone + sum(len(r.lingering) for r in group))

    def accept(self, door: Door, now: int) -> None:
        """Accept newcomers while there is room, and give them to the reactors in turn."""
        group = self._reactor.group
        until = time.monotonic_ns() + self._service.patience
        enough = self.accepted + self._service.newcomers
        for sock, peer in door.newcomers(min(self.room(), ACCEPTS), now, until):
            if not door.is_proxy(peer) and (words := self._refusal(door, peer, now)) is not None:
                self._tell(sock, words)
                self._reactor.lingering.add(sock, now)
                continue
            token = self.accepted
            self.accepted += 1
            reactor = group[token % len(group)]
            if reactor is self._reactor:
                self.open(token, sock, peer, now)
            else:
                reactor.adopt(token, sock, peer)
            if self.accepted >= enough:
                return

    def open(self, token: int, sock: socket.socket, peer: Peer, now: int) -> None:
        """Begin to serve a connection. A connection from a proxy is served after its PROXY header."""
        plan, faults, reactor = self._plan, self._faults, self._reactor
        prepare(sock, plan.nodelay, plan.keepalive)
        limits = (plan.idle_timeout, plan.write_timeout, plan.max_buffered)
        if faults is None:
            machine = Connection(now, *limits)
        else:
            machine = Connection(now, *limits, *faults[:4], faults.seed + token)
        link = Link(token, sock, peer, machine)
        reactor.links[token] = link
        door = reactor.group[0].door
        if door is not None and door.is_proxy(peer):
            link.header = ProxyHeader()
            machine.require_by(min(now + plan.header_timeout, NEVER), now)
        else:
            reactor.journal.note(peer, "opened")
            self._service.opened(reactor, link, now)
        if reactor.draining:
            reactor.stopped += 1
            machine.finish(now)
        reactor.settle(link, now)

    def introduce(self, link: Link, header: ProxyHeader, data: bytes, now: int) -> bytes:
        """Read the PROXY header of a connection, and return the bytes after it."""
        machine, door = link.machine, self._reactor.group[0].door
        try:
            end = header.feed(data) if data else 0
        except ValueError:
            end = 0
        if end < 0 or door is None:
            return b""
        if end == 0:
            machine.abort(BROKEN, now)
            return b""
        link.peer = header.source or link.peer
        if not door.admit(link.peer):
            machine.abort(REFUSED, now)
        elif (words := self._refusal(door, link.peer, now)) is not None:
            self._tell(link.sock, words)
            machine.abort(REFUSED, now)
        else:
            link.header = None
            machine.begin(now)
            self._reactor.journal.note(link.peer, "opened")
            self._service.opened(self._reactor, link, now)
        return data[end:] if machine.room() else b""

    def _refusal(self, door: Door, peer: Peer, now: int) -> bytes | None:
        """Return what to say to an admitted newcomer that the service does not take in; None if it takes it in."""
        words = self._service.refusal(peer, now)
        if words is not None:
            door.left(peer)
            self.rejected += 1
        return words

    def _tell(self, sock: socket.socket, words: bytes) -> None:
        with suppress(OSError):  # few words for an empty socket: they fit, or the newcomer has gone
            sock.send(words, NO_SIGNAL)
