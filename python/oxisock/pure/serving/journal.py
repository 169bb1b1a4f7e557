"""Keeps what happened to the connections of a server, if anybody watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...engines.serving import Notice
    from ...types import Peer

_KEPT: Final = 10_000  # notices that wait to be taken; beyond that, the oldest are lost, and counted


class Journal:
    """The notices that nobody has taken yet. There are none until the first call of `take`.

    Attributes:
        watched: whether somebody takes them.
    """

    def __init__(self) -> None:
        self.watched = False
        self._lock = threading.Lock()
        self._kept: deque[Notice] = deque(maxlen=_KEPT)
        self._lost = 0

    def note(self, peer: Peer, what: str, number: int = 0) -> None:
        """Keep a notice, if anybody watches."""
        if not self.watched:
            return
        with self._lock:
            self._lost += len(self._kept) == _KEPT
            self._kept.append((time.time_ns(), peer.host, peer.port, what, number))

    def take(self) -> tuple[list[Notice], int]:
        """Return the notices since the last call, and how many were lost. The first call begins to watch."""
        with self._lock:
            self.watched = True
            taken, lost = list(self._kept), self._lost
            self._kept.clear()
            self._lost = 0
        return taken, lost
