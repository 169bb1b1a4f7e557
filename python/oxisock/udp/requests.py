"""A client for one request and one answer over UDP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from typing import Any, Final, NamedTuple

from .. import arguments
from ..sockets.addresses import socket_address
from ..sockets.calls import Deadline, carry_out
from ..sockets.connecting import LookUp, refused, unresolved
from ..sockets.resolving import checked_host, host_addresses
from ..types import Peer

LONGEST: Final = 65_527
"""The most bytes of a datagram over IPv6; over IPv4 it is 20 less."""


def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram and return the first datagram that comes back from that address.

    ``host`` is a name or an address, and ``port`` is 1 to 65535. For a name, the request goes to the first IPv4 address
    (the first IPv6 address if it has none), and to the next one only if that one refuses. If no answer comes within
    ``timeout`` seconds (None: no limit), ``payload`` is sent again, up to ``retries`` times. The first timeout includes
    the name look-up. A late answer to an earlier try counts.

    Raises TimeoutError, which names host, port and tries; ``socket.gaierror`` if the name has no address;
    ConnectionRefusedError (or another OSError) if the network reports that nobody listens; ValueError or TypeError for
    a bad argument.

    Both engines share this function, because a request spends nearly all of its time waiting.
    """
    question = Question.of(host, port, payload, timeout, retries)
    deadline = Deadline(question.timeout)

    def do(step: Step) -> Any:
        if isinstance(step, LookUp):
            return host_addresses(step.host, timeout=question.timeout)
        return _ask(question, step.address, deadline if step.first else Deadline(question.timeout))

    return carry_out(asking(question), do)


class Ask(NamedTuple):
    """Step: ask one address. The ``first`` one has the time left after the look-up; each other one a full timeout."""

    address: str
    first: bool


Step = LookUp | Ask


class Question(NamedTuple):
    """A request with checked arguments."""

    peer: Peer
    payload: bytes
    timeout: float | None  # of each try
    retries: int

    @classmethod
    def of(cls, host: str, port: int, payload: bytes, timeout: float | None, retries: int) -> Question:
        """Return the question. Raises ValueError or TypeError as `udp_request` does."""
        return cls(
            Peer(checked_host(host), arguments.port(port)),
            arguments.bytes_like(payload, "payload", 0, LONGEST),
            arguments.timeout(timeout),
            arguments.count(retries, "retries", 0),
        )

    def unanswered(self) -> TimeoutError:
        """Return the error for a request without an answer."""
        tries = f"{self.retries + 1} tries" if self.retries else "1 try"
        return TimeoutError(errno.ETIMEDOUT, f"no answer from {self.peer} within {self.timeout:g} s ({tries})")


def asking(question: Question) -> Generator[Step, Any, bytes]:
    """Yield steps, and return the answer. The caller sends the result of a step, or throws its OSError."""
    peer = question.peer
    try:
        addresses = yield LookUp(peer.host)
    except OSError as error:
        raise unresolved(peer, question.timeout, error) from error
    refusal: OSError | None = None
    for address in sorted(addresses, key=lambda address: ":" in address):  # IPv4 first
        try:
            answer: bytes = yield Ask(address, refusal is None)
        except TimeoutError:
            raise
        except OSError as error:
            refusal = refused(peer, error)
        else:
            return answer
    assert refusal is not None
    raise refusal


def _ask(question: Question, address: str, deadline: Deadline) -> bytes:
    """Ask one address, and return the answer. The first try ends at ``deadline``; each repeat has a full timeout."""
    with towards(address, question.peer.port) as sock:
        for number in range(question.retries + 1):
            if number:
                deadline = Deadline(question.timeout)
            sock.settimeout(None)
            sock.send(question.payload)
            sock.settimeout(deadline.left())
            try:
                return sock.recv(65535)
            except TimeoutError:
                continue
    raise question.unanswered()


def towards(address: str, port: int) -> socket.socket:
    """Return a socket that receives only from this peer, and its ICMP errors."""
    family, target = socket_address(address, port)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock
