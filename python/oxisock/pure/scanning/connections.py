"""The sockets of a scan: made, connected, watched."""

from __future__ import annotations

import contextlib
import errno
import select
import selectors
import socket
import sys

from ...engines.scanning import Outcome
from ...sockets import selecting
from .addresses import SocketAddress
from .engine import ProbeOrder

UNDER_WAY = {errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)}
"""What a connect that does not wait says when it has begun. EAGAIN is a fault."""


class Connection:
    """A socket, and what it is used for: a probe that waits for its answer, or, once there is an outcome, a banner."""

    __slots__ = ("address", "banner", "deadline", "family", "number", "order", "outcome", "sock")

    def __init__(self, sock: socket.socket, family: socket.AddressFamily) -> None:
        self.sock = sock
        self.family = family
        self.number = sock.fileno()
        self.address: SocketAddress = ("", 0)
        self.order: ProbeOrder | None = None
        self.outcome: Outcome | None = None
        self.banner = b""
        self.deadline = 0


class Connections:
    """Sockets that connect once, watched by the standard library's selector."""

    def __init__(self) -> None:
        self._selector = selecting.Selector()

    def connect(self, family: socket.AddressFamily, address: SocketAddress) -> tuple[Connection, int]:
        """Begin to connect; return the connection and the number that says how that went.

        Where it is under way, the connection is watched. Raises OSError where there is no socket to be had.
        """
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        connection = Connection(sock, family)
        connection.address = address
        try:
            code = sock.connect_ex(address)
            if code in UNDER_WAY:
                self._watch(connection)
        except OSError as error:  # watching can fail too
            code = error.errno or errno.EIO
        return connection, code

    def wait(self, seconds: float) -> list[Connection]:
        """Return the connections of which there is news, after at most so many seconds."""
        return [key.data for key, _ in self._selector.select(seconds)]

    def read(self, connection: Connection) -> None:
        """Watch whether there is something to read, and nothing else."""
        self._unwatch(connection)
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)

    def give_up(self, under_way: list[Connection]) -> None:
        """Take note that connections under way are of no use any more."""
        for connection in under_way:
            self.drop(connection)

    def refused(self, connection: Connection) -> None:
        """Take note that a connection was refused, and the error fetched."""
        self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close a connection."""
        self._unwatch(connection)
        connection.order = None
        connection.sock.close()

    def close(self) -> None:
        """Stop watching."""
        self._selector.close()

    def _watch(self, connection: Connection) -> None:
        self._selector.register(connection.sock, selectors.EVENT_WRITE, connection)

    def _unwatch(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.sock)


def connections() -> Connections:
    """Return what suits this system."""
    if sys.platform == "linux" and hasattr(select, "epoll"):  # gevent takes it away, to wait in its own loop
        from .lasting import LastingConnections

        return LastingConnections()
    return Connections()
