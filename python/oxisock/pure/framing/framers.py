"""Framing in plain Python: one decoder over the machines of ``counted`` and ``delimited``."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ... import arguments
from ...engines.framing import Buffer, FrameDecoder
from ...engines.framing import Framer as FramerProtocol
from ...errors import FrameError
from ...types import SkippedFrame
from .counted import Counted, Decimal, Escaped, Fault, Fixed, LengthPrefix, Varint
from .delimited import Delimited, Lines

_KEPT_SKIPS = 1000
_ONLY_BYTES = frozenset([bytes])
_LEAST_BUFFER, _MOST_BUFFER = 64 << 10, 256 << 10


class _Bad(NamedTuple):
    """A frame that is being skipped: where it began, and what is wrong with it."""

    offset: int
    fault: Fault


class Decoder:
    """One stream that is cut into frames."""

    def __init__(self, machine: Counted | Delimited, skip: bool) -> None:
        self._machine = machine
        self._skip = skip
        self._held = bytearray()  # the beginning of a frame; while discarding, the possible beginning of a terminator
        self._mark = 0  # the mark for the next call of `pending`
        self._received = 0
        self._bad: _Bad | None = None
        self._left = 0  # bytes still to discard, if they are counted
        self._skipped: deque[SkippedFrame] = deque(maxlen=_KEPT_SKIPS)
        self._skipped_count = 0
        self._failure: FrameError | None = None
        self._lost = False  # whether part of the stream was lost because there was no memory
        self._ended = False
        self._scratch: bytearray | None = None

    @property
    def buffered(self) -> int:
        """Bytes held until more of their frame arrives."""
        return len(self._held)

    @property
    def skipped_count(self) -> int:
        """Frames skipped so far, including those that `take_skipped` has forgotten."""
        return self._skipped_count

    def take_skipped(self) -> list[SkippedFrame]:
        """Return and forget the frames skipped since the last call, at most the last 1,000."""
        taken = list(self._skipped)
        self._skipped.clear()
        return taken

    def feed(self, data: Buffer, /) -> list[bytes]:
        """Take the next bytes of the stream, and return the frames that they complete."""
        return self.feed_some(data, sys.maxsize)[0]

    def feed_some(self, data: Buffer, most: int) -> tuple[list[bytes], int]:
        """Take the next bytes, up to the end of frame ``most``. Return the frames, and how many bytes were taken."""
        chunk = contiguous(data, "data")
        self._check_open()
        frames: list[bytes] = []
        try:
            left = self._advance(chunk, frames, most)
        except MemoryError as error:
            self._held, self._bad, self._lost = bytearray(), None, True
            error.frames = frames  # type: ignore[attr-defined]
            raise
        return frames, len(chunk) - left

    def eof(self) -> list[bytes]:
        """Take the end of the stream, and return the frame that it completes, if any."""
        if self._failure is None and not self._lost and self._ended:
            return []
        self._check_open()
        self._ended = True
        held = bytes(self._held)
        self._held.clear()
        if self._bad is not None:
            self._record(self._received - self._bad.offset)
            return []
        if not held:
            return []
        result = self._machine.finish(held)
        if isinstance(result, bytes):
            return [result]
        self._meet(result, self._received - len(held), [])
        self._record(len(held))
        return []

    def get_buffer(self, sizehint: int, /) -> memoryview:
        """Return a buffer to receive into, of about ``sizehint`` bytes and at least one."""
        self._check_open()
        size = max(_LEAST_BUFFER, min(arguments.count(sizehint, "sizehint", -1, sys.maxsize), _MOST_BUFFER))
        if self._scratch is None or len(self._scratch) < size:
            self._scratch = bytearray(size)
        return memoryview(self._scratch)

    def buffer_updated(self, n: int, /) -> list[bytes]:
        """Take the first ``n`` bytes of the buffer from `get_buffer` as the next bytes of the stream."""
        room = 0 if self._scratch is None else len(self._scratch)
        n = arguments.count(n, "n", 0, room)
        return self.feed(b"" if self._scratch is None else memoryview(self._scratch)[:n])

    def _check_open(self) -> None:
        if self._lost:
            raise MemoryError
        if self._failure is not None:
            failure = self._failure
            raise type(failure)(failure.args[0], failure.offset, failure.declared, failure.limit)
        if self._ended:
            raise ValueError("the stream has ended: eof() was called")

    def _advance(self, chunk: bytes, frames: list[bytes], most: int) -> int:
        """Take a chunk up to the end of frame ``most``, and return how many bytes follow."""
        self._received += len(chunk)
        source, at = chunk, 0
        if self._held and self._bad is None:
            self._held += chunk
            self._mark = self._machine.pending(self._held, self._mark)
            if self._mark:
                return 0
            source = bytes(self._held)
            self._held.clear()
        # `source` always ends where the stream so far ends, so positions in it convert to offsets in the stream.
        base = self._received - len(source)
        while at < len(source):
            if self._bad is not None:
                at = self._pass_over(source, at, base, frames)
                continue
            at, self._mark, fault = self._machine.scan(source, at, frames, most)
            if fault is None:
                if len(frames) >= most:
                    left = len(source) - at
                    self._received -= left
                    return left
                self._held += source[at:]
                return 0
            self._meet(fault, base + at, frames)
            self._left = fault.discard
        return 0

    def _pass_over(self, source: bytes, at: int, base: int, frames: list[bytes]) -> int:
        """Discard the part of the bad frame that begins at ``at``, and return where it ends."""
        assert self._bad is not None
        machine, (offset, fault) = self._machine, self._bad
        if isinstance(machine, Delimited):
            end, retained = machine.resync(bytes(self._held), source, at)
            self._held[:] = retained
            if end < 0:
                return len(source)
        else:
            end = min(at + self._left, len(source))
            self._left -= end - at
            if self._left:
                return end
            if machine.trailer is not None and source[end - 1] != machine.trailer:
                self._bad = None
                self._fail(machine.bad_trailer(source[end - 1], fault.declared), offset, frames)
        self._record(base + end - offset)
        return end

    def _meet(self, fault: Fault, offset: int, frames: list[bytes]) -> None:
        """Begin to skip a bad frame, or raise if that is not wanted or not possible."""
        if not (self._skip and fault.discard):
            self._fail(fault, offset, frames)
        self._bad = _Bad(offset, fault)

    def _fail(self, fault: Fault, offset: int, frames: list[bytes]) -> None:
        self._held.clear()
        error = fault.error(fault.reason, offset, fault.declared, self._machine.limit)
        self._failure = error
        raise fault.error(fault.reason, offset, fault.declared, self._machine.limit, frames)

    def _record(self, length: int) -> None:
        assert self._bad is not None
        offset, fault = self._bad
        self._skipped.append(SkippedFrame(offset, length, fault.error, fault.declared, self._machine.limit))
        self._skipped_count += 1
        self._bad = None


class Framer:
    """Puts a codec's machine behind the interface of `engines.Framer`."""

    def __init__(self, machine: Counted | Delimited) -> None:
        self._machine = machine

    def encode(self, payload: Buffer, /) -> bytes:
        """Frame one payload."""
        return self._machine.wrap(contiguous(payload, "payload"))

    def encode_many(self, payloads: Iterable[Buffer], /) -> bytes:
        """Frame payloads one after the other."""
        if type(payloads) is list and set(map(type, payloads)) <= _ONLY_BYTES:
            # This copies the list, because another thread may change it.
            wire = self._machine.join(payloads[:])
            if wire is not None:
                return wire
        wrap = self._machine.wrap
        return b"".join(
            [
                wrap(contiguous(payload, "payload"))
                for payload in arguments.iterable(payloads, "payloads", "an iterable of bytes")
            ]
        )

    def decoder(self, skip: bool, /) -> FrameDecoder:
        """Return a decoder for a new stream."""
        return Decoder(self._machine, skip)


