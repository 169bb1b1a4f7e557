"""The scanner's decisions: what to ask next, how long to wait, when to ask again, what an answer means.

A machine: it opens no socket and reads no clock. A driver asks it for probes (`next`), tells it what came of them
(`answer`), and lets time pass (`expire`); durations and times are integer nanoseconds. The native engine takes the
same decisions in the same order.
"""

from __future__ import annotations

import errno
import heapq
from collections import deque
from typing import NamedTuple

from ...engines.scanning import (
    BROADCAST,
    CLOSED,
    CONN_REFUSED,
    ERROR,
    FILTERED,
    LASTING,
    MULTICAST,
    NO_RESPONSE,
    OPEN,
    SELF_CONNECT,
    SENT,
    SYN_ACK,
    Outcome,
    ScanPlan,
    Tally,
    TraceEvent,
)
from .host import LEVELS, MAX_REPEATS, MS, SECOND, SMALL_WINDOW, Host, Probe, level
from .permutation import GROUP, Order

_TRANSIENT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EADDRINUSE}
)
"""Faults of this machine that pass: the probe is put back."""

_FAULT_PAUSE = 5 * MS
_RATE_SLACK = 2 * MS
_BENCH_LIMIT = 131_072


class ProbeOrder(NamedTuple):
    """What the driver is to send: connect to ``port`` of host number ``host``; ``token`` names the probe."""

    token: int
    host: int
    port: int
    repeat: int


