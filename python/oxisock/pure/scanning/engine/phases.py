"""What becomes of a host: heard, silent, unreachable, done."""

from __future__ import annotations

from collections import deque

from ....engines.scanning import FILTERED, HOST_SILENT, HOST_UNREACHABLE, NO_RESPONSE, Outcome
from ..host import HEARD, SILENT, UNHEARD, Host
from .verdicts import Verdicts


class Phases(Verdicts):
    """When a host has something to ask, is heard for the first time, or is done."""

    __slots__ = ()

    def _came_up(self, host: Host, port: int) -> None:
        """Something came from a host for the first time."""
        host.up = True
        self._up += 1
        self._crowd.settled(host, self._now)
        self._unpledge(host)
        if host.phase == SILENT:
            # What was silent while it was listened to for a moment only is asked again, but for what is under way and
            # for the port that answers.
            waiting = [waits for waits in host.waiting if waits in host.questions]
            flying = [probe.port for token in host.sent if (probe := self._probes.get(token))]
            held = [probe.port for probe in self._put_back if probe.host is host]
            host.decided.update(waiting, flying, held, [port])
            # At a last look, that includes its first ports.
            host.asked_before = max(host.asked_before, host.cursor)
            host.cursor = 0 if host.last_look else host.first
            if host.drawn:
                host.drawn = False
                self._undrawn += 1
        host.enter(HEARD)
        self._arm(host)

    def _note_timeout(self, host: Host) -> None:
        """Have others of the host's network wait by its timeout."""
        if not self._alone and self._crowd.heard(host.network, host.index, host.expected()):
            for other in self._hosts.values():
                if other.phase == UNHEARD and other.network == host.network:
                    self._arm(other)

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
        host.checking = False
        if there:
            self._crowd.settled(host, now)
            if host.rejected:  # it is there, so that was its firewall
                port, after = host.rejected
                host.sample(after, after, self._plan.timeout)
                self._came_up(host, port)
                self._note_timeout(host)
        host.rejected = ()
        self._touch(host)

    def _touch(self, host: Host) -> None:
        """Queue a host that has something to ask and room in its window; see whether one is done that has nothing."""
        if host.gone:
            return
        if host.cursor < host.end or host.waiting or host.canaries:
            if host.queued or host.in_flight >= host.window:
                return
            if self._now >= host.next_send:
                self._queue(host)
            elif not host.waiting_for_pace:
                host.waiting_for_pace = True
                self._arm(host)
        elif host.in_flight == 0 and host.put_back == 0:
            self._done_asking(host)

    def _queue(self, host: Host) -> None:
        """Put a host among those that may be asked: last, but a silent one first if ports are to be asked again."""
        host.queued = True
        host.waiting_for_pace = False
        if host.phase == SILENT and host.waiting:
            self._ready[SILENT].appendleft(host)
        else:
            self._ready[host.phase].append(host)

    def _done_asking(self, host: Host) -> None:
        """There is nothing left to ask of a host in its phase."""
        if host.phase == HEARD and host.up:
            missing = host.canaries_missing() if host.bench else 0
            if missing <= 0 and not host.dead:
                self._grant(host)
            asked = host.has_work()
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
        if host.follows_path and self._path.is_in_doubt():  # what it did not say may have been lost
            return
        skip = self._plan.skip_silent and not host.faulty  # what could not be asked is not silent
        if host.phase == UNHEARD and host.first < host.order.count and not skip:
            self._unpledge(host)
            host.enter(SILENT)
            host.wait = self._crowd.wait(host.network)
            self._touch(host)
        elif host.phase == SILENT:
            undecided = len(host.questions)
            if undecided <= len(host.bench) and undecided == sum(port in host.questions for port in host.bench):
                if host.listening and self._now < host.first_until:
                    host.ends_at = host.first_until
                    self._arm(host)
                else:
                    self._end_silently(host)
        elif host.listening == 0:
            self._end_silently(host)

    def _check_is_near(self, host: Host) -> bool:
        """Return whether the neighbour table will soon tell a silent host from nobody."""
        return self._plan.adaptive and 0 <= host.check_at - self._now <= self._plan.timeout // 2

    def _end_silently(self, host: Host) -> None:
        """Close a host from which nothing has come, but not before a last look if much got lost meanwhile."""
        if self._deserves_last_look(host):
            host.last_look = True
            self._ask_first_again(host)
            self._touch(host)
            return
        self._silent += not host.faulty
        self._close(host, NO_RESPONSE, HOST_SILENT)

    def _deserves_last_look(self, host: Host) -> bool:
        lossy = host.follows_path and self._path.has_lost_since(host.first_sent)
        return lossy and not host.last_look and not host.faulty

    def _ask_first_again(self, host: Host) -> None:
        """Ask the first ports of a host again from which nothing has come, as if none had been asked."""
        self._give_up_all(host)
        host.waiting.clear()
        host.asked_before = max(host.asked_before, host.cursor)
        host.cursor, host.end = 0, host.first
        host.ends_at = -1
        if host.drawn and host.first == host.order.count:  # else there is nothing left to draw after the first ports
            host.drawn = False
            self._undrawn += 1

    def _close(self, host: Host, asked: int, unasked: int) -> None:
        """Decide what is undecided of a host that is not up, by whether it was asked, and forget the host."""
        self._give_up_all(host)
        count, cursor = host.order.count, max(host.cursor, host.asked_before)
        self._unasked += count - cursor
        self._counts[FILTERED] += count - len(host.decided)
        if self._plan.keep >> FILTERED & 1:
            for position in range(count):
                port = host.order[position]
                if port not in host.decided:
                    reason = asked if position < cursor else unasked
                    self._outcomes.append(Outcome(host.index, port, FILTERED, reason, -1, None))
        self._unpledge(host)
        self._remove(host)

    def _give_up_all(self, host: Host) -> None:
        """Give up all probes to a host that is not up, and forget which ports went unanswered."""
        self._drop_all(host.sent)
        for question in host.questions.values():
            self._benched -= question.benched
            self._drop_all(question.tokens)
        host.questions.clear()
        host.bench.clear()
        if host.put_back:
            self._put_back = deque(probe for probe in self._put_back if probe.host is not host)
            host.put_back = 0

    def _unpledge(self, host: Host) -> None:
        if host.pledged:
            host.pledged = False
            self._pledged -= host.first

    def _remove(self, host: Host) -> None:
        self._drop_all(host.late)
        host.gone = True
        self._undrawn -= not host.drawn
        del self._hosts[host.index]
