"""The exceptions that oxisock adds to the built-in ones."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def errno_name(code: int) -> str | None:
    """Return the name of an errno; None if it has none. Names of Winsock lose their WSA, as in POSIX."""
    name = errno.errorcode.get(code)
    return name and name.removeprefix("WSA")


def errno_words(code: int) -> str:
    """Return the system's message for an errno. `os.strerror` does not know those of Winsock."""
    if sys.platform == "win32" and code >= 10_000:
        import socket

        return socket.errorTab.get(code, f"Winsock error {code}").removesuffix(".")
    return os.strerror(code)


class FrameError(ValueError):
    """A stream that does not follow its codec.

    Two errors are equal if everything but their ``frames`` is equal.

    Attributes:
        frames: the good frames of the same call, in order. The call raised and so could not return them.
        offset: where the bad frame begins in the stream, in bytes.
        declared: the payload length that its header declared, in bytes, or None.
        limit: the limit of the codec in bytes, or None.
    """

    def __init__(
        self,
        reason: str,
        offset: int = 0,
        declared: int | None = None,
        limit: int | None = None,
        frames: Iterable[bytes] = (),
    ) -> None:
        super().__init__(reason)
        self.offset = offset
        self.declared = declared
        self.limit = limit
        self.frames = list(frames)

    def __str__(self) -> str:
        return f"{self.args[0]}, at offset {self.offset}"

    def _key(self) -> tuple[object, ...]:
        return (type(self), self.args, self.offset, self.declared, self.limit)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, FrameError) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


class FrameTooLong(FrameError):
    """A frame is longer than the limit of its codec."""


class FrameCorrupt(FrameError):
    """The bytes are not a valid frame of this codec."""


class IncompleteFrame(FrameError, EOFError):
    """The stream ended in the middle of a frame."""


def no_answer() -> IncompleteFrame:
    """Return the error for a connection that ended without an answer."""
    return IncompleteFrame("the peer closed the connection without an answer")


# --- chat ----------------------------------------------------------------------------------------------------------


class ChatError(Exception):
    """A chat server refused this client (it is full, or the nick is taken or bad), or is not a chat server."""
