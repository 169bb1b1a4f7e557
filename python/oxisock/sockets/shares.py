"""Counts the connections of each address, as a machine, so that no address can use all of them."""

from __future__ import annotations

import threading


class Shares:
    """Counts connections by network, a number as ``addresses.network_of`` returns it. Any thread may call it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, network: int) -> bool:
        """Count a connection from ``network`` and return True; return False if that network has the most allowed."""
        with self._lock:
            count = self._counts.get(network, 0)
            if count >= self._most:
                return False
            self._counts[network] = count + 1
            return True

    def give_back(self, network: int) -> None:
        """Note that a counted connection has ended."""
        with self._lock:
            count = self._counts.get(network, 0)
            if count > 1:
                self._counts[network] = count - 1
            else:
                self._counts.pop(network, None)

    def __len__(self) -> int:
        """Return how many networks have connections."""
        return len(self._counts)
