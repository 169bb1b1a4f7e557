"""Estimates the progress of a scan from the probes sent, because verdicts on silent ports come near the end."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..engines.scanning import Tally

_BETWEEN = 0.1  # seconds from one look to the next
_BACK = 1.0  # seconds that are looked back at least, or as much as this part of what has passed:
_PART = 4
_SLOW = 0.3  # a beginning of what is looked back at that was slower than this part of the mean does not count


class Estimate(NamedTuple):
    """How far a scan is: ports asked, the part of all probes that left, and seconds that the rest will take."""

    asked: int
    share: float
    left: float | None


class Remaining:
    """The estimate for a scan of ``total`` ports, by tallies over time; earlier runs sent ``before`` of the probes."""

    def __init__(self, total: int, retries: int, timeout: float, before: int) -> None:
        self._total, self._retries, self._timeout = total, retries, timeout
        self._looks = deque([(0.0, before)])
        self._since = self._looks[0]  # from when on the speed is that of now

    def is_due(self, now: float) -> bool:
        """Return whether it is time for another look; ``now`` is seconds since the beginning."""
        return now - self._looks[-1][0] >= _BETWEEN

    def note(self, now: float, tally: Tally) -> None:
        """Take a look."""
        looks = self._looks
        looks.append((now, tally.probes))
        while len(looks) > 2 and looks[1][0] <= now - max(_BACK, now / _PART):
            looks.popleft()
        # Hosts that nobody has heard of make a scan wait before most of it leaves: that tells nothing of the rest.
        least = _SLOW * _speed(looks[0], looks[-1])
        begun = 0
        while begun < len(looks) - 2 and _speed(looks[begun], looks[begun + 1]) < least:
            begun += 1
        self._since = looks[begun]

    def estimate(self, now: float, tally: Tally) -> Estimate:
        """Return how far it is; the time is None where nothing tells yet."""
        total = self._total - tally.unasked
        asked = max(0, tally.probes - tally.retries)
        silent = max(0, asked - tally.open - tally.closed - tally.error)
        # A port that is silent is asked again, as often as others were: their share is that of those asked so far.
        repeats = max(self._retries, tally.retries / silent) if silent else 0
        silence = silent / asked if asked else 0.0
        expected = max(total * (1 + silence * repeats), tally.probes)
        if sum(tally[:4]) >= self._total:
            return Estimate(min(asked, total), 1.0, 0.0)
        left = None
        if speed := _speed(self._since, (now, tally.probes)):
            # The last silent ports are listened to for as long as an answer may take; those of silent hosts are not.
            listening = 0.0 if tally.hosts_silent else silence * self._timeout
            left = (expected - tally.probes) / speed + listening
        return Estimate(min(asked, total), tally.probes / expected if expected else 0.0, left)


def _speed(since: tuple[float, int], until: tuple[float, int]) -> float:
    """Return probes a second."""
    return (until[1] - since[1]) / max(until[0] - since[0], 1e-9)
