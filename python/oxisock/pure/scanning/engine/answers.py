"""What came of a probe: an answer, a word of somebody else, or nothing in its time."""

from __future__ import annotations

import heapq

from ....engines.scanning import CLOSED, CONN_REFUSED, HOST_UNREACHABLE, NO_RESPONSE, OPEN, SELF_CONNECT, SYN_ACK
from ..host import MAX_REPEATS, MS, SECOND, SILENT, UNHEARD, Host, Listeners, Probe, Question
from .faults import Faults

_LATE = SECOND // 2
"""An unreachable that takes so long is no firewall's: somebody looked for the host, and gave up."""
_LATEST = 3500 * MS
"""After the first probe to a host: nobody looks for it longer."""
_CANARIES_LISTEN = 256
"""With so many descriptors, canaries listen on: they are few."""


class Answers(Faults):
    """What an answer means, and what silence means."""

    __slots__ = ()

    def _answered(self, probe: Probe, what: int, now: int) -> None:
        host, rtt = probe.host, now - probe.sent_at
        least = rtt if self.looked is None else min(rtt, self.looked - probe.sent_at)
        shorter = host.sample(least, rtt, self._plan.timeout)
        if not host.up:
            self._came_up(host, probe.port)
        elif shorter:
            self._arm(host)
        self._note_timeout(host)
        if host.follows_path:
            closed = what == CONN_REFUSED
            self._path.witnesses.heard(host.index, probe.port, closed, host.expected(), now)
        lost = 0  # a canary's losses were counted as they came
        if not probe.canary:
            self._drops += probe.repeat
            question = host.questions.get(probe.port)
            lost = max(0, probe.repeat - (question.wasted if question else 0))
        elif probe.listening:
            host.was_late(probe.small)
        was_dead = host.heard(now)
        host.answered(probe.small, lost, self._limit)
        host.review(now)
        host.highest = max(host.highest, lost)
        self._highest = max(self._highest, lost)
        if probe.canary:
            host.vouched(self._limit)
        else:
            host.known_to_answer(probe.port, closed=what == CONN_REFUSED)
            self._decide(host, probe.port, OPEN if what == SYN_ACK else CLOSED, what, rtt)
        if was_dead:
            self._ask_anew(host)
        if probe.repeat or probe.canary:
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
        if what == HOST_UNREACHABLE and now - host.first_sent >= _LATE:
            return False  # whoever has looked for the host since its first probe may give up just now
        if what == HOST_UNREACHABLE and host.link >= 0:
            # The kernel says so itself if it looked for the host before the scan did: the neighbour table tells.
            if not host.checking:
                host.checking, host.rejected = True, (probe.port, after)
                self._doubtful.append(host.index)
            return False
        # A firewall is no farther than what is behind it, so its neighbours learn nothing from it.
        host.sample(after, after, self._plan.timeout)
        self._came_up(host, probe.port)
        return False

    def _overdue(self, token: int, probe: Probe, now: int, spare: bool) -> None:
        """The time of a probe is over: ask again, and listen on for a late answer, where there are descriptors."""
        host = probe.host
        host.in_flight -= 1
        self._in_flight -= probe.windowed
        if self._tracing:
            self._trace(now, probe, NO_RESPONSE)
        if self._recovering:
            self._sent_well()
        if probe.canary:
            self._canary_unanswered(token, probe, now)
        else:
            self._port_unanswered(token, probe, now, spare)
        if not host.queued:  # else it has something to ask, and stands where it will be
            self._touch(host)

    def _canary_unanswered(self, token: int, probe: Probe, now: int) -> None:
        host = probe.host
        self._drops += 1
        host.lost(probe.small)
        host.review(now)
        host.canary_lost(now, self._plan.timeout, self._limit)
        until = probe.sent_at + self._plan.timeout
        if until > now and self._room_limit >= _CANARIES_LISTEN:
            while host.late and host.late[0] not in self._probes:
                host.late.popleft()
            host.late.append(token)
            self._listen_on(token, probe, until)
        else:
            self._forget(token)
        if host.dead:
            host.allowed = self._plan.retries
        else:
            self._grant(host)
            if probe.repeat < MAX_REPEATS:
                host.canaries.appendleft(Probe(host, probe.port, probe.repeat + 1, True))

    def _port_unanswered(self, token: int, probe: Probe, now: int, spare: bool) -> None:
        host, port, repeat = probe.host, probe.port, probe.repeat
        host.silences += 1
        question = host.questions.get(port)
        if question is None:
            question = host.questions[port] = Question(probe.sent_at)
        begin, end = host.doubted
        if begin <= probe.sent_at < end:
            question.wasted = repeat + 1
        last = repeat >= question.allowed(host.allowed)
        until = self._listens_until(probe, last, spare)
        if until > now:
            host.listening += 1
            self._listen_on(token, probe, until)
            if not repeat:
                question.tokens = (token,)
        else:
            self._forget(token)
        if not last:
            host.again(port)
        elif host.phase == SILENT:
            question.exhausted = True
            if until <= now:
                del host.questions[port]
        else:
            self._bench(host, port)
        if self._adaptive and now >= host.next_canary:
            for _ in range(host.canaries_due(now)):
                self._add_canary(host)

    def _listen_on(self, token: int, probe: Probe, until: int) -> None:
        probe.listening = True
        serial = self._serial = self._serial + 1
        listeners = probe.host.listeners
        if listeners and listeners[-1][0] <= until:
            listeners.append((until, serial, token))
        else:
            listeners = probe.host.listeners = Listeners([(until, serial, token)])
            heapq.heappush(self._listening, (until, serial, listeners))

    def _listens_until(self, probe: Probe, last: bool, spare: bool) -> int:
        """Give how long a probe whose time is over stays to listen; where descriptors are short, only the last does.

        The first probe to a host does in any case: a word that the host is not there comes seconds after it, and saves
        asking the other ports.
        """
        host = probe.host
        if host.phase == SILENT:
            return probe.sent_at + host.wait if self._adaptive and (last or spare) else -1
        until = probe.sent_at + self._plan.timeout
        if host.phase == UNHEARD:
            more = host.order.count > host.first and not self._plan.skip_silent
            first = more and probe.repeat == 0 and host.order[0] == probe.port
            if first or (last and spare and more):
                return max(until, host.first_sent + _LATEST)
            return until if last or spare else -1
        if not (last or spare or host.seems_silent()) or not self._adaptive or host.is_lost():
            return -1
        return until

    def _end_listening(self, now: int) -> None:
        """Take out who has listened long enough, in the order of their times."""
        listening, probes, end = self._listening, self._probes, (now + 1, 0)
        while listening and listening[0] < end:
            _, _, queue = heapq.heappop(listening)
            # As far as the next queue, which begins later.
            following = min(listening[0][:2], end) if listening else end
            while queue and queue[0] < following:
                _, _, token = queue.popleft()
                probe = probes.pop(token, None)
                if probe is not None:
                    self._dropped.append(token)
                    host = probe.host
                    host.listening -= not probe.canary
                    self._stopped_listening(host, probe.port, token)
            if queue:
                until, serial, _ = queue[0]
                heapq.heappush(listening, (until, serial, queue))

    def _stopped_listening(self, host: Host, port: int, token: int) -> None:
        question = host.questions.get(port)
        if question is not None and question.exhausted and question.tokens[-1] == token:
            del host.questions[port]
        if not host.queued:  # else it has something to ask
            self._touch(host)
