"""The scanner's hands: sockets and a selector in the calling thread, carrying out what `ScanEngine` decides."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import threading
import time

from ...engines.scanning import (
    BROADCAST,
    CONN_REFUSED,
    HOST_UNREACHABLE,
    LASTING,
    MULTICAST,
    NET_UNREACHABLE,
    NO_RESPONSE,
    OPEN,
    PROTO_UNREACHABLE,
    SELF_CONNECT,
    SYN_ACK,
    Outcome,
    ScanPlan,
    Tally,
    TraceEvent,
)
from ...sockets import selecting
from ...sockets.interrupts import held_back
from .addresses import Addresses, SocketAddress
from .engine import ProbeOrder, ScanEngine

_BATCH = 64  # probes between two looks at what has come in, so that round trips are not measured late
_BANNER_SIZE = 256
_UNDER_WAY = {errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)}  # EAGAIN is a fault
_ANSWERS = {
    errno.ECONNREFUSED: CONN_REFUSED,
    errno.ECONNRESET: SYN_ACK,  # who refuses says so at once: this one accepted first
    errno.EPIPE: SYN_ACK,  # and this one closed, too
    errno.EHOSTUNREACH: HOST_UNREACHABLE,
    errno.EHOSTDOWN: HOST_UNREACHABLE,
    errno.EACCES: HOST_UNREACHABLE,  # ICMPv6 "administratively prohibited"
    errno.ENETUNREACH: NET_UNREACHABLE,
    errno.ENOPROTOOPT: PROTO_UNREACHABLE,
    errno.EOPNOTSUPP: HOST_UNREACHABLE,  # ICMP "source route failed"
    errno.EPROTO: HOST_UNREACHABLE,  # ICMP "parameter problem"
    errno.EMSGSIZE: HOST_UNREACHABLE,  # ICMP "fragmentation needed"
    errno.ETIMEDOUT: NO_RESPONSE,
}
"""What the error of a connection under way says; one that connect() itself returns is this machine's own."""
if hasattr(errno, "ENONET"):
    _ANSWERS[errno.ENONET] = HOST_UNREACHABLE


class _Probe:
    """A socket that waits for its connection, or, once ``outcome`` is set, for its banner."""

    __slots__ = ("banner", "deadline", "order", "outcome", "sock")

    def __init__(self, sock: socket.socket, order: ProbeOrder) -> None:
        self.sock = sock
        self.order = order
        self.outcome: Outcome | None = None
        self.banner = b""
        self.deadline = 0


