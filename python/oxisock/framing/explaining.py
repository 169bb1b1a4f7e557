"""Draws the bytes of a stream with the meaning of each part, for finding faults in a protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from .. import arguments
from ..engines.framing import Buffer
from ..errors import FrameError
from ..text import plural
from .codecs import (
    Delimiter,
    Fixed,
    LengthPrefix,
    Lines,
    MultiprocessingPrefix,
    Netstring,
    OctetCounted,
    StreamCodec,
    Varint,
)

_BYTES: Final = (16, 8, 4)  # in a row: the most for which there is room
_INDENT: Final = 10  # columns of the offset and the gap after it
_ROWS: Final = 4  # of one part; of the rest, only the size is shown
_SEPARATORS: Final = {Netstring: b":", OctetCounted: b" "}


class Part(NamedTuple):
    """Some bytes of the stream, and their meaning."""

    start: int
    end: int
    what: str


def explain(
    codec: StreamCodec, data: Buffer, paint: Callable[[str, str], str] | None = None, width: int | None = None
) -> str:
    """Return a drawing of ``data`` as a whole stream of ``codec``: the parts of each frame, and the fault if any.

    A line has the offset, the bytes in hexadecimal and as text, and their meaning. Long parts are shortened. ``paint``
    is called with a text and its kind ("title", "offset", "header", "body", "terminator" or "fault"), and returns the
    text in colour. ``width`` is the most columns of a line; None: no limit.
    """
    stream = arguments.bytes_like(data, "data")
    colour = paint or (lambda text, kind: text)
    fault: FrameError | None = None
    try:
        frames = codec.decode(stream)
    except FrameError as error:
        fault, frames = error, error.frames
    drawn: list[tuple[str | Part, str]] = [(_summary(codec, stream, frames, fault), "title")]
    at = 0
    for number, frame in enumerate(frames, 1):
        parts = list(_frame_parts(codec, stream, at, frame))
        drawn += [("", ""), (f"frame {number}, {plural(len(frame), 'byte')}", "title")]
        drawn += [(part, _kind(part)) for part in parts]
        at = parts[-1].end
    if fault is not None:
        drawn += [("", ""), (f"{type(fault).__name__}: {fault}", "fault")]
        drawn += [(part, "fault") for part in _fault_parts(codec, stream, at, fault)]
    longest = max((len(each.what) for each, _ in drawn if isinstance(each, Part)), default=0)
    fitting = (size for size in _BYTES if width is None or _row_columns(size) + longest <= width)
    size = next(fitting, _BYTES[-1])
    lines: list[str] = []
    for each, kind in drawn:
        if isinstance(each, Part):
            lines += _rows(stream, each, kind, colour, size, width)
        else:
            lines += [colour(line, kind) if line else "" for line in _wrapped(each, width)]
    return "\n".join(lines)


def _row_columns(size: int) -> int:
    """Return the number of columns of a row of ``size`` bytes, without the meaning of the bytes."""
    return _INDENT + 3 * size - 1 + 2 + size + 2


def _wrapped(text: str, width: int | None) -> list[str]:
    if width is None or len(text) <= width:
        return [text]
    from textwrap import wrap

    return wrap(text, width)


def _kind(part: Part) -> str:
    first = part.what.partition(",")[0]
    return first if first in ("body", "terminator") else "header"


def _summary(codec: StreamCodec, stream: bytes, frames: list[bytes], fault: FrameError | None) -> str:
    what = plural(len(frames), "frame")
    end = "" if fault is None else f", then {type(fault).__name__} at offset {fault.offset}"
    return f"{codec!r}: {plural(len(stream), 'byte')}, {what}{end}"


def _header(codec: StreamCodec, stream: bytes, at: int) -> list[Part]:
    """Return the parts of the header at ``at``; the header may be incomplete."""
    if isinstance(codec, LengthPrefix):
        field, body = at + codec.offset, at + codec.offset + codec.width
        value = int.from_bytes(stream[field:body], codec.byteorder)
        told = f"length {value}" if not codec.adjustment else f"length {value}{codec.adjustment:+d}"
        whole = len(stream) >= body
        parts = [Part(at, min(field, len(stream)), "header")] if codec.offset else []
        if len(stream) > field:
            parts.append(Part(field, min(body, len(stream)), told if whole else "length, cut off"))
        return parts
    if isinstance(codec, MultiprocessingPrefix):
        short = stream[at : at + 4]
        if short == b"\xff\xff\xff\xff":
            long = stream[at + 4 : at + 12]
            told = f"length {int.from_bytes(long, 'big')}" if len(long) == 8 else "length, cut off"
            parts = [Part(at, at + 4, "-1: a long length follows")]
            return [*parts, Part(at + 4, at + 4 + len(long), told)] if long else parts
        told = f"length {int.from_bytes(short, 'big', signed=True)}" if len(short) == 4 else "length, cut off"
        return [Part(at, at + len(short), told)]
    if isinstance(codec, Varint):
        head = stream[at : at + 10]
        size = next((place + 1 for place, byte in enumerate(head) if byte < 0x80), None)
        if size is None:
            return [Part(at, at + len(head), "length, cut off" if len(head) < 10 else "length")]
        value = sum((byte & 0x7F) << 7 * place for place, byte in enumerate(head[:size]))
        return [Part(at, at + size, f"length {value}")]
    for kind, separator in _SEPARATORS.items():
        if isinstance(codec, kind):
            head = stream[at : at + 21]
            digits = len(head) - len(head.lstrip(b"0123456789"))
            parts = [Part(at, at + digits, f"length {head[:digits].decode()}")] if digits else []
            if head[digits : digits + 1] == separator:
                parts.append(Part(at + digits, at + digits + 1, "separator"))
            return parts
    return []


def _frame_parts(codec: StreamCodec, stream: bytes, at: int, frame: bytes) -> Iterator[Part]:
    """Yield the parts of a good frame that begins at ``at``."""
    if isinstance(codec, Lines | Delimiter):
        delimiters = (b"\r\n", b"\n") if isinstance(codec, Lines) else codec.delimiters
        longest_first = sorted(delimiters, key=len, reverse=True)
        end = at + len(frame)
        if codec.keep:
            terminator = next((each for each in longest_first if frame.endswith(each)), b"")
            end -= len(terminator)
        else:
            terminator = next((each for each in longest_first if stream.startswith(each, end)), b"")
        # An empty body is a part, too, so that every frame has one.
        yield Part(at, end, "body" if terminator else "body, to the end of the stream")
        if terminator:
            yield Part(end, end + len(terminator), "terminator")
        return
    header = _header(codec, stream, at)
    yield from header
    body = header[-1].end if header else at
    end = body + len(frame)
    if isinstance(codec, LengthPrefix):
        strip = codec.offset + codec.width if codec.strip is None else codec.strip
        end = at + strip + len(frame)
    yield Part(body, end, "body")
    if isinstance(codec, Netstring):
        yield Part(end, end + 1, "terminator")


def _fault_parts(codec: StreamCodec, stream: bytes, at: int, fault: FrameError) -> Iterator[Part]:
    """Yield the parts of the rest of the stream, from the bad frame on, as far as they are known."""
    header = _header(codec, stream, at)
    yield from header
    body, end = (header[-1].end if header else at), len(stream)
    if fault.declared is not None and 0 <= fault.declared < end - body:
        yield Part(body, body + fault.declared, "body")
        body += fault.declared
        yield Part(body, end, "from here on")
    elif body < end and fault.declared is not None and fault.declared > 0:
        yield Part(body, end, f"body, {end - body} of {fault.declared} bytes")
    elif body < end and isinstance(codec, Fixed):
        yield Part(body, end, f"body, {end - body} of {codec.size} bytes")
    elif body < end:
        yield Part(body, end, "from here on" if header else "no terminator" if fault.declared is None else "body")


def _rows(
    stream: bytes, part: Part, kind: str, colour: Callable[[str, str], str], size: int, width: int | None
) -> Iterator[str]:
    """Yield a part as lines of ``size`` bytes, without the middle of a long part."""
    starts = list(range(part.start, part.end, size)) or [part.start]
    left_out = len(starts) - _ROWS
    beside = width is None or _row_columns(size) + len(part.what) <= width
    for place, start in enumerate(starts):
        if left_out > 0 and _ROWS - 1 <= place < len(starts) - 1:
            if place == _ROWS - 1:
                yield colour(f"{'...':>8}  {plural(starts[-1] - start, 'byte')} more", "offset")
            continue
        row = stream[start : min(start + size, part.end)]
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        what = part.what if place == 0 else ""
        drawn = f"{row.hex(' '):{3 * size - 1}}  {text:{size}}  {what if beside else ''}".rstrip()
        yield colour(f"{start:8}", "offset") + (f"  {colour(drawn, kind)}" if drawn else "")
        if what and not beside:
            yield from (" " * _INDENT + colour(line, kind) for line in _wrapped(what, (width or 0) - _INDENT))
