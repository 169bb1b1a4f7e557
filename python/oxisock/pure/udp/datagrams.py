"""The reference engine's UDP: one datagram after the other, with what the system says about each."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import struct
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from ...engines.udp import UdpPlan, UdpTally
from ...sockets import selecting
from ...sockets.addresses import is_of_this_machine, peer_of
from ...sockets.latch import Latch
from ...sockets.waking import Bell
from ...types import Datagram, Peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

BATCH = 64
"""The most datagrams of one turn."""

_LINUX = sys.platform.startswith("linux")
# Python 3.11 has no names for these numbers of Linux.
_IP_PKTINFO: int | None = getattr(socket, "IP_PKTINFO", 8 if _LINUX else None)
_IP_RECVERR, _IPV6_RECVERR = 11, 25
_IN_PKTINFO = struct.Struct("@i4s4s")  # interface, our own address, address in the header
_IN6_PKTINFO = struct.Struct("@16sI")  # address in the header, interface
_EXTENDED_ERR = struct.Struct("=IBBBBII")  # errno, origin, type, code, padding, two values
_ORIGINS_ICMP = (2, 3)
_CONTROL_ROOM = 128

# How long replies wait for room in the system before they are dropped.
_PATIENCE = 1.0
# How long to wait if nothing says when to go on: there are no buffers, or an error persists.
_PAUSE = 0.002
# Tries before an error counts for this reply: the system reports an ICMP error with whatever call comes next.
_TRIES = 4
# The least that a queued datagram costs the system. With it, the bytes read show when a whole queue has been read.
_OVERHEAD = 512
_NO_ROOM = (errno.ENOBUFS, errno.ENOMEM)
_FROM_THE_NETWORK = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH)

_Control = list[tuple[int, int, bytes]]


class _Arrival(NamedTuple):
    """Where a reply goes: the full address, and the control message that sets the address it leaves from."""

    address: tuple[Any, ...]
    control: _Control


class UdpReactor:
    """A socket and its turns. Any thread may call everything but ``turn``, ``refused`` and ``close``."""

    def __init__(self, sock: socket.socket, plan: UdpPlan) -> None:
        self._sock = sock
        self._plan = plan
        self._arrivals: list[_Arrival] = []
        self._refused: list[tuple[Peer, int]] = []
        self._ending = False
        self._deadline: float | None = None
        self._left: int | None = None  # at the end: bytes that may have been queued by then and are not read yet
        self._errors_in_a_row = 0
        self._messages = self._bytes_in = self._bytes_out = self._too_long = self._timeouts = 0
        self._icmp_errors = self._ignored = self._drained = 0
        self._unsent = 0  # replies of this turn that are not sent
        with contextlib.ExitStack() as undo:
            undo.callback(sock.close)
            self._selector = undo.enter_context(selecting.Selector())
            self._bell = Bell()
            undo.callback(self._bell.close)
            sock.setblocking(False)
            self._prepare()
            self._address = sock.getsockname()
            self._selector.register(sock, selectors.EVENT_READ)
            self._selector.register(self._bell.heard, selectors.EVENT_READ)
            undo.pop_all()

    # --- the turn --------------------------------------------------------------------------------------------------

    def turn(self, replies: Sequence[bytes | None]) -> list[Datagram] | None:
        """Send the replies to the datagrams of the last turn, then wait for the next ones. Returns None at the end.

        If some replies are refused, it does not wait, and returns an empty list.
        """
        answered = zip(self._arrivals, replies, strict=False)
        self._send([(arrival, reply) for arrival, reply in answered if reply is not None])
        if self._refused:
            # Report this now, and not when the next datagram comes.
            self._arrivals.clear()
            return []
        while True:
            ending = self._ending
            if ending and (self._expired() or self._left == 0):
                return None
            weight, batch = self._receive()
            if ending:
                if weight == 0:
                    return None
                # What was queued when the end began is answered. Later datagrams are not, or there would be no end.
                if self._left is None:
                    self._left = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
                self._left = max(0, self._left - weight)
            if batch:
                return batch
            if weight == 0:
                self._selector.select()
                self._reap()

    def refused(self) -> list[tuple[Peer, int]]:
        """Return the replies of the last turn that do not fit in a datagram: the peer and the size of each."""
        return self._refused

    def close(self) -> None:
        """Close the socket; ``turn`` must not be running."""
        for each in (self._selector, self._bell, self._sock):
            each.close()

    # --- from any thread -------------------------------------------------------------------------------------------

    def end(self, drain: float | None) -> None:
        """Let ``turn`` answer what is queued for at most ``drain`` seconds (None: no limit), then return None."""
        if drain is not None:
            deadline = time.monotonic() + drain
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        self._ending = True
        self._bell.ring()

    def abandon(self) -> None:
        """Close the socket in a forked child, and do nothing else."""
        self._sock.close()

    def tally(self) -> UdpTally:
        """Return the totals so far."""
        return UdpTally(
            self._messages,
            self._bytes_in,
            self._bytes_out,
            self._too_long,
            self._timeouts,
            self._icmp_errors,
            self._ignored,
            self._drained,
            # The reactor may not have dropped them yet.
            self._unsent if self._expired() else 0,
        )

    # --- receiving -------------------------------------------------------------------------------------------------

    def _receive(self) -> tuple[int, list[Datagram]]:
        """Receive datagrams, without the ignored ones. Also return the bytes taken from the queue, 0 for nothing."""
        batch: list[Datagram] = []
        self._arrivals.clear()
        weight = 0
        room = _CONTROL_ROOM if self._plan.wildcard else 0
        for _ in range(BATCH):
            try:
                data, control, truncated, address = _receive(self._sock, self._plan.max_datagram, room)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                self._note(error)
                weight += _OVERHEAD
                break
            self._errors_in_a_row = 0
            weight += len(data) + _OVERHEAD
            peer = peer_of(address)
            if (peer.port < 1024 and not self._plan.answer_low_ports) or self._is_from_itself(address):
                self._ignored += 1
                continue
            self._arrivals.append(_Arrival(address, list(_leave_from(control))))
            batch.append(Datagram(data, peer, truncated))
            self._messages += 1
            self._bytes_in += len(data)
        return weight, batch

    def _is_from_itself(self, address: tuple[Any, ...]) -> bool:
        """Return whether a datagram comes from this very socket: it is forged, and answering it would never end."""
        host, port = self._address[:2]
        return bool(port == address[1] and (host == address[0] or (_is_any(host) and is_of_this_machine(address))))

    def _note(self, error: OSError) -> None:
        """Count an error that belongs to no reply, and slow down if it persists."""
        self._reap()
        if not _LINUX and error.errno in _FROM_THE_NETWORK:
            self._icmp_errors += 1
        self._errors_in_a_row += 1
        if self._errors_in_a_row > 32:
            time.sleep(_PAUSE)

    # --- sending ---------------------------------------------------------------------------------------------------

    def _send(self, out: list[tuple[_Arrival, bytes]]) -> None:
        """Send all replies, or as many as the system, the peers and the end allow. Count those that are not sent."""
        self._refused = []
        waiting_since: float | None = None
        sent = tries = 0
        while sent < len(out):
            self._unsent = len(out) - sent
            arrival, reply = out[sent]
            # Count it before it is sent; otherwise the peer may have its answer before the counters show it.
            self._bytes_out += len(reply)
            self._drained += self._ending
            drained = self._ending
            try:
                _send(self._sock, reply, arrival)
                sent, tries, waiting_since = sent + 1, 0, None
                continue
            except OSError as error:
                self._bytes_out -= len(reply)
                self._drained -= drained
                failure = error
            if isinstance(failure, InterruptedError):
                continue
            if isinstance(failure, BlockingIOError) or failure.errno in _NO_ROOM:
                if waiting_since is None:
                    waiting_since = time.monotonic()
                if not self._wait_for_room(waiting_since, isinstance(failure, BlockingIOError)):
                    if not self._expired():
                        self._timeouts += len(out) - sent
                        self._unsent = 0
                    return
                continue
            tries += 1
            self._reap()
            if tries < _TRIES:
                continue
            if failure.errno == errno.EMSGSIZE:
                self._too_long += 1
                self._refused.append((peer_of(arrival.address), len(reply)))
            else:
                self._icmp_errors += 1
            sent, tries = sent + 1, 0
        self._unsent = 0

    def _wait_for_room(self, since: float, told: bool) -> bool:
        """Wait for room to send; return whether to try again. ``told``: the system will say when there is room."""
        now = time.monotonic()
        if self._expired() or now - since >= _PATIENCE:
            return False
        limit = since + _PATIENCE - now
        if self._deadline is not None:
            limit = min(limit, max(0.0, self._deadline - now))
        if told:
            with selecting.Selector() as selector:
                selector.register(self._sock, selectors.EVENT_WRITE)
                if not self._ending:  # the bell rings until the end, and one ring is enough
                    selector.register(self._bell.heard, selectors.EVENT_READ)
                selector.select(limit)
        else:
            time.sleep(min(limit, _PAUSE))
        return True

    def _expired(self) -> bool:
        return self._ending and self._deadline is not None and time.monotonic() >= self._deadline

    # --- what Linux tells ------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Ask for ICMP errors, which an unconnected socket does not get otherwise, and for destination addresses."""
        if not sys.platform.startswith("linux"):
            return
        if self._sock.family == socket.AF_INET6:
            self._sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            # A socket for both families has an option of its own for the errors of IPv4.
            if not self._sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
                self._sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            if self._plan.wildcard:
                self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._sock.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            if self._plan.wildcard and _IP_PKTINFO is not None:
                self._sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def _reap(self) -> None:
        """Empty the queue of errors, which takes room from datagrams, and count the ICMP errors."""
        if not sys.platform.startswith("linux"):
            return
        while True:
            try:
                _, control, _, _ = self._sock.recvmsg(0, _CONTROL_ROOM, socket.MSG_ERRQUEUE)
            except OSError:
                return
            for level, kind, value in control:
                ours = (level, kind) in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
                if ours and len(value) >= _EXTENDED_ERR.size:
                    self._icmp_errors += _EXTENDED_ERR.unpack_from(value)[1] in _ORIGINS_ICMP