def contiguous(data: Buffer, name: str) -> bytes:
    """Return the bytes of the argument ``name``. Raises BufferError if not C-contiguous, TypeError if no buffer."""
    if type(data) is bytes:
        return data
    try:
        view = memoryview(data)
    except TypeError:
        arguments.refuse(TypeError, name, data, "bytes")
    with view:
        if not view.c_contiguous:
            raise BufferError("a C-contiguous buffer is required")
        return view.tobytes()


def length_framer(
    width: int, little: bool, offset: int, adjustment: int, strip: int, max_frame: int, /
) -> FramerProtocol:
    """A binary length field."""
    return Framer(LengthPrefix(width, little, offset, adjustment, strip, max_frame))


def escaped_framer(max_frame: int, /) -> FramerProtocol:
    """multiprocessing's header."""
    return Framer(Escaped(max_frame))


def varint_framer(max_frame: int, /) -> FramerProtocol:
    """A LEB128 length."""
    return Framer(Varint(max_frame))


def decimal_framer(separator: int, trailer: int | None, max_frame: int, /) -> FramerProtocol:
    """A length in decimal digits."""
    return Framer(Decimal(separator, trailer, max_frame))


def fixed_framer(size: int, /) -> FramerProtocol:
    """Frames of one size."""
    return Framer(Fixed(size))


def delimiter_framer(delimiters: Sequence[bytes], keep: bool, eof_frame: bool, max_frame: int, /) -> FramerProtocol:
    """Frames that end at a delimiter."""
    return Framer(Delimited(delimiters, keep, eof_frame, max_frame))


def lines_framer(keep: bool, eof_frame: bool, max_frame: int, /) -> FramerProtocol:
    """Lines."""
    return Framer(Lines(keep, eof_frame, max_frame))
