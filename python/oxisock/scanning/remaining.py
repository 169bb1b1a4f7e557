"""Estimates the progress of a scan from the probes sent, because verdicts on silent ports come near the end."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..engines.scanning import FIRST, GROUP, ScanPlan, Tally

_BETWEEN = 0.1  # seconds between two looks
_BACK = 3.5  # the speed is that of the last 3.5 seconds, or of a longer part of the time so far:
_PART = 4
_SLOW = 0.3  # a start that is slower than this part of the mean does not count
_TOLD = 2.25  # seconds after its first probe when the neighbour table knows whether a host exists


class Estimate(NamedTuple):
    """The progress of a scan: ports asked, the share of probes sent (0 to 1), and the seconds left."""

    asked: int
    share: float
    left: float | None


class Remaining:
    """Estimates the progress of a scan of ``total`` ports of ``hosts`` hosts from its tallies over time.

    Earlier runs sent ``before`` of the probes.
    """

    def __init__(self, plan: ScanPlan, hosts: int, total: int, before: int) -> None:
        self._total, self._hosts = total, max(1, hosts)
        self._retries, self._timeout, self._skip = plan.retries, plan.timeout / 1e9, plan.skip_silent
        on_links = sum(link.last - link.first + 1 for link in plan.links)
        self._on_links = on_links / self._hosts  # as a share of all hosts
        self._ports = max(1.0, total / self._hosts)
        self._first = min(FIRST, self._ports)
        # Whether the scan begins all hosts before the first one is done.
        most = min(GROUP, plan.concurrency / self._first, plan.descriptors / 2 / self._first)
        fits = on_links <= min((link.capacity for link in plan.links), default=0)
        self._at_once = plan.random and fits and self._hosts <= most
        self._looks = deque([(0.0, before)])
        self._since = self._looks[0]  # the look since which the speed counts
        self._grew = 0.0  # when the last probes were sent
        self._begun: float | None = None  # when the first ports of all hosts were asked

    def is_due(self, now: float) -> bool:
        """Return whether it is time for another look; ``now`` is seconds since the beginning."""
        return now - self._looks[-1][0] >= _BETWEEN

    def note(self, now: float, tally: Tally) -> None:
        """Record a tally at the time ``now``."""
        looks = self._looks
        if tally.probes > looks[-1][1]:
            self._grew = now
        others = 0.0 if self._at_once else tally.hosts_up * (self._ports - self._first)
        if self._begun is None and tally.probes - tally.retries >= self._hosts * self._first + others:
            self._begun = looks[-1][0]
        looks.append((now, tally.probes))
        while len(looks) > 2 and looks[1][0] <= now - max(_BACK, now / _PART):
            looks.popleft()
        # Unknown hosts make a scan wait before it sends most probes. Such a slow start says nothing about the rest.
        least = _SLOW * _speed(looks[0], looks[-1]) if looks[0][0] < self._timeout else 0.0
        begun = 0
        while begun < len(looks) - 2 and _speed(looks[begun], looks[begun + 1]) < least:
            begun += 1
        self._since = looks[begun]

    def estimate(self, now: float, tally: Tally) -> Estimate:
        """Return the progress. The time left is None as long as it is not known."""
        asked, most = max(0, tally.probes - tally.retries), self._total - tally.unasked
        if sum(tally[:4]) >= self._total:
            return Estimate(min(asked, most), 1.0, 0.0)
        spared = self._spared(now, tally)
        total = max(asked, most - spared * (self._ports - self._first))
        # A port with an answer of a router is filtered, but not silent.
        told = max(0.0, tally.filtered - tally.unasked - tally.retries / max(1, self._retries))
        silent = max(0.0, asked - tally.open - tally.closed - tally.error - told)
        # The scan asks silent ports again. Assume the same share of silent ports, and the same repeats, as so far.
        repeats = max(self._retries, tally.retries / silent) if silent else 0
        silence = silent / asked if asked else 0.0
        expected = max(total * (1 + silence * repeats), tally.probes)
        left = None
        if speed := _speed(self._since, (now, tally.probes)):
            left = (expected - tally.probes) / speed
            if spared >= 1:
                left = max(left, self._until_known(now, tally))
            elif not tally.hosts_silent:
                # The scan waits for answers of the last silent ports, but not of silent hosts.
                left += max(0.0, silence * self._timeout - (now - self._grew))
        return Estimate(min(asked, most), tally.probes / expected if expected else 0.0, left)

    # --- hosts

    def _unknown(self, tally: Tally) -> int:
        """Return the number of hosts of which nothing is known yet."""
        if self._hosts == 1:
            return 0
        could_not_ask = tally.error // self._ports
        known = tally.hosts_up + tally.hosts_unreachable + tally.hosts_silent + could_not_ask
        return max(0, self._hosts - int(known))

    def _spared(self, now: float, tally: Tally) -> float:
        """Return the number of those hosts that will get only their first ports."""
        unknown = self._unknown(tally)
        begun = min(unknown, GROUP)
        gone, ended = tally.hosts_unreachable, tally.hosts_unreachable + tally.hosts_silent
        if not unknown:
            return 0.0
        # Assume the same share of hosts up among those that are not begun.
        spared = unknown - (unknown - begun) * tally.hosts_up / (tally.hosts_up + ended + begun)
        if self._skip:
            return spared
        if self._begun is not None and now > self._begun + _TOLD:
            return 0.0  # by now, missing hosts would be known
        # Before any answer, assume that an address on a link is unused, and that a host behind a router is silent.
        return spared * (gone + self._on_links * begun) / (ended + begun)

    def _until_known(self, now: float, tally: Tally) -> float:
        """Return the least number of seconds until no such host is left."""
        wait = _TOLD if self._on_links else self._timeout * (1 if tally.hosts_up else 1 + self._retries)
        least = max(0.0, wait - (0.0 if self._begun is None else now - self._begun))
        if not self._at_once and tally.hosts_unreachable > tally.hosts_silent:
            least = max(least, self._unknown(tally) * now / tally.hosts_unreachable)
        return least


def _speed(since: tuple[float, int], until: tuple[float, int]) -> float:
    """Return the speed in probes per second."""
    return (until[1] - since[1]) / max(until[0] - since[0], 1e-9)
