"""A chat client: it sends lines and receives lines."""

from __future__ import annotations

import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .. import arguments
from ..engines.binding import Bound
from ..errors import ChatError, FrameError
from ..serving.requests import answering
from ..sockets.calls import Deadline
from ..sockets.closing import Conversation
from ..sockets.connecting import Destination
from ..text import clean
from .lines import ChatEvent, event_of

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..framing.framed_socket import FramedSocket
    from ..types import Peer

_PATIENCE = 2.0  # seconds for the server to close its side
_LONGEST = 1 << 20  # a line of /who in a big room is long


class ChatClient(Bound, Conversation):
    """A chat client. ``send`` sends a line, and iteration returns every line that comes, as str.

    A bot can use ``events``, which returns ChatEvents instead of text. One thread may iterate while another one sends.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        nick: str | None = None,
        timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> None:
        """Connect, wait for the welcome, and ask for the ``nick`` if you pass one, all within ``timeout`` seconds.

        Iteration does not return the welcome and the answer about the nick, but all other lines. ``ssl`` and
        ``server_hostname`` are those of ``connect``.

        Raises ChatError if the server is full, is not a chat server, or refuses the nick. Raises ValueError for a bad
        port or timeout, and ``socket.gaierror``, TimeoutError and other OSErrors as ``connect`` does.
        """
        destination = Destination.of(host, port, timeout)
        timeout = destination.timeout
        if nick is not None and not arguments.text(nick, "nick").isprintable():
            raise ChatError(f"bad nick: {nick!r}")
        deadline = Deadline(timeout)
        self._waiting: deque[str] = deque()
        self._nick = ""
        self._sending = threading.Lock()
        names = self._engine.names
        self._framed: FramedSocket = names.FramedSocket.connect(
            *destination.peer,
            names.Lines(max_frame=_LONGEST),
            timeout=timeout,
            ssl=ssl,
            server_hostname=server_hostname,
        )
        try:
            with answering(destination):
                self._be_welcomed(deadline)
                if nick is not None:
                    self._be_called(nick, deadline)
            self._framed.settimeout(None)
        except BaseException:
            self._framed.abort()
            raise

    @property
    def nick(self) -> str:
        """The nick of this client, according to the lines received so far."""
        return self._nick

    @property
    def peer(self) -> Peer:
        """The server."""
        return self._framed.peer

    @property
    def sock(self) -> socket.socket:
        """The socket itself. You cannot read bytes from it that the ChatClient has already received."""
        return self._framed.sock

    def send(self, text: str) -> None:
        """Send a line: plain text, or a command that begins with a slash.

        Raises ValueError if the text has a line break, and OSError if the connection is lost.
        """
        if {"\n", "\r"} & {*arguments.text(text, "text")}:
            arguments.refuse(ValueError, "text", text, "a line of chat, without line breaks")
        with self._sending:
            self._framed.send(text.encode("utf-8", "replace"))

    def recv(self, timeout: float | None = None) -> str | None:
        """Return the next line, or None if the server has closed the connection.

        Raises TimeoutError after ``timeout`` seconds (None: no limit), and OSError.
        """
        if self._waiting:
            return self._waiting.popleft()
        self._framed.settimeout(timeout)
        return self._receive()

    def __iter__(self) -> Iterator[str]:
        """Return every line until the server closes the connection. Raises OSError if the connection is lost."""
        while (line := self.recv()) is not None:
            yield line

    def events(self) -> Iterator[ChatEvent]:
        """Return every line as a ChatEvent until the server closes the connection; raises as iteration does.

        Your own lines come back, too, unless the server has ``echo=False``. To find them, compare ``event.nick`` with
        ``nick``.
        """
        return map(event_of, self)

    def leave(self) -> None:
        """End the sending side. The server sends what it has for this client and closes the connection. OSError."""
        self._framed.shutdown_write()

    def close(self) -> None:
        """Wait until everything you sent has arrived, then leave. A call that runs in another thread ends.

        You can call it again. Raises TimeoutError if lines may be lost because the server does not read; the socket is
        closed then, too.
        """
        # The server closes, too, when it has read it all.
        self._framed.close(linger=_PATIENCE)

    def abort(self) -> None:
        """Leave at once with a reset. The last lines you sent may be lost."""
        self._framed.abort()

    def __repr__(self) -> str:
        return f"<{self.impl} ChatClient {self._nick} {self._framed!r}>"

    def __reduce__(self) -> Any:
        raise TypeError("ChatClient cannot be pickled")

    def _receive(self) -> str | None:
        try:
            line = self._framed.recv()
        except FrameError as error:
            if isinstance(error, EOFError):  # a last line without an end is not a line
                return None
            raise
        if line is None:
            return None
        text = line.decode("utf-8", "replace")
        old, is_now, new = text.removeprefix("* ").partition(" is now ")
        if is_now and text.startswith("* ") and old == self._nick and " " not in new and new.isprintable():
            self._nick = new
        return text

    def _next(self, deadline: Deadline) -> str:
        self._framed.settimeout(deadline.left())
        try:
            line = self._receive()
        except FrameError as error:
            raise ChatError(f"this is not a chat server: {error}") from None
        if line is None:
            raise ChatError("the server closed the connection")
        return line

    def _be_welcomed(self, deadline: Deadline) -> None:
        line = self._next(deadline)
        if line.startswith("! "):
            raise ChatError(clean(line[2:]))
        welcome, you_are, nick = line.rpartition(", you are ")
        if not you_are or not welcome.startswith("* welcome to ") or not nick.isprintable():
            raise ChatError(f"this is not a chat server: it sent {line[:80]!r}")
        self._nick = nick

    def _be_called(self, nick: str, deadline: Deadline) -> None:
        self.send(f"/nick {nick}")
        while True:
            line = self._next(deadline)
            if line.startswith("! "):
                raise ChatError(clean(line[2:]))
            if self._nick == nick and line.endswith(f" is now {nick}"):
                return
            self._waiting.append(line)
