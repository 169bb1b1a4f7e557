"""One TLS connection as a machine: encrypted bytes in and plain bytes out, and the reverse."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..types import Peer

PIECE = 1 << 14  # bytes that go through a buffer at once; OpenSSL's buffer keeps the size of the largest ever
_WORDLESS = 1 << 16  # encrypted bytes in a row without plain bytes: a record has at most a quarter, new keys take 27
_MARK = 1 << 12  # encrypted bytes between two marks; between them, it is not known which plain bytes each carries

_FAILING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Session:
    """OpenSSL between two buffers, without a socket.

    The driver moves the bytes that ``received``, ``sealed``, ``last_word`` and ``unsent`` return or leave. ``name`` is
    the server's name, for a client; None for a server.

    Attributes:
        said: how many plain bytes were encrypted.
        wire: how many encrypted bytes were returned.
        begun: the handshake is done.
        over: nothing more will come: the peer has said so, or the stream has broken.
        fault: why the stream broke, or the handshake failed.
        tls: the SSLObject, which has the certificate, the version and more.
    """

    __slots__ = (
        "_incoming",
        "_marks",
        "_outgoing",
        "_said_all",
        "_sent",
        "_wordless",
        "begun",
        "counted",
        "fault",
        "held",
        "over",
        "peer",
        "said",
        "tls",
        "told",
        "wire",
    )

    def __init__(self, context: ssl.SSLContext, name: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, name is None, name)
        self._said_all = False
        self.said = self.wire = 0
        self._marks: deque[tuple[int, int]] = deque()  # pairs of `wire` and `said`, for bytes that may still wait
        self._sent = 0  # plain bytes that were sent before the first mark
        self._wordless = 0  # encrypted bytes since the last plain bytes
        self.begun = self.over = False
        self.fault: Exception | None = None
        self.held = False  # for the driver: answers wait for room
        self.told = False  # for the driver: the end was reported
        self.peer: Peer | None = None  # for the driver: whom the log names
        self.counted = 0  # for the driver: plain bytes that were sent, at the last count

    def certificate(self) -> dict[str, Any] | None:
        """Return what ``getpeercert`` of an `ssl.SSLSocket` returns, and raise what it raises."""
        try:
            return self.tls.getpeercert()
        finally:
            # OpenSSL leaves an error in a queue of this thread if it could not read part of the certificate. The next
            # call for any connection would take that for its own fault. A call that fails empties the queue.
            with suppress(ssl.SSLError):
                _FAILING.set_ciphers("NONE")

    @property
    def mute(self) -> bool:
        """Whether nothing more can be sent."""
        return self._said_all or self.fault is not None

    def received(self, data: bytes) -> bytes:
        """Take encrypted bytes, and return the plain bytes in them."""
        said: list[bytes] = []
        with memoryview(data) as wire:
            for at in range(0, len(data) or 1, PIECE):
                if self.over:
                    break
                try:
                    self._incoming.write(wire[at : at + PIECE])
                    if not self.begun:
                        self.tls.do_handshake()
                        self.begun = True
                        self._wordless = 0  # certificates may be long
                    while piece := self.tls.read(PIECE):
                        said.append(piece)
                        self._wordless = 0
                    self.over = True
                except ssl.SSLWantReadError:
                    self._wordless += min(PIECE, len(data) - at)
                    if self._wordless > _WORDLESS and self.begun:
                        self._break(ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer keeps TLS busy and says nothing"))
                except ssl.SSLZeroReturnError as error:
                    if self.begun:
                        self.over = True
                    else:  # nothing was agreed that could end well, and whoever waits for the handshake needs a fault
                        self._break(error)
                except Exception as error:
                    self._break(error)
        return b"".join(said)

    def fail(self, error: Exception) -> None:
        """Note that the stream has broken. Nothing more is said then, so the peer sees a cut."""
        if self.fault is None:
            self._break(error)

    def cut(self) -> None:
        """Note that the connection has ended. Without a close_notify, anybody may have cut it."""
        if not self.over:
            self._break(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the stream ended without a close_notify"))

    def sealed(self, data: bytes | memoryview) -> bytes:
        """Encrypt ``data``, and return the bytes to send, after those that were waiting."""
        wire = [self.unsent()]
        if not self.mute:
            with memoryview(data) as rest:
                at = 0
                while at < len(data):
                    size = self.tls.write(rest[at : at + PIECE])
                    at += size
                    self.said += size
                    wire.append(self.unsent())
                    self._mark()
        return b"".join(wire)

    def sent(self, written: int) -> int:
        """Return how many plain bytes went out with the first ``written`` encrypted bytes.

        This includes bytes that were sent before the forgotten ones. Any thread may call this at any time.
        """
        marks, sent = self._marks.copy(), self._sent
        for wire, said in marks:
            if wire > written:
                break
            sent = max(sent, said)
        return sent

    def forget_sent(self, waiting: int) -> None:
        """Forget the marks of all but the last ``waiting`` encrypted bytes; the bytes before them are sent."""
        marks, written = self._marks, self.wire - waiting
        while marks and marks[0][0] <= written:
            self._sent = marks.popleft()[1]

    def last_word(self) -> bytes:
        """Return the bytes to send to say that this was all (close_notify)."""
        if self.begun and not self.mute:
            self._said_all = True
            with suppress(ssl.SSLError):  # the peer's own close_notify is not waited for
                self.tls.unwrap()
        return self.unsent()

    def unsent(self) -> bytes:
        """Return the bytes that TLS has to send."""
        wire = self._outgoing.read()
        self.wire += len(wire)
        return wire

    def _mark(self) -> None:
        marks, mark = self._marks, (self.wire, self.said)
        if len(marks) > 1 and self.wire - marks[-2][0] < _MARK:  # marks of small writes would take too much memory
            marks[-1] = mark
        else:
            marks.append(mark)

    def _break(self, error: Exception) -> None:
        self.over = True
        broken = self.begun and not isinstance(error, ssl.SSLEOFError)
        self.fault = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, f"the stream broke: {error}") if broken else error


def shaking_hands(session: Session) -> Generator[bytes, bytes, bytes]:
    """Yield bytes to send and take received bytes (b"" at the end), until the handshake is done.

    Returns the plain bytes received by then. Raises ssl.SSLError if the handshake fails.
    """
    said = session.received(b"")
    while not session.begun:
        if session.fault is None:
            came = yield session.unsent()
            said = session.received(came) if came else said
            if not came:
                session.cut()
        if session.fault is not None:
            raise session.fault
    return said


def asking(session: Session, payload: bytes, collect: Any) -> Generator[bytes, bytes, None]:
    """Do as ``shaking_hands``, send ``payload`` and a close_notify, and pass all plain bytes received to ``collect``.

    Raises ssl.SSLEOFError if the stream is cut.
    """
    collect((yield from shaking_hands(session)))
    wire = session.unsent() + session.sealed(payload) + session.last_word()
    while not session.over:
        came = yield wire
        wire = b""
        if came:
            collect(session.received(came))
        else:
            session.cut()
    if session.fault is not None:
        raise session.fault
