"""One request and one answer over TCP."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Final

from .. import arguments
from ..engines.binding import Functions
from ..errors import FrameTooLong
from ..sockets import secure
from ..sockets.calls import Deadline
from ..sockets.closing import end_output
from ..sockets.connecting import Destination, connect
from ..sockets.selecting import Selector

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..framing.codecs import Codec

_MOST: Final = 16 << 20  # bytes of an answer without a codec
MOST_ENCRYPTED: Final = 2 * _MOST  # no such answer is longer over TLS


class Requests(Functions):
    """`tcp_request` bound to one engine's framing."""

    def tcp_request(
        self,
        host: str,
        port: int,
        payload: bytes,
        *,
        codec: Codec | None = None,
        timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> bytes:
        """Connect to a TCP server, send ``payload``, and return the answer.

        With a ``codec``, the payload and the answer are one frame each. Without a codec, the sending side is closed
        after the payload, and the answer is everything up to the end of the stream, at most 16 MiB. It is ``b""`` if
        the server closes without an answer, for example because its handler failed.

        ``timeout`` is the limit for the whole call in seconds, name look-up included; None: no limit. ``ssl`` and
        ``server_hostname`` are those of ``connect``.

        Raises ValueError for a bad host, port or timeout, ``socket.gaierror`` if the name has no address, TimeoutError,
        OSError, and FrameError (FrameTooLong past 16 MiB, IncompleteFrame if the peer closed before a whole frame).
        Errors of connecting and TimeoutError have host and port in their message. With TLS, an answer that ends
        without a close_notify raises ``ssl.SSLEOFError``.
        """
        destination = Destination.of(host, port, timeout)
        name = secure.server_name(ssl, server_hostname, destination.peer.host)
        deadline = Deadline(destination.timeout)
        if codec is None:
            payload = arguments.bytes_like(payload, "payload")
            with connect(*destination.peer, destination.timeout) as sock, answering(destination):
                if ssl is not None:
                    return _exchange_tls(sock, ssl, name, destination, payload, deadline)
                return _exchange(sock, payload, deadline)
        with (
            self._engine.names.FramedSocket.connect(
                *destination.peer, codec, timeout=timeout, ssl=ssl, server_hostname=server_hostname
            ) as framed,
            answering(destination),
        ):
            framed.settimeout(deadline.check())
            answer: bytes = framed.request(payload)
            framed.close(linger=0)
        return answer


def collect(answer: bytearray, data: bytes, most: int = _MOST) -> None:
    """Add to an answer without a codec. Raises FrameTooLong past the limit."""
    answer += data
    if len(answer) > most:
        raise FrameTooLong("the answer is over the limit of 16 MiB", 0, None, _MOST)


@contextmanager
def answering(destination: Destination) -> Iterator[None]:
    """Add the address and the timeout to the error, if no answer came."""
    try:
        yield
    except TimeoutError as error:
        if error.errno is not None:  # an error of the system, or of connecting
            raise
        raise TimeoutError(
            errno.ETIMEDOUT, f"{destination.peer}: no answer within {destination.timeout:g} s"
        ) from error


def begin_sending(sock: socket.socket, data: bytes | memoryview) -> memoryview:
    """Send what the system takes at once, and return the rest. The socket does not block."""
    rest = memoryview(data)
    with suppress(BlockingIOError):
        rest = rest[sock.send(rest) :]
    return rest


def _send(sock: socket.socket, data: bytes, deadline: Deadline, take: Callable[[bytes], None]) -> None:
    """Send everything, and take what comes meanwhile: the peer may read on only when its answer is read."""
    deadline.check()
    sock.setblocking(False)
    rest = begin_sending(sock, data)
    if not rest:
        return
    with Selector() as selector:
        selector.register(sock, EVENT_READ | EVENT_WRITE)
        while rest:
            for _, events in selector.select(deadline.check()):
                if events & EVENT_READ:
                    with suppress(BlockingIOError):
                        if came := sock.recv(1 << 16):
                            take(came)
                        else:  # the peer has ended its output, and may go on reading
                            selector.modify(sock, EVENT_WRITE)
                if events & EVENT_WRITE:
                    rest = begin_sending(sock, rest)


def _exchange(sock: socket.socket, payload: bytes, deadline: Deadline) -> bytes:
    answer = bytearray()
    _send(sock, payload, deadline, partial(collect, answer))
    end_output(sock)  # if the peer has reset the connection, recv says so
    while True:
        sock.settimeout(deadline.check())
        data = sock.recv(1 << 16)
        if not data:
            return bytes(answer)
        collect(answer, data)


def _exchange_tls(
    sock: socket.socket,
    context: SSLContext,
    name: str | None,
    destination: Destination,
    payload: bytes,
    deadline: Deadline,
) -> bytes:
    from ..sockets.tls import Session, asking

    answer = bytearray()
    session = Session(context, name)
    steps = asking(session, payload, partial(collect, answer))
    with suppress(StopIteration):
        wire = next(steps)
        while True:
            with nullcontext() if session.begun else secure.shaking(destination.peer, destination.timeout):
                heard = bytearray()
                _send(sock, wire, deadline, partial(collect, heard, most=MOST_ENCRYPTED))
                sock.settimeout(deadline.check())
                wire = steps.send(bytes(heard) or sock.recv(1 << 16))
    return bytes(answer)
