"""What the framing face needs from an engine: a framer for each kind of codec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..types import SkippedFrame


# Any object with a C-contiguous buffer. Python 3.12 and later have a name for it in `collections.abc`.
Buffer = bytes | bytearray | memoryview
"""Bytes, as functions accept them."""


class FrameDecoder(Protocol):
    """One stream that is cut into frames; `framing.Decoder` says what each method does."""

    @property
    def buffered(self) -> int: ...
    @property
    def skipped_count(self) -> int: ...
    def feed(self, data: Buffer, /) -> list[bytes]: ...
    def eof(self) -> list[bytes]: ...
    def take_skipped(self) -> list[SkippedFrame]: ...
    def get_buffer(self, sizehint: int, /) -> memoryview: ...
    def buffer_updated(self, n: int, /) -> list[bytes]: ...


class Framer(Protocol):
    """A codec of one engine, with parameters that the face has checked."""

    def encode(self, payload: Buffer, /) -> bytes:
        """Frame one payload. Raises ValueError unless decoding the result gives exactly that payload."""
        ...

    def encode_many(self, payloads: Iterable[Buffer], /) -> bytes:
        """Frame payloads one after the other."""
        ...

    def decoder(self, skip: bool, /) -> FrameDecoder:
        """Return a decoder for a new stream. With ``skip`` it leaves out bad frames where possible."""
        ...


class FramingModule(Protocol):
    """What the framing face needs from an engine: a framer for each kind of codec. Sizes are bytes."""

    def length_framer(
        self, width: int, little: bool, offset: int, adjustment: int, strip: int, max_frame: int, /
    ) -> Framer:
        """A length field of ``width`` bytes after ``offset`` other bytes; ``strip`` is a number here."""
        ...

    def escaped_framer(self, max_frame: int, /) -> Framer:
        """The format of multiprocessing: a signed 32-bit length, where -1 announces an unsigned 64-bit length."""
        ...

    def varint_framer(self, max_frame: int, /) -> Framer:
        """A length in LEB128."""
        ...

    def decimal_framer(self, separator: int, trailer: int | None, max_frame: int, /) -> Framer:
        """Decimal digits up to the byte ``separator`` give the length; the byte ``trailer`` ends the frame."""
        ...

    def fixed_framer(self, size: int, /) -> Framer:
        """All frames have the same size."""
        ...

    def delimiter_framer(self, delimiters: Sequence[bytes], keep: bool, eof_frame: bool, max_frame: int, /) -> Framer:
        """A frame ends at the earliest end of one of ``delimiters``."""
        ...

    def lines_framer(self, keep: bool, eof_frame: bool, max_frame: int, /) -> Framer:
        """A frame ends at LF; one CR before the LF belongs to the end."""
        ...
