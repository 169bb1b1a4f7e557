"""What happened to the connections of a server, for somebody who watches."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...engines.serving import Notice
    from ...types import Peer

_KEPT: Final = 10_000  # notices that wait to be taken; the oldest make room for new ones, and are counted


class Journal:
    """The notices that nobody has taken yet; without somebody who takes them there are none.

    Attributes:
        watched: somebody takes them.
    """

    def __init__(self) -> None:
        self.watched = False
        self._lock = threading.Lock()
        self._kept: deque[Notice] = deque(maxlen=_KEPT)
        self._lost = 0

    def note(self, peer: Peer, what: str, number: int = 0) -> None:
        """Write something down, if anybody watches."""
        if not self.watched:
            return
        with self._lock:
            self._lost += len(self._kept) == _KEPT
            self._kept.append((time.time_ns(), peer.host, peer.port, what, number))

    def take(self) -> tuple[list[Notice], int]:
        """Take what was written down since the last call, and how much was lost; the first call begins to watch."""
        with self._lock:
            self.watched = True
            taken, lost = list(self._kept), self._lost
            self._kept.clear()
            self._lost = 0
        return taken, lost
