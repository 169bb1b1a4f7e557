"""A codec bound to an engine (users' own codecs too), and the inbox that decodes a received stream.

Everybody who receives frames does it through an `Inbox`, so that one contract holds for all: a decoder reports a fault
by raising any exception from ``feed`` or ``eof``; the frames before it, which it may have as ``.frames``, come first;
and from then on everybody who asks is told of an equal fault.
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

_LOGGED: Final = 1 << 20  # bytes that are kept for who reads next, before it is looked which of them are taken
_ONLY_BYTES: Final = frozenset([bytes])


def encoder(codec: Codec) -> Callable[[Any], bytes]:
    """Return what frames a payload; what a user's own codec makes of it is checked. TypeError for what is no codec."""
    if isinstance(codec, StreamCodec):
        return codec.encode
    return partial(_encode, arguments.codec(codec))


def _encode(codec: Codec, payload: Any) -> bytes:
    wire: object = codec.encode(payload)
    if not isinstance(wire, (bytes, bytearray, memoryview)):
        raise hooks.wrong("a codec's encode returns bytes", wire)
    return hooks.plain_bytes(wire)


class BoundCodec:
    """A codec's two halves in one engine; a user's own codec is the same in both.

    Attributes:
        codec: the codec itself.
        framer: what an engine knows it as; None for a user's own.
        encode: frames a payload.
        encode_many: frames payloads one after the other.

    Raises TypeError for what has no ``encode`` and ``decoder``.
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
        """Begin a stream; raises what a user's codec does, and TypeError if it gives no decoder."""
        if self.framer is not None:
            return self.framer.decoder(False)
        decoder = self.codec.decoder()
        if not (callable(getattr(decoder, "feed", None)) and callable(getattr(decoder, "eof", None))):
            raise hooks.wrong("decoder() of a codec returns what has feed and eof", decoder, arguments.shown(decoder))
        return decoder


class Inbox:
    """What was received of one stream: frames, and the fault that came after the last of them.

    Attributes:
        codec: what frames the stream; None if an engine does, and frames and fault are put here.
        frames: those that nobody has taken yet.
        fault: what came after them; it stays.
        ended: the stream has ended.
        fed: bytes so far.
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
        self._original: BaseException | None = None  # the fault with the traceback of a user's decoder, for one raise
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
        """Whether nothing more is wanted of the stream."""
        return self.ended or self.fault is not None

    def decode(self, data: Buffer | None) -> list[bytes]:
        """Return the frames that the next bytes complete, or the end of the stream (None), past those in ``frames``.

        A fault is in ``fault`` afterwards; what comes after it, or after the end, is no part of the stream.
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
                # The engines' take every buffer.
                return decoder.eof() if data is None else decoder.feed(data)  # type: ignore[arg-type]
            # Users' own decoders may keep what they are given.
            found: object = decoder.eof() if data is None else decoder.feed(bytes(data))
            if not isinstance(found, list) or not _are_frames(found):
                what = "eof" if data is None else "feed"
                raise hooks.wrong(f"a decoder's {what} returns a list of bytes", found, arguments.shown(found))
            return found
        except BaseException as error:
            return self.failed(error)

    def feeder(self) -> Callable[[Buffer], list[bytes]]:
        """Return what does as `decode` for the next bytes of a stream that is not over, for who has many small chunks.

        The caller adds to ``fed`` before, and gives what it raises to `failed`.
        """
        if self._plain or self._decoder is None:
            return self._decode_plain
        return self._decoder.feed  # type: ignore[return-value]

    def _decode_plain(self, data: Buffer) -> list[bytes]:
        self.fed -= len(data)  # which `decode` adds
        return self.decode(data)

    def failed(self, error: BaseException) -> list[bytes]:
        """Take what a decoder raised for a fault, and return the frames before it; Ctrl-C is raised on."""
        if hooks.is_ctrl_c(error):
            raise error
        frames = _frames_of(error)
        if self._plain:
            self._fault_of_user(error)
        else:
            self.fail(error)
        return frames

    def decode_some(self, data: bytes, most: int) -> tuple[list[bytes], bytes]:
        """Return at most so many frames of the next bytes, and what follows them; with a decoder of an engine."""
        decoder = self._decoder  # none after a fault
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
        """Take the next bytes, or the end of the stream (None), and return the number of frames they complete."""
        frames = self.decode(data)
        self.frames += frames
        return len(frames)

    def taken(self) -> list[bytes]:
        """Return all frames."""
        frames = list(self.frames)
        self.frames.clear()
        return frames

    def fail(self, error: BaseException) -> None:
        """Nothing will come after the frames but this."""
        if self.fault is None:
            self.fault = equal_fault(error)
            self._decoder = None

    def cut(self, error: BaseException) -> None:
        """The stream ended where its peer did not end it: what is left of it is no frame.

        Where a frame had begun, IncompleteFrame comes after the frames, and else ``error``.
        """
        tail = self.decode(None)
        if tail:
            begun = self.fed - sum(map(len, tail))
            self.fail(IncompleteFrame("the stream was cut within a frame", begun))
        self.fail(error)

    def end(self) -> None:
        """Return at a clean end of the stream, after the frames, or raise an equal of the fault."""
        if self.fault is None:
            return
        original, self._original = self._original, None
        raise original or equal_fault(self.fault)

    def _fault_of_user(self, error: BaseException) -> None:
        if isinstance(error, (StopIteration, StopAsyncIteration)):
            # To a loop over frames it would look like the end.
            stopped, error = error, RuntimeError(f"a decoder raised {type(error).__name__}")
            error.__cause__ = stopped
        if self.fault is None:
            self._original = error
        self.fail(error)