def _receive(sock: socket.socket, most: int, room: int) -> tuple[bytes, _Control, bool, Any]:
    """Receive a datagram: its first ``most`` bytes, control messages, whether there were more bytes, and its sender."""
    if sys.platform != "win32":
        data, control, flags, address = sock.recvmsg(most, room)
        return data, control, bool(flags & socket.MSG_TRUNC), address
    # On Windows, a datagram that does not fit is an error, and is lost.
    data, address = sock.recvfrom(1 << 16)
    return data[:most], [], len(data) > most, address


def _send(sock: socket.socket, reply: bytes, arrival: _Arrival) -> None:
    """Send a reply to the sender of a datagram."""
    if sys.platform != "win32":
        sock.sendmsg([reply], arrival.control, 0, arrival.address)
    else:
        sock.sendto(reply, arrival.address)


def _is_any(host: str) -> bool:
    return host in ("0.0.0.0", "::")


def _leave_from(control: Iterable[tuple[int, int, bytes]]) -> Iterable[tuple[int, int, bytes]]:
    """Turn the control messages of a datagram into those that make the reply leave from the address that was asked."""
    for level, kind, value in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, ours, _ = _IN_PKTINFO.unpack(value)
            # The route decides where it leaves, not the interface it came in by.
            yield level, kind, _IN_PKTINFO.pack(0, ours, bytes(4))
        elif (level, kind) == (socket.IPPROTO_IPV6, getattr(socket, "IPV6_PKTINFO", None)):
            address, interface = _IN6_PKTINFO.unpack(value)
            link_local = address[0] == 0xFE and address[1] & 0xC0 == 0x80
            if address[0] != 0xFF:  # a multicast group is no source address
                # An address of one link needs its link.
                yield level, kind, _IN6_PKTINFO.pack(address, interface if link_local else 0)