class ScanEngine:
    """The machine of one scan of ``hosts`` hosts."""

    def __init__(self, plan: ScanPlan, hosts: int) -> None:
        self._plan = plan
        self._order = Order(
            hosts,
            len(plan.ports),
            plan.first_ports,
            random=plan.random,
            seed=plan.seed,
            start=plan.shard,
            step=plan.shards,
        )
        self.total = self._order.total
        self._pairs = iter(self._order)
        self._drawn_all = False
        self._group = -1
        self._hosts: dict[int, Host] = {}  # those that are not finished
        self._group_members: list[Host] = []
        self._window = self._limit = plan.concurrency
        self._window_growth = 0
        self._in_flight = 0
        self.reserved = 0
        """Descriptors that the driver uses for other things, to be counted into the window."""
        self._parked = 0
        self._benched = 0
        self._probes: dict[int, Probe] = {}
        self._token = 0
        self._put_back: deque[Probe] = deque()
        self._ready: deque[Host] = deque()
        self._timers: list[tuple[int, int, int]] = []  # (time, host number, serial)
        self._timer_serial = 0
        self._now = 0  # the time of the present call
        self._not_before = 0
        self._fault_since = -1
        self._interval = plan.interval + plan.interval * _RATE_SLACK // SECOND if plan.interval else 0
        self._next_send = 0
        self._outcomes: list[Outcome] = []
        self._events: list[TraceEvent] = []
        self._counts = [0, 0, 0, 0]
        self._sent = self._retries = self._drops = self._local_errors = 0

    # --- what the driver calls

    def next(self, now: int) -> ProbeOrder | None:
        """Give the next probe to send at time ``now``, or None where the window, the rate or the work allows none."""
        self._now = now
        if self._in_flight + self.reserved >= self._window or now < max(self._not_before, self._next_send):
            return None
        probe = self._next_probe()
        if probe is None:
            return None
        if self._interval:
            self._next_send = max(self._next_send, now - _RATE_SLACK) + self._interval
        return self._send(probe, now)

    def answer(self, token: int, what: int, now: int) -> None:
        """Take what came of a probe: a reason of an Outcome, or -errno for a fault of this machine.

        -(LASTING + errno) is a fault that will not pass.
        """
        self._now = now
        lasting = what <= -LASTING
        if lasting:
            what += LASTING
        probe = self._probes.pop(token)
        host = probe.host
        host.in_flight -= 1
        self._in_flight -= 1
        self._trace(now, host, probe.port, probe.repeat, what)
        if what < 0 or what in (BROADCAST, MULTICAST):
            self._local_fault(probe, what, lasting, now)
            return
        self._sent_well()
        if what in (SYN_ACK, CONN_REFUSED):
            self._heard(probe, what, now)
        elif not probe.canary:
            # Refused by itself or by a router on the way: no round trip of the host, and no word on loss.
            self._decide(host, probe.port, CLOSED if what == SELF_CONNECT else FILTERED, what, -1)
        self._touch(host)

    def expire(self, now: int) -> list[int]:
        """Give up the probes whose time is over by ``now``, and give their tokens, so that the driver closes them."""
        self._now = now
        expired: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            deadline, index, _ = heapq.heappop(self._timers)
            host = self._hosts.get(index)
            if host is None:
                continue
            if deadline != host.armed:
                if deadline == host.nap:
                    host.nap = -1
                    self._touch(host)
                continue
            host.armed = -1
            for number in range(LEVELS):
                queue, limit = host.sent.get(number), self._timeout(host, number)
                while queue:
                    probe = self._probes.get(queue[0])
                    if probe is None:
                        queue.popleft()
                        continue
                    if probe.sent_at + limit > now:
                        break
                    expired.append(queue.popleft())
            self._arm(host)
        for token in expired:
            self._unanswered(self._probes.pop(token), now)
        return expired

    def wakeup(self, now: int) -> int | None:
        """Give the time at which `expire` or `next` may have something to do if no answer comes, or None."""
        times = [self._timers[0][0]] if self._timers else []
        if self._in_flight + self.reserved < self._window:
            times += [time for time in (self._not_before, self._next_send) if time > now]
        return min(times, default=None)

    def finished(self) -> bool:
        """Say whether every port is decided."""
        return sum(self._counts) == self.total

    def take_outcomes(self) -> list[Outcome]:
        """Give and forget the outcomes since the last call, of the states that the plan keeps."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def take_events(self) -> list[TraceEvent]:
        """Give and forget the events since the last call; none unless the plan asks for a trace."""
        events, self._events = self._events, []
        return events

    def tally(self) -> Tally:
        """Give the totals so far."""
        opened, closed, filtered, error = self._counts
        return Tally(opened, closed, filtered, error, self._sent, self._retries, self._drops, self._local_errors)

    # --- choosing

    def _next_probe(self) -> Probe | None:
        if self._put_back:
            probe = self._put_back.popleft()
            probe.host.put_back -= 1
            return probe
        while self._ready:
            host = self._ready.popleft()
            host.queued = False
            waiting = self._next_waiting(host)
            if waiting is None:
                self._touch(host)
                continue
            if host.waiting:
                self._touch(host)
            return waiting
        while self._parked < self._limit and not self._drawn_all:
            host_and_port = self._draw()
            if host_and_port is None:
                break
            host, port = host_and_port
            probe = Probe(host, port, 0, False)
            if host.may_be_asked(self._now):
                return probe
            self._parked += 1
            host.waiting.append(probe)
            self._touch(host)
        return None

    def _next_waiting(self, host: Host) -> Probe | None:
        while host.waiting and host.may_be_asked(self._now):
            probe = host.waiting.popleft()
            if probe.repeat == 0 and not probe.canary:
                self._parked -= 1
            if not host.dead or (probe.repeat <= self._plan.retries and not probe.canary):
                return probe
            if not probe.canary:  # the host died since: this port has been asked often enough
                self._bench(host, probe.port, probe.repeat - 1)
        return None

    def _draw(self) -> tuple[Host, int] | None:
        pair = next(self._pairs, None)
        if pair is None:
            self._drawn_all = True
            self._leave_group()
            return None
        index, port_index = pair
        if index // GROUP != self._group:
            self._leave_group()
            self._group = index // GROUP
        host = self._hosts.get(index)
        if host is None:
            limit = self._limit
            host = Host(index, self._plan.timeout, self._plan.retries, max(1, limit // 2), limit)
            self._hosts[index] = host
            self._group_members.append(host)
        return host, self._plan.ports[port_index]

    def _leave_group(self) -> None:
        members, self._group_members = self._group_members, []
        for host in sorted(members, key=lambda host: host.index):
            host.drawn = True
            self._touch(host)

    def _send(self, probe: Probe, now: int) -> ProbeOrder:
        host = probe.host
        token = self._token = self._token + 1
        probe.sent_at = now
        probe.small = host.window <= SMALL_WINDOW
        self._probes[token] = probe
        host.asked(now, _RATE_SLACK)
        self._in_flight += 1
        self._sent += 1
        self._retries += probe.repeat > 0
        queue = host.sent.setdefault(level(probe.repeat), deque())
        while queue and queue[0] not in self._probes:
            queue.popleft()
        queue.append(token)
        if host.armed < 0 or now + self._timeout(host, level(probe.repeat)) < host.armed:
            self._arm(host)
        self._trace(now, host, probe.port, probe.repeat, SENT)
        return ProbeOrder(token, host.index, probe.port, probe.repeat)

    # --- time

    def _timeout(self, host: Host, doublings: int) -> int:
        if not self._plan.adaptive:
            return self._plan.timeout
        return min(self._plan.timeout, host.timeout << doublings)

    def _arm(self, host: Host) -> None:
        """Set the host's timer to the earliest deadline among its probes in flight, if that is earlier."""
        earliest = -1
        for number, queue in host.sent.items():
            while queue and queue[0] not in self._probes:
                queue.popleft()
            if queue:
                deadline = self._probes[queue[0]].sent_at + self._timeout(host, number)
                if earliest < 0 or deadline < earliest:
                    earliest = deadline
        if earliest >= 0 and (host.armed < 0 or earliest < host.armed):
            host.armed = earliest
            self._push_timer(earliest, host)

    def _push_timer(self, time: int, host: Host) -> None:
        self._timer_serial += 1
        heapq.heappush(self._timers, (time, host.index, self._timer_serial))

    # --- what came of a probe

    def _heard(self, probe: Probe, what: int, now: int) -> None:
        host, rtt = probe.host, now - probe.sent_at
        if host.sample(rtt, self._plan.timeout):
            self._arm(host)
        lost = 0 if probe.canary else probe.repeat  # a canary's losses were counted as they came
        self._drops += lost
        host.heard(now)
        host.answered(probe.small, lost, self._limit)
        host.review(now)
        host.highest = max(host.highest, probe.repeat)
        if probe.canary:
            host.vouched(self._limit)
        else:
            host.known_to_answer(probe.port, closed=what == CONN_REFUSED)
            self._decide(host, probe.port, OPEN if what == SYN_ACK else CLOSED, what, rtt)
        if lost or probe.repeat:
            self._grant(host)

    def _unanswered(self, probe: Probe, now: int) -> None:
        host = probe.host
        host.in_flight -= 1
        self._in_flight -= 1
        self._trace(now, host, probe.port, probe.repeat, NO_RESPONSE)
        self._sent_well()
        if probe.canary:
            self._drops += 1
            host.lost(probe.small)
            host.review(now)
            host.canary_lost(now, self._plan.timeout)
            if host.dead:
                host.allowed = self._plan.retries
            else:
                self._grant(host)
                if probe.repeat < MAX_REPEATS:
                    host.waiting.append(Probe(host, probe.port, probe.repeat + 1, True))
        else:
            host.silences += 1
            if probe.repeat < host.allowed:
                host.waiting.append(Probe(host, probe.port, probe.repeat + 1, False))
            else:
                self._bench(host, probe.port, probe.repeat)
            if self._plan.adaptive and host.canary_due(now):
                self._add_canary(host)
        self._touch(host)

    def _grant(self, host: Host) -> None:
        """Let a host where loss was seen have its silent ports asked more often, those on the bench at once."""
        if not self._plan.adaptive or not host.grant(self._plan.retries):
            return
        for _ in range(len(host.bench)):
            port, repeat = host.bench.popleft()
            if repeat < host.allowed:
                self._benched -= 1
                host.waiting.append(Probe(host, port, repeat + 1, False))
            else:
                host.bench.append((port, repeat))

    def _bench(self, host: Host, port: int, repeat: int) -> None:
        """Set a silent port aside until its host is finished: loss seen by then gives it another chance."""
        if not self._plan.adaptive:
            self._decide(host, port, FILTERED, NO_RESPONSE, -1)
            return
        host.bench.append((port, repeat))
        self._benched += 1
        if self._benched > _BENCH_LIMIT:
            self._unbench(host)

    def _unbench(self, host: Host) -> None:
        port, _ = host.bench.popleft()
        self._benched -= 1
        self._decide(host, port, FILTERED, NO_RESPONSE, -1)

    def _add_canary(self, host: Host) -> bool:
        port = host.canary()
        if port < 0:
            return False
        host.waiting.append(Probe(host, port, 0, True))
        return True

    def _touch(self, host: Host) -> None:
        """Queue a host that has something to ask and room in its window; forget one that has nothing left."""
        if host.waiting:
            if host.queued or host.in_flight >= host.window:
                return
            if self._now >= host.next_send:
                host.queued = True
                self._ready.append(host)
            elif host.nap < 0:
                host.nap = host.next_send
                self._push_timer(host.nap, host)
        elif host.drawn and host.in_flight == 0 and host.put_back == 0:
            if host.bench:
                self._finish(host)
            else:
                self._hosts.pop(host.index, None)

    def _finish(self, host: Host) -> None:
        """Call what stayed silent filtered, but not before enough canaries have told silence from loss."""
        missing = host.canaries_missing()
        while missing > 0 and self._add_canary(host):
            missing -= 1
        if not host.waiting:
            while host.bench:
                self._unbench(host)
        self._touch(host)

    def _decide(self, host: Host, port: int, state: int, reason: int, rtt: int) -> None:
        self._counts[state] += 1
        if self._plan.keep >> state & 1:
            self._outcomes.append(Outcome(host.index, port, state, reason, rtt, None))

    # --- faults of this machine

    def _local_fault(self, probe: Probe, what: int, lasting: bool, now: int) -> None:
        """Put the probe back and narrow the window; only a fault that lasts at a window of one is a verdict."""
        host = probe.host
        self._local_errors += 1
        if -what in _TRANSIENT and not lasting:
            self._window = max(1, self._in_flight)
            if self._in_flight == 0:
                self._not_before = now + _FAULT_PAUSE
                if self._fault_since < 0:
                    self._fault_since = now
                lasting = now - self._fault_since >= self._plan.timeout
            if not lasting:
                host.put_back += 1
                self._put_back.appendleft(probe)
                return
        if not probe.canary:
            self._decide(host, probe.port, ERROR, what, -1)
        self._touch(host)

    def _sent_well(self) -> None:
        """A probe left this machine: the fault, if there was one, is over, and the window recovers slowly."""
        self._fault_since = -1
        if self._window < self._limit:
            self._window_growth += 1
            if self._window_growth >= self._window:
                self._window_growth = 0
                self._window += 1

    def _trace(self, now: int, host: Host, port: int, repeat: int, what: int) -> None:
        if self._plan.trace:
            self._events.append(TraceEvent(now, host.index, port, repeat, what))
