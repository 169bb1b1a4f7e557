"""Closes connections so that the peer can trust the end: after everything has arrived, or with a reset.

Closing with unread input makes the system throw away what has not arrived at the peer yet. So where the peer may still
be sending, whoever ends a conversation ends his output first, and the socket *lingers* until that has arrived.
"""

from __future__ import annotations

import heapq
import os
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from types import TracebackType
from typing import Self

from ..engines.serving import NEVER

if sys.platform != "win32":
    import fcntl
    import termios

NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
"""A flag for ``send``: that the peer has gone is an error, also in a program where SIGPIPE would end the process."""

LINGER = 2_000_000_000
"""Nanoseconds at most, for the last bytes of a connection to arrive."""

QUIET = 20_000_000
"""Nanoseconds that a peer has to end a conversation as well, once all that was said to it has arrived."""

_SO_NWRITE, _FIONWRITE = 0x1024, 0x40046677  # macOS's and FreeBSD's, which Python does not name
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0001, 0.005  # seconds between two looks
_CHUNK = 1 << 16  # discarded at one look: the peer may send for as long as it likes, but not on our time
_FIRST_LOOK = 5_000_000  # nanoseconds; each further look is twice as far away
_LOOKS = 32  # in one turn of a loop, however many linger


def reset_on_close(sock: socket.socket) -> None:
    """Make closing ``sock`` a reset: what was owed did not arrive, and an orderly end would look like all of it.

    It also frees what the system still holds for a peer that does not read.
    """
    with suppress(OSError):  # not every system lets a broken connection be told
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def end_output(sock: socket.socket) -> None:
    """Say that nothing more will be sent."""
    with suppress(OSError):  # the peer was faster
        sock.shutdown(socket.SHUT_WR)


def shut_down(sock: socket.socket) -> None:
    """End a connection, or a listener, of which a forked child holds a duplicate: closing alone ends nothing."""
    with suppress(OSError):  # the peer was faster
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # a TLS socket's own would go on without TLS


def name_of(sock: socket.socket) -> tuple[int, tuple[int, int] | None]:
    """Give the number of a socket's descriptor, and what tells the socket from others that have the number later."""
    return sock.fileno(), _identity(sock.fileno())


def shut_down_named(name: tuple[int, tuple[int, int] | None]) -> None:
    """Do as `shut_down` with a socket that is in other hands by now, if it is still open."""
    number, identity = name
    if identity is None:
        return
    with suppress(OSError):
        twin = os.dup(number)  # which nobody else closes, so it stays what it is found to be
        try:
            if _identity(twin) == identity:
                sock = socket.socket(fileno=twin)
                shut_down(sock)
                sock.detach()
        finally:
            os.close(twin)


def _identity(number: int) -> tuple[int, int] | None:
    if os.name != "posix":
        return None
    found = os.fstat(number)
    return found.st_dev, found.st_ino


def unacknowledged(sock: socket.socket, unknown: int = 0) -> int:
    """Give how many bytes (and the end of the stream as one) the peer's system has not taken; where nobody knows that,
    ``unknown``.
    """
    if sys.platform != "win32":
        try:
            if sys.platform == "darwin":
                count = sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE)
            else:
                asked = _FIONWRITE if sys.platform.startswith("freebsd") else termios.TIOCOUTQ
                count = int.from_bytes(fcntl.ioctl(sock, asked, bytes(4)), sys.byteorder)
        except OSError:
            return 0
        # Only Linux counts the end.
        return count if sys.platform == "linux" or count <= 0 else count + 1
    return unknown


def still_sending(sock: socket.socket, unsent: int) -> bool:
    """Discard some of what has come in; say whether more than ``unsent`` bytes of ours have not arrived at the peer.

    ``unsent`` is 0 before the output was ended and 1 after that. ``sock`` does not block.
    """
    try:
        if not sock.recv(_CHUNK):
            return False
    except BlockingIOError:
        pass
    except OSError:
        return False
    return unacknowledged(sock, unknown=unsent + 1) > unsent


