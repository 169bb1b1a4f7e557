"""The scanner's hands: sockets in the calling thread, carrying out what `ScanEngine` decides."""

from __future__ import annotations

import errno
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
from ...sockets.interrupts import held_back
from .addresses import Addresses, SocketAddress
from .connections import UNDER_WAY, Connection, connections
from .engine import ProbeOrder, ScanEngine

_BATCH = 64  # probes between two looks at what has come in, so that round trips are not measured late
_BANNER_SIZE = 256
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


class PureScanRun:
    """A scan under way; it moves while somebody calls `wait`."""

    def __init__(self, plan: ScanPlan) -> None:
        self._addresses = Addresses(plan.ranges)
        self._plan = plan
        self._engine = ScanEngine(plan, self._addresses.count)
        self._connections = connections()
        self._probes: dict[int, Connection] = {}  # by token
        self._reading: dict[int, Connection] = {}  # those that wait for a banner
        self._ready: list[Outcome] = []
        self._events: list[TraceEvent] = []
        self._start = time.monotonic_ns()
        self._looked = 0  # when all that had come was last seen
        self._lock = threading.RLock()
        self._turning = False
        self._cancelled = False

    # --- the Protocol ScanRun

    def wait(self, timeout: float) -> list[Outcome]:
        """Scan for at most ``timeout`` seconds, or until there are kept outcomes, and return those."""
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
        """Return the totals so far."""
        return self._engine.tally()

    def done(self) -> bool:
        """Return whether everything is decided (or cancelled) and every outcome given."""
        return (self._cancelled or self._finished()) and not self._ready

    def cancel(self) -> None:
        """End the scan and close every socket; a `wait` in another thread ends within a twentieth of a second."""
        self._cancelled = True
        with self._lock:
            if not self._turning:  # else a signal handler called, and the turn beneath it closes
                self._close()

    def trace(self) -> list[TraceEvent]:
        """Return the events so far; empty unless the plan asked for them."""
        self._events += self._engine.take_events()
        return self._events

    def __del__(self) -> None:
        if hasattr(self, "_probes"):
            self._close()

    # --- one turn of the loop

    def _turn(self, until: int) -> None:
        sent = self._ask()
        self._collect()
        now = self._now()
        wake = min(until, now + 50_000_000)
        if sent == _BATCH or self._ready or self._finished():
            wake = now
        if (engine_wakeup := self._engine.wakeup(now)) is not None:
            wake = min(wake, engine_wakeup)
        for connection in self._reading.values():
            wake = min(wake, connection.deadline)
        news = self._connections.wait(max(0, wake - now) / 1e9)
        # Where it waited, nothing had come before.
        left = self._now()
        self._engine.looked = self._looked + left - now
        self._looked = left
        for connection in news:
            if connection.order is not None:  # else it is of no use any more
                self._heard(connection, connection.order)
        self._engine.looked = None
        # What was in by `now` has been seen, so a probe given up here was not answered in its time, however late
        # this thread is.
        probes = self._probes
        self._connections.give_up([probes.pop(token) for token in self._engine.expire(now) if token in probes])
        self._look_up()
        for connection in [a for a in self._reading.values() if a.deadline <= now]:
            self._banner_done(connection)
        self._collect()

    def _ask(self) -> int:
        """Send what the machine would have sent by now, but no more than a batch; say how many probes that were."""
        following, clock, start = self._engine.next, time.monotonic_ns, self._start
        address_of, connect, probes = self._addresses.of_port, self._connections.connect, self._probes
        for sent in range(_BATCH):
            order = following(clock() - start)
            if order is None:
                return sent
            token, host, port, _ = order
            family, address = address_of(host, port)
            try:
                connection, code = connect(family, address)
            except OSError as error:
                self._engine.answer(token, -(error.errno or errno.EIO), self._now())
                continue
            if code in UNDER_WAY:
                connection.order = order
                probes[token] = connection
            else:
                self._ended_at_once(connection, order, code)
        return _BATCH

    def _ended_at_once(self, connection: Connection, order: ProbeOrder, code: int) -> None:
        if code == 0:
            self._connected(connection, order)
            return
        self._connections.drop(connection)
        what = CONN_REFUSED if code == errno.ECONNREFUSED else _local_fault(code, connection.family, connection.address)
        self._engine.answer(order[0], what, self._now())

    def _look_up(self) -> None:
        """Tell the machine whether somebody answers for the hosts of which it is in doubt."""
        if doubtful := self._engine.take_doubtful():
            from ...sockets.neighbours import known

            table = known()
            for number in doubtful:
                self._engine.neighbour(number, table.get(self._addresses.key(number)), self._now())

    def _heard(self, connection: Connection, order: ProbeOrder) -> None:
        if connection.outcome is not None:
            self._read_banner(connection, connection.outcome)
            return
        code = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0 and not _is_connected(connection.sock):
            return  # still under way: a socket that is used again may tell of an ICMP message about its last connect
        del self._probes[order[0]]
        if code == 0:
            self._connected(connection, order)
            return
        if code == errno.ECONNREFUSED:
            self._connections.refused(connection)
        else:
            self._connections.drop(connection)
        self._engine.answer(order[0], _ANSWERS.get(code, -code), self._now())

    def _connected(self, connection: Connection, order: ProbeOrder) -> None:
        now = self._now()
        token, host, port, _ = order
        try:
            # A probe whose own source port is the target meets itself: TCP's simultaneous open (RFC 9293, 3.5).
            itself = connection.sock.getsockname() == connection.sock.getpeername()
        except OSError:  # reset since: it did answer
            itself = False
        self._collect()
        self._engine.answer(token, SELF_CONNECT if itself else SYN_ACK, now)
        for outcome in self._engine.take_outcomes():
            if self._plan.banner and outcome[:3] == (host, port, OPEN):
                connection.outcome = outcome
            else:
                self._ready.append(outcome)
        if connection.outcome is None:
            self._connections.drop(connection)
            return
        connection.order = order
        connection.deadline = now + self._plan.banner
        self._reading[token] = connection
        self._engine.reserved += 1
        try:
            self._connections.read(connection)
        except OSError:  # this machine cannot watch another one: open, without a banner
            self._banner_done(connection)

    def _read_banner(self, connection: Connection, outcome: Outcome) -> None:
        try:
            data = connection.sock.recv(_BANNER_SIZE - len(connection.banner))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.banner += data
        if not data or data.endswith(b"\n") or len(connection.banner) >= _BANNER_SIZE:
            self._banner_done(connection)

    def _banner_done(self, connection: Connection) -> None:
        assert connection.order is not None
        del self._reading[connection.order[0]]
        self._engine.reserved -= 1
        self._connections.drop(connection)
        if connection.outcome is not None:
            self._ready.append(connection.outcome._replace(banner=connection.banner or None))

    # --- small things

    def _now(self) -> int:
        return time.monotonic_ns() - self._start

    def _finished(self) -> bool:
        return self._engine.finished() and not self._reading

    def _collect(self) -> None:
        self._ready += self._engine.take_outcomes()

    def _close(self) -> None:
        for connection in (*self._probes.values(), *self._reading.values()):
            connection.sock.close()
            if connection.outcome is not None:  # open all the same, with as much of a banner as there was
                self._ready.append(connection.outcome._replace(banner=connection.banner or None))
        self._probes.clear()
        self._reading.clear()
        self._connections.close()


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _local_fault(code: int, family: socket.AddressFamily, address: SocketAddress) -> int:
    """Return what the machine is to be told of an error of connect() itself; where TCP is unclear, UDP tells."""
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
