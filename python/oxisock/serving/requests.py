"""One question, one answer over TCP: the smallest client."""

from __future__ import annotations

import errno
import socket
import time
from typing import TYPE_CHECKING, Final

from .. import arguments
from ..engines.binding import Functions
from ..errors import FrameTooLong, IncompleteFrame
from ..sockets.resolving import host_addresses

if TYPE_CHECKING:
    from ..framing.codecs import Codec

_MOST: Final = 16 << 20  # of an answer without a codec


class Requests(Functions):
    """`tcp_request` bound to one engine's framing."""

    def tcp_request(
        self, host: str, port: int, payload: bytes, *, codec: Codec | None = None, timeout: float | None = 5.0
    ) -> bytes:
        """Connect, send ``payload``, and give the answer.

        With a ``codec`` the payload is one frame and so is the answer. Without one, the sending side is closed after
        the payload, and the answer is all that comes up to the end, at most 16 MiB. ``timeout`` in seconds (None for
        no limit) covers everything: finding the name, connecting, sending and receiving.

        Raises ValueError for a bad port or timeout, ``socket.gaierror`` for a name without addresses, TimeoutError,
        FrameError (FrameTooLong past 16 MiB; IncompleteFrame where the peer closed before a whole frame), OSError.
        """
        host, port, timeout = arguments.host(host), arguments.port(port), arguments.timeout(timeout, zero=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        if codec is None:
            return _exchange(host, port, arguments.bytes_like(payload, "payload"), deadline)
        with self._engine.names.FramedSocket.connect(host, port, codec, timeout=timeout) as framed:
            framed.settimeout(_left(deadline))
            framed.send(payload)
            framed.settimeout(_left(deadline))
            answer: bytes | None = framed.recv()
        if answer is None:
            raise no_answer()
        return answer


def no_answer() -> IncompleteFrame:
    """Make the error of a connection that ended before there was an answer."""
    return IncompleteFrame("the peer closed the connection without an answer")


def collect(answer: bytearray, data: bytes) -> None:
    """Add to an answer without a codec; FrameTooLong past the limit."""
    answer += data
    if len(answer) > _MOST:
        raise FrameTooLong("the answer is over the limit of 16 MiB", 0, None, _MOST)


def _exchange(host: str, port: int, payload: bytes, deadline: float | None) -> bytes:
    with _connect(host, port, deadline) as sock:
        sock.settimeout(_left(deadline))
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
        answer = bytearray()
        while True:
            sock.settimeout(_left(deadline))
            data = sock.recv(1 << 16)
            if not data:
                return bytes(answer)
            collect(answer, data)


def _connect(host: str, port: int, deadline: float | None) -> socket.socket:
    failure: OSError = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for address in host_addresses(host, timeout=_left(deadline)):
        try:
            return socket.create_connection((address, port), timeout=_left(deadline))
        except OSError as error:
            failure = error
            if isinstance(error, TimeoutError):
                break
    raise failure


def _left(deadline: float | None) -> float | None:
    """Seconds up to a deadline; TimeoutError where it has passed."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
