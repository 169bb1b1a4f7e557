"""The base class of a reactor's services, and the connections that they are told of."""

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
        self.events = 0  # the events that the selector watches
        self.armed = NEVER  # the earliest timer that is set
        self.behind = False  # whether input waits for the next turn
        self.held = False  # whether a service waits for room
        self.header: ProxyHeader | None = None  # reads the PROXY header, until that is complete


class Service:
    """Decides what to do with the bytes. The loop calls it, and never twice at the same time."""

    chunk: int = 1 << 18
    """The most bytes of one read."""
    patience: int = NEVER
    """Nanoseconds for which one turn reads connections; the others are read in the next turn."""
    newcomers: int = ACCEPTS
    """The most newcomers let in in one turn."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Take bytes that came in."""

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note that the peer will send no more. The rest is sent, then the connection ends."""
        link.machine.ended(now)

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note that there is room to write again for a link that is ``held``."""

    def parting(self, reactor: Reactor, link: Link, now: int) -> None:
        """Send the last bytes, because everything else is sent."""
        return

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note that the connection has ended."""

    def opened(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note that a connection has come."""

    def refusal(self, peer: Peer, now: int) -> bytes | None:
        """Return what to say to a newcomer that cannot be taken in; None to take it in."""
        return None

    def before_newcomers(self, reactor: Reactor, now: int, heard: int) -> None:
        """Note that input from before ``heard`` has been read, and that newcomers come next."""

    def turned(self, reactor: Reactor, now: int, heard: int) -> None:
        """Note that all ready input is handled, that from before ``heard`` included; check timers against ``heard``."""

    def stopping(self, reactor: Reactor, now: int) -> None:
        """Note that a stop has begun; afterwards, the connections are told to finish."""

    def deadline(self) -> int:
        """Return the latest time at which to call ``turned``."""
        return NEVER

    def over(self) -> None:
        """Note that the loop has ended, by a stop or an error."""
