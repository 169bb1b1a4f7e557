"""What a service on the reactor has to know: the connections, and what it is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...engines.serving import NEVER

if TYPE_CHECKING:
    import socket

    from ...sockets.proxies import ProxyHeader
    from ...types import Peer
    from .connection import Connection
    from .reactor import Reactor

ACCEPTS = 256
"""The most newcomers in one turn, so that many connects do not starve open connections."""


class Link:
    """One accepted connection: its socket, its machine, and the bytes that wait to be written."""

    __slots__ = ("armed", "behind", "events", "header", "held", "machine", "out", "peer", "sock", "token")

    def __init__(self, token: int, sock: socket.socket, peer: Peer, machine: Connection) -> None:
        self.token = token
        self.sock = sock
        self.peer = peer
        self.machine = machine
        self.out = bytearray()
        self.events = 0  # what the selector watches for
        self.armed = NEVER  # the earliest timer set
        self.behind = False  # whether input waits for the next turn
        self.held = False  # whether a service waits for room
        self.header: ProxyHeader | None = None  # what a proxy is yet to say


class Service:
    """What becomes of the bytes: called by the loop, never at the same time twice."""

    chunk: int = 1 << 18
    """The most bytes of one read."""
    patience: int = NEVER
    """Nanoseconds for which one turn reads connections; the others are read in the next turn."""
    newcomers: int = ACCEPTS
    """The most newcomers let in in one turn."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Bytes came in."""

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """The peer will send no more: the rest goes out, then the connection ends."""
        link.machine.ended(now)

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """There is room to write again for a link that is ``held``."""

    def parting(self, reactor: Reactor, link: Link, now: int) -> None:
        """All was said but for a last word, which the service wants to say."""
        return

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """The connection is gone."""

    def opened(self, reactor: Reactor, link: Link, now: int) -> None:
        """Somebody has come."""

    def refusal(self, peer: Peer, now: int) -> bytes | None:
        """Return what to say to a newcomer who cannot be taken in, if so."""
        return None

    def before_newcomers(self, reactor: Reactor, now: int, heard: int) -> None:
        """Who is in has had a turn to be read of what came in before ``heard``; newcomers are let in next."""

    def turned(self, reactor: Reactor, now: int, heard: int) -> None:
        """All that was ready has been dealt with; what came in before ``heard`` was among it, so timers go by that."""

    def stopping(self, reactor: Reactor, now: int) -> None:
        """A stop has begun: the connections will be told to finish."""

    def deadline(self) -> int:
        """Return the time at which ``turned`` is to be called at the latest."""
        return NEVER

    def over(self) -> None:
        """The loop has ended, in whichever way."""
