"""A bell that ends the wait of a thread that watches sockets."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import suppress

_TRIES, _PAUSE = 100, 0.001  # where the system has no memory for a ring


class Bell:
    """``ring`` it from any thread, and whoever watches ``heard`` for reading wakes; ``hush`` it then."""

    def __init__(self) -> None:
        self.heard, self._rope = socket.socketpair()
        # It stays up while it is rung: its descriptor could be somebody else's by then. (Dropping a server may ring.)
        self._lock = threading.RLock()
        self.heard.setblocking(False)
        self._rope.setblocking(False)

    def ring(self) -> None:
        """End the wait."""
        with self._lock:
            for _ in range(_TRIES):
                try:
                    self._rope.send(b"\0")
                except OSError as error:
                    # Else it is full of rings, so it is heard; or closed, so nobody waits any more.
                    if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                        time.sleep(_PAUSE)
                        continue
                return

    def hush(self) -> None:
        """Forget the rings that were heard."""
        with suppress(BlockingIOError):
            while self.heard.recv(4096):
                pass

    def close(self) -> None:
        """Take it down; it may be rung all the same."""
        with self._lock:
            self.heard.close()
            self._rope.close()
