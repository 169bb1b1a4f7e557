"""Connects to TCP servers: the order in which addresses are tried, and the errors.

``connecting`` decides and touches no socket. ``connect`` carries it out with blocking calls, and ``oxisock.aio`` on its
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

# asyncio's errors on Windows: its proactor gives the system's own numbers, with EINVAL as errno.
_CODES = {
    64: errno.ECONNRESET,
    121: errno.ETIMEDOUT,
    1225: errno.ECONNREFUSED,
    1231: errno.ENETUNREACH,
    1232: errno.EHOSTUNREACH,
    1236: errno.ECONNABORTED,
}


class LookUp(NamedTuple):
    """Step: find the addresses of a host, as ``host_addresses`` does."""

    host: str


class Try(NamedTuple):
    """Step: connect a stream socket, and return the names of both its ends. Close the socket of an earlier step."""

    family: socket.AddressFamily
    address: tuple[Any, ...]


Step = LookUp | Try


class Destination(NamedTuple):
    """Where to connect and how long that may take, as checked arguments."""

    peer: Peer
    timeout: float | None

    @classmethod
    def of(cls, host: str, port: int, timeout: float | None) -> Destination:
        """Check the arguments. Raises ValueError or TypeError."""
        return cls(Peer(checked_host(host), arguments.port(port)), arguments.timeout(timeout, zero=True))


def connecting(destination: Destination) -> Generator[Step, Any, None]:
    """Yield the steps, and return when the last connected socket is the wanted one.

    The driver sends the result of a step, or throws its OSError. A TimeoutError without errno says that the whole time
    is over. Every address is tried in turn. Raises the error of the last one, with its type and errno, and the message
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
            # The socket connected to its own source port: nobody listens there.
            raise ConnectionRefusedError(errno.ECONNREFUSED, "")
        except OSError as error:
            if error.errno is None and isinstance(error, TimeoutError):
                raise TimeoutError(errno.ETIMEDOUT, f"{peer}: no connection within {timeout:g} s") from error
            if number == len(addresses):
                raise refused(peer, error) from error


def unresolved(peer: Peer, timeout: float | None, error: OSError) -> OSError:
    """Make the error of a host that has no address, or whose look-up took too long."""
    if isinstance(error, TimeoutError):
        return TimeoutError(errno.ETIMEDOUT, f"{peer}: the name was not resolved within {timeout:g} s")
    # The resolver has error numbers of its own.
    kind = socket.gaierror if isinstance(error, socket.gaierror) else OSError
    return kind(error.errno, f"{peer}: {error.strerror or error}")


def refused(peer: Peer, error: OSError) -> OSError:
    """Make the error of an address that could not be reached, in the system's words; asyncio's words differ."""
    code = _CODES.get(getattr(error, "winerror", 0), error.errno)
    return OSError(code, f"{peer}: {errno_words(code) if code else error}")


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connect to a TCP server. ``timeout`` in seconds (None: no limit) covers name look-up and connecting.

    Raises ValueError or TypeError for bad arguments, ``socket.gaierror`` for a name without addresses, TimeoutError,
    and the OSError of the last address. Each message has host and port.
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
        sock.settimeout(deadline.left())  # never 0: each address gets at least a moment
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
    """Set what a new connection needs, and return the names of its ends."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock.getsockname(), sock.getpeername()
