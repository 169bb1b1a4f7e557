"""Which port of which host is asked next."""

from __future__ import annotations

from ....engines.scanning import GROUP, SENT
from ..host import HEARD, MS, SILENT, SMALL_WINDOW, UNHEARD, Host, Probe
from .phases import Phases
from .state import RATE_SLACK, ProbeOrder

_CHECK = 2200 * MS
"""After the first probe to a host: the link was asked three times whose address it is."""
_CHECK_STEP = 50 * MS  # so that many hosts are looked up at once
_BEGINNING_FIRST, _BEGUN_FIRST = (UNHEARD, HEARD), (HEARD, UNHEARD)


class Choosing(Phases):
    """Whom to ask next, and what."""

    __slots__ = ()

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
        unheard, heard, _ = self._ready
        may_begin = self._now >= self._next_unheard
        while True:
            if self._random and self._order.upcoming is not None:
                self._admit()
            host = self._first_urgent(may_begin, in_window) if unheard or heard else None
            if host is None:
                if not self._random and may_begin and self._admit():
                    continue
                host = self._first(SILENT) if in_window else None
                if host is None:
                    return None
            found = self._take(host)
            if found is not None:
                return found

    def _first_urgent(self, may_begin: bool, in_window: bool) -> Host | None:
        # In random order who is not heard yet comes first; by address, what was begun is ended first.
        for phase in _BEGINNING_FIRST if self._random else _BEGUN_FIRST:
            if self._ready[phase] and (may_begin if phase == UNHEARD else in_window) and (host := self._first(phase)):
                return host
        return None

    def _first(self, phase: int) -> Host | None:
        ready = self._ready[phase]
        while ready:
            host = ready[0]
            if host.phase == phase and not host.gone:
                return host
            ready.popleft()
            if not host.gone:
                host.queued = False
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
        host.follows_path = self._path.followed and host.link < 0
        if self._alone:
            host.enter(HEARD)  # it holds nobody up
        else:
            host.pledged = True
            self._pledged += host.first
        self._touch(host)
        return True

    def _take(self, host: Host) -> Probe | None:
        """Return the next thing to ask of the first host in its queue, if there is any by now.

        The host stays in the queue if there is more to ask: first if the scan goes by address or if it is silent, so
        that few questions are open at once, and last otherwise.
        """
        found: Probe | None = None
        while found is None and host.in_flight < host.window and self._now >= host.next_send:
            if host.canaries and host.canary_is_next():
                canary = host.canaries.popleft()
                found = None if host.dead else canary
            elif host.waiting:
                port = host.waiting.popleft()
                if question := host.questions.get(port):  # else answered meanwhile
                    if question.repeat >= question.allowed(host.allowed):  # granted when more seemed lost
                        self._bench(host, port)
                    else:
                        found = Probe(host, port, question.repeat + 1, False)
            elif (port := self._draw(host)) >= 0:
                found = Probe(host, port, 0, False)
            else:
                break
        if found is None:
            self._ready[host.phase].popleft()
            host.queued = False
            self._touch(host)
        elif not (host.cursor < host.end or host.waiting or host.canaries):
            self._ready[host.phase].popleft()  # it is not done: its last probe is about to leave
            host.queued = False
        elif self._random and host.phase != SILENT:
            self._ready[host.phase].rotate(-1)
        return found

    def _draw(self, host: Host) -> int:
        if host.cursor == host.first and host.phase == SILENT:
            host.wait = self._crowd.wait(host.network)  # its neighbours are better known by now
        while host.cursor < host.end:
            port = host.order[host.cursor]
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
        host, port, repeat = probe.host, probe.port, probe.repeat
        token = self._token = self._token + 1
        probe.sent_at = now
        probe.small = host.window <= SMALL_WINDOW
        self._probes[token] = probe
        host.asked(now, RATE_SLACK)
        if host.follows_path:
            self._path.asked(now, host.phase)
        self._open += 1
        probe.windowed = host.phase != UNHEARD
        if probe.windowed:
            self._in_flight += 1
        else:
            host.first_until = now + self._plan.timeout
            self._next_unheard = max(self._next_unheard, now - RATE_SLACK) + self._spread
        if host.first_sent < 0:
            host.first_sent = now
            if host.link >= 0:
                host.check_at = -(-(now + _CHECK) // _CHECK_STEP) * _CHECK_STEP
        if repeat:
            self._retries += 1
            if not probe.canary and (question := host.questions.get(port)):
                question.tokens += (token,)
                question.exhausted = False
                question.asked_at = now
                question.repeat = repeat
        host.sent.append(token)
        armed = host.armed
        if armed < 0 or (now + self._least_patience < armed and now + self._patience(host) < armed):
            self._arm(host)
        if self._tracing:
            self._trace(now, probe, SENT)
        return token, host.index, port, repeat
