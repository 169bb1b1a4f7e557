"""UDP: a server that calls a handler for each datagram, a server that echoes, and one request with its answer."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias, overload

from .. import arguments
from ..engines.udp import UdpPlan
from ..serving.lifecycle import Server
from ..sockets import listening as binding
from ..types import Answer, Datagram, Peer
from .handling import Echoing, Handling

DatagramHandler: TypeAlias = Callable[[Datagram], "bytes | None"]
"""``handler(datagram)`` gives the reply, or None for none."""

DatagramBatchHandler: TypeAlias = Callable[[list[Datagram]], list[Answer]]
"""``handler([datagram, ...])`` gives a list as long, of bytes, None or an Exception."""

_LONGEST = 65_527  # bytes of a datagram over IPv6, and 20 less over IPv4
# Bursts wait in the system while a handler runs; its own default holds some 270 small datagrams.
_RECEIVE_BUFFER = 4 << 20
_ANY = ("0.0.0.0", "::")


class _UdpBase(Server):
    """What both UDP servers share: where they listen."""

    def __init__(
        self,
        host: str,
        port: int,
        sock: socket.socket | None,
        max_datagram: int,
        reuse_port: bool,
        answer_low_ports: bool,
    ) -> None:
        super().__init__(host, port, sock)
        self._max_datagram = arguments.size(max_datagram, "max_datagram", 1, 65535)
        self._reuse_port = arguments.flag(reuse_port, "reuse_port")
        self._answer_low_ports = arguments.flag(answer_low_ports, "answer_low_ports")

    def _bind(self) -> tuple[int, UdpPlan, Peer]:
        """Give a bound descriptor that the engine may keep, what the engine needs to know, and the address."""
        if self._sock is not None:
            sock = binding.adopt(self._sock, socket.SOCK_DGRAM)
        else:
            sock = binding.bind(self._host, self._port, socket.SOCK_DGRAM, reuse_port=self._reuse_port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # the system takes what it allows
        address = binding.address_of(sock)
        binding.warn_unless_loopback(self._kind, address)
        plan = UdpPlan(self._max_datagram, self._answer_low_ports, address.host in _ANY)
        return sock.detach(), plan, address


class UdpServer(_UdpBase):
    """Calls a handler for every datagram, and sends what it returns to where the datagram came from."""

    @overload
    def __init__(
        self,
        handler: DatagramHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: Literal[False] = False,
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        handler: DatagramBatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: Literal[True],
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None: ...
    def __init__(
        self,
        handler: DatagramHandler | DatagramBatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: bool = False,
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None:
        """Say what to do with datagrams and where to listen; ``start`` does it.

        Arguments:
            handler: ``handler(datagram)`` gets a Datagram and gives the reply as bytes, or None for none; it is called
                on one thread, for one datagram after the other.
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            batch: call the handler with a list of up to 64 Datagrams; it gives a list as long, of bytes, None or an
                Exception.
            max_datagram: 1 to 65535 bytes; what is longer is cut and marked ``truncated``.
            reuse_port: share the port with other processes that say so too.
            answer_low_ports: handle datagrams from source ports below 1024, which are otherwise only counted as
                ``ignored``: with a forged source address two servers could be made to answer each other for ever.

        A handler that raises, gives another type or a reply that no datagram can hold (65,507 bytes over IPv4) is
        logged with the peer and counted in ``stats().handler_errors``; the server goes on. Replies leave from the
        address that was asked, also on a machine with several. An empty datagram is one. ICMP errors are counted and
        survived. ``stats().timeouts`` are replies given up after a second without room in the system. The report of
        ``stop`` counts replies sent after it began (``drained``), and datagrams and replies that were dropped
        (``aborted``).

        Raises ValueError or TypeError for what makes no sense; errors of binding come from ``start``.
        """
        super().__init__(host, port, sock, max_datagram, reuse_port, answer_low_ports)
        self._handler = arguments.function(handler, "handler")
        self._batch = arguments.flag(batch, "batch")

    def _launch(self) -> tuple[Handling, Peer]:
        fd, plan, address = self._bind()
        return Handling(self._engine.udp.udp_loop(fd, plan), self._handler, self._batch), address


class UdpEchoServer(_UdpBase):
    """Sends every datagram back to where it came from, after a prefix."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        prefix: bytes = b"",
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None:
        """Say where to listen; ``start`` does it.

        Arguments:
            host: the address, or a name of it, to listen on.
            port: the port to listen on; 0: any free one.
            sock: a bound socket to listen on instead, taken over and closed by ``stop``.
            prefix: goes before each datagram; what together no datagram can hold (65,507 bytes over IPv4) is not sent,
                and counted in ``stats().handler_errors``.
            reuse_port: as for UdpServer.
            answer_low_ports: as for UdpServer.

        Raises ValueError or TypeError for what makes no sense; errors of binding come from ``start``.
        """
        super().__init__(host, port, sock, 65535, reuse_port, answer_low_ports)
        self._prefix = arguments.bytes_like(prefix, "prefix", 0, _LONGEST)

    def _launch(self) -> tuple[Echoing, Peer]:
        fd, plan, address = self._bind()
        return Echoing(self._engine.udp.udp_echo(fd, plan, self._prefix)), address


