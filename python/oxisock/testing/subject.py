"""The codec or decoder that `check_codec` tests: it decodes streams and records everything that comes out."""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from ..framing.codecs import Delimiter, LengthPrefix

_REFUSALS: Final = (ValueError, OverflowError, struct.error)
"""The errors by which encoders refuse a payload. The last two come from the standard library."""

_LONG: Final = 60


class Wrong(AssertionError):
    """What is wrong with the subject, in one sentence with its example."""


class Decoded(NamedTuple):
    """The result of a stream: its frames, and the error (the type, and its fields if it has any)."""

    frames: list[bytes]
    error: tuple[object, ...] | None

    def __str__(self) -> str:
        frames = shown(self.frames)
        if self.error is None:
            return frames
        kind, *fields = self.error
        told = [
            f"{name}={field}"
            for name, field in zip(("offset", "declared", "limit"), fields, strict=True)
            if field is not None
        ]
        return f"{frames} and {' '.join([getattr(kind, '__name__', str(kind)), *told])}"


class Subject:
    """The codec or decoder that is checked."""

    def __init__(self, codec: Any) -> None:
        self.codec = codec
        self.limit: int | None = getattr(codec, "max_frame", None)
        self.decoder: Callable[[], Any] = codec.decoder if hasattr(codec, "decoder") else codec
        self.encodes = hasattr(codec, "encode")

    def encode(self, payload: bytes) -> bytes | None:
        """Return the frame of a payload; None if the codec refuses it."""
        try:
            wire = self.codec.encode(payload)
        except _REFUSALS:
            return None
        except Exception as error:
            name = type(error).__name__
            raise Wrong(f"encode raises {name} where it should frame or raise ValueError: {shown(payload)}") from error
        if not isinstance(wire, bytes | bytearray | memoryview):
            raise Wrong(f"encode returns {type(wire).__name__}, not bytes: {shown(payload)}")
        return bytes(wire)

    def expected(self, payload: bytes) -> bytes:
        """Return the expected result of decoding a payload. It is the payload, unless a built-in codec adds bytes."""
        codec = self.codec
        if getattr(codec, "keep", False):
            return payload + (codec.delimiters[0] if isinstance(codec, Delimiter) else b"\n")
        if isinstance(codec, LengthPrefix) and codec.strip is not None and codec.strip <= codec.offset:
            return codec.encode(payload)[codec.strip :]
        return payload

    def decode(
        self, chunks: Iterable[bytes], lend: Callable[[bytearray], Any] | None = None, spoil: bool = False
    ) -> Decoded:
        """Decode a stream with a new decoder, chunk by chunk.

        With ``lend``, each chunk is passed in a writable buffer. With ``spoil``, the buffer is overwritten after the
        decoder has returned.
        """
        decoder, frames = self.decoder(), list[Any]()
        lists: list[tuple[Any, list[Any]]] = []
        error: tuple[object, ...] | None = None
        try:
            for chunk in chunks:
                buffer = bytearray(chunk)
                given = decoder.feed(chunk if lend is None else lend(buffer))
                if buffer != chunk:
                    raise Wrong(f"feed changes the buffer that it is given: {shown(chunk)} became {shown(buffer)}")
                if spoil:
                    buffer[:] = bytes(byte ^ 0xA5 for byte in buffer)
                frames += _frames_of(given, "feed")
                lists.append((given, list(given)))
            frames += _frames_of(decoder.eof(), "eof")
        except Wrong:
            raise
        except Exception as raised:
            frames += getattr(raised, "frames", None) or []
            error = (type(raised), *(getattr(raised, name, None) for name in ("offset", "declared", "limit")))
        if any(len(given) != len(copy) or any(map(operator.is_not, given, copy)) for given, copy in lists):
            raise Wrong("a list of frames changes after feed has given it, when more is fed")
        return Decoded(list(map(_as_bytes, frames)), error)


def _frames_of(given: Any, what: str) -> Sequence[Any]:
    if isinstance(given, list | tuple):
        return given
    raise Wrong(f"{what} returns {'None' if given is None else type(given).__name__}, not a list of frames")


def _as_bytes(frame: Any) -> bytes:
    if isinstance(frame, bytes | bytearray | memoryview):
        return bytes(frame)
    raise Wrong(f"a frame is {type(frame).__name__}, not bytes: {frame!r}")


def shown(value: Any) -> str:
    """Return bytes, or a list of bytes, as text that is readable at any length."""
    if isinstance(value, list):
        if len(value) > 8:
            return f"[{', '.join(map(shown, value[:4]))}, ... {len(value)} in all]"
        return f"[{', '.join(map(shown, value))}]"
    data = bytes(value)
    if len(data) <= _LONG:
        return repr(data)
    if data.count(data[:1]) == len(data):
        return f"{data[:1]!r} * {len(data)}"
    return f"{data[:_LONG]!r}... ({len(data)} bytes)"
