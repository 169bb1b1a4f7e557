"""Waits for many sockets: uses the best call of the system, and removes the limit of `select`."""

from __future__ import annotations

import select
import selectors
import time
from collections.abc import Sequence

_MOST = 512  # sockets that select() takes on Windows, where what it is given is a list of so many
_SHORTEST_LOOK, _LONGEST_LOOK = 0.001, 0.02  # seconds that more sockets than these are looked at in turn

_Ready = list[tuple[selectors.SelectorKey, int]]


class GroupSelector(selectors.SelectSelector):
    """`select` as it is on Windows, for any number of sockets: those beyond 512 are looked at in turn."""

    def select(self, timeout: float | None = None) -> _Ready:
        """Return what is ready within ``timeout`` seconds (None: without a limit, below 0: at once)."""
        keys = list(self.get_map().values())
        if not keys:  # for which Windows has no wait
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
            # The first of them were there first, and a loop's own bell is one of those.
            _look(groups[0], left)
            pause = min(2 * pause, _LONGEST_LOOK)


def _look(keys: Sequence[selectors.SelectorKey], timeout: float | None) -> _Ready:
    readers = [key.fd for key in keys if key.events & selectors.EVENT_READ]
    writers = [key.fd for key in keys if key.events & selectors.EVENT_WRITE]
    # A connect that failed is an exceptional condition there.
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
