"""What the scanner's machine remembers: hosts, probes under way, timers, totals; how a probe lands and is forgotten."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable

from ....engines.scanning import USUAL_CONCURRENCY, Outcome, ScanPlan, TraceEvent
from ..crowd import Crowd
from ..host import FLOOR, MS, SECOND, SILENT, UNHEARD, Host, Listeners, Probe
from ..path import Path
from ..permutation import Order

RATE_SLACK = 2 * MS
_SPREAD = MS // 40
"""Between two probes to hosts that are not heard yet: nobody answers for most addresses, so nothing else keeps
thousands of them from leaving at once, and a queue on the way from dropping what is too much.

That is for the usual concurrency. With a higher one, the time is shorter in proportion.
"""


ProbeOrder = tuple[int, int, int, int]
"""What the driver is to send: (token, which names the probe; host number; port; the how-manieth repeat)."""


class State:
    """The state of one scan of ``hosts`` hosts, and the small steps that all decisions take."""

    # These are read and set for every probe. So many are found much faster in slots than in a dictionary. The classes
    # built on this one have no others.
    # fmt: off
    __slots__ = (
        "_adaptive", "_alone", "_benched", "_counts", "_crowd", "_doubtful", "_dropped", "_drops", "_events",
        "_fault_since", "_growth", "_highest", "_hosts", "_in_flight", "_interval", "_least_patience", "_limit",
        "_listening", "_local_errors", "_most_pledged", "_next_send", "_next_unheard", "_not_before", "_now", "_open",
        "_order", "_outcomes", "_path", "_plan", "_pledged", "_probes", "_put_back", "_random", "_ready", "_recovering",
        "_retries", "_room", "_room_limit", "_serial", "_silent", "_spread", "_timers", "_token", "_tracing",
        "_unasked", "_undrawn", "_unreachable", "_up", "_window", "looked", "reserved", "total",
    )
    # fmt: on

    def __init__(self, plan: ScanPlan, hosts: int) -> None:
        self._plan = plan
        # What is read for every probe.
        self._adaptive, self._random, self._tracing = plan.adaptive, plan.random, plan.trace
        self._least_patience = min(FLOOR, plan.timeout // 2)  # that `_patience` gives
        self._order = Order(plan, hosts)
        self.total = self._order.total
        self._alone = hosts == 1 and not plan.of_many
        self._crowd = Crowd(plan)
        self._path = Path(plan, self._alone)
        self._hosts: dict[int, Host] = {}  # those about which something is undecided
        self._undrawn = 0  # of those, how many have ports that were not drawn
        self._pledged = 0
        # Probes in flight have a place in the window; all that have a descriptor have one in the room.
        self._window = self._limit = plan.concurrency
        self._room = self._room_limit = max(plan.concurrency, plan.descriptors)
        self._most_pledged = min(plan.concurrency, max(1, self._room_limit // 2))
        self._growth = 0
        self._in_flight: int = 0
        self._open: int = 0
        self.reserved = 0
        """Descriptors that the driver uses for other things, to be counted into window and room."""
        self.looked: int | None = None
        """While the driver tells of answers: up to when it had seen all that had come, because they may have come at
        any time since. None if each is told as it comes."""
        self._benched = 0
        self._probes: dict[int, Probe] = {}
        self._token = 0  # of the latest probe, so it is also how many there were
        self._put_back: deque[Probe] = deque()
        self._ready: tuple[deque[Host], deque[Host], deque[Host]] = (deque(), deque(), deque())  # by phase
        self._timers: list[tuple[int, int, int]] = []  # (time, host number, serial)
        # Silence is long and even, so who listens is in a few queues, and the heap is of those: (time, serial, queue).
        self._listening: list[tuple[int, int, Listeners]] = []
        self._serial = 0
        self._dropped: list[int] = []  # tokens of probes that are of no use any more
        self._doubtful: list[int] = []
        self._now = 0  # the time of the present call
        self._not_before = 0
        self._fault_since = -1
        self._recovering = False  # there was a fault of this machine, and its traces are not gone
        self._interval = plan.interval + plan.interval * RATE_SLACK // SECOND if plan.interval else 0
        self._next_send = plan.first_send
        self._spread = _SPREAD * USUAL_CONCURRENCY // max(plan.concurrency, USUAL_CONCURRENCY) if plan.adaptive else 0
        self._next_unheard = 0  # when a host that is not heard yet may be asked
        self._highest = 0  # repeat that any host answered
        self._outcomes: list[Outcome] = []
        self._events: list[TraceEvent] = []
        self._counts = [0, 0, 0, 0]
        self._retries = self._drops = self._local_errors = 0
        self._up = self._unreachable = self._silent = self._unasked = 0

    # --- time

    def _patience(self, host: Host) -> int:
        """Give how long a probe of this host has a place in the window, before its port is asked again."""
        if not self._adaptive:
            return self._plan.timeout
        if host.phase == UNHEARD:
            return self._crowd.patience(host) if self._spare() else self._plan.timeout
        if host.phase == SILENT:
            return host.wait // 2
        if host.seems_silent():
            return self._plan.timeout // 2
        return host.timeout

    def _arm(self, host: Host) -> None:
        """Set the host's timer to the earliest time at which there is something to do, if that is earlier."""
        earliest = host.check_at
        if host.waiting_for_pace and (earliest < 0 or host.next_send < earliest):
            earliest = host.next_send
        if host.ends_at >= 0 and (earliest < 0 or host.ends_at < earliest):
            earliest = host.ends_at
        self._trim(host)
        if host.sent:
            deadline = self._probes[host.sent[0]].sent_at + self._patience(host)
            if earliest < 0 or deadline < earliest:
                earliest = deadline
        if earliest >= 0 and (host.armed < 0 or earliest < host.armed):
            host.armed = earliest
            self._serial += 1
            heapq.heappush(self._timers, (earliest, host.index, self._serial))

    # --- probes under way

    def _spare(self) -> bool:
        """Say whether there are descriptors for probes whose port will be asked again anyway."""
        return self._room_limit > self._limit and 2 * self._open < self._room_limit

    def _land(self, probe: Probe) -> None:
        """Take a probe out of flight, or from those that listen."""
        host = probe.host
        if probe.listening:
            host.listening -= not probe.canary
        else:
            host.in_flight -= 1
            self._in_flight -= probe.windowed

    def _trim(self, host: Host) -> None:
        """Forget the oldest probes of a host that are not under way any more."""
        sent = host.sent
        while sent and sent[0] not in self._probes:
            sent.popleft()

    def _forget(self, token: int) -> None:
        del self._probes[token]
        self._dropped.append(token)

    def _drop_all(self, tokens: Iterable[int]) -> None:
        """Give up what is still under way of these."""
        for token in tokens:
            if token in self._probes:
                self._land(self._probes[token])
                self._forget(token)

    def _trace(self, now: int, probe: Probe, what: int) -> None:
        self._events.append(TraceEvent(now, probe.host.index, probe.port, probe.repeat, what))
