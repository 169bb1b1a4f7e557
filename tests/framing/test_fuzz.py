"""Random codecs on random streams: both engines beside a model that reads the whole stream as the contract says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

import oxisock.native
import oxisock.pure
from oxisock import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame
from oxisock.testing import chunkings
from support.framings import outcome

TELLING = b"\r\n\0\x01\x02\x05\x7f\x80\xff0129:, -abx"
MANY = settings(max_examples=settings().max_examples * 10)  # some 4 s where CI runs it


# --- the model -------------------------------------------------------------------------------------------------------


class Need(NamedTuple):
    """More bytes are needed; the length that the header declared, if it is complete."""

    declared: int | None = None


class Whole(NamedTuple):
    """A frame: what is given of it, and how many bytes it takes."""

    frame: bytes
    size: int


class Bad(NamedTuple):
    """A bad frame; how many bytes lead past it, where that can be told, and its last byte, where that is fixed."""

    kind: type[FrameError]
    declared: int | None = None
    size: int | None = None
    trailer: int | None = None


Reading = Need | Whole | Bad


def too_long(body: int, around: int, limit: int, trailer: int | None = None) -> Bad:
    return Bad(FrameTooLong, body, body + around if body <= 16 * limit else None, trailer)


def read_length(codec: Any, rest: bytes) -> Reading:
    header = codec.offset + codec.width
    strip = header if codec.strip is None else codec.strip
    if len(rest) < header:
        return Need()
    body = int.from_bytes(rest[codec.offset : header], codec.byteorder) + codec.adjustment
    if body < 0 or header + body < strip:
        return Bad(FrameCorrupt, body)
    if body > codec.max_frame:
        return too_long(body, header, codec.max_frame)
    return Whole(rest[strip : header + body], header + body) if len(rest) >= header + body else Need(body)


def read_escaped(codec: Any, rest: bytes) -> Reading:
    if len(rest) < 4:
        return Need()
    body, header = int.from_bytes(rest[:4], "big", signed=True), 4
    if body == -1:
        if len(rest) < 12:
            return Need()
        body, header = int.from_bytes(rest[4:12], "big"), 12
    if body < 0:
        return Bad(FrameCorrupt, body)
    if body > codec.max_frame:
        return too_long(body, header, codec.max_frame)
    return Whole(rest[header : header + body], header + body) if len(rest) >= header + body else Need(body)


def read_varint(codec: Any, rest: bytes) -> Reading:
    last = next((place for place, byte in enumerate(rest[:10]) if byte < 0x80), None)
    if last is None and len(rest) < 10:
        return Need()
    body = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(rest[: 10 if last is None else last + 1]))
    if last is None or body >= 1 << 64:
        return Bad(FrameCorrupt)
    header = last + 1
    if body > codec.max_frame:
        return too_long(body, header, codec.max_frame)
    return Whole(rest[header : header + body], header + body) if len(rest) >= header + body else Need(body)


def read_decimal(separator: bytes, trailer: bytes) -> Callable[[Any, bytes], Reading]:
    def read(codec: Any, rest: bytes) -> Reading:
        most, digits = len(str(codec.max_frame)), b""
        for place in range(len(rest)):
            byte = rest[place : place + 1]
            if byte == separator and digits:
                break
            if not byte.isdigit() or digits == b"0":
                return Bad(FrameCorrupt)
            if len(digits) == most:
                return Bad(FrameTooLong)
            digits += byte
        else:
            return Need()
        body, header = int(digits), len(digits) + 1
        size = header + body + len(trailer)
        if body > codec.max_frame:
            return too_long(body, header + len(trailer), codec.max_frame, trailer[0] if trailer else None)
        if len(rest) < size:
            return Need(body)
        if rest[header + body : size] != trailer:
            return Bad(FrameCorrupt, body)
        return Whole(rest[header : header + body], size)

    return read


def read_fixed(codec: Any, rest: bytes) -> Reading:
    return Whole(rest[: codec.size], codec.size) if len(rest) >= codec.size else Need()


def read_delimited(delimiters: tuple[bytes, ...]) -> Callable[[Any, bytes], Reading]:
    longest_first = sorted(delimiters, key=len, reverse=True)

    def read(codec: Any, rest: bytes) -> Reading:
        for end in range(1, len(rest) + 1):
            for delimiter in longest_first:
                if rest[:end].endswith(delimiter):
                    start = end - len(delimiter)
                    if start > codec.max_frame:
                        return Bad(FrameTooLong, None, end)
                    return Whole(rest[: end if codec.keep else start], end)
        # What may be the beginning of a terminator does not count yet.
        open_ends = [n for each in delimiters for n in range(1, len(each)) if rest.endswith(each[:n])]
        if len(rest) - max(open_ends, default=0) > codec.max_frame:
            return Bad(FrameTooLong, None, len(rest) + 1)
        return Need()

    return read


READERS: dict[str, Callable[[Any], Callable[[Any, bytes], Reading]]] = {
    "LengthPrefix": lambda codec: read_length,
    "MultiprocessingPrefix": lambda codec: read_escaped,
    "Varint": lambda codec: read_varint,
    "Netstring": lambda codec: read_decimal(b":", b","),
    "OctetCounted": lambda codec: read_decimal(b" ", b""),
    "Fixed": lambda codec: read_fixed,
    "Lines": lambda codec: read_delimited((b"\n", b"\r\n")),
    "Delimiter": lambda codec: read_delimited(codec.delimiters),
}

Facts = tuple[list[bytes], tuple[object, ...] | None, list[tuple[object, ...]]]


def model(codec: Any, stream: bytes, policy: str) -> Facts:
    """All that a stream comes to: frames, the error's kind, offset and declared length, and what is skipped."""
    read, skip = READERS[type(codec).__name__](codec), policy == "skip"
    frames: list[bytes] = []
    skipped: list[tuple[object, ...]] = []
    at = 0
    while at < len(stream):
        found = read(codec, stream[at:])
        if isinstance(found, Whole):
            frames.append(found.frame)
            at += found.size
        elif isinstance(found, Bad):
            if not skip or found.size is None:
                return frames, (found.kind, at, found.declared), skipped
            end = min(at + found.size, len(stream))
            if found.trailer is not None and at + found.size == end and stream[end - 1] != found.trailer:
                return frames, (FrameCorrupt, at, found.declared), skipped
            skipped.append((at, end - at, found.kind, found.declared))
            at = end
        elif getattr(codec, "eof_frame", False):
            if len(stream) - at <= codec.max_frame:
                return [*frames, stream[at:]], None, skipped
            if not skip:
                return frames, (FrameTooLong, at, None), skipped
            return frames, None, [*skipped, (at, len(stream) - at, FrameTooLong, None)]
        else:
            return frames, (IncompleteFrame, at, found.declared), skipped
    return frames, None, skipped


