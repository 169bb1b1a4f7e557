"""Canaries of the path: they tell what the way to hosts that are not heard bears, and which hosts are asked anew."""

from __future__ import annotations

from ....engines.scanning import BROADCAST, CONN_REFUSED, MULTICAST, NO_RESPONSE, SENT, SYN_ACK, TraceEvent
from ..host import SILENT, UNHEARD, Host
from .phases import Phases
from .state import ProbeOrder


class Watching(Phases):
    """What canaries ask and tell, and what follows."""

    __slots__ = ()

    def _ask_witness(self, host: int, port: int, now: int) -> ProbeOrder:
        """Ask a port of which it is known that it answers."""
        token = self._token = self._token + 1
        self._open += 1
        self._path.witnesses.left(token, host, port, now)
        self._trace_witness(now, host, port, SENT)
        return token, host, port, 0

    def _witness_answered(self, token: int, what: int, now: int) -> None:
        ended = self._path.witnesses.ended(token, what in (SYN_ACK, CONN_REFUSED), now)
        if ended is None:
            return
        self._open -= 1
        self._local_errors += what < 0 or what in (BROADCAST, MULTICAST)
        self._trace_witness(now, *ended, what)

    def _watch_path(self, now: int) -> None:
        """Give up the canaries whose time is over, and follow what all of them say."""
        doubtful = self._path.is_in_doubt()
        while over := self._path.witnesses.over(now):
            self._path.count(over)
            if over.unanswered:
                self._drops += 1
                self._dropped.append(over.token)
                self._trace_witness(now, over.host, over.port, NO_RESPONSE)
        slowed = self._path.review(now, self._token)
        settled = doubtful and not self._path.is_in_doubt()
        if slowed or settled:
            for _, host in sorted(self._hosts.items()):
                if not host.follows_path:
                    continue
                if slowed and host.last_asked >= self._path.doubted_since:
                    if host.up:
                        host.doubted = self._path.doubted_since, now
                        self._ask_anew(host)
                    else:
                        self._begin_anew(host)
                self._touch(host)

    def _begin_anew(self, host: Host) -> None:
        """Ask a host anew of which nothing is heard: more was sent than the path bore."""
        self._ask_first_again(host)
        host.last_look = False
        if host.drawn:
            host.drawn = False
            self._undrawn += 1
        if host.phase == SILENT:
            host.phase = UNHEARD
            host.pledged = True
            self._pledged += host.first

    def _trace_witness(self, now: int, host: int, port: int, what: int) -> None:
        if self._tracing:
            self._events.append(TraceEvent(now, host, port, 0, what))
