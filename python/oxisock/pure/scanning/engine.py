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
    HOST_SILENT,
    HOST_UNREACHABLE,
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
from .crowd import Crowd
from .host import HEARD, MAX_REPEATS, MS, SECOND, SILENT, SMALL_WINDOW, UNHEARD, Host, Probe, Question
from .permutation import GROUP, Order

_TRANSIENT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EADDRINUSE}
)
"""Faults of this machine that pass: the probe is put back."""

_FAULT_PAUSE = 5 * MS
_RATE_SLACK = 2 * MS
_BENCH_LIMIT = 131_072
_LATE = SECOND // 2
"""An unreachable that takes so long is no firewall's: somebody looked for the host, and gave up."""
_LATEST = 3500 * MS
"""After the first probe to a host: nobody looks for it longer."""
_CHECK = 2200 * MS
"""After the first probe to a host: the link was asked three times whose address it is."""
_CHECK_STEP = 50 * MS  # so that many hosts are looked up at once


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
        self._alone = hosts == 1
        self._crowd = Crowd(plan)
        self._hosts: dict[int, Host] = {}  # those about which something is undecided
        self._undrawn = 0  # of those, how many have ports that were not drawn
        self._pledged = 0
        # Probes in flight have a place in the window; all that have a descriptor have one in the room.
        self._window = self._limit = plan.concurrency
        self._room = self._room_limit = max(plan.concurrency, plan.descriptors)
        self._most_pledged = min(plan.concurrency, max(1, self._room_limit // 2))
        self._growth = 0
        self._in_flight = 0
        self._open = 0
        self.reserved = 0
        """Descriptors that the driver uses for other things, to be counted into window and room."""
        self._benched = 0
        self._probes: dict[int, Probe] = {}
        self._token = 0
        self._put_back: deque[Probe] = deque()
        self._ready: tuple[deque[Host], deque[Host], deque[Host]] = (deque(), deque(), deque())  # by phase
        self._timers: list[tuple[int, int, int]] = []  # (time, host number, serial)
        self._listening: list[tuple[int, int, int]] = []  # (time, serial, token)
        self._serial = 0
        self._dropped: list[int] = []  # tokens of probes that are of no use any more
        self._doubtful: list[int] = []
        self._now = 0  # the time of the present call
        self._not_before = 0
        self._fault_since = -1
        self._interval = plan.interval + plan.interval * _RATE_SLACK // SECOND if plan.interval else 0
        self._next_send = 0
        self._outcomes: list[Outcome] = []
        self._events: list[TraceEvent] = []
        self._counts = [0, 0, 0, 0]
        self._sent = self._retries = self._drops = self._local_errors = 0
        self._up = self._unreachable = self._silent = self._unasked = 0

    # --- what the driver calls

    def next(self, now: int) -> ProbeOrder | None:
        """Give the next probe to send at time ``now``, or None where room, window, rate or the work allow none."""
        self._now = now
        if self._open + self.reserved >= self._room or now < max(self._not_before, self._next_send):
            return None
        probe = self._next_probe()
        if probe is None:
            return None
        if self._interval:
            self._next_send = max(self._next_send, now - _RATE_SLACK) + self._interval
        return self._send(probe, now)

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
            return
        host = probe.host
        self._land(probe)
        self._open -= 1
        self._trace(now, host, probe.port, probe.repeat, what)
        if what < 0 or what in (BROADCAST, MULTICAST):
            if probe.listening:  # its port was asked again since: it hears nothing more, and that is all
                self._local_errors += 1
                self._stopped_listening(host, probe.port, token)
            else:
                self._local_fault(probe, what, lasting, now)
            return
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
        while self._timers and self._timers[0][0] <= now:
            deadline, index, _ = heapq.heappop(self._timers)
            host = self._hosts.get(index)
            if host is None or deadline != host.armed:
                continue
            host.armed = -1
            patience = self._patience(host)
            while host.sent:
                probe = self._probes.get(host.sent[0])
                if probe is not None:
                    if probe.sent_at + patience > now:
                        break
                    overdue.append(host.sent[0])
                host.sent.popleft()
            if host.next_send <= now:
                host.waiting_for_pace = False
            if 0 <= host.check_at <= now:
                host.check_at = -1
                if not host.up:
                    host.checking = True
                    self._doubtful.append(index)
            self._arm(host)
            self._touch(host)
        for token in overdue:
            if token in self._probes:
                self._overdue(token, now)
        while self._listening and self._listening[0][0] <= now:
            _, _, token = heapq.heappop(self._listening)
            if token in self._probes:
                self._heard_nothing(token)
        expired, self._dropped = self._dropped, []
        self._open -= len(expired)
        return expired

    def take_doubtful(self) -> list[int]:
        """Give the hosts for which the driver is to look into the neighbour table, and say `neighbour` of each."""
        doubtful, self._doubtful = self._doubtful, []
        return doubtful

    def neighbour(self, index: int, there: bool | None, now: int) -> None:
        """Take what the neighbour table says of a host: whether it answers there; None where it stands nowhere."""
        self._now = now
        host = self._hosts.get(index)
        if host is None or host.up:
            return
        if there is False:
            self._unreachable += 1
            self._close(host, HOST_UNREACHABLE, HOST_UNREACHABLE)
            return
        if there:
            self._crowd.settled(host, now)
        host.checking = False
        self._touch(host)

    def wakeup(self, now: int) -> int | None:
        """Give the time at which `expire` or `next` may have something to do if no answer comes, or None."""
        if self._dropped:
            return now
        times = [heap[0][0] for heap in (self._timers, self._listening) if heap]
        if self._open + self.reserved < self._room:
            waits = [self._not_before, self._next_send]
            if self._order.upcoming is not None:
                waits.append(self._crowd.room_at(self._order.upcoming))
            times += [time for time in waits if time > now]
        return min(times, default=None)

    def finished(self) -> bool:
        """Say whether every port is decided."""
        return self._order.upcoming is None and not self._hosts

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
        probes = self._sent, self._retries, self._drops, self._local_errors
        hosts = self._order.hosts, self._up, self._unreachable, self._silent
        return Tally(opened, closed, filtered, error, *probes, *hosts, self._unasked)

    # --- choosing

    def _next_probe(self) -> Probe | None:
        in_window = self._in_flight + self.reserved < self._window
        while self._put_back:
            if not in_window:
                return None
            probe = self._put_back.popleft()
            probe.host.put_back -= 1
            if probe.canary or not probe.repeat or probe.port in probe.host.questions:  # else answered meanwhile
                return probe
            self._touch(probe.host)
        while True:
            if self._plan.random:
                self._admit()
            # In random order who is not heard yet comes first; by address, what was begun is ended first.
            host = None
            for phase in (UNHEARD, HEARD) if self._plan.random else (HEARD, UNHEARD):
                if phase == UNHEARD or in_window:
                    host = host or self._pop(phase)
            if host is None:
                if not self._plan.random and self._admit():
                    continue
                host = self._pop(SILENT) if in_window else None
                if host is None:
                    return None
            found = self._take(host)
            if found is not None:
                return found

    def _pop(self, phase: int) -> Host | None:
        ready = self._ready[phase]
        while ready:
            host = ready.popleft()
            if host.gone:
                continue
            host.queued = False
            if host.phase == phase:
                return host
            self._touch(host)
        return None

    def _admit(self) -> bool:
        """Begin with one more host, if there is one and the hosts that are not heard yet leave room for it."""
        index = self._order.upcoming
        if index is None or self._undrawn >= GROUP:
            return False
        if not self._alone and self._pledged >= self._most_pledged:
            return False
        if not self._crowd.has_room(index, self._now):
            return False
        index, order = self._order.take()
        host = self._hosts[index] = Host(index, order, self._plan.timeout, self._plan.retries, self._limit)
        self._undrawn += 1
        self._crowd.enter(host, self._now)
        if self._alone:
            host.phase = HEARD  # it holds nobody up
        else:
            host.pledged = True
            self._pledged += host.first
        self._touch(host)
        return True

    def _take(self, host: Host) -> Probe | None:
        """Give the next thing to ask of a host, if there is any by now, and queue it again if there are more."""
        found: Probe | None = None
        while found is None and host.may_be_asked(self._now):
            if host.waiting:
                probe = host.waiting.popleft()
                if probe.canary:
                    if not host.dead:
                        found = probe
                elif probe.port in host.questions:  # else answered meanwhile
                    if host.dead and probe.repeat > self._plan.retries:
                        self._bench(host, probe.port, probe.repeat - 1)
                    else:
                        found = probe
            elif (port := self._draw(host)) >= 0:
                found = Probe(host, port, 0, False)
            else:
                break
        if found is None or host.waiting or host.to_draw():  # else it is not done: its last probe is about to leave
            self._touch(host, again=found is not None)
        return found

    def _draw(self, host: Host) -> int:
        while host.to_draw():
            port = self._plan.ports[host.order[host.cursor]]
            host.cursor += 1
            if host.cursor == host.order.count:
                host.drawn = True
                self._undrawn -= 1
            if host.cursor > host.asked_before:
                return port
            if port not in host.decided:
                self._close_question(host, port)  # it begins anew
                return port
        return -1

    def _send(self, probe: Probe, now: int) -> ProbeOrder:
        host = probe.host
        token = self._token = self._token + 1
        probe.sent_at = now
        probe.small = host.window <= SMALL_WINDOW
        self._probes[token] = probe
        host.asked(now, _RATE_SLACK)
        self._open += 1
        if host.phase != UNHEARD:
            probe.windowed = True
            self._in_flight += 1
        self._sent += 1
        self._retries += probe.repeat > 0
        if host.first_sent < 0:
            host.first_sent = now
            if host.link >= 0:
                host.check_at = -(-(now + _CHECK) // _CHECK_STEP) * _CHECK_STEP
        if not probe.canary and (question := host.questions.get(probe.port)):
            question.tokens.append(token)
            question.exhausted = False
        while host.sent and host.sent[0] not in self._probes:
            host.sent.popleft()
        host.sent.append(token)
        if host.armed < 0 or now + self._patience(host) < host.armed:
            self._arm(host)
        self._trace(now, host, probe.port, probe.repeat, SENT)
        return ProbeOrder(token, host.index, probe.port, probe.repeat)

    # --- time

    def _patience(self, host: Host) -> int:
        """Give how long a probe of this host has a place in the window, before its port is asked again."""
        if not self._plan.adaptive or host.phase == UNHEARD:
            return self._plan.timeout
        if host.phase == SILENT:
            return host.wait // 2
        return min(self._plan.timeout, host.timeout)

    def _listens_until(self, probe: Probe, last: bool) -> int:
        """Give how long a probe whose time is over stays to listen; where descriptors are short, only the last does."""
        host = probe.host
        spare = self._room_limit > self._limit and 2 * self._open < self._room_limit
        if not last and not spare:
            return -1
        if host.phase == UNHEARD:
            # Nobody is waiting for it, but a word that the host is not there saves asking its other ports.
            more = host.order.count > host.first and not self._plan.skip_silent
            return host.first_sent + _LATEST if last and more and spare else -1
        if not self._plan.adaptive:
            return -1
        return probe.sent_at + (host.wait if host.phase == SILENT else self._plan.timeout)

    def _arm(self, host: Host) -> None:
        """Set the host's timer to the earliest time at which there is something to do, if that is earlier."""
        earliest = host.check_at
        if host.waiting_for_pace and (earliest < 0 or host.next_send < earliest):
            earliest = host.next_send
        while host.sent and host.sent[0] not in self._probes:
            host.sent.popleft()
        if host.sent:
            deadline = self._probes[host.sent[0]].sent_at + self._patience(host)
            if earliest < 0 or deadline < earliest:
                earliest = deadline
        if earliest >= 0 and (host.armed < 0 or earliest < host.armed):
            host.armed = earliest
            self._serial += 1
            heapq.heappush(self._timers, (earliest, host.index, self._serial))

    # --- what came of a probe

    def _land(self, probe: Probe) -> None:
        """Take a probe out of flight, or from those that listen."""
        host = probe.host
        if probe.listening:
            host.listening -= 1
            return
        host.in_flight -= 1
        if probe.windowed:
            self._in_flight -= 1

    def _answered(self, probe: Probe, what: int, now: int) -> None:
        host, rtt = probe.host, now - probe.sent_at
        shorter = host.sample(rtt, self._plan.timeout)
        if not host.up:
            self._came_up(host, probe.port)
        elif shorter:
            self._arm(host)
        if not self._alone:
            self._crowd.heard(host.network, host.index, host.timeout)
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
        if probe.repeat:
            self._grant(host)

    def _seems_unreachable(self, probe: Probe, what: int, now: int) -> bool:
        """Take what was said of a host by somebody else; say whether it is the last word on all its ports."""
        host, after = probe.host, now - probe.sent_at
        if host.up or what == NO_RESPONSE:
            return False
        if after >= _LATE and what != SELF_CONNECT:
            if what != HOST_UNREACHABLE:
                return False
            self._unreachable += 1
            self._close(host, HOST_UNREACHABLE, HOST_UNREACHABLE)
            return True
        host.sample(after, self._plan.timeout)  # a firewall is no farther than what is behind it
        self._came_up(host, probe.port)
        if not self._alone:
            self._crowd.heard(host.network, host.index, host.timeout)
        return False

    def _came_up(self, host: Host, port: int) -> None:
        """Something came from a host for the first time."""
        host.up = True
        self._up += 1
        self._crowd.settled(host, self._now)
        self._unpledge(host)
        if host.phase == SILENT:
            # What was silent while it was listened to for a moment only is asked again, but for what is under way and
            # for the port that answers.
            waiting = [probe.port for probe in host.waiting if probe.port in host.questions]
            flying = [probe.port for token in host.sent if (probe := self._probes.get(token))]
            held = [probe.port for probe in self._put_back if probe.host is host]
            host.decided.update(waiting, flying, held, [port])
            host.asked_before, host.cursor = host.cursor, host.first
            if host.drawn:
                host.drawn = False
                self._undrawn += 1
        host.phase = HEARD
        self._arm(host)

    def _overdue(self, token: int, now: int) -> None:
        """The time of a probe is over: ask again, and listen on for a late answer."""
        probe = self._probes[token]
        host = probe.host
        self._land(probe)
        self._trace(now, host, probe.port, probe.repeat, NO_RESPONSE)
        self._sent_well()
        if probe.canary:
            self._forget(token)
            self._drops += 1
            host.lost(probe.small)
            host.review(now)
            host.canary_lost(now, self._plan.timeout, self._limit)
            if host.dead:
                host.allowed = self._plan.retries
            else:
                self._grant(host)
                if probe.repeat < MAX_REPEATS:
                    host.waiting.appendleft(Probe(host, probe.port, probe.repeat + 1, True))
        else:
            host.silences += 1
            question = host.questions.get(probe.port)
            if question is None:
                question = host.questions[probe.port] = Question()
                question.tokens.append(token)
            last = probe.repeat >= host.allowed
            until = self._listens_until(probe, last)
            if until > now:
                probe.listening = True
                host.listening += 1
                self._serial += 1
                heapq.heappush(self._listening, (until, self._serial, token))
            else:
                self._forget(token)
            if not last:
                host.waiting.append(Probe(host, probe.port, probe.repeat + 1, False))
            elif host.phase == SILENT:
                question.exhausted = True
                if until <= now:
                    del host.questions[probe.port]
            else:
                self._bench(host, probe.port, probe.repeat)
            if self._plan.adaptive:
                for _ in range(host.canaries_due(now)):
                    self._add_canary(host)
        self._touch(host)

    def _heard_nothing(self, token: int) -> None:
        """A probe has listened long enough."""
        probe = self._probes[token]
        host = probe.host
        self._land(probe)
        self._forget(token)
        self._stopped_listening(host, probe.port, token)

    def _stopped_listening(self, host: Host, port: int, token: int) -> None:
        question = host.questions.get(port)
        if question and question.exhausted and question.tokens[-1] == token:
            del host.questions[port]
        self._touch(host)

    def _forget(self, token: int) -> None:
        del self._probes[token]
        self._dropped.append(token)

    def _grant(self, host: Host) -> None:
        """Let a host where loss was seen have its silent ports asked more often, those on the bench at once."""
        if not self._plan.adaptive or not host.grant(self._plan.retries):
            return
        for _ in range(len(host.bench)):
            port, repeat = host.bench.popleft()
            question = host.questions.get(port)
            if question is None:
                continue
            if repeat < host.allowed:
                question.benched = False
                self._benched -= 1
                host.waiting.append(Probe(host, port, repeat + 1, False))
            else:
                host.bench.append((port, repeat))

    def _bench(self, host: Host, port: int, repeat: int) -> None:
        """Set a silent port aside until its host is finished: loss seen by then gives it another chance."""
        if not self._plan.adaptive:
            self._decide(host, port, FILTERED, NO_RESPONSE, -1)
            return
        host.questions[port].benched = True
        host.bench.append((port, repeat))
        self._benched += 1
        if self._benched > _BENCH_LIMIT:
            self._unbench(host)

    def _unbench(self, host: Host) -> None:
        port, _ = host.bench.popleft()
        if port in host.questions:
            self._decide(host, port, FILTERED, NO_RESPONSE, -1)

    def _add_canary(self, host: Host) -> bool:
        port = host.canary()
        if port < 0:
            return False
        # Before all others: it is to judge what happens to them.
        host.waiting.appendleft(Probe(host, port, 0, True))
        return True

    def _touch(self, host: Host, *, again: bool = False) -> None:
        """Queue a host that has something to ask and room in its window; see whether one is done that has nothing.

        ``again``: it was asked just now. Where the order is by address, and of silent hosts, one is asked to its end
        before the next.
        """
        if host.gone:
            return
        if host.waiting or host.to_draw():
            if host.queued or host.in_flight >= host.window:
                return
            if self._now >= host.next_send:
                host.queued = True
                host.waiting_for_pace = False
                if again and (host.phase == SILENT or not self._plan.random):
                    self._ready[host.phase].appendleft(host)
                else:
                    self._ready[host.phase].append(host)
            elif not host.waiting_for_pace:
                host.waiting_for_pace = True
                self._arm(host)
        elif host.in_flight == 0 and host.put_back == 0:
            self._done_asking(host)

    def _done_asking(self, host: Host) -> None:
        """There is nothing left to ask of a host in its phase."""
        if host.phase == HEARD and host.up:
            missing = host.canaries_missing() if host.bench else 0
            asked = False
            while missing > 0 and self._add_canary(host):
                missing -= 1
                asked = True
            if asked:
                self._touch(host)
            elif host.listening == 0:
                while host.bench:
                    self._unbench(host)
                self._remove(host)
            return
        if host.checking or self._check_is_near(host):
            return
        skip = self._plan.skip_silent and not host.faulty  # what could not be asked is not silent
        if host.phase == UNHEARD and host.first < host.order.count and not skip:
            self._unpledge(host)
            host.phase = SILENT
            host.wait = self._crowd.wait(host.network)
            self._touch(host)
        elif host.phase == SILENT:
            if len(host.questions) == sum(port in host.questions for port, _ in host.bench):
                self._end_silently(host)
        elif host.phase == UNHEARD or host.listening == 0:
            self._end_silently(host)

    def _check_is_near(self, host: Host) -> bool:
        """Say whether the neighbour table will soon tell a silent host from nobody."""
        return self._plan.adaptive and 0 <= host.check_at - self._now <= self._plan.timeout // 2

    def _end_silently(self, host: Host) -> None:
        """Close a host from which nothing has come."""
        self._silent += not host.faulty
        self._close(host, NO_RESPONSE, HOST_SILENT)

    def _close(self, host: Host, asked: int, unasked: int) -> None:
        """Decide what is undecided of a host that is not up, by whether it was asked, and forget the host."""
        for token in host.sent:
            if token in self._probes:
                self._land(self._probes[token])
                self._forget(token)
        for question in host.questions.values():
            self._benched -= question.benched
            for token in question.tokens:
                if token in self._probes:
                    self._land(self._probes[token])
                    self._forget(token)
        if host.put_back:
            self._put_back = deque(probe for probe in self._put_back if probe.host is not host)
        count = host.order.count
        self._unasked += count - host.cursor
        self._counts[FILTERED] += count - len(host.decided)
        if self._plan.keep >> FILTERED & 1:
            for position in range(count):
                port = self._plan.ports[host.order[position]]
                if port not in host.decided:
                    reason = asked if position < host.cursor else unasked
                    self._outcomes.append(Outcome(host.index, port, FILTERED, reason, -1, None))
        self._unpledge(host)
        self._remove(host)

    def _unpledge(self, host: Host) -> None:
        if host.pledged:
            host.pledged = False
            self._pledged -= host.first

    def _remove(self, host: Host) -> None:
        host.gone = True
        self._undrawn -= not host.drawn
        del self._hosts[host.index]

    def _decide(self, host: Host, port: int, state: int, reason: int, rtt: int) -> None:
        self._counts[state] += 1
        if not host.up or host.asked_before:
            host.decided.add(port)
        if self._plan.keep >> state & 1:
            self._outcomes.append(Outcome(host.index, port, state, reason, rtt, None))
        self._close_question(host, port)

    def _close_question(self, host: Host, port: int) -> None:
        question = host.questions.pop(port, None)
        if question is not None:
            self._benched -= question.benched
            for token in question.tokens:
                if token in self._probes:
                    self._land(self._probes[token])
                    self._forget(token)

    # --- faults of this machine

    def _local_fault(self, probe: Probe, what: int, lasting: bool, now: int) -> None:
        """Put the probe back and narrow the window; only a fault that lasts with nothing else open is a verdict."""
        host = probe.host
        self._local_errors += 1
        if -what in _TRANSIENT and not lasting:
            self._window = max(1, self._in_flight)
            self._room = max(1, self._open)
            if self._in_flight == 0:
                self._not_before = now + _FAULT_PAUSE
            if self._open == 0:
                if self._fault_since < 0:
                    self._fault_since = now
                lasting = now - self._fault_since >= self._plan.timeout
            if not lasting:
                host.put_back += 1
                self._put_back.appendleft(probe)
                return
        if not probe.canary:
            host.faulty = True
            self._decide(host, probe.port, ERROR, what, -1)
        self._touch(host)

    def _sent_well(self) -> None:
        """A probe left this machine: the fault, if there was one, is over, and window and room recover slowly."""
        self._fault_since = -1
        if self._window < self._limit or self._room < self._room_limit:
            self._growth += 1
            if self._growth >= self._window:
                self._growth = 0
                self._window = min(self._limit, self._window + 1)
                self._room = min(self._room_limit, self._room + 1)

    def _trace(self, now: int, host: Host, port: int, repeat: int, what: int) -> None:
        if self._plan.trace:
            self._events.append(TraceEvent(now, host.index, port, repeat, what))
