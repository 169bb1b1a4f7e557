"""TLS for connections on an event loop. Unlike asyncio's own, it distinguishes a cut from a clean end.

A `Session` stands between the transport of any loop and the stream's protocol.
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
    """Begin a stream over TLS on a connected socket. ``name`` is the server's name, for a client; None for a server.

    Raises ssl.SSLError or another OSError if the handshake fails. If this does not finish, it closes the connection.
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
        protocol.wire.close()  # after TLS has sent its alert
        raise
    except BaseException:
        protocol.wire.abort()
        raise


class _Protocol(StreamProtocol):
    """The calls that asyncio makes. It receives the encrypted bytes, and gives the stream the plain ones."""

    def __init__(self, stream: FramedStream, session: Session) -> None:
        super().__init__(stream)
        self._session = session
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called once, before all other calls."""
        self.wire = cast(asyncio.Transport, transport)  # uvloop's transport has another base class
        self._take(b"")

    def buffer_updated(self, nbytes: int) -> None:
        """Called after each read."""
        self._take(bytes(self._view[:nbytes]))

    def eof_received(self) -> bool:
        """Called when the peer has ended the connection's input."""
        self._session.cut()
        self._take(b"")
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Called once, after all other calls."""
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
    """The transport that the stream sees. It encrypts what is written; the TCP transport does everything else."""

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
        """Return the peer's certificate for "peercert", and for other names what the TCP transport knows."""
        if name == "peercert":
            return self._session.certificate() or None
        return self._wire.get_extra_info(name, default)

    def write(self, data: bytes) -> None:
        """Encrypt and send bytes."""
        session, wire = self._session, self._wire
        session.forget_sent(wire.get_write_buffer_size())
        wire.write(session.sealed(data))

    def unsaid(self) -> int:
        """Return how many of the bytes given to `write` are not sent yet."""
        session = self._session
        return session.said - session.sent(session.wire - self._wire.get_write_buffer_size())

    def write_eof(self) -> None:
        """Send close_notify and end the output; the other direction stays open."""
        self._wire.write(self._session.last_word())
        self._wire.write_eof()
