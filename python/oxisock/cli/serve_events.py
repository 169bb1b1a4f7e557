"""The output of ``oxisock serve -v``: a line for each event, with its time and the peer."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..text import plural
from .output import message, paint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..serving.lifecycle import Server

_LOOK = 0.1  # seconds between two looks for events
_KEPT = 10_000  # the most events that wait to be printed


class Events:
    """Collects events, and prints them in order of time from its own thread."""

    def __init__(self, bytes_too: bool = False) -> None:
        self._bytes_too = bytes_too
        self._said: deque[tuple[float, str, str]] = deque(maxlen=_KEPT)
        self._lost = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, peer: object, text: str) -> None:
        """Add an event of the caller. Any thread may call this."""
        self._lost += len(self._said) == _KEPT
        self._said.append((time.time(), str(peer), text))

    def begin(self, server: Server) -> None:
        """Begin to watch a server, and to print events."""
        list(self._of_connections(server))  # the first call begins to watch
        self._thread = threading.Thread(target=self._run, args=(server,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Print the remaining events, and end the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self, server: Server) -> None:
        last = False
        while not last:
            last = self._over.wait(_LOOK)
            said = [self._said.popleft() for _ in range(len(self._said))]
            for when, peer, text in sorted([*said, *self._of_connections(server)], key=lambda line: line[0]):
                clock = f"{time.strftime('%H:%M:%S', time.localtime(when))}.{int(when % 1 * 1000):03}"
                print(f"{paint(clock, 'dim', sys.stderr)}  {peer}  {text}", file=sys.stderr)
            if self._lost:
                message(f"{self._lost:,} events are not shown: too many at once")
                self._lost = 0
            sys.stderr.flush()

    def _of_connections(self, server: Server) -> Iterator[tuple[float, str, str]]:
        from ..serving.limits import StreamServer
        from ..serving.watching import take_events

        if not isinstance(server, StreamServer):
            return
        events, lost = take_events(server)
        self._lost += lost
        for when, peer, kind, size, reason in events:
            if kind != "received":
                yield when, str(peer), f"closed: {reason}" if reason else kind
            elif self._bytes_too:
                yield when, str(peer), f"received {plural(size, 'byte')}"