def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram, and give the first one that comes back from the address it was sent to.

    ``host`` is a name or an address and ``port`` from 1 to 65535; of a name, the first IPv4 address is asked (the first
    IPv6 address where it has none), and the next one only where that refuses. ``payload`` (bytes, also none) is sent
    again up to ``retries`` times, each time after ``timeout`` seconds without an answer (None: no limit); looking up a
    name counts towards the first of them. A late answer to an earlier try is an answer.

    Raises TimeoutError naming host, port and tries; ``socket.gaierror`` for a name without address;
    ConnectionRefusedError (or another OSError, errno kept) where the network says that nobody is there; ValueError or
    TypeError for arguments that make no sense.

    Both engines share this function: a request is a handful of system calls, and nearly all of its time is spent
    waiting, so a native one would only be a second one to keep alike.
    """
    question = Question.of(host, port, payload, timeout, retries)
    timeout = question.timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    refusal: OSError | None = None
    for address in _addresses(question):
        try:
            return _ask(question, address, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            refusal = question.refused(error)
        deadline = None if timeout is None else time.monotonic() + timeout
    assert refusal is not None
    raise refusal


class Question(NamedTuple):
    """A request that makes sense."""

    host: str
    port: int
    payload: bytes
    timeout: float | None  # of each try
    retries: int

    @classmethod
    def of(cls, host: str, port: int, payload: bytes, timeout: float | None, retries: int) -> Question:
        """Make the question; raise ValueError or TypeError as `udp_request` says."""
        return cls(
            arguments.host(host),
            arguments.port(port),
            arguments.bytes_like(payload, "payload", 0, _LONGEST),
            arguments.timeout(timeout),
            arguments.count(retries, "retries", 0),
        )

    @property
    def where(self) -> str:
        """Host and port as one says them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def unanswered(self) -> TimeoutError:
        """Make the error of a request that nobody answered."""
        tries = f"{self.retries + 1} tries" if self.retries else "1 try"
        return TimeoutError(f"no answer from {self.where} within {self.timeout:g} s ({tries})")

    def unresolved(self, error: TimeoutError) -> TimeoutError:
        """Make the error of a name that took too long to look up."""
        return TimeoutError(f"no answer from {self.where} within {self.timeout:g} s: {error}")

    def refused(self, error: OSError) -> OSError:
        """Make the error of an address where the network says that nobody is there."""
        return OSError(error.errno, f"{self.where}: {error.strerror}")


def _addresses(question: Question) -> list[str]:
    from ..sockets.resolving import host_addresses

    try:
        found = host_addresses(question.host, timeout=question.timeout)
    except TimeoutError as error:
        raise question.unresolved(error) from error
    return sorted(found, key=lambda address: ":" in address)


def _ask(question: Question, address: str, deadline: float | None) -> bytes:
    """Ask one address; the first try ends at ``deadline``, the others have their own."""
    timeout = question.timeout
    with towards(address, question.port) as sock:
        for number in range(question.retries + 1):
            if number and timeout is not None:
                deadline = time.monotonic() + timeout
            sock.settimeout(None)
            sock.send(question.payload)
            left = None if deadline is None else deadline - time.monotonic()
            try:
                if left is None or left > 0:
                    sock.settimeout(left)
                    return sock.recv(65535)
            except TimeoutError:
                continue
    raise question.unanswered()


def towards(address: str, port: int) -> socket.socket:
    """Make a socket that hears only this peer, and its ICMP errors."""
    # Scoped addresses are the one thing that needs the resolver again, and it answers literals at once.
    family, kind, proto, _, target = socket.getaddrinfo(
        address, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock
