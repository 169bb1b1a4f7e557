"""Connects to TCP servers: the order in which addresses are tried, and the errors.

``connecting`` decides and touches no socket; ``connect`` carries it out with blocking calls, and ``oxisock.aio`` on its
event loop.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Generator
from typing import Any, NamedTuple

from .. import arguments
from ..errors import errno_words
from ..types import Peer
from .addresses import socket_address
from .calls import Deadline, carry_out
from .resolving import checked_host, host_addresses

# asyncio's own words on Windows: its proactor's errors have numbers of the system's, and EINVAL for an errno.
_CODES = {
    64: errno.ECONNRESET,
    121: errno.ETIMEDOUT,
    1225: errno.ECONNREFUSED,
    1231: errno.ENETUNREACH,
    1232: errno.EHOSTUNREACH,
    1236: errno.ECONNABORTED,
}


class LookUp(NamedTuple):
    """Give the addresses of a host, as ``host_addresses`` does."""

    host: str


class Try(NamedTuple):
    """Connect a stream socket, and give the names of both its ends; one that was connected before is not wanted."""

    family: socket.AddressFamily
    address: tuple[Any, ...]


Step = LookUp | Try


class Destination(NamedTuple):
    """Where to, and how long that may take: arguments that make sense."""

    peer: Peer
    timeout: float | None

    @classmethod
    def of(cls, host: str, port: int, timeout: float | None) -> Destination:
        """Check the arguments; raise ValueError or TypeError."""
        return cls(Peer(checked_host(host), arguments.port(port)), arguments.timeout(timeout, zero=True))


def connecting(destination: Destination) -> Generator[Step, Any, None]:
    """Yield what to do, and end where the socket that was connected last is the one that was asked for.

    What came of a step is sent, or its OSError thrown; a TimeoutError without errno says that all the time is over.
    Every address is tried in turn. Raises the error of the last one, its type and errno kept, in one form of words:
    "HOST:PORT: what the system says".
    """
    peer, timeout = destination
    try:
        addresses = yield LookUp(peer.host)
    except OSError as error:
        raise unresolved(peer, timeout, error) from error
    for number, address in enumerate(addresses, 1):
        try:
            here, there = yield Try(*socket_address(address, peer.port))
            if here != there:
                return
            # It met its own source port: nobody listens there.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "")
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise TimeoutError(errno.ETIMEDOUT, f"{peer}: no connection within {timeout:g} s") from error
            if number == len(addresses):
                raise refused(peer, error) from error


def unresolved(peer: Peer, timeout: float | None, error: OSError) -> OSError:
    """Make the error of a host that has no address, or none in time."""
    if isinstance(error, TimeoutError):
        return TimeoutError(errno.ETIMEDOUT, f"{peer}: the name was not resolved within {timeout:g} s")
    # The resolver's numbers are of its own.
    kind = socket.gaierror if isinstance(error, socket.gaierror) else OSError
    return kind(error.errno, f"{peer}: {error.strerror or error}")


def refused(peer: Peer, error: OSError) -> OSError:
    """Make the error of an address that could not be reached, in the system's words: asyncio has others."""
    code = _CODES.get(getattr(error, "winerror", 0), error.errno)
    return OSError(code, f"{peer}: {errno_words(code) if code else error}")


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connect to a TCP server; ``timeout`` in seconds (None: no limit) covers finding the name and connecting.

    Raises ValueError or TypeError for bad arguments, ``socket.gaierror`` for a name without addresses, TimeoutError,
    and the OSError of the last address, each with host and port in its words.
    """
    destination = Destination.of(host, port, timeout)
    deadline = Deadline(destination.timeout)
    sock: socket.socket | None = None

    def do(step: Step) -> Any:
        nonlocal sock
        if isinstance(step, LookUp):
            return host_addresses(step.host, timeout=deadline.left())
        if sock is not None:
            sock.close()
        sock = socket.socket(step.family, socket.SOCK_STREAM)
        sock.settimeout(deadline.left())  # an address that is tried has a moment at least
        sock.connect(step.address)
        return prepared(sock)

    try:
        carry_out(connecting(destination), do)
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    assert sock is not None
    return sock


def prepared(sock: socket.socket) -> tuple[Any, Any]:
    """Set what a fresh connection needs, and return the names of its ends."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock.getsockname(), sock.getpeername()