class Conversation(ABC):
    """A client's end of a connection; leaving ``with`` closes it, or aborts it where that is by an exception."""

    @abstractmethod
    def close(self) -> None:
        """Wait until everything sent has arrived, then end the conversation."""

    @abstractmethod
    def abort(self) -> None:
        """End it at once, with a reset."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


class Lingering:
    """The sockets of a loop that linger: each is looked at more and more seldom, and a few of them in each turn."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, int, socket.socket]] = []  # due, number, next wait, until, socket
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sock: socket.socket, now: int) -> None:
        """End our side of a conversation, and keep its socket until that has arrived."""
        end_output(sock)
        self._push(_FIRST_LOOK, now + LINGER, sock, now)

    def due(self) -> int:
        """Give the time at which to look after them."""
        return self._waiting[0][0] if self._waiting else NEVER

    def look_after(self, now: int) -> None:
        """Close those that lingered long enough, or whose last bytes have arrived; some of them, if there are many."""
        for _ in range(_LOOKS):
            if self.due() > now:
                return
            _, _, wait, until, sock = heapq.heappop(self._waiting)
            if now < until and still_sending(sock, 1):
                self._push(wait, until, sock, now)
            else:
                sock.close()

    def close(self) -> None:
        """Close them all."""
        for *_, sock in self._waiting:
            sock.close()
        self._waiting.clear()

    def _push(self, wait: int, until: int, sock: socket.socket, now: int) -> None:
        self._numbers += 1
        heapq.heappush(self._waiting, (min(now + wait, until), self._numbers, 2 * wait, until, sock))


class Parting:
    """When a connection whose output has ended may be closed; a machine, whose times are integer nanoseconds.

    Once all has arrived, a peer that is about to close as well has ``linger`` to do so, counted from what it said last;
    where nothing more arrives at a peer, nobody waits longer than LINGER (or ``patience``, if that is less).

    Attributes:
        lost: bytes that had not arrived at a peer that was talking, so that closing throws them away.
    """

    def __init__(self, now: int, linger: int, patience: int = LINGER) -> None:
        self.lost = 0
        self._linger = min(linger, LINGER)
        self._patience = min(patience, LINGER)
        self._unsent = -1
        self._give_up = now + self._patience
        self._arrived = -1  # when all had
        self._quiet_since = now
        self._talking = False

    def over(self, now: int, heard: bool, ended: bool, unsent: int) -> bool:
        """Take what was seen: that the peer said something, or has ended; the bytes not arrived, the end being one."""
        if heard:
            self._quiet_since, self._talking = now, True
        if ended:
            return True
        if unsent > 1:
            if unsent != self._unsent:
                self._unsent, self._give_up = unsent, now + self._patience
            if now < self._give_up:
                return False
            self.lost = unsent - 1 if self._talking else 0
            return True
        if self._arrived < 0:
            self._arrived = self._quiet_since = now
        return now >= min(self._quiet_since + self._linger, self._arrived + LINGER)


def part(sock: socket.socket, linger: int, patience: int, deaf: bool = False) -> int:
    """End our side of a conversation, and wait as `Parting` says; give the bytes that are lost.

    What the peer still says is discarded. ``deaf``: the input was shut down, so its end tells nothing. ``sock`` does
    not block; where it is no TCP socket, all has arrived.
    """
    end_output(sock)
    tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
    if not tcp:
        linger = patience = 0
    parting = Parting(time.monotonic_ns(), linger, patience)
    pause = _SHORTEST_PAUSE
    while True:
        data: bytes | None = None
        try:
            # Not a TLS socket's: nobody wants to know what it says.
            data = socket.socket.recv(sock, _CHUNK)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # reset
            return 0
        ended = data == b"" and not deaf
        if parting.over(time.monotonic_ns(), bool(data), ended, unacknowledged(sock) if tcp else 0):
            return parting.lost
        if not data:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
