"""A machine that decides who may come into a chat: it limits how often clients of one network may come and go.

Every client that comes and goes causes two lines to all members. A client that stays for a minute costs nothing. A
client that leaves sooner costs one token of its network, and a network without tokens gets nobody in.

A client that has come in and may have left again holds a token until the driver knows. The driver lets in at most
``most`` clients before it looks, so a crowd that stays has a token for each of its clients.
"""

from __future__ import annotations

from ...engines.serving import NEVER

SHORT = 60_000_000_000
"""Nanoseconds; a client that stays so long costs no token."""
KEPT = 4096
"""The most networks remembered."""
_LOOK = 1_000_000_000  # nanoseconds between two looks for networks that may be forgotten


class Porter:
    """Lets in clients by network, a number that the driver chooses. ``interval`` is that of lines; 0 is no limit."""

    def __init__(self, interval: int, burst: int) -> None:
        self.most = burst if interval else NEVER
        """The most newcomers before the driver looks which of them have gone."""
        self._interval = interval
        self._slack = (burst - 1) * interval
        self._full_at: dict[int, int] = {}  # token buckets: the times when they are full again
        self._unheard: dict[int, int] = {}  # how many have come in and may have left already
        self._looked = 0

    def admits(self, network: int, now: int) -> bool:
        """Return whether a client of this network may come in."""
        held = self._unheard.get(network, 0) * self._interval
        return max(self._full_at.get(network, 0) - now, 0) + held <= self._slack

    def came(self, network: int) -> None:
        """Note that a client of this network has come in."""
        self._unheard[network] = self._unheard.get(network, 0) + 1

    def heard(self, network: int) -> None:
        """Note that it is known whether one client of this network has left. If it has, call ``left`` before."""
        if unheard := self._unheard.pop(network, 0) - 1:
            self._unheard[network] = unheard

    def left(self, network: int, joined: int, now: int) -> None:
        """Note that a client of this network, who came in at ``joined``, has left."""
        if not self._interval or now - joined >= SHORT:
            return
        full_at = self._full_at
        if network not in full_at and len(full_at) >= KEPT:
            if now < self._looked + _LOOK:
                return
            self._looked = now
            self._full_at = full_at = {each: due for each, due in full_at.items() if due > now}
            if len(full_at) >= KEPT:
                return
        full_at[network] = min(max(full_at.get(network, 0), now) + self._interval, NEVER)
