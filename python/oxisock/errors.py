"""The exceptions that oxisock adds to the built-in ones."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def errno_name(code: int) -> str | None:
    """Return the name of an errno, None if it has none; Winsock's are called as POSIX calls them, without WSA."""
    name = errno.errorcode.get(code)
    return name and name.removeprefix("WSA")


def errno_words(code: int) -> str:
    """Return what the system says of an errno; Winsock's are unknown to `os.strerror`."""
    if sys.platform == "win32" and code >= 10_000:
        import socket

        return socket.errorTab.get(code, f"Winsock error {code}").removesuffix(".")
    return os.strerror(code)


class FrameError(ValueError):
    """A stream that does not follow its codec.

    ``frames`` are the good frames of the same call, in order, which the exception kept from being returned;
    ``offset`` is where in the stream the bad frame begins, in bytes; ``declared`` is the length of its body that the
    stream declared, or None if nothing was declared; ``limit`` is the codec's limit in bytes, or None if a
    codec has none.

    Two errors are equal if they say the same of the same frame: their ``frames`` do not count.
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
    """A frame longer than the codec's limit."""


class FrameCorrupt(FrameError):
    """Bytes that no frame of this codec can hold."""


class IncompleteFrame(FrameError, EOFError):
    """The stream ended within a frame."""


def no_answer() -> IncompleteFrame:
    """Make the error of a connection that ended before there was an answer."""
    return IncompleteFrame("the peer closed the connection without an answer")


# --- chat ----------------------------------------------------------------------------------------------------------


class ChatError(Exception):
    """A chat server refused: it is full, the nick is taken or bad, or it is no chat server at all."""