# --- what is drawn ---------------------------------------------------------------------------------------------------

LIMITS = st.integers(1, 40) | st.sampled_from(
    [99, 127, 128, 255, 256, 300, 1000, *{min(1 << 40, sys.maxsize >> 1), sys.maxsize >> 1}]
)


@st.composite
def codecs(draw: st.DrawFn) -> Any:
    """Any codec of the pure engine; where parameters leave no legal frame, one with the usual ones."""
    limit, pure = draw(LIMITS), oxisock.pure
    match draw(st.sampled_from(sorted(READERS))):
        case "LengthPrefix":
            more = {
                "offset": draw(st.integers(0, 9)),
                "adjustment": draw(st.integers(-40, 40) | st.integers(-(1 << 63), (1 << 63) - 1)),
                "strip": draw(st.none() | st.integers(0, 30)),
                "max_frame": limit,
            }
            width, order = draw(st.integers(1, 8)), draw(st.sampled_from(["big", "little"]))
            try:
                return pure.LengthPrefix(width, order, **more)
            except ValueError:
                return pure.LengthPrefix(width, order, max_frame=limit)
        case "MultiprocessingPrefix":
            return pure.presets.multiprocessing(max_frame=limit)
        case "Varint":
            return pure.Varint(max_frame=limit)
        case "Netstring":
            return pure.Netstring(max_frame=limit)
        case "OctetCounted":
            return pure.presets.syslog_octet_counted(max_frame=limit)
        case "Fixed":
            return pure.Fixed(limit)
        case "Lines":
            return pure.Lines(keep=draw(st.booleans()), eof_frame=draw(st.booleans()), max_frame=limit)
        case _:
            some = st.lists(st.sampled_from(b"ab-\n"), min_size=1, max_size=4).map(bytes)
            delimiters = draw(st.lists(some, min_size=1, max_size=4, unique=True))
            more = {"keep": draw(st.booleans()), "eof_frame": draw(st.booleans()), "max_frame": limit}
            try:
                return pure.Delimiter(*delimiters, **more)
            except ValueError:  # one hides another
                return pure.Delimiter(delimiters[0], **more)


@st.composite
def streams(draw: st.DrawFn, codec: Any) -> bytes:
    """Good frames, headers that declare anything near a limit, runs and noise, in any order."""
    limit = min(codec.max_frame, 1000)
    sizes = st.integers(0, 60) | st.integers(max(0, limit - 2), limit + 2) | st.integers(16 * limit - 2, 16 * limit + 2)
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        size = draw(sizes)
        body = draw(st.sampled_from([b"x", b"a", b"-", b"\0", b"\r"])) * min(size, 3000)
        match draw(st.integers(0, 4)):
            case 0 | 1:
                try:
                    parts.append(codec.encode(body))
                except ValueError:
                    parts.append(body)
            case 2:
                parts.append(draw(st.sampled_from([b"%d:" % size, b"%d " % size, size.to_bytes(4, "big")])) + body)
            case 3:
                parts.append(draw(st.lists(st.sampled_from(TELLING), max_size=30).map(bytes)))
            case _:
                parts.append(draw(st.binary(max_size=30)))
    return b"".join(parts)


@MANY
@given(st.data())
def test_random_codecs_are_as_the_model_says_on_both_engines(data: Any) -> None:
    pure = data.draw(codecs())
    native = rebound(pure)
    policy = data.draw(st.sampled_from(["fail", "skip"]))
    stream = data.draw(streams(pure))
    right = model(pure, stream, policy)
    chunks = data.draw(chunkings(stream))
    for codec in (pure, native):
        for cut in ([stream], chunks):
            assert facts(codec, cut, policy) == right, (codec, cut)


def rebound(codec: Any) -> Any:
    """The same codec on the native engine."""
    positional, named = codec._arguments()
    return getattr(oxisock.native, type(codec).__name__)(*positional, **named)


def facts(codec: Any, chunks: list[bytes], policy: str) -> Facts:
    frames, failure, skipped = outcome(codec, chunks, policy)
    error = None if failure is None else (failure[0], failure[2], failure[3])
    return frames, error, [(each.offset, each.length, each.error, each.declared) for each in skipped]
