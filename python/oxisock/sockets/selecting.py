"""Waits for many sockets: uses the best call of the system, and removes the limit of `select`."""

from __future__ import annotations

import select
import selectors
import time
from collections.abc import Sequence

_MOST = 512  # sockets that select() takes on Windows, where it is given a list of them
_SHORTEST_LOOK, _LONGEST_LOOK = 0.001, 0.02  # seconds between two looks at more sockets than that

_Ready = list[tuple[selectors.SelectorKey, int]]


class GroupSelector(selectors.SelectSelector):
    """`select` as on Windows, but for any number of sockets. It polls groups of 512 in turn."""

    def select(self, timeout: float | None = None) -> _Ready:
        """Return what is ready within ``timeout`` seconds (None: no limit, below 0: at once)."""
        keys = list(self.get_map().values())
        if not keys:  # Windows cannot wait for no sockets
            time.sleep(max(0.0, timeout or 0.0))
            return []
        groups = [keys[i : i + _MOST] for i in range(0, len(keys), _MOST)]
        if len(groups) == 1:
            return _look(keys, timeout if timeout is None else max(0.0, timeout))
        until = None if timeout is None else time.monotonic() + timeout
        pause = _SHORTEST_LOOK
        while True:
            ready = [each for group in groups for each in _look(group, 0)]
            left = pause if until is None else min(pause, until - time.monotonic())
            if ready or left <= 0:
                return ready
            # The first group has the oldest sockets, such as the loop's own bell, so wait on that one.
            _look(groups[0], left)
            pause = min(2 * pause, _LONGEST_LOOK)


def _look(keys: Sequence[selectors.SelectorKey], timeout: float | None) -> _Ready:
    readers = [key.fd for key in keys if key.events & selectors.EVENT_READ]
    writers = [key.fd for key in keys if key.events & selectors.EVENT_WRITE]
    # On Windows, a failed connect is an exceptional condition.
    readable, writable, failed = map(set, select.select(readers, writers, writers, timeout))
    writable |= failed
    ready = []
    for key in keys:
        events = selectors.EVENT_READ if key.fd in readable else 0
        if key.fd in writable:
            events |= selectors.EVENT_WRITE
        if events := events & key.events:
            ready.append((key, events))
    return ready


Selector: type[selectors.BaseSelector] = (
    GroupSelector if issubclass(selectors.DefaultSelector, selectors.SelectSelector) else selectors.DefaultSelector
)
