"""TLS for connections on an event loop; unlike asyncio's own, it tells a cut from a clean end.

A `Session` stands between the transport of a loop, whichever, and the stream's protocol.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import Any, cast

from ..errors import errno_words
from ..sockets.tls import Session
from .protocol import StreamProtocol
from .stream import FramedStream


async def shake_hands(stream: FramedStream, sock: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
    """Begin a stream over TLS on a connected socket; ``name`` is that of the server, None makes a server's.

    Raises ssl.SSLError or another OSError where the handshake fails. Where this does not come to its end, the
    connection is closed.
    """
    loop = asyncio.get_running_loop()
    protocol = _Protocol(stream, Session(context, name))
    if name is None:
        await loop.connect_accepted_socket(lambda: protocol, sock)
    else:
        await loop.create_connection(lambda: protocol, sock=sock)
    try:
        await protocol.begun
    except OSError:
        protocol.wire.close()  # after what TLS has to say of it
        raise
    except BaseException:
        protocol.wire.abort()
        raise


class _Protocol(StreamProtocol):
    """What asyncio calls: it hears the wire, and the stream what that says."""

    def __init__(self, stream: FramedStream, session: Session) -> None:
        super().__init__(stream)
        self._session = session
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before all else."""
        self.wire = cast(asyncio.Transport, transport)  # uvloop's has another base
        self._take(b"")

    def buffer_updated(self, nbytes: int) -> None:
        """Called after each read."""
        self._take(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        """Called when the wire has ended."""
        self._session.cut()
        self._take(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, after all else."""
        if not self.begun.done():
            lost = ConnectionResetError(errno.ECONNRESET, errno_words(errno.ECONNRESET))
            self.begun.set_exception(exc if isinstance(exc, OSError) else lost)
        super().connection_lost(exc)

    def _take(self, data: bytes) -> None:
        session = self._session
        said = session.received(data)
        if wire := session.unsent():
            self.wire.write(wire)
        if session.begun and not self.begun.done():
            super().connection_made(cast(asyncio.BaseTransport, _Transport(self.wire, session)))
            self.begun.set_result(None)
        if not session.begun:
            if session.fault is not None and not self.begun.done():
                self.begun.set_exception(session.fault)
            return
        if said:
            self.received(memoryview(said))
        if session.over and not session.told:
            session.told = True
            self.ended(session.fault)


class _Transport:
    """A transport as the stream wants it, within TLS: what waits to be sent, and what is read, are the wire's."""

    def __init__(self, wire: asyncio.Transport, session: Session) -> None:
        self._wire = wire
        self._session = session
        for name in (
            "abort",
            "can_write_eof",
            "close",
            "get_write_buffer_size",
            "is_closing",
            "pause_reading",
            "resume_reading",
            "set_write_buffer_limits",
        ):
            setattr(self, name, getattr(wire, name))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the certificate of the peer says as "peercert", and else what the wire knows."""
        if name == "peercert":
            return self._session.certificate() or None
        return self._wire.get_extra_info(name, default)

    def write(self, data: bytes) -> None:
        """Send some bytes."""
        session, wire = self._session, self._wire
        session.forget_sent(wire.get_write_buffer_size())
        wire.write(session.sealed(data))

    def unsaid(self) -> int:
        """Return how many of the bytes that were given to `write` wait to be sent."""
        session = self._session
        return session.said - session.sent(session.wire - self._wire.get_write_buffer_size())

    def write_eof(self) -> None:
        """Say that this was all; the other direction stays open."""
        self._wire.write(self._session.last_word())
        self._wire.write_eof()
