"""A connected socket with TLS, whose two directions end independently.

Python's own TLS socket ends both at once, so data on its way to a side that has ended its output is lost.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from typing import Any

from .tls import Session

_CHUNK = 1 << 16


class SecureSocket(socket.socket):
    """A socket that sends and receives bytes within TLS, used like an ``ssl.SSLSocket``.

    ``name`` is the server's name, for a client; None for a server. Other attributes (``version()``, ``cipher()`` and
    more) are those of the SSLObject. Only a close_notify of the peer is an end of the stream.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str | None) -> None:
        self._session = Session(context, name)
        timeout = sock.gettimeout()
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.settimeout(timeout)
        self._heard = bytearray()
        self._unsent = b""
        self._sending = 0  # bytes at the end of `_unsent` that belong to a send that is to be called again

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._session.tls, name)

    def getpeercert(self, binary_form: bool = False) -> Any:
        """Return what ``getpeercert`` of an ``ssl.SSLSocket`` returns."""
        return self._session.tls.getpeercert(True) if binary_form else self._session.certificate()

    def do_handshake(self) -> None:
        """Do the handshake. Raises ssl.SSLError if it fails, and as `recv` does."""
        session = self._session
        heard = False
        if not session.begun:
            self._heard += session.received(b"")
        while True:
            self._unsent += session.unsent()
            if session.fault is not None:
                with suppress(OSError):  # send the alert, if that needs no waiting
                    self._flush()
                raise session.fault
            self._flush()
            if session.begun:
                return
            if heard and self.gettimeout() == 0:
                # The caller checks its deadline after each piece, however fast the peer sends.
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "the handshake is not done")
            self._take()
            heard = True

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return what the peer has sent, or b"" after its close_notify.

        Raises ssl.SSLEOFError at an end without a close_notify, ssl.SSLWantReadError if the call would block, and
        OSError.
        """
        while not self._heard:
            if self._session.over:
                fault = self._session.fault
                if fault is not None:
                    raise type(fault)(*fault.args)
                return b""
            if len(self._unsent) >= 4 * _CHUNK:
                self._flush()  # more than any send: TLS's own answers. If the peer does not take them, do not read it
            self._take()
            with suppress(OSError):
                self._flush()
            if not (self._heard or self._session.over) and self.gettimeout() == 0:
                # The caller checks its deadline: a peer can send TLS messages for ever without any data.
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "nothing was said")
        data = bytes(self._heard[:size])
        del self._heard[:size]
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Do as `recv`, but write into a buffer."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or len(view))
            view[: len(data)] = data
            return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Send some of the data, and return how many bytes.

        Raises OSError, and ssl.SSLWantWriteError if the call would block; then call it again with the same data.
        """
        if not self._sending:
            if self._session.mute:
                raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
            with memoryview(data) as view, view[:_CHUNK] as part:
                self._unsent += self._session.sealed(part)
                self._sending = len(part)
        self._flush()
        sent, self._sending = self._sending, 0
        return sent

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all the data. Raises as `send` does."""
        with memoryview(data) as rest:
            sent = 0
            while sent < len(rest):
                sent += self.send(rest[sent:])

    def unwrap(self) -> None:
        """Send close_notify. What the peer still sends can be received. Raises as `send` does."""
        self._unsent += self._session.last_word()
        self._flush()

    def _take(self) -> None:
        try:
            data = super().recv(_CHUNK)
        except BlockingIOError:
            raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "nothing has come") from None
        if data:
            self._heard += self._session.received(data)
        else:
            self._session.cut()
        self._unsent += self._session.unsent()

    def _flush(self) -> None:
        while self._unsent:
            try:
                sent = super().send(self._unsent)
            except BlockingIOError:
                raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "the peer does not keep up") from None
            self._unsent = self._unsent[sent:]
        self._session.forget_sent(0)