class PureScanRun:
    """A scan under way; it moves while somebody calls `wait`."""

    def __init__(self, plan: ScanPlan) -> None:
        self._addresses = Addresses(plan.ranges)
        self._plan = plan
        self._engine = ScanEngine(plan, self._addresses.count)
        self._selector = selecting.Selector()
        self._probes: dict[int, _Probe] = {}  # by token
        self._reading: dict[int, _Probe] = {}  # those that wait for a banner
        self._ready: list[Outcome] = []
        self._events: list[TraceEvent] = []
        self._start = time.monotonic_ns()
        self._lock = threading.RLock()
        self._turning = False
        self._cancelled = False

    # --- the Protocol ScanRun

    def wait(self, timeout: float) -> list[Outcome]:
        """Scan for at most ``timeout`` seconds, or until there are kept outcomes, and give those."""
        until = self._now() + int(timeout * 1e9)
        with held_back(), self._lock:
            self._turning = True
            try:
                while not (self._ready or self._cancelled or self._finished()):
                    self._turn(until)
                    if self._now() >= until:
                        break
                if self._cancelled or self._finished():
                    self._close()
            finally:
                self._turning = False
            ready, self._ready = self._ready, []
            return ready

    def tally(self) -> Tally:
        """Give the totals so far."""
        return self._engine.tally()

    def done(self) -> bool:
        """Say whether everything is decided (or cancelled) and every outcome given."""
        return (self._cancelled or self._finished()) and not self._ready

    def cancel(self) -> None:
        """End the scan and close every socket; a `wait` in another thread ends within a twentieth of a second."""
        self._cancelled = True
        with self._lock:
            if not self._turning:  # else a signal handler called, and the turn beneath it closes
                self._close()

    def trace(self) -> list[TraceEvent]:
        """Give the events so far; empty unless the plan asked for them."""
        self._events += self._engine.take_events()
        return self._events

    def __del__(self) -> None:
        if hasattr(self, "_probes"):
            self._close()

    # --- one turn of the loop

    def _turn(self, until: int) -> None:
        sent = 0
        while sent < _BATCH and (order := self._engine.next(self._now())) is not None:
            self._send(order)
            sent += 1
        self._collect()
        now = self._now()
        wake = [until, now + 50_000_000]
        if sent == _BATCH or self._ready or self._finished():
            wake.append(now)
        if (engine_wakeup := self._engine.wakeup(now)) is not None:
            wake.append(engine_wakeup)
        wake += [probe.deadline for probe in self._reading.values()]
        for key, _ in self._selector.select(max(0, min(wake) - now) / 1e9):
            self._ready_to_go(key.data)
        # What was in by `now` has been seen, so a probe given up here was not answered in its time, however late
        # this thread is.
        for token in self._engine.expire(now):
            if probe := self._probes.pop(token, None):
                self._drop(probe)
        self._look_up()
        for probe in [a for a in self._reading.values() if a.deadline <= now]:
            self._banner_done(probe)
        self._collect()

    def _look_up(self) -> None:
        """Tell the machine whether somebody answers for the hosts of which it is in doubt."""
        if doubtful := self._engine.take_doubtful():
            from ...sockets.neighbours import known

            table = known()
            for number in doubtful:
                self._engine.neighbour(number, table.get(self._addresses.key(number)), self._now())

    def _send(self, order: ProbeOrder) -> None:
        family, address = self._addresses(order.host, order.port)
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            self._engine.answer(order.token, -(error.errno or errno.EIO), self._now())
            return
        sock.setblocking(False)
        probe = _Probe(sock, order)
        try:
            code = sock.connect_ex(address)
            if code in _UNDER_WAY:
                self._selector.register(sock, selectors.EVENT_WRITE, probe)
                self._probes[order.token] = probe
                return
        except OSError as error:  # registering can fail too
            code = error.errno or errno.EIO
        if code == 0:
            self._connected(probe)
            return
        sock.close()
        what = CONN_REFUSED if code == errno.ECONNREFUSED else _local_fault(code, family, address)
        self._engine.answer(order.token, what, self._now())

    def _ready_to_go(self, probe: _Probe) -> None:
        if probe.outcome is not None:
            self._read_banner(probe)
            return
        del self._probes[probe.order.token]
        self._selector.unregister(probe.sock)
        code = probe.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            self._connected(probe)
            return
        probe.sock.close()
        self._engine.answer(probe.order.token, _ANSWERS.get(code, -code), self._now())

    def _connected(self, probe: _Probe) -> None:
        now = self._now()
        try:
            # A probe whose own source port is the target meets itself: TCP's simultaneous open (RFC 9293, 3.5).
            itself = probe.sock.getsockname() == probe.sock.getpeername()
        except OSError:  # reset since: it did answer
            itself = False
        self._collect()
        self._engine.answer(probe.order.token, SELF_CONNECT if itself else SYN_ACK, now)
        for outcome in self._engine.take_outcomes():
            if self._plan.banner and outcome[:3] == (probe.order.host, probe.order.port, OPEN):
                probe.outcome = outcome
            else:
                self._ready.append(outcome)
        if probe.outcome is None:
            probe.sock.close()
            return
        probe.deadline = now + self._plan.banner
        self._reading[probe.order.token] = probe
        self._engine.reserved += 1
        self._selector.register(probe.sock, selectors.EVENT_READ, probe)

    def _read_banner(self, probe: _Probe) -> None:
        try:
            data = probe.sock.recv(_BANNER_SIZE - len(probe.banner))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        probe.banner += data
        if not data or data.endswith(b"\n") or len(probe.banner) >= _BANNER_SIZE:
            self._banner_done(probe)

    def _banner_done(self, probe: _Probe) -> None:
        del self._reading[probe.order.token]
        self._engine.reserved -= 1
        self._drop(probe)
        if probe.outcome is not None:
            self._ready.append(probe.outcome._replace(banner=probe.banner or None))

    # --- small things

    def _now(self) -> int:
        return time.monotonic_ns() - self._start

    def _finished(self) -> bool:
        return self._engine.finished() and not self._reading

    def _collect(self) -> None:
        self._ready += self._engine.take_outcomes()

    def _drop(self, probe: _Probe) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(probe.sock)
        probe.sock.close()

    def _close(self) -> None:
        for probe in (*self._probes.values(), *self._reading.values()):
            probe.sock.close()
            if probe.outcome is not None:  # open all the same, with as much of a banner as there was
                self._ready.append(probe.outcome._replace(banner=probe.banner or None))
        self._probes.clear()
        self._reading.clear()
        self._selector.close()


def _local_fault(code: int, family: socket.AddressFamily, address: SocketAddress) -> int:
    """Give what the machine is to be told of an error of connect() itself; where TCP is unclear, UDP tells."""
    if code == errno.EINVAL:  # a blackhole route
        return -errno.ENETUNREACH
    if code not in (errno.EADDRNOTAVAIL, errno.ENETUNREACH):
        return -code
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            datagrams.connect(address)
    except OSError as error:
        if code == errno.EADDRNOTAVAIL and error.errno == code:
            return -(LASTING + code)  # no address of that family, rather than no free source port
        return BROADCAST if code == errno.ENETUNREACH and error.errno == errno.EACCES else -code
    return MULTICAST if code == errno.ENETUNREACH else -code


def start_scan(plan: ScanPlan) -> PureScanRun:
    """Begin to scan; the scan moves while its `wait` is called."""
    return PureScanRun(plan)
