"""Closes connections so that the peer can trust the end: after everything has arrived, or with a reset.

If a socket is closed with unread input, the system throws away what has not arrived at the peer yet. So if the peer may
still be sending, the output is ended first, and the socket *lingers* until everything has arrived.
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
"""A flag for ``send``: if the peer has gone, it raises, even where SIGPIPE would end the process."""

LINGER = 2_000_000_000
"""The most nanoseconds to wait until the last bytes of a connection arrive."""

QUIET = 20_000_000
"""Nanoseconds that a peer has to end a conversation too, after everything sent to it has arrived."""

_SO_NWRITE, _FIONWRITE = 0x1024, 0x40046677  # of macOS and FreeBSD; Python has no names for them
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.0001, 0.005  # seconds between two looks
_CHUNK = 1 << 16  # bytes discarded at one look; the peer may send for ever, but each look must end
_FIRST_LOOK = 5_000_000  # nanoseconds; each further wait is twice as long
_LOOKS = 32  # looks in one turn of a loop, however many sockets linger


def reset_on_close(sock: socket.socket) -> None:
    """Make closing ``sock`` a reset, because data did not arrive, and an orderly end would hide that.

    It also frees what the system still holds for a peer that does not read.
    """
    with suppress(OSError):  # some systems do not allow this on a broken connection
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def end_output(sock: socket.socket) -> None:
    """End the output: nothing more will be sent."""
    with suppress(OSError):  # the peer has closed already
        sock.shutdown(socket.SHUT_WR)


def shut_down(sock: socket.socket) -> None:
    """End a connection or a listener of which a forked child holds a duplicate; closing it would end nothing."""
    with suppress(OSError):  # the peer has closed already
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # the method of a TLS socket would continue without TLS


def name_of(sock: socket.socket) -> tuple[int, tuple[int, int] | None]:
    """Return the number of a descriptor, and what distinguishes its socket from a later one with the same number."""
    return sock.fileno(), _identity(sock.fileno())


def shut_down_named(name: tuple[int, tuple[int, int] | None]) -> None:
    """Do as `shut_down` with a socket that belongs to other code by now, if it is still open."""
    number, identity = name
    if identity is None:
        return
    with suppress(OSError):
        twin = os.dup(number)  # nobody else closes the twin, so it stays the socket that the check finds
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
    """Return how many bytes the peer's system has not taken; ``unknown`` if the system cannot say.

    The end of the stream counts as one byte.
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
    """Discard some input, and return whether more than ``unsent`` sent bytes have not arrived at the peer.

    ``unsent`` is 0 before the output was ended, and 1 after that. ``sock`` does not block.
    """
    try:
        # not the method of a TLS socket: it says in its own way that nothing has come
        if not socket.socket.recv(sock, _CHUNK):
            return False
    except BlockingIOError:
        pass
    except OSError:
        return False
    return unacknowledged(sock, unknown=unsent + 1) > unsent


class Conversation(ABC):
    """A client's end of a connection. Leaving ``with`` closes it; an exception aborts it."""

    @abstractmethod
    def close(self) -> None:
        """Wait until everything sent has arrived, then end the conversation."""

    @abstractmethod
    def abort(self) -> None:
        """End the conversation at once, with a reset."""

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
    """The sockets of a loop that linger. Each is looked at less and less often, and only a few in each turn."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, int, int, socket.socket]] = []  # due, number, next wait, until, socket
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, sock: socket.socket, now: int) -> None:
        """End the output, and keep the socket until everything has arrived."""
        end_output(sock)
        self._push(_FIRST_LOOK, now + LINGER, sock, now)

    def due(self) -> int:
        """Return the time at which to call `look_after`."""
        return self._waiting[0][0] if self._waiting else NEVER

    def look_after(self, now: int) -> None:
        """Close sockets that lingered long enough or whose last bytes have arrived. If there are many, close some."""
        for _ in range(_LOOKS):
            if self.due() > now:
                return
            _, _, wait, until, sock = heapq.heappop(self._waiting)
            if now < until and still_sending(sock, 1):
                self._push(wait, until, sock, now)
            else:
                sock.close()

    def close(self) -> None:
        """Close all sockets."""
        for *_, sock in self._waiting:
            sock.close()
        self._waiting.clear()

    def _push(self, wait: int, until: int, sock: socket.socket, now: int) -> None:
        self._numbers += 1
        heapq.heappush(self._waiting, (min(now + wait, until), self._numbers, 2 * wait, until, sock))


class Parting:
    """Decides when a connection whose output has ended may be closed. A machine; times are integer nanoseconds.

    After everything has arrived, the peer has ``linger`` to close as well, counted from its last bytes. If nothing more
    arrives at the peer, the wait ends after LINGER, or after ``patience`` if that is less.

    Attributes:
        lost: bytes that had not arrived at a peer that was sending; closing throws them away.
    """

    def __init__(self, now: int, linger: int, patience: int = LINGER) -> None:
        self.lost = 0
        self._linger = min(linger, LINGER)
        self._patience = min(patience, LINGER)
        self._unsent = -1
        self._give_up = now + self._patience
        self._arrived = -1  # when everything had arrived
        self._quiet_since = now
        self._talking = False

    def over(self, now: int, heard: bool, ended: bool, unsent: int) -> bool:
        """Return whether to close, given what was seen.

        ``heard``: the peer sent something; ``ended``: the peer has ended its output; ``unsent``: the bytes that have
        not arrived, where the end of the stream counts as one.
        """
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
    """End the output, wait as `Parting` says, and return how many bytes are lost.

    What the peer still sends is discarded. ``deaf``: the input was shut down, so its end tells nothing. ``sock`` does
    not block. If it is no TCP socket, everything has arrived.
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
            # not the method of a TLS socket, because the plain bytes are not wanted
            data = socket.socket.recv(sock, _CHUNK)
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # a reset
            return 0
        ended = data == b"" and not deaf
        if parting.over(time.monotonic_ns(), bool(data), ended, unacknowledged(sock) if tcp else 0):
            return parting.lost
        if not data:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
