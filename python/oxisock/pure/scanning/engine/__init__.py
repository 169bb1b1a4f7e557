"""The scanner's decisions: what to ask next, how long to wait, when to ask again, what an answer means.

A machine: it opens no socket and reads no clock. A driver asks it for probes (`next`), tells it what came of them
(`answer`), and lets time pass (`expire`); durations and times are integer nanoseconds. The native engine takes the
same decisions in the same order.

`choosing` is what is asked next, `answers` what came of it, `verdicts` how a port is decided, `phases` what becomes of
a host, `watching` what the way to the hosts bears, `faults` those of this machine, `state` what all of them remember.
"""

from __future__ import annotations

import heapq

from ....engines.scanning import (
    BROADCAST,
    CLOSED,
    CONN_REFUSED,
    FILTERED,
    LASTING,
    MULTICAST,
    SELF_CONNECT,
    SYN_ACK,
    Outcome,
    Tally,
    TraceEvent,
)
from .answers import Answers
from .choosing import Choosing
from .state import RATE_SLACK, ProbeOrder
from .watching import Watching

__all__ = ["ProbeOrder", "ScanEngine"]


class ScanEngine(Choosing, Answers, Watching):
    """The machine of one scan: what the driver calls."""

    __slots__ = ()

    def next(self, now: int) -> ProbeOrder | None:
        """Return the next probe to send at time ``now``, or None where room, window, rate or the work allow none."""
        self._now = now
        if self._open + self.reserved >= self._room or now < self._not_before or now < self._next_send:
            return None
        path = self._path
        if now < path.next_send:
            return None
        witness = path.due(now, self._open - self._in_flight) if now >= path.next_canary else None
        if witness is not None:
            order = self._ask_witness(*witness, now)
        elif probe := self._next_probe():
            order = self._send(probe, now)
        else:
            return None
        if self._interval:
            self._next_send = max(self._next_send, now - RATE_SLACK) + self._interval
        return order

    def answer(self, token: int, what: int, now: int) -> None:
        """Take what came of a probe: a reason of an Outcome, or -errno for a fault of this machine.

        -(LASTING + errno) is a fault that will not pass. A token that was given up is ignored.
        """
        self._now = now
        lasting = what <= -LASTING
        if lasting:
            what += LASTING
        probe = self._probes.pop(token, None)
        if probe is None:
            self._witness_answered(token, what, now)
            return
        host = probe.host
        self._land(probe)
        self._trim(host)
        self._open -= 1
        if self._tracing:
            self._trace(now, probe, what)
        if what < 0 or what in (BROADCAST, MULTICAST):
            if probe.listening:  # its port was asked again since: it hears nothing more, and that is all
                self._local_errors += 1
                self._stopped_listening(host, probe.port, token)
            else:
                self._local_fault(probe, what, lasting, now)
            return
        if self._recovering:
            self._sent_well()
        if what in (SYN_ACK, CONN_REFUSED):
            self._answered(probe, what, now)
        elif not self._seems_unreachable(probe, what, now) and not probe.canary:
            self._decide(host, probe.port, CLOSED if what == SELF_CONNECT else FILTERED, what, -1)
        self._touch(host)

    def expire(self, now: int) -> list[int]:
        """Let time pass; give the tokens of the probes that are of no use any more, so that the driver closes them."""
        self._now = now
        overdue: list[int] = []
        probes = self._probes
        while self._timers and self._timers[0][0] <= now:
            deadline, index, _ = heapq.heappop(self._timers)
            host = self._hosts.get(index)
            if host is None or deadline != host.armed:
                continue
            host.armed = -1
            patience = self._patience(host)
            sent = host.sent
            sent_by = now - patience
            while sent:
                probe = probes.get(token := sent.popleft())
                if probe is not None:
                    if probe.sent_at > sent_by:
                        sent.appendleft(token)
                        break
                    overdue.append(token)
            if host.next_send <= now:
                host.waiting_for_pace = False
            if host.ends_at <= now:
                host.ends_at = -1
            if 0 <= host.check_at <= now:
                host.check_at = -1
                if not host.up:
                    host.checking = True
                    self._doubtful.append(index)
            self._arm(host)
            self._touch(host)
        spare = self._spare()  # for all of them, as descriptors are closed afterwards
        for token in overdue:
            probe = probes.get(token)
            if probe is not None:
                self._overdue(token, probe, now, spare)
        self._end_listening(now)
        if self._path.followed:
            self._watch_path(now)
        expired, self._dropped = self._dropped, []
        self._open -= len(expired)
        return expired

    def take_doubtful(self) -> list[int]:
        """Return the hosts for which the driver is to look into the neighbour table, and say `neighbour` of each."""
        doubtful, self._doubtful = self._doubtful, []
        return doubtful

    def wakeup(self, now: int) -> int | None:
        """Return the time at which `expire` or `next` may have something to do if no answer comes, or None."""
        if self._dropped:
            return now
        times = [heap[0][0] for heap in (self._timers, self._listening) if heap]
        if (deadline := self._path.witnesses.deadline()) is not None:
            times.append(deadline)
        elif (idle_at := self._path.idle_at()) is not None:
            times.append(max(now, idle_at))
        if self._open + self.reserved < self._room:
            waits = [self._not_before, self._next_send, self._path.next_send, self._next_unheard]
            if self._order.upcoming is not None:
                waits.append(self._crowd.room_at(self._order.upcoming))
            times += [time for time in waits if time > now]
        return min(times, default=None)

    def finished(self) -> bool:
        """Return whether every port is decided."""
        return self._order.upcoming is None and not self._hosts

    def take_outcomes(self) -> list[Outcome]:
        """Return and forget the outcomes since the last call, of the states that the plan keeps."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def take_events(self) -> list[TraceEvent]:
        """Return and forget the events since the last call; none unless the plan asks for a trace."""
        events, self._events = self._events, []
        return events

    def tally(self) -> Tally:
        """Return the totals so far."""
        opened, closed, filtered, error = self._counts
        probes = self._token, self._retries, self._drops, self._local_errors
        hosts = self._order.hosts, self._up, self._unreachable, self._silent
        return Tally(opened, closed, filtered, error, *probes, *hosts, self._unasked)
