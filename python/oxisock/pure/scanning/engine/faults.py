"""Faults of this machine: those that pass and those that do not."""

from __future__ import annotations

import errno

from ....engines.scanning import ERROR
from ..host import MS, Probe
from .phases import Phases

_TRANSIENT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN, errno.EADDRINUSE}
)
"""Faults of this machine that pass: the probe is put back."""
_PAUSE = 5 * MS


class Faults(Phases):
    """What a fault means for window, room and port."""

    __slots__ = ()

    def _local_fault(self, probe: Probe, what: int, lasting: bool, now: int) -> None:
        """Put the probe back and narrow the window; only a fault that lasts with nothing else open is a verdict."""
        host = probe.host
        self._local_errors += 1
        self._recovering = True
        if -what in _TRANSIENT and not lasting:
            self._window = max(1, self._in_flight + self.reserved)
            self._room = max(1, self._open + self.reserved)
            if self._in_flight == 0:
                self._not_before = now + _PAUSE
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
        else:
            self._recovering = False
