"""Estimates the progress of a scan from the probes sent, because verdicts on silent ports come near the end."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..engines.scanning import FIRST, GROUP, ScanPlan, Tally

_BETWEEN = 0.1  # seconds from one look to the next
_BACK = 3.5  # seconds that are looked back at least, or as much as this part of what has passed:
_PART = 4
_SLOW = 0.3  # a beginning of the scan that was slower than this part of the mean does not count
_TOLD = 2.25  # seconds after its first probe the neighbour table has told whether a host is there


class Estimate(NamedTuple):
    """How far a scan is: ports asked, the part of all probes that left, and seconds that the rest will take."""

    asked: int
    share: float
    left: float | None


class Remaining:
    """The estimate for a scan of ``total`` ports of ``hosts`` hosts, by tallies over time.

    Earlier runs sent ``before`` of the probes.
    """

    def __init__(self, plan: ScanPlan, hosts: int, total: int, before: int) -> None:
        self._total, self._hosts = total, max(1, hosts)
        self._retries, self._timeout, self._skip = plan.retries, plan.timeout / 1e9, plan.skip_silent
        self._on_links = sum(link.last - link.first + 1 for link in plan.links) / self._hosts  # the part of the hosts
        self._ports = max(1.0, total / self._hosts)
        self._first = min(FIRST, self._ports)
        # Whether all hosts are begun before any of them is done.
        most = min(GROUP, plan.concurrency / self._first, plan.descriptors / 2 / self._first)
        fits = all(link.last - link.first < link.capacity for link in plan.links)
        self._at_once = plan.random and fits and self._hosts <= most
        self._looks = deque([(0.0, before)])
        self._since = self._looks[0]  # from when on the speed is that of now
        self._grew = 0.0  # when probes left last
        self._begun: float | None = None  # when the first ports of all hosts were asked

    def is_due(self, now: float) -> bool:
        """Return whether it is time for another look; ``now`` is seconds since the beginning."""
        return now - self._looks[-1][0] >= _BETWEEN

    def note(self, now: float, tally: Tally) -> None:
        """Take a look."""
        looks = self._looks
        if tally.probes > looks[-1][1]:
            self._grew = now
        others = 0.0 if self._at_once else tally.hosts_up * (self._ports - self._first)
        if self._begun is None and tally.probes - tally.retries >= self._hosts * self._first + others:
            self._begun = looks[-1][0]
        looks.append((now, tally.probes))
        while len(looks) > 2 and looks[1][0] <= now - max(_BACK, now / _PART):
            looks.popleft()
        # Hosts that nobody has heard of make a scan wait before most of it leaves: that tells nothing of the rest.
        least = _SLOW * _speed(looks[0], looks[-1]) if looks[0][0] < self._timeout else 0.0
        begun = 0
        while begun < len(looks) - 2 and _speed(looks[begun], looks[begun + 1]) < least:
            begun += 1
        self._since = looks[begun]

    def estimate(self, now: float, tally: Tally) -> Estimate:
        """Return how far it is; the time is None where nothing tells yet."""
        asked, most = max(0, tally.probes - tally.retries), self._total - tally.unasked
        if sum(tally[:4]) >= self._total:
            return Estimate(min(asked, most), 1.0, 0.0)
        spared = self._spared(now, tally)
        total = max(asked, most - spared * (self._ports - self._first))
        # What a router says of a port is a verdict at once: it is filtered, but not silent.
        told = max(0.0, tally.filtered - tally.unasked - tally.retries / max(1, self._retries))
        silent = max(0.0, asked - tally.open - tally.closed - tally.error - told)
        # A port that is silent is asked again, as often as others were: their share is that of those asked so far.
        repeats = max(self._retries, tally.retries / silent) if silent else 0
        silence = silent / asked if asked else 0.0
        expected = max(total * (1 + silence * repeats), tally.probes)
        left = None
        if speed := _speed(self._since, (now, tally.probes)):
            left = (expected - tally.probes) / speed
            if spared >= 1:
                left = max(left, self._until_known(now, tally))
            elif not tally.hosts_silent:
                # The last silent ports are listened to for as long as an answer may take; silent hosts are not.
                left += max(0.0, silence * self._timeout - (now - self._grew))
        return Estimate(min(asked, most), tally.probes / expected if expected else 0.0, left)

    # --- hosts

    def _unknown(self, tally: Tally) -> int:
        """Return of how many hosts nothing is known yet."""
        if self._hosts == 1:
            return 0
        could_not_ask = tally.error // self._ports
        known = tally.hosts_up + tally.hosts_unreachable + tally.hosts_silent + could_not_ask
        return max(0, self._hosts - int(known))

    def _spared(self, now: float, tally: Tally) -> float:
        """Return of how many of those only the first ports will be asked."""
        unknown = self._unknown(tally)
        begun = min(unknown, GROUP)
        gone, ended = tally.hosts_unreachable, tally.hosts_unreachable + tally.hosts_silent
        if not unknown:
            return 0.0
        # Of those that are not begun as many will be up as of the others.
        spared = unknown - (unknown - begun) * tally.hosts_up / (tally.hosts_up + ended + begun)
        if self._skip:
            return spared
        if self._begun is not None and now > self._begun + _TOLD:
            return 0.0  # nobody has said that they are not there
        # Before anybody was told of, it is nobody's on a link, and behind a router silent.
        return spared * (gone + self._on_links * begun) / (ended + begun)

    def _until_known(self, now: float, tally: Tally) -> float:
        """Return how many seconds it takes at least until there is no such host any more."""
        wait = _TOLD if self._on_links else self._timeout * (1 if tally.hosts_up else 1 + self._retries)
        least = max(0.0, wait - (0.0 if self._begun is None else now - self._begun))
        if not self._at_once and tally.hosts_unreachable > tally.hosts_silent:
            least = max(least, self._unknown(tally) * now / tally.hosts_unreachable)
        return least


def _speed(since: tuple[float, int], until: tuple[float, int]) -> float:
    """Return probes a second."""
    return (until[1] - since[1]) / max(until[0] - since[0], 1e-9)
