"""One TLS connection as a machine: encrypted bytes in and plain bytes out, and the reverse."""

from __future__ import annotations

import ssl
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from typing import Any

PIECE = 1 << 14  # bytes that go through a buffer at once: it keeps the room of the largest ever
_WORDLESS = 1 << 16  # bytes of the wire in a row that say nothing: a record has a quarter of it, new keys ask for 27
_MARK = 1 << 12  # bytes of the wire, of which it is not known what each says

_FAILING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Session:
    """OpenSSL between two buffers. It moves no bytes itself: what ``received``, ``sealed``, ``last_word`` and
    ``unsent`` give or leave is for who does. ``name`` is that of the server, for a client; None makes a server's.

    Attributes:
        said: how many bytes were sealed.
        wire: how many bytes of the wire were given.
        begun: the handshake is done.
        over: nothing more will come: the peer has said so, or the stream has broken.
        fault: why the stream broke, or the handshake failed.
        tls: knows of the certificate, the version and more.
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
        self._marks: deque[tuple[int, int]] = deque()  # how much of the wire says how much, where some may wait
        self._sent = 0  # how much was sent before them
        self._wordless = 0  # how much of the wire came since something was said
        self.begun = self.over = False
        self.fault: Exception | None = None
        self.held = False  # for who drives it: answers wait for room
        self.told = False  # for who drives it: that it is over was told
        self.counted = 0  # for who drives it: bytes that were sent, when that was last asked

    def certificate(self) -> dict[str, Any] | None:
        """Return what ``getpeercert`` of an `ssl.SSLSocket` does; it raises what that does."""
        try:
            return self.tls.getpeercert()
        finally:
            # What OpenSSL could not read of it stands in a queue of this thread now, and would be taken for a fault of
            # whichever connection is heard next. A call that fails empties it.
            with suppress(ssl.SSLError):
                _FAILING.set_ciphers("NONE")

    @property
    def mute(self) -> bool:
        """Whether nothing more can be said."""
        return self._said_all or self.fault is not None

    def received(self, data: bytes) -> bytes:
        """Take bytes of the wire, and return what the peer says with them."""
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
                except ssl.SSLZeroReturnError:
                    self.over = True
                except Exception as error:
                    self._break(error)
        return b"".join(said)

    def cut(self) -> None:
        """The wire has ended; where the peer has not said that it would, anybody may have cut it."""
        if not self.over:
            self._break(ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the stream ended without a close_notify"))

    def sealed(self, data: bytes | memoryview) -> bytes:
        """Return the bytes of the wire that say ``data``, after those that were to go out before."""
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
        """Return how many of the bytes that were sealed went out with the first ``written`` of the wire, or were sent
        before what is forgotten. It may be called on any thread, whatever others do."""
        marks, sent = self._marks.copy(), self._sent
        for wire, said in marks:
            if wire > written:
                break
            sent = max(sent, said)
        return sent

    def forget_sent(self, waiting: int) -> None:
        """Forget what is known of all but the last ``waiting`` bytes of the wire: those before are sent."""
        marks, written = self._marks, self.wire - waiting
        while marks and marks[0][0] <= written:
            self._sent = marks.popleft()[1]

    def last_word(self) -> bytes:
        """Return the bytes that say that this was all (close_notify)."""
        if self.begun and not self.mute:
            self._said_all = True
            with suppress(ssl.SSLError):  # the peer's own is not waited for
                self.tls.unwrap()
        return self.unsent()

    def unsent(self) -> bytes:
        """Return the bytes that TLS itself has to say."""
        wire = self._outgoing.read()
        self.wire += len(wire)
        return wire

    def _mark(self) -> None:
        marks, mark = self._marks, (self.wire, self.said)
        if len(marks) > 1 and self.wire - marks[-2][0] < _MARK:  # small ones would take more room than what waits
            marks[-1] = mark
        else:
            marks.append(mark)

    def _break(self, error: Exception) -> None:
        self.over = True
        broken = self.begun and not isinstance(error, ssl.SSLEOFError)
        self.fault = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, f"the stream broke: {error}") if broken else error


def shaking_hands(session: Session) -> Generator[bytes, bytes, bytes]:
    """Yield bytes to send and take those that come (b"" at the end), until the handshake is done.

    Gives what the peer has said by then; raises ssl.SSLError where it fails.
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
    """Do as ``shaking_hands``, say ``payload`` and no more, and hand what the peer says up to its end to ``collect``.

    Raises ssl.SSLEOFError where the stream is cut.
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
