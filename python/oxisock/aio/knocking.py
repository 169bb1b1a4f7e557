"""Tells the loop about new connections. Windows's loop cannot watch a listener, so a thread does it there."""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from ..sockets.waking import Bell


class Knocks:
    """Calls ``heard`` on the loop, again and again, while connections wait. `watch` turns this on, and `ignore` off."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, heard: Callable[[], None]) -> None:
        self._loop, self._listener, self._heard = loop, listener, heard
        self._guard: _Guard | None = None

    def watch(self) -> None:
        """Begin. Raises OSError if the system cannot watch more sockets."""
        if self._guard is None:
            try:
                self._loop.add_reader(self._listener, self._heard)
                return
            except NotImplementedError:
                self._guard = _Guard(self._loop, self._listener, self._heard)
        self._guard.watch()

    def ignore(self) -> None:
        """Stop until `watch` is called again."""
        if self._guard is None:
            with suppress(NotImplementedError):
                self._loop.remove_reader(self._listener)
        else:
            self._guard.watching = False

    def close(self) -> None:
        """Stop for good."""
        self.ignore()
        if self._guard is not None:
            self._guard.close()


class _Guard:
    """A thread that watches the listener when asked, reports once, and then waits to be asked again."""

    def __init__(self, loop: asyncio.AbstractEventLoop, listener: socket.socket, heard: Callable[[], None]) -> None:
        self.watching = False
        self._loop, self._listener, self._heard = loop, listener, heard
        self._bell = Bell()
        self._asked = threading.Semaphore(0)
        self._over = self._asking = False
        self._thread = threading.Thread(target=self._watch, name="oxisock-knocks", daemon=True)
        self._thread.start()

    def watch(self) -> None:
        self.watching = True
        if not self._asking:
            self._asking = True
            self._asked.release()

    def close(self) -> None:
        self._over = True
        self._bell.ring()
        self._asked.release()
        if threading.current_thread() is not self._thread:  # garbage may be collected on this thread
            self._thread.join()
        self._bell.close()

    def _watch(self) -> None:
        while True:
            self._asked.acquire()
            if self._over:
                return
            ready, _, _ = select.select([self._listener, self._bell.heard], [], [])
            if self._over:
                return
            if ready:
                try:
                    self._loop.call_soon_threadsafe(self._told)
                except RuntimeError:  # the loop is closed
                    return

    def _told(self) -> None:
        self._asking = False
        if self.watching and not self._over:
            self._heard()
        if self.watching and not self._over:
            self.watch()
