"""The sockets of a scan on Linux, where one can be used for many connects, one after the other."""

from __future__ import annotations

import errno
import select
import socket
import sys
from collections import deque

from .addresses import SocketAddress
from .connections import Connection, Connections

assert sys.platform == "linux"

_ABOUT_BEFORE = {
    0,
    errno.EALREADY,
    errno.ECONNABORTED,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EINVAL,
    errno.EISCONN,
}
"""What the connect of a used socket says where it may mean the one before."""

_BOTH_WAYS = socket.SHUT_RDWR
_EVENTS = 1024
_FEW = 4096  # so many sockets may be at rest, as many as the largest window; more, where as many are under way


class LastingConnections(Connections):
    """The socket of a connect that was given up or refused can connect again, from another source port.

    That costs half of a new socket. Each is watched from its first connect on until it is closed, by its edges, so that
    those at rest say nothing.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Connection] = {}  # by descriptor
        self._at_rest: list[Connection] = []
        self._given_up: deque[Connection] = deque()  # their connects are still under way

    def connect(self, family: socket.AddressFamily, address: SocketAddress) -> tuple[Connection, int]:
        """Begin to connect, with a socket that was used before where there is one."""
        connection = self._forgotten() or (self._at_rest.pop() if self._at_rest else None)
        if connection is not None:
            if connection.family is family:
                code = connection.sock.connect_ex(address)
                if code not in _ABOUT_BEFORE:
                    connection.address = address
                    return connection, code
            self.drop(connection)
        return super().connect(family, address)

    def wait(self, seconds: float) -> list[Connection]:
        """Give the connections of which there is news, after at most so many seconds."""
        if seconds > 0:  # there is nothing else to do
            while connection := self._forgotten():
                self._at_rest.append(connection)
        events = self._epoll.poll(seconds, _EVENTS)
        watched = self._watched
        news = [watched[number] for number, _ in events]
        while len(events) == _EVENTS:  # that may not have been all
            events = self._epoll.poll(0, _EVENTS)
            news += [watched[number] for number, _ in events]
        return news

    def read(self, connection: Connection) -> None:
        """Watch whether there is something to read, and nothing else."""
        if connection.number in self._watched:
            self._epoll.modify(connection.number, select.EPOLLIN)
        else:
            self._epoll.register(connection.number, select.EPOLLIN)
            self._watched[connection.number] = connection

    def give_up(self, under_way: list[Connection]) -> None:
        """Keep the sockets of connects that are under way for the next ones.

        The kernel is told when a socket is used: told before, it would have news of each.
        """
        room = self._room()
        for connection in under_way[:room]:
            connection.order = None
            self._given_up.append(connection)
        for connection in under_way[room:]:
            self.drop(connection)

    def refused(self, connection: Connection) -> None:
        """Let the kernel forget a connect that was refused: the next one says that there is nothing more to say."""
        try:
            connection.sock.connect(connection.address)
        except ConnectionAbortedError:
            self._rest(connection)
        except OSError:
            self.drop(connection)
        else:
            self.drop(connection)

    def close(self) -> None:
        """Stop watching, and close what is at rest."""
        for connection in (*self._at_rest, *self._given_up):
            connection.sock.close()
        self._at_rest.clear()
        self._given_up.clear()
        self._watched.clear()
        self._epoll.close()

    def _rest(self, connection: Connection) -> None:
        if self._room():
            connection.order = None
            self._at_rest.append(connection)
        else:
            self.drop(connection)

    def _room(self) -> int:
        """Return how many more sockets may be at rest."""
        return max(0, max(_FEW, len(self._watched) // 2) - len(self._at_rest) - len(self._given_up))

    def _forgotten(self) -> Connection | None:
        """Let the kernel forget a connect that was given up: shutdown() does that. Give the first that can be used."""
        while self._given_up:
            connection = self._given_up.popleft()
            try:
                connection.sock.shutdown(_BOTH_WAYS)
            except OSError:  # refused or reset by now
                self.drop(connection)
            else:
                return connection
        return None

    def _watch(self, connection: Connection) -> None:
        self._epoll.register(connection.number, select.EPOLLOUT | select.EPOLLET)
        self._watched[connection.number] = connection

    def _unwatch(self, connection: Connection) -> None:
        if self._watched.pop(connection.number, None):
            self._epoll.unregister(connection.number)  # closing is not enough where a forked child has it, too
