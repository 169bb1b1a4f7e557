"""Who may come into a chat, as a machine: those from one network who come and go are let in at a limited rate.

Every coming and going is two lines to everybody. Whoever stays for a minute has paid for them; whoever leaves sooner
takes one of the tokens that those of his network have, and where there is none left, nobody comes in from there.
Who has come and may have gone already holds a token until that is known. A driver lets no more than ``most`` in before
it looks, so that a crowd that stays finds a token each.
"""

from __future__ import annotations

from ...engines.serving import NEVER

SHORT = 60_000_000_000
"""Nanoseconds; a client that stays so long costs no token."""
KEPT = 4096
"""The most networks remembered."""
_LOOK = 1_000_000_000  # nanoseconds between two looks for networks that may be forgotten


class Porter:
    """Lets in by network, a number that the driver chooses; the rate is that of lines, ``interval`` 0 for no limit."""

    def __init__(self, interval: int, burst: int) -> None:
        self.most = burst if interval else NEVER
        """The most newcomers before the driver looks which of them have gone."""
        self._interval = interval
        self._slack = (burst - 1) * interval
        self._full_at: dict[int, int] = {}  # token buckets: when they will be full again
        self._unheard: dict[int, int] = {}  # how many have come in and may have gone already
        self._looked = 0

    def admits(self, network: int, now: int) -> bool:
        """Return whether somebody from there may come in."""
        held = self._unheard.get(network, 0) * self._interval
        return max(self._full_at.get(network, 0) - now, 0) + held <= self._slack

    def came(self, network: int) -> None:
        """Somebody from there has come in."""
        self._unheard[network] = self._unheard.get(network, 0) + 1

    def heard(self, network: int) -> None:
        """Of one of those who came from there it is known by now whether he has gone; where so, after ``left``."""
        if unheard := self._unheard.pop(network, 0) - 1:
            self._unheard[network] = unheard

    def left(self, network: int, joined: int, now: int) -> None:
        """Somebody from there who came in at ``joined`` has gone."""
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