class UdpEchoReactor:
    """A reactor that echoes: a thread that sends back every datagram after a prefix."""

    def __init__(self, loop: UdpReactor, prefix: bytes) -> None:
        self._loop = loop
        self._prefix = prefix
        self._latch = Latch()
        try:
            self._latch.spawn("oxisock-udp-echo", self._run)
        except BaseException:
            loop.close()
            raise

    def _run(self) -> None:
        replies: list[bytes | None] = []
        try:
            while (batch := self._loop.turn(replies)) is not None:
                replies = [self._prefix + datagram.data for datagram in batch]
        finally:
            self._loop.close()

    def end(self, drain: float | None) -> None:
        """End within ``drain`` seconds (None: no limit)."""
        self._loop.end(drain)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether the end came. Raises the error of a failed thread, once."""
        return self._latch.wait(timeout)

    def abandon(self) -> None:
        """Close the socket in a forked child, and do nothing else."""
        self._loop.abandon()

    def tally(self) -> UdpTally:
        """Return the totals so far."""
        return self._loop.tally()


def udp_reactor(fd: int, plan: UdpPlan) -> UdpReactor:
    """Take over a bound socket; the caller turns the reactor."""
    return UdpReactor(socket.socket(fileno=fd), plan)


def start_udp_echo(fd: int, plan: UdpPlan, prefix: bytes) -> UdpEchoReactor:
    """Take over a bound socket, and begin to echo."""
    return UdpEchoReactor(udp_reactor(fd, plan), prefix)
