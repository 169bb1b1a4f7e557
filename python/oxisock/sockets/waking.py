"""A bell that ends the wait of a thread that watches sockets."""

from __future__ import annotations

import errno
import socket
import threading
import time
from contextlib import suppress

_TRIES, _PAUSE = 100, 0.001  # tries and seconds between them, if the system has no memory for a ring


class Bell:
    """Any thread may ``ring`` it to wake a thread that watches ``heard`` for reading, which then calls ``hush``."""

    def __init__(self) -> None:
        self.heard, self._rope = socket.socketpair()
        # The lock keeps the bell open while it is rung; otherwise its descriptor could belong to another socket by
        # then. It is reentrant because dropping a server may ring.
        self._lock = threading.RLock()
        self.heard.setblocking(False)
        self._rope.setblocking(False)

    def ring(self) -> None:
        """End the wait of the watching thread."""
        with self._lock:
            for _ in range(_TRIES):
                try:
                    self._rope.send(b"\0")
                except OSError as error:
                    # Otherwise it is full of rings, so it is heard; or closed, so nobody waits.
                    if error.errno in (errno.ENOBUFS, errno.ENOMEM):
                        time.sleep(_PAUSE)
                        continue
                return

    def hush(self) -> None:
        """Discard the rings that were heard."""
        with suppress(BlockingIOError):
            while self.heard.recv(4096):
                pass

    def close(self) -> None:
        """Close the bell. It may still be rung, which does nothing."""
        with self._lock:
            self.heard.close()
            self._rope.close()
