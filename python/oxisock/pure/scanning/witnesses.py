"""Witnesses: ports that answer, which are asked again and again while other hosts say nothing.

Nobody answers for most addresses of a network, so their silence does not tell that a line on the way drops what is too
much. What becomes of the witnesses' canaries does; `path` follows it.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .host import FLOOR, MS, scattered

_MOST = 64
_APART = 2 * MS
"""Between two canaries on average, and not evenly: a full queue drops at even times.

Below, between two to one port. Open ones are asked less often, since that is a nuisance.
"""

_CLOSED_APART = 6 * MS
_OPEN_APART = 25 * MS
_OPEN_OFTEN = 256  # so many connections to an open port, and the rest comes slowly
_OPEN_SELDOM = 100 * MS
_AMONG, _AMONG_MOST = 64, 4096
"""A canary finds its place by chance among so many probes, or among as many as left between the two before it, so that
a burst is seen from its beginning to its end. Where the pace is slow, that is among those of so long, but for a few."""

_AMONG_FEW = 4
_AMONG_TIME = 8 * MS
_DEAD_AFTER = 12  # so many canaries in a row without an answer, for so many timeouts: this witness has died
_DEAD_TIMEOUTS = 2
_STANDS_FOR_MOST = 1 << 30  # so many probes, for the squares of which the native engine has room
_WORSE = 300  # per mille, beyond twice what most lose: what a witness loses so often says nothing of the path


class _Witness:
    __slots__ = ("asked", "closed", "heard_at", "host", "loss", "losses_in_row", "next", "port", "timeout")

    def __init__(self, host: int, port: int, closed: bool, timeout: int, now: int) -> None:
        self.host, self.port, self.closed, self.timeout, self.heard_at = host, port, closed, timeout, now
        self.loss = 0  # smoothed, per mille
        self.losses_in_row = 0
        self.asked = 0  # so often
        self.next = 0  # it is asked no sooner


class _Canary:
    """A canary, until its time is over."""

    __slots__ = ("answered", "deadline", "host", "port", "probes", "sent_at", "token")

    def __init__(self, token: int, host: int, port: int, probes: int, sent_at: int, deadline: int) -> None:
        self.token, self.host, self.port, self.probes = token, host, port, probes
        self.sent_at, self.deadline = sent_at, deadline
        self.answered: bool | None = None  # False is a word of somebody else, None nothing so far


class Over(NamedTuple):
    """A canary whose time is over."""

    token: int
    host: int
    port: int
    sent_at: int
    probes: int
    """For so many others it stands."""

    unanswered: bool
    """Nothing came of it, so it is still under way."""

    tells: bool
    """It says something of the path."""


class Witnesses:
    """Whom canaries ask, and what has become of those that left."""

    def __init__(self, timeout: int) -> None:
        self._timeout = timeout
        self.all: dict[int, _Witness] = {}  # by host
        self.unwatched = 0  # probes since the last canary
        self._stands_for = 0  # so many of them were before the present one
        # So many other probes leave before the next canary, and some of them when it is due: one that always left first
        # after a pause would find every queue empty.
        self.apart = 0
        self._is_placed = False
        self.next = 0  # the next canary leaves no sooner
        self._turn = 0
        # As they left. Only when the time of all that left together is over is it known how many of them were lost.
        self._canaries: deque[_Canary] = deque()
        self._by_token: dict[int, _Canary] = {}  # those that nothing has come of

    def heard(self, host: int, port: int, closed: bool, timeout: int, now: int) -> None:
        """Note that a port answers."""
        known = self.all.get(host)
        if known is None:
            if len(self.all) < _MOST:  # those that are known stay: their canaries are under way
                self.all[host] = _Witness(host, port, closed, timeout, now)
        elif closed and not known.closed:
            known.port, known.closed = port, True

    def due(self, now: int, interval: int, seldom: int) -> tuple[int, int] | None:
        """Return the host and port of a canary that is to leave now, or None.

        Other probes leave at this interval, 0 for any. Canaries leave ``seldom`` times less often than they may.
        """
        if not self.all:
            return None
        if not self._is_placed:
            self._is_placed = True
            reach = min(max(_AMONG_TIME // interval, _AMONG_FEW), _AMONG) if interval else _AMONG
            reach = max(reach, min(self._stands_for, _AMONG_MOST))
            self.apart = self.unwatched + scattered(self._turn, reach)
            return None
        witnesses = list(self.all.values())
        first = scattered(self._turn, len(witnesses))
        for witness in witnesses[first:] + witnesses[:first]:
            if now < witness.next:
                continue
            witness.asked += 1
            often = _OPEN_APART if witness.asked < _OPEN_OFTEN else _OPEN_SELDOM
            witness.next = now + (_CLOSED_APART if witness.closed else often)
            self._turn += 1
            self._stands_for, self.unwatched = min(self.unwatched, _STANDS_FOR_MOST), 0
            self.apart, self._is_placed = 0, False
            self.next = now + _APART * seldom // 2 + scattered(self._turn, _APART * seldom)
            return witness.host, witness.port
        self.next = max(now + _APART, min(witness.next for witness in witnesses))
        return None

    def left(self, token: int, host: int, port: int, now: int) -> None:
        """Note that a canary leaves."""
        witness = self.all.get(host)
        last = self._canaries[-1].deadline if self._canaries else 0
        deadline = max(last, now + (witness.timeout if witness else FLOOR))
        canary = self._by_token[token] = _Canary(token, host, port, self._stands_for, now, deadline)
        self._canaries.append(canary)

    def ended(self, token: int, answered: bool, now: int) -> tuple[int, int] | None:
        """Take an answer to a canary, or a word of somebody else; return its host and port, None if it is none."""
        canary = self._by_token.pop(token, None)
        if canary is None:
            return None
        canary.answered = answered
        witness = self.all.get(canary.host)
        if answered and witness:
            witness.heard_at = now
            witness.timeout += (max(FLOOR, 3 * (now - canary.sent_at)) - witness.timeout) >> 2
        return canary.host, canary.port

    def deadline(self) -> int | None:
        """Return when the time of the next canary is over."""
        return self._canaries[0].deadline if self._canaries else None

    def over(self, now: int) -> Over | None:
        """Take the next canary whose time is over.

        It says nothing of the path if its witness loses far more than most: that is the witness's own doing.
        """
        if not self._canaries or self._canaries[0].deadline > now:
            return None
        canary = self._canaries.popleft()
        unanswered, tells = canary.answered is None, False
        self._by_token.pop(canary.token, None)
        witness = self.all.get(canary.host)
        if witness and canary.answered is not False:
            losses = sorted(witness.loss for witness in self.all.values())
            tells = witness.loss <= 2 * losses[(len(losses) - 1) // 2] + _WORSE
            witness.loss += ((1000 if unanswered else 0) - witness.loss) >> 3
            witness.losses_in_row = witness.losses_in_row + 1 if unanswered else 0
            silent_for = now - witness.heard_at
            if witness.losses_in_row >= _DEAD_AFTER and silent_for >= _DEAD_TIMEOUTS * self._timeout:
                del self.all[canary.host]
        return Over(canary.token, canary.host, canary.port, canary.sent_at, canary.probes, unanswered, tells)
