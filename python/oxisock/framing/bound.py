"""A codec bound to an engine (users' own codecs too), and the inbox that decodes a received stream.

All code that receives frames uses an `Inbox`, so the same contract holds everywhere. A decoder reports a fault by
raising any exception from ``feed`` or ``eof``. The good frames before the fault may be in its ``.frames``. Receivers
get these frames first. After that, every receiver gets an equal fault.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from .. import arguments, hooks
from ..errors import IncompleteFrame
from .codecs import StreamCodec

if TYPE_CHECKING:
    from ..engines.framing import Buffer, Framer, FramingModule
    from .codecs import Codec, StreamDecoder

_LOGGED: Final = 1 << 20  # bytes kept for the next reader before those of taken frames are removed
_ENTRY: Final = 128  # about the bytes that an entry of this log takes besides its own
_JOINED: Final = 64 << 10  # chunks are joined up to this length: so much is copied quickly
_ONLY_BYTES: Final = frozenset([bytes])


def encoder(codec: Codec) -> Callable[[Any], bytes]:
    """Return a function that frames a payload. It checks the result of a user's own codec.

    Raises TypeError if ``codec`` is no codec.
    """
    if isinstance(codec, StreamCodec):
        return codec.encode
    return partial(_encode, arguments.codec(codec))


def _encode(codec: Codec, payload: Any) -> bytes:
    wire: object = codec.encode(payload)
    if not isinstance(wire, (bytes, bytearray, memoryview)):
        raise hooks.wrong("a codec's encode returns bytes", wire)
    return hooks.plain_bytes(wire)


class BoundCodec:
    """Encoder and decoders of a codec in one engine. A user's own codec is the same in both engines.

    Attributes:
        codec: the codec itself.
        framer: the codec's machine in the engine; None for a user's own codec.
        encode: frames a payload.
        encode_many: frames payloads one after the other.

    Raises TypeError for an object without ``encode`` and ``decoder``.
    """

    __slots__ = ("codec", "encode", "encode_many", "framer")

    def __init__(self, codec: Codec, engine: FramingModule) -> None:
        self.codec = arguments.codec(codec)
        self.framer: Framer | None = None
        if isinstance(codec, StreamCodec):
            self.framer = codec._framer_of(engine)
            self.encode: Callable[..., bytes] = self.framer.encode
            self.encode_many: Callable[[Iterable[Buffer]], bytes] = self.framer.encode_many
        else:
            encode = self.encode = encoder(codec)
            self.encode_many = lambda payloads: b"".join([encode(payload) for payload in payloads])

    def decoder(self) -> StreamDecoder:
        """Return a decoder for a new stream. Raises what the codec raises, and TypeError for a bad decoder."""
        if self.framer is not None:
            return self.framer.decoder(False)
        decoder = self.codec.decoder()
        if not (callable(getattr(decoder, "feed", None)) and callable(getattr(decoder, "eof", None))):
            raise hooks.wrong("decoder() of a codec returns what has feed and eof", decoder, arguments.shown(decoder))
        return decoder


class Inbox:
    """The received frames of one stream, and the fault after the last frame.

    Attributes:
        codec: the codec of the stream; None if an engine decodes it, and puts frames and fault here.
        frames: the frames that are not taken yet.
        fault: the fault after them, or None; it stays.
        ended: whether the stream has ended.
        fed: the number of bytes so far.
    """

    __slots__ = ("_decoder", "_original", "_plain", "codec", "ended", "fault", "fed", "frames")

    def __init__(
        self, bound: BoundCodec | None, frames: Iterable[bytes] = (), fault: BaseException | None = None
    ) -> None:
        self.codec = None if bound is None else bound.codec
        self.frames: deque[bytes] = deque(frames)
        self.fault = fault
        self.ended = False
        self.fed = 0
        self._original: BaseException | None = None  # the fault, with the traceback of a user's decoder
        self._plain = bound is not None and bound.framer is None
        self._decoder: StreamDecoder | None = None
        try:
            if bound is not None:
                self._decoder = bound.decoder()
        except BaseException as error:
            if hooks.is_ctrl_c(error):
                raise
            self._fault_of_user(error)

    @property
    def over(self) -> bool:
        """Whether the stream is over: it has ended or has a fault."""
        return self.ended or self.fault is not None

    def decode(self, data: Buffer | None) -> list[bytes]:
        """Return the frames that the next bytes, or the end of the stream (None), complete. ``frames`` does not change.

        A fault is in ``fault`` afterwards. Bytes after a fault or after the end are ignored.
        """
        decoder = self._decoder
        if decoder is None or self.ended:
            return []
        if data is None:
            self.ended = True
        else:
            self.fed += len(data)
        try:
            if not self._plain:
                # The decoders of the engines accept every buffer.
                return decoder.eof() if data is None else decoder.feed(data)  # type: ignore[arg-type]
            # A user's own decoder may keep its argument, so it gets a copy.
            found: object = decoder.eof() if data is None else decoder.feed(bytes(data))
            if not isinstance(found, list) or not _are_frames(found):
                what = "eof" if data is None else "feed"
                raise hooks.wrong(f"a decoder's {what} returns a list of bytes", found, arguments.shown(found))
            return found
        except BaseException as error:
            return self.failed(error)

    def feeder(self) -> Callable[[Buffer], list[bytes]]:
        """Return a faster `decode` for many small chunks of a stream that is not over.

        Before each call, the caller adds the number of bytes to ``fed``. It passes an exception to `failed`.
        """
        if self._plain or self._decoder is None:
            return self._decode_plain
        return self._decoder.feed  # type: ignore[return-value]

    def _decode_plain(self, data: Buffer) -> list[bytes]:
        self.fed -= len(data)  # because `decode` adds it
        return self.decode(data)

    def failed(self, error: BaseException) -> list[bytes]:
        """Keep an exception of a decoder as the fault, and return the frames before it. Ctrl-C is raised again."""
        if hooks.is_ctrl_c(error):
            raise error
        frames = _frames_of(error)
        if self._plain:
            self._fault_of_user(error)
        else:
            self.fail(error)
        return frames

    def decode_some(self, data: bytes, most: int) -> tuple[list[bytes], bytes]:
        """Return at most ``most`` frames, and the bytes after them. The codec must be a built-in one."""
        decoder = self._decoder  # None after a fault
        if decoder is None or self.ended:
            return [], b""
        try:
            frames, taken = decoder.feed_some(data, most)  # type: ignore[attr-defined]
            self.fed += taken
        except BaseException as error:
            if hooks.is_ctrl_c(error):
                raise
            self.fail(error)
            return _frames_of(error), b""
        return frames, data[taken:] if taken < len(data) else b""

    def feed(self, data: Buffer | None) -> int:
        """Decode the next bytes, or the end of the stream (None), into ``frames``. Return the number of new frames."""
        frames = self.decode(data)
        self.frames += frames
        return len(frames)

    def taken(self) -> list[bytes]:
        """Remove all frames, and return them."""
        frames = list(self.frames)
        self.frames.clear()
        return frames

    def fail(self, error: BaseException) -> None:
        """Set the fault after the frames, unless there is one."""
        if self.fault is None:
            self.fault = equal_fault(error)
            self._decoder = None

    def cut(self, error: BaseException) -> None:
        """End a stream that was cut: the peer did not end it, so the rest is not a frame.

        The fault is IncompleteFrame if a frame had begun, else ``error``.
        """
        tail = self.decode(None)
        if tail:
            begun = self.fed - sum(map(len, tail))
            self.fail(IncompleteFrame("the stream was cut within a frame", begun))
        self.fail(error)

    def end(self) -> None:
        """Raise an equal of the fault, if there is one. The caller has taken all frames, and the stream is over."""
        if self.fault is None:
            return
        original, self._original = self._original, None
        raise original or equal_fault(self.fault)

    def _fault_of_user(self, error: BaseException) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            # A loop over frames would take it for the end of the stream.
            stopped, error = error, RuntimeError(f"a decoder raised {type(error).__name__}")
            error.__cause__ = stopped
        if self.fault is None:
            self._original = error
        self.fail(error)


class RewindableInbox(Inbox):
    """An Inbox that can return the bytes after the taken frames, for a reader that goes on without frames.

    A decoder must return a frame with the last byte of the frame, as all built-in decoders do. A frame that the end of
    the stream completes includes all remaining bytes.
    """

    __slots__ = ("_after_end", "_blind", "_bound", "_log", "_logged", "_made")

    def __init__(self, bound: BoundCodec) -> None:
        super().__init__(bound)
        self._bound = bound
        self._log: list[tuple[bytes | bytearray, int]] = []  # chunks, and the frames each completed
        self._logged = 0  # the number of bytes in the log
        self._made = 0  # the number of frames in the log
        self._after_end = 0  # the number of frames that the end completed
        self._blind = False  # the same bytes cannot be decoded again
        if self._plain and self._decoder is not None:
            with suppress(Exception):
                self._blind = bound.decoder() is self._decoder

    def decode(self, data: Buffer | None) -> list[bytes]:
        """Decode as `Inbox.decode` does, and keep the bytes."""
        if self._made and not self.frames:
            self._forget_taken()
        frames = super().decode(data)
        if data is None:
            self._after_end += len(frames)
        elif not self._blind:
            self._keep(data, len(frames))
            self._logged += len(data)
            self._made += len(frames)
        return frames

    def rest(self) -> bytes:
        """Return the bytes after the last frame that was taken.

        Raises TypeError for a user's codec that has one decoder for all streams, or that decodes the same bytes
        differently the next time, because then the bytes of its frames are not known.
        """
        left = len(self.frames)
        if left < self._after_end:
            return b""
        end = self._end_of(self._made - (left - self._after_end))
        if end is None or self._blind:
            raise TypeError(
                f"{arguments.shown(self.codec)} does not begin a stream afresh, so nobody can say what it has not taken"
            )
        return self._logged_bytes()[end:]

    def _keep(self, data: Buffer, made: int) -> None:
        """Add a chunk to the log. Small chunks within a frame are joined, as each entry takes memory of its own."""
        log = self._log
        if made or not log or log[-1][1] or len(log[-1][0]) >= _JOINED:
            log.append((bytes(data), made))
            return
        tail = log[-1][0]
        if not isinstance(tail, bytearray):
            tail = bytearray(tail)
            log[-1] = tail, 0
        tail += data

    def _forget_taken(self) -> None:
        """Keep only the bytes of the next frame, when all frames are taken."""
        start: int | None = 0
        if not self._plain:
            start = self._logged - self._decoder.buffered if self._decoder is not None else 0  # type: ignore[attr-defined]
        elif self._logged + _ENTRY * len(self._log) >= _LOGGED:
            start = self._end_of(self._made)
        if start is None:
            self._blind = True
        if start or self._blind:
            rest = b"" if start is None else self._logged_bytes()[start:]
            self._log = [(rest, 0)] if rest else []
            self._logged, self._made = len(rest), 0

    def _logged_bytes(self) -> bytes:
        return b"".join([chunk for chunk, _ in self._log])

    def _end_of(self, count: int) -> int | None:
        """Return the position in the log after the first ``count`` frames; None if they are not found again."""
        if not count:
            return 0
        before, seen = bytearray(), 0
        chunk: bytes | bytearray = b""
        for chunk, made in self._log:
            if seen + made >= count:
                break
            seen += made
            before += chunk
        low, high = 0, len(chunk)  # the frame is complete after `high` bytes, not after `low`
        if self._frames_in(before, chunk) < count:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._frames_in(before, chunk[:middle]) >= count else (middle, high)
        return len(before) + high

    def _frames_in(self, *chunks: Buffer) -> int:
        return sum(map(Inbox(self._bound).feed, chunks))


def equal_fault(fault: BaseException) -> BaseException:
    """Return an equal of a fault, for raising. The traceback of one object grows each time it is raised."""
    try:
        again = copy.copy(fault)
    except BaseException:  # a user's exception that cannot be made from its args
        again = fault
    if type(again) is not type(fault):
        again = fault
    if again is not fault:
        again.__cause__, again.__suppress_context__ = fault.__cause__, fault.__suppress_context__
    return again.with_traceback(None)


def _frames_of(error: BaseException) -> list[bytes]:
    """Remove the frames from an error, and return them."""
    frames: list[bytes] = []
    with suppress(BaseException):  # a user's exception may not have this attribute, or may not allow setting it
        found = error.frames  # type: ignore[attr-defined]
        if _are_frames(found):
            frames = list(found)
        error.frames = []  # type: ignore[attr-defined]
    return frames


def _are_frames(frames: object) -> bool:
    return isinstance(frames, (list, tuple)) and set(map(type, frames)) <= _ONLY_BYTES