class RewindableInbox(Inbox):
    """An Inbox that can give back the bytes which no taken frame stands for, to who goes on in another way.

    A decoder is expected to give a frame with the last byte of it, as all built-in ones do. What it makes of the end
    of the stream stands for all that is left.
    """

    __slots__ = ("_after_end", "_blind", "_bound", "_log", "_logged", "_made")

    def __init__(self, bound: BoundCodec) -> None:
        super().__init__(bound)
        self._bound = bound
        self._log: list[tuple[bytes, int]] = []  # chunks from a frame's beginning on, and the frames each completed
        self._logged = 0  # their bytes
        self._made = 0  # their frames
        self._after_end = 0  # frames that the end completed
        self._blind = False  # nobody can look a second time
        if self._plain and self._decoder is not None:
            with suppress(Exception):
                self._blind = bound.decoder() is self._decoder

    def decode(self, data: Buffer | None) -> list[bytes]:
        """Do as `Inbox.decode`, and remember the bytes."""
        if self._made and not self.frames:
            self._forget_taken()
        frames = super().decode(data)
        if data is None:
            self._after_end += len(frames)
        elif not self._blind:
            self._log.append((bytes(data), len(frames)))
            self._logged += len(data)
            self._made += len(frames)
        return frames

    def rest(self) -> bytes:
        """Return the bytes after the last frame that was taken.

        Raises TypeError for a user's codec with one decoder for all streams, or one that decodes the same bytes in
        another way the next time: nobody can say what its frames stand for.
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

    def _forget_taken(self) -> None:
        """All frames are taken: keep the bytes of the next one alone."""
        start: int | None = 0
        if not self._plain:
            start = self._logged - self._decoder.buffered if self._decoder is not None else 0  # type: ignore[attr-defined]
        elif self._logged >= _LOGGED:
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
        """Return where in the log the last of so many frames ends; None if it is not found again."""
        if not count:
            return 0
        before, seen, chunk = bytearray(), 0, b""
        for chunk, made in self._log:
            if seen + made >= count:
                break
            seen += made
            before += chunk
        low, high = 0, len(chunk)  # after so many of its bytes the frame is not there yet, and there
        if self._frames_in(before, chunk) < count:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._frames_in(before, chunk[:middle]) >= count else (middle, high)
        return len(before) + high

    def _frames_in(self, *chunks: Buffer) -> int:
        return sum(map(Inbox(self._bound).feed, chunks))


def equal_fault(fault: BaseException) -> BaseException:
    """Return an equal of a fault, to be raised; to raise one object again and again makes its traceback grow."""
    try:
        again = copy.copy(fault)
    except BaseException:  # of a user's exception that cannot be made from its args
        again = fault
    if type(again) is not type(fault):
        again = fault
    if again is not fault:
        again.__cause__, again.__suppress_context__ = fault.__cause__, fault.__suppress_context__
    return again.with_traceback(None)


def _frames_of(error: BaseException) -> list[bytes]:
    """Take the frames from an error that has some."""
    frames: list[bytes] = []
    with suppress(BaseException):  # of a user's exception, which may have no such attribute, or one that cannot be set
        found = error.frames  # type: ignore[attr-defined]
        if _are_frames(found):
            frames = list(found)
        error.frames = []  # type: ignore[attr-defined]
    return frames


def _are_frames(frames: object) -> bool:
    return isinstance(frames, (list, tuple)) and set(map(type, frames)) <= _ONLY_BYTES
