"""Sockets whose connection is over, but not all that was sent on it has arrived.

Closing with unread input makes the system throw away what has not arrived at the peer yet. So where the peer may still
be sending, the socket lingers until what we sent has arrived.
"""

from __future__ import annotations

import socket
from contextlib import suppress

from ...engines.serving import NEVER
from ...sockets.listening import still_sending

_LINGER = 2_000_000_000  # nanoseconds at most, for the last bytes of a connection to arrive
_LOOK = 5_000_000  # between two looks whether they have


class Lingering:
    """Those that linger, and until when they may."""

    def __init__(self) -> None:
        self._sockets: list[tuple[socket.socket, int]] = []

    def __bool__(self) -> bool:
        return bool(self._sockets)

    def add(self, sock: socket.socket, now: int) -> None:
        """End our side of a conversation, and keep its socket until that has arrived."""
        with suppress(OSError):  # the peer was faster
            sock.shutdown(socket.SHUT_WR)
        self._sockets.append((sock, now + _LINGER))

    def due(self, now: int) -> int:
        """Give the time at which to look after them."""
        return now + _LOOK if self._sockets else NEVER

    def look_after(self, now: int) -> None:
        """Close those that lingered long enough, or whose last bytes have arrived."""
        lingering, self._sockets = self._sockets, []
        for sock, until in lingering:
            if now < until and still_sending(sock, 1):
                self._sockets.append((sock, until))
            else:
                sock.close()

    def close(self) -> None:
        """Close them all."""
        for sock, _ in self._sockets:
            sock.close()
