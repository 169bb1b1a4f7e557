"""What the scanner knows of one host: its round trip, its window, its loss, and what is still to be asked."""

from __future__ import annotations

from collections import deque
from math import isqrt

from ...engines.scanning import FIRST
from .permutation import PortOrder

MS = 1_000_000
FLOOR = 50 * MS
"""No probe is given up sooner than this, unless the user's timeout is shorter."""

SECOND = 1_000_000_000
MAX_REPEATS = 10
SMALL_WINDOW = 64
"""At or below this window, loss is taken to be the network's own and not of our making."""

_MIN_WINDOW = 4
_REVIEW_SAMPLES = 16
_PRIOR_LOSS = 400  # per mille: random loss that is believed without having been measured at a small window
_SLOWEST = 5 * MS  # between two probes to a host whose answers are limited
_CANARY_PORTS = 4
_CANARY_BURST = 64
_CANARY_MAX = 256
_CANARY_APART = 1024
"""After those, so many silences call for one more: round trips and loss change, and nothing else would tell."""
_REACH = 64
_MANY_SAMPLES = 256  # so many answers and losses tell what the loss is
_CANARIES_AT_ONCE = 16
_CANARIES_WHEN_SLOW = 4
_FEW = 4  # so many answers say little of how round trips vary
_MANY = 8
"""Where a port is silent and at least so many answer, it may well be loss."""
_BURST = 128
"""So many probes in flight that are not answered at once are no burst yet."""
_DEAD_AFTER = 6
_SILENCES = 256
"""So many ports without an answer, among them those asked first, and none with one: the host may say nothing at all."""


UNHEARD, HEARD, SILENT = range(3)
"""Phases of a host: nothing has come from it yet; it answers; its first ports were asked in vain."""


class Probe:
    """One question: a port of a host, the how-manieth time, and whether it is a canary (a port known to answer)."""

    __slots__ = ("canary", "host", "listening", "port", "repeat", "sent_at", "small", "windowed")

    # There are many, so what is known only as one leaves is not set before.
    sent_at: int
    small: bool
    windowed: bool  # it has a place in the scan's window

    def __init__(self, host: Host, port: int, repeat: int, canary: bool) -> None:
        self.host = host
        self.port = port
        self.repeat = repeat
        self.canary = canary
        self.listening = False  # its time is over, and an answer is still an answer


Listeners = deque[tuple[int, int, int]]
"""Probes that listen until later and later: (time, serial, token)."""


class Question:
    """A port whose first probe went unanswered in its time."""

    __slots__ = ("asked_at", "benched", "exhausted", "repeat", "tokens", "wasted")

    def __init__(self, asked_at: int) -> None:
        self.asked_at = asked_at  # when its latest probe left
        self.repeat = 0  # the how-manieth that was
        self.wasted = 0  # so many of its probes left while the host was taken for dead: their silence says nothing
        # Of its probes, in flight or listening, the latest last. There may be 100,000 questions at once, and garbage
        # collection goes through lists, but not through tuples of numbers.
        self.tokens: tuple[int, ...] = ()
        self.benched = False
        self.exhausted = False  # a port of a silent host, asked often enough

    def allowed(self, others: int) -> int:
        """Give how often the port is asked again where others are ``others`` times: probes for nothing do not count."""
        return max(others, min(others + self.wasted, MAX_REPEATS)) if self.wasted else others


def scattered(turn: int, limit: int) -> int:
    """Give a number below ``limit`` that looks like chance and is the same in both engines."""
    return (turn * 0x9E3779B1 & 0xFFFFFFFF) // 256 % limit


def repeats_for_loss(drops: int, sent: int) -> int:
    """Give the repeats after which a port that answers is missed less than once in 100,000, at this rate of loss."""
    if drops == 0:
        return 0
    missed, repeats = SECOND * drops // sent, 0
    while missed > SECOND // 100_000 and repeats < MAX_REPEATS:
        missed = missed * drops // sent
        repeats += 1
    return repeats


