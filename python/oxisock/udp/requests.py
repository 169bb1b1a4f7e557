"""One question, one answer over UDP: the smallest client."""

from __future__ import annotations

import errno
import socket
import time
from typing import Final, NamedTuple

from .. import arguments
from ..sockets.addresses import socket_address
from ..sockets.connecting import refused, unresolved
from ..sockets.resolving import checked_host, host_addresses
from ..types import Peer

LONGEST: Final = 65_527
"""Bytes of a datagram over IPv6, and 20 less over IPv4."""


def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram, and return the first one that comes back from the address it was sent to.

    ``host`` is a name or an address, and ``port`` is 1 to 65535. Of a name, the first IPv4 address is asked (the first
    IPv6 address if it has none), and the next one only if that one refuses. If no answer comes within ``timeout``
    seconds (None: no limit), ``payload`` is sent again, up to ``retries`` times. The first timeout includes the look-up
    of the name. A late answer to an earlier try counts.

    Raises TimeoutError, which names host, port and tries; ``socket.gaierror`` for a name without address;
    ConnectionRefusedError (or another OSError, errno kept) if the network says that nobody listens; ValueError or
    TypeError for a bad argument.

    Both engines share this function, because a request spends nearly all of its time waiting.
    """
    question = Question.of(host, port, payload, timeout, retries)
    timeout = question.timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    refusal: OSError | None = None
    try:
        addresses = host_addresses(question.peer.host, timeout=timeout)
    except OSError as error:
        raise unresolved(question.peer, timeout, error) from error
    for address in in_order(addresses):
        try:
            return _ask(question, address, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            refusal = refused(question.peer, error)
        deadline = None if timeout is None else time.monotonic() + timeout
    assert refusal is not None
    raise refusal


class Question(NamedTuple):
    """A request that makes sense."""

    peer: Peer
    payload: bytes
    timeout: float | None  # of each try
    retries: int

    @classmethod
    def of(cls, host: str, port: int, payload: bytes, timeout: float | None, retries: int) -> Question:
        """Make the question; raise ValueError or TypeError as `udp_request` says."""
        return cls(
            Peer(checked_host(host), arguments.port(port)),
            arguments.bytes_like(payload, "payload", 0, LONGEST),
            arguments.timeout(timeout),
            arguments.count(retries, "retries", 0),
        )

    def unanswered(self) -> TimeoutError:
        """Make the error of a request that nobody answered."""
        tries = f"{self.retries + 1} tries" if self.retries else "1 try"
        return TimeoutError(errno.ETIMEDOUT, f"no answer from {self.peer} within {self.timeout:g} s ({tries})")


def in_order(addresses: list[str]) -> list[str]:
    """Put the addresses of a name in the order in which they are asked: IPv4 first."""
    return sorted(addresses, key=lambda address: ":" in address)


def _ask(question: Question, address: str, deadline: float | None) -> bytes:
    """Ask one address; the first try ends at ``deadline``, the others have their own."""
    timeout = question.timeout
    with towards(address, question.peer.port) as sock:
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
    family, target = socket_address(address, port)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.connect(target)
    except BaseException:
        sock.close()
        raise
    return sock