class Host:
    """The state of one host while its ports are asked."""

    # These are read and set for every probe. So many are found much faster in slots than in a dictionary.
    # fmt: off
    __slots__ = (
        "allowed", "answers", "apart", "armed", "asked_before", "asked_since", "bench", "busy", "canaries",
        "canaries_sent", "canary_losses", "check_at", "checking", "closed_ports", "cursor", "dead", "decided",
        "doubted", "drawn", "drops", "end", "ends_at", "faulty", "first", "first_sent", "first_until", "follows_path",
        "gone", "growth", "held_until", "highest", "in_flight", "index", "interval", "large_answers", "large_drops",
        "last_answer", "last_asked", "last_look", "late", "link", "listeners", "listening", "network", "next_canary",
        "next_review", "next_send", "open_ports", "order", "phase", "pledged", "put_back", "questions", "queued",
        "rejected", "rttvar", "sent", "silences", "small_answers", "small_drops", "srtt", "threshold", "timeout",
        "turn", "up", "wait", "waiting", "waiting_for_pace", "window",
    )
    # fmt: on

    def __init__(self, index: int, order: PortOrder, timeout: int, retries: int, limit: int) -> None:
        self.index = index
        self.order = order
        # Who it is.
        self.phase = UNHEARD
        self.up = False  # something came from it
        self.gone = False  # everything about it is decided
        self.faulty = False  # this machine could not ask it
        self.pledged = False  # its first ports are counted among those that may be asked of unheard hosts
        self.network: tuple[int, int] = (0, 0)
        self.link = -1  # which link of this machine it is on, -1 for none
        self.follows_path = False  # it keeps the pace of the path to those on no link
        self.held_until = -1  # until when the neighbour table may be asking for it
        self.first_sent = -1
        self.first_until = -1  # when what was asked before it is heard or silent has had the whole timeout
        self.ends_at = -1  # when it is looked at to be ended, -1 for not at all
        self.check_at = -1  # when the neighbour table is asked, -1 for never
        self.last_look = False  # its first ports are asked once more, since so much got lost
        self.checking = False  # the neighbour table is being asked
        self.rejected: tuple[int, int] | tuple[()] = ()  # because of an unreachable: the port, and how soon it came
        self.wait = timeout  # how long a probe listens while the host is silent
        # What is still to be drawn.
        self.first = min(FIRST, order.count)
        self.cursor = 0
        self.end = self.first  # only what is before may be asked by now
        self.asked_before = 0  # below this position, ports that are in `decided` are not asked again
        self.decided: set[int] = set()  # ports decided before it was up, or not to be asked again
        self.drawn = order.count == 0
        # Round trip, after nmap's estimator; `timeout` is what a first probe gets.
        self.srtt = -1
        self.rttvar = 0
        self.timeout = timeout
        # Window.
        self.window = max(1, limit // 2)
        self.threshold = limit
        self.growth = 0
        self.next_review = 0
        self.interval = 0  # between two probes, 0 for none: set where a host answers only so many a second
        self.next_send = 0
        self.small_answers = self.small_drops = 0
        self.large_answers = self.large_drops = 0
        self.asked_since = 0  # probes since the last review
        self.busy = 0  # how long they took to leave, without the pauses between them
        self.last_asked = 0
        # Loss and repeats.
        self.allowed = retries
        self.highest = 0
        self.answers = self.drops = 0
        self.doubted = 0, 0  # from when to when its silence said nothing
        self.silences = 0
        # Canaries.
        self.closed_ports: list[int] = []
        self.open_ports: list[int] = []
        self.turn = 0
        self.apart = 0  # so many other probes leave before the next canary
        self.canaries_sent = 0
        self.canary_losses = 0
        self.next_canary = 0
        self.last_answer = 0
        self.dead = False
        # Work.
        self.in_flight = 0  # not counting those that only listen
        self.listening = 0
        self.listeners = Listeners()  # the latest of them
        self.put_back = 0  # probes that a fault of this machine kept from leaving
        self.sent: deque[int] = deque()  # tokens of probes under way, oldest first
        self.late: deque[int] = deque()  # tokens of canaries whose time is over, oldest first
        self.waiting: deque[int] = deque()  # ports that are to be asked once more
        self.canaries: deque[Probe] = deque()  # that wait, too
        self.questions: dict[int, Question] = {}  # by port
        self.bench: deque[int] = deque()  # ports that were asked often enough for now
        self.armed = -1  # when its timer is set, -1 for not at all
        self.queued = False
        self.waiting_for_pace = False

    def enter(self, phase: int) -> None:
        """Let it be heard or silent: all its ports may be asked."""
        self.phase = phase
        self.end = self.order.count

    def has_work(self) -> bool:
        """Say whether there is anything to ask by now."""
        return self.cursor < self.end or bool(self.waiting or self.canaries)

    def again(self, port: int) -> None:
        """Have a port asked once more, and not always at the same distance behind the same others.

        Else the last probes of a burst, which a full queue drops, would be its last each time.
        """
        waiting = self.waiting
        place = len(waiting) - scattered(self.silences, self._reach())
        waiting.insert(place if place > 0 else 0, port)

    def canary_is_next(self) -> bool:
        """Say whether a canary, of which there are some, leaves before anything else.

        They leave among the others, here and there: those before all others would find every queue empty.
        """
        if self.apart > 0 and (self.waiting or self.cursor < self.end):
            self.apart -= 1
            return False
        self.apart = scattered(self.turn, self._reach())
        return True

    def _reach(self) -> int:
        """Give among how many probes one finds its place by chance: an eighth of a window, so that its end is seen."""
        reach = self.window // 8
        return reach if reach > _REACH else _REACH

    def asked(self, now: int, slack: int) -> None:
        """Note that a probe leaves: the next one keeps its distance."""
        self.in_flight += 1
        self.asked_since += 1
        interval, passed = self.interval, now - self.last_asked
        longest = interval if interval > slack else slack
        self.busy += passed if passed < longest else longest
        self.last_asked = now
        if self.in_flight > _BURST and (spacing := self._spacing()) > interval:
            interval = spacing
        if interval:
            earliest = now - slack
            self.next_send = (self.next_send if self.next_send > earliest else earliest) + interval

    def _spacing(self) -> int:
        """Give the time between two probes of many that spreads a full window over the time that a probe has in it.

        Silence ends for thousands of ports at once. Repeats that left together would overflow a queue on the way, each
        time the same ones, while the canaries before them came through. Who answers at once sets the pace by itself.
        """
        spread = self.timeout
        if self.srtt < 0:
            # Only an answer can tell that too much is sent, so before the first one it is not all sent at once.
            spread = self.timeout // 2 if self.phase == HEARD else FLOOR
        return spread * 3 // (4 * self.window)

    def sample(self, least: int, rtt: int, limit: int) -> bool:
        """Take a round trip into the estimate; say whether the timeout became shorter.

        It took between ``least`` and ``rtt``, for who is busy sees an answer late: what the estimate says already is
        no news. Over a second a sample is ambiguous, because the kernel itself repeats a SYN then, and is discarded
        (Karn).
        """
        if rtt > SECOND:
            return False
        if self.srtt < 0:
            self.srtt, self.rttvar = rtt, min(max(rtt, 5 * MS), 2 * SECOND)
        else:
            delta = min(rtt, max(least, self.srtt)) - self.srtt
            self.srtt += delta >> 3
            self.rttvar += (abs(delta) - self.rttvar) >> 2
        before = self.timeout
        # A quarter of the round trip at the least: after many even samples one late answer must not look like silence.
        self.timeout = min(limit, max(FLOOR, self.srtt + max(4 * self.rttvar, self.srtt >> 2)))
        return self.timeout < before

    def expected(self) -> int:
        """Return what probes to other hosts of its network may be given: the timeout, or less after a few answers.

        The estimate after the first one is five round trips, to be safe, and many hosts have no second one for long.
        """
        few = self.answers < _FEW and self.srtt >= 0
        return min(self.timeout, max(FLOOR, 2 * self.srtt)) if few else self.timeout

    def answered(self, small: bool, lost: int, limit: int) -> None:
        """Count an answer that came after ``lost`` lost probes, and widen the window."""
        self.answers += 1
        self.drops += lost
        if small:
            self.small_answers += 1
            self.small_drops += lost
        else:
            self.large_answers += 1
            self.large_drops += lost
        if self.window < limit:
            self.growth += 1
            if self.window < self.threshold or self.growth >= 8:
                self.growth = 0
                self.window += 1

    def vouched(self, limit: int) -> None:
        """Widen the window where a canary came back and no more than a quarter was lost: by an eighth, or by less once
        it was found too wide.

        Silent ports earn no growth, so a mostly silent host would be asked at its first window to the end. What is sent
        at a small window is not reviewed, so there the pace of a host that was slowed down recovers here; not where it
        refuses, for it may limit that.
        """
        if self.window <= SMALL_WINDOW and not self.closed_ports:
            self.interval -= -(-self.interval // 16)
        if 4 * self.large_drops <= self.large_answers + self.large_drops:
            self.window = min(limit, self.window + self.window // (8 if self.window < self.threshold else 64))

    def lost(self, small: bool) -> None:
        """Count a lost probe to a port that is known to answer."""
        self.drops += 1
        if small:
            self.small_drops += 1
        else:
            self.large_drops += 1

    def was_late(self, small: bool) -> None:
        """Take back that a probe was lost: it was answered late."""
        self.drops = max(0, self.drops - 1)
        if small:
            self.small_drops = max(0, self.small_drops - 1)
        else:
            self.large_drops = max(0, self.large_drops - 1)

    def review(self, now: int) -> None:
        """Halve the window where loss exceeds what was seen at small windows, at most once per timeout.

        Loss of our own making may come from a limit on answers or connections per second, which no window meets well:
        so the host is also asked no more than a quarter faster than it answers, and faster again when loss ends. Few
        samples say how much too fast it was only roughly, so the pace falls to a third at the least.
        """
        total = self.large_answers + self.large_drops
        if now < self.next_review or total < _REVIEW_SAMPLES:
            return
        base, small = _PRIOR_LOSS, self.small_answers + self.small_drops
        if small >= _REVIEW_SAMPLES:
            base = min(_PRIOR_LOSS, 1000 * self.small_drops // small)
            base += base // 2 + 50
        if 1000 * self.large_drops // total > base:
            self.window = self.threshold = max(_MIN_WINDOW, self.window // 2)
            answered = self.asked_since * max(1, total // 4, self.large_answers) // total
            pace = self.busy * 4 // (5 * max(1, answered))
            self.interval = max(self.interval, min(pace, _SLOWEST))
        else:
            self.interval -= -(-self.interval // (8 if self.large_drops else 4))
        self.large_answers = self.large_drops = self.asked_since = self.busy = 0
        self.next_review = now + self.timeout

    def grant(self, retries: int, anywhere: int) -> bool:
        """Recompute how often an unanswered port is asked again; say whether that became more.

        What is lost in a burst may be all of a port's probes, and little of all that the host was asked. So where few
        ports are silent and many answer, those are asked once more than the highest repeat answered ``anywhere``.

        Once there are many samples, all that was asked before is asked again only if the loss is surely that much: less
        two standard deviations.
        """
        before = self.allowed
        # Of few samples one loss says too much: what is silent waits until there are more.
        samples = self.answers + self.drops
        wanted = repeats_for_loss(self.drops, samples) if samples >= self._canaries_needed() else 0
        if wanted > before and samples > _MANY_SAMPLES:
            wanted = max(before, repeats_for_loss(self.drops - 2 * isqrt(self.drops), samples))
        few = _MANY * len(self.questions) <= self.answers
        highest = max(self.highest, anywhere) if few else self.highest
        if highest:
            wanted = max(wanted, highest + 1)
        self.allowed = max(retries, min(wanted, MAX_REPEATS))
        return self.allowed > before

    def known_to_answer(self, port: int, closed: bool) -> None:
        """Remember a port that answers, to be asked again as a canary; closed ones are less of a nuisance."""
        ports = self.closed_ports if closed else self.open_ports
        if len(ports) < _CANARY_PORTS:
            ports.append(port)

    def canary(self) -> int:
        """Choose the port of the next canary, or -1 where none is known or the host has died."""
        ports = self.closed_ports or self.open_ports
        if not ports or self.dead:
            return -1
        self.turn += 1
        self.canaries_sent += 1
        return ports[self.turn % len(ports)]

    def canaries_due(self, now: int) -> int:
        """Say how many canaries are to tell silence from loss now: a few per timeout, as many as silences call for.

        The sooner loss is known, the fewer ports are asked in vain. A host that was slowed down has some for as long as
        it is slow: nothing else tells that it may be asked faster again.
        """
        if now < self.next_canary:
            return 0
        silences = self.silences
        left = min(silences // 4, _CANARY_BURST) + min(silences // 64, _CANARY_MAX - _CANARY_BURST)
        left += silences // _CANARY_APART - self.canaries_sent
        if self.interval and left < _CANARIES_WHEN_SLOW:
            left = min(_CANARIES_WHEN_SLOW, silences // 8 + _CANARY_BURST - self.canaries_sent)
        if left <= 0:
            return 0
        self.next_canary = now + self.timeout
        return min(left, _CANARIES_AT_ONCE)

    def canaries_missing(self) -> int:
        """Give how many canaries must still be sent before silence is called filtered."""
        return self._canaries_needed() - self.canaries_sent

    def _canaries_needed(self) -> int:
        return min(max(1, self.silences // 2), _CANARY_BURST)

    def canary_lost(self, now: int, timeout: int, limit: int) -> None:
        """Count a canary without answer; many in a row, for long, and nothing else heard: the host has died."""
        self.canary_losses += 1
        if self.canary_losses >= _DEAD_AFTER and now - self.last_answer >= 2 * timeout:
            self.dead = True
            self.interval = self.next_send = 0  # there is nobody left to be gentle with
            self.window = limit

    def seems_silent(self) -> bool:
        """Say whether so much was asked of a lone host in vain that the rest of it waits as silent hosts."""
        return self.silences >= _SILENCES and self.phase == HEARD and not self.up and self.srtt < 0

    def is_lost(self) -> bool:
        """Say whether the host is dead beyond doubt: were it one port that fell silent, that port might be limited."""
        return self.dead and len(self.closed_ports or self.open_ports) > 1

    def heard(self, now: int) -> bool:
        """Note a sign of life; say whether the host was taken for dead."""
        was_dead = self.dead
        if was_dead:
            self.doubted = self.last_answer - self.timeout, now
        self.last_answer = now
        self.canary_losses = 0
        self.dead = False
        return was_dead
