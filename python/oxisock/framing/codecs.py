"""Codecs: how messages stand in a stream of bytes, whatever way the stream is cut.

A codec is a value: its parameters, checked once. ``codec.encode`` makes frames, ``codec.decoder()`` begins a stream
and cuts it into frames again. The frames and errors are the same however the stream's bytes arrive.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import ClassVar, Literal, NoReturn, Protocol, Self, runtime_checkable

from .. import arguments
from ..engines.binding import Bound, engine
from ..engines.framing import Buffer, Framer, FramingModule
from ..engines.selection import selected
from ..errors import FrameError
from ..types import SkippedFrame

KIB = 1 << 10
MIB = 1 << 20

LONGEST_HEADER = 16 * MIB
"""What `LengthPrefix` takes for `offset` and `strip`: bytes that `encode` writes before each payload."""

Policy = Literal["fail", "skip"]
"""What a decoder does about a bad frame: raise for ever, or leave it out where the next one can be found."""


class StreamDecoder(Protocol):
    """The least that a user's own decoder has to offer.

    It reports a fault in the stream by raising any exception; good frames of the same call may be in its ``frames``, a
    list. They are delivered first, and from then on everybody who receives is told of an equal fault.
    """

    def feed(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes of the stream and give the frames that they complete."""
        ...

    def eof(self) -> list[bytes]:
        """Take the end of the stream and give the frame that it completes, if any."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """One stream being cut into frames: bytes in, frames or an error out. It opens no socket and never waits.

    It is one stream's, and for one thread at a time. Made by ``codec.decoder()``.
    """

    @property
    def buffered(self) -> int:
        """Bytes held back until more of their frame is there: at most the longest legal frame and the last chunk."""
        ...

    @property
    def skipped_count(self) -> int:
        """How many frames were left out so far."""
        ...

    def feed(self, data: Buffer, /) -> list[bytes]:
        """Take the next bytes of the stream (any C-contiguous buffer) and give the frames that they complete.

        Raises FrameError if the stream is bad, with the good frames of this call in ``.frames``, and an equal one
        without frames on every later call; MemoryError, in the same way, where there is no room for what came;
        ValueError after `eof`; TypeError for what holds no bytes; BufferError for a buffer that is not contiguous.
        """
        ...

    def eof(self) -> list[bytes]:
        """Take the end of the stream and give the frame that it completes, if any; a second call gives [].

        Raises IncompleteFrame if the stream ended within a frame.
        """
        ...

    def take_skipped(self) -> list[SkippedFrame]:
        """Return the frames left out since the last call, at most the last 1,000, and forget them."""
        ...

    def get_buffer(self, sizehint: int, /) -> memoryview:
        """Return room to receive into, about ``sizehint`` bytes of it, as asyncio.BufferedProtocol wants it."""
        ...

    def buffer_updated(self, n: int, /) -> list[bytes]:
        """Take the first ``n`` bytes of what `get_buffer` gave as the next of the stream; otherwise as `feed`."""
        ...


@runtime_checkable
class Codec(Protocol):
    """What FramedSocket and the servers need of a codec, so that anybody's own works everywhere.

    ``oxisock.testing.check_codec`` says whether it keeps what the built-in ones promise.
    """

    def encode(self, payload: bytes, /) -> bytes:
        """Frame one payload; ValueError if decoding would not give exactly that payload back."""
        ...

    def decoder(self) -> StreamDecoder:
        """Begin a stream."""
        ...


class StreamCodec(Bound):
    """What all built-in codecs share: immutable, hashable, equal by parameters in whichever engine, picklable.

    A pickle comes back bound to the engine selected where it is read.
    """

    _defaults: ClassVar[dict[str, object]]  # by parameter; those without one are not in it
    _fields: ClassVar[tuple[str, ...]]
    _framer: Framer
    _parameters: tuple[object, ...]

    def _set(self, **parameters: object) -> None:
        for name, value in parameters.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_parameters", tuple(parameters.values()))
        object.__setattr__(self, "_framer", self._framer_of(self._engine.framing))

    def _framer_of(self, engine: FramingModule) -> Framer:
        """Make this codec's machine in an engine: how a server of either engine takes a codec of either."""
        raise NotImplementedError

    def encode(self, payload: Buffer) -> bytes:
        """Frame one payload (any C-contiguous buffer).

        Raises ValueError unless decoding the result gives exactly that payload back; MemoryError if there is no
        room for it.
        """
        return self._framer.encode(payload)

    def encode_many(self, payloads: Iterable[Buffer]) -> bytes:
        """Frame payloads one after the other; raises as `encode` does."""
        return self._framer.encode_many(payloads)

    def decode(self, data: Buffer) -> list[bytes]:
        """Cut a whole stream into its frames.

        Raises FrameError, with the good frames before the bad one in ``.frames``; IncompleteFrame if the last one
        is cut off.
        """
        decoder = self._framer.decoder(False)
        frames = decoder.feed(data)
        try:
            return frames + decoder.eof()
        except FrameError as error:
            error.frames[:0] = frames
            raise

    def decoder(self, policy: Policy = "fail") -> Decoder:
        """Begin a stream.

        Under "fail" a bad frame ends it. Under "skip" it is left out and noted (`Decoder.take_skipped`) where the
        next frame can be found: codecs with terminators go on after the next terminator, those with lengths after a
        body of up to 16 times the limit; they fail beyond that, and on corruption.
        """
        return self._framer.decoder(arguments.choice(policy, "policy", ("fail", "skip")) == "skip")

    def explain(self, data: Buffer) -> str:
        """Draw a stream's bytes with what each part is: header, length, body, terminator, and where a fault is."""
        from .explaining import explain

        return explain(self, data)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StreamCodec):
            return NotImplemented
        return type(self).__name__ == type(other).__name__ and self._parameters == other._parameters

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._parameters))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self

    def _arguments(self) -> tuple[tuple[object, ...], dict[str, object]]:
        """What to call the class with to make an equal codec, with nothing said that is so by default."""
        given = dict(zip(self._fields, self._parameters, strict=True))
        positional = tuple(value for name, value in given.items() if name not in self._defaults)
        named = {name: value for name, value in given.items() if value != self._defaults.get(name, value)}
        return positional, named

    def __repr__(self) -> str:
        positional, named = self._arguments()
        parts = [repr(value) for value in positional] + [f"{name}={value!r}" for name, value in named.items()]
        return f"{type(self).__name__}({', '.join(parts)})"

    def __reduce__(self) -> tuple[object, ...]:
        bound = type(self).__module__ in ("oxisock.pure", "oxisock.native")
        return _rebuild, (type(self).__name__ if bound else type(self), *self._arguments())


def _rebuild(codec: str | type[StreamCodec], positional: tuple[object, ...], named: dict[str, object]) -> StreamCodec:
    """Make a codec again, bound to the engine selected here."""
    if isinstance(codec, str):
        codec = getattr(engine(selected()).names, codec)
    made: StreamCodec = codec(*positional, **named)  # type: ignore[operator]
    return made


class LengthPrefix(StreamCodec):
    """Frames that begin with their length in binary.

    A header of ``offset`` + ``width`` bytes, and after it the body. A frame is both, less what is stripped.

    Arguments:
        width: bytes of the length field, 1 to 8.
        byteorder: "big" or "little".
        offset: bytes before the length field, 0 to 16 MiB.
        adjustment: what is added to the field's value to give the length of the body; negative where the length counts
            the header too.
        strip: bytes taken off the front of each frame, up to 16 MiB; None is the header, 0 nothing.
        max_frame: the longest body, in bytes (16 MiB).

    `encode` takes what `decode` gives: stripped bytes are written as zero, and a field that is not stripped is
    overwritten in the payload's place. Parameters that leave no legal frame are a ValueError.
    """

    _fields = ("width", "byteorder", "offset", "adjustment", "strip", "max_frame")
    _defaults: ClassVar[dict[str, object]] = {
        "byteorder": "big",
        "offset": 0,
        "adjustment": 0,
        "strip": None,
        "max_frame": 16 * MIB,
    }
    width: int
    byteorder: Literal["big", "little"]
    offset: int
    adjustment: int
    strip: int | None
    max_frame: int

    def __init__(
        self,
        width: int = 4,
        byteorder: Literal["big", "little"] = "big",
        *,
        offset: int = 0,
        adjustment: int = 0,
        strip: int | None = None,
        max_frame: int = 16 * MIB,
    ) -> None:
        width = arguments.size(width, "width", 1, 8)
        byteorder = arguments.choice(byteorder, "byteorder", ("big", "little"))
        offset = arguments.size(offset, "offset", 0, LONGEST_HEADER)
        max_frame = arguments.size(max_frame, "max_frame")
        adjustment = arguments.count(adjustment, "adjustment", -(1 << 63), (1 << 63) - 1)
        header = offset + width
        if header + max_frame > sys.maxsize:
            raise ValueError(f"offset={offset} and max_frame={max_frame} make frames of more than {sys.maxsize} bytes")
        least = 0
        if strip is not None:
            strip = arguments.size(strip, "strip", 0, LONGEST_HEADER)
            if offset < strip < header:
                raise ValueError(f"strip={strip} ends within the length field, which is bytes {offset} to {header - 1}")
            least = max(0, strip - header)
            if least > max_frame:
                raise ValueError(f"strip={strip} is more than the longest frame, {header + max_frame} bytes")
        if (1 << 8 * width) - 1 + adjustment < least or adjustment > max_frame:
            raise ValueError(f"adjustment={adjustment} leaves no legal length to a field of {width} bytes")
        self._set(
            width=width,
            byteorder=byteorder,
            offset=offset,
            adjustment=adjustment,
            strip=strip,
            max_frame=max_frame,
        )

    def _framer_of(self, engine: FramingModule) -> Framer:
        strip = self.offset + self.width if self.strip is None else self.strip
        little = self.byteorder == "little"
        return engine.length_framer(self.width, little, self.offset, self.adjustment, strip, self.max_frame)


class _Limited(StreamCodec):
    """A codec whose only parameter is the longest body, ``max_frame`` bytes."""

    _fields = ("max_frame",)
    _defaults: ClassVar[dict[str, object]] = {"max_frame": 16 * MIB}
    max_frame: int

    def __init__(self, *, max_frame: int = 16 * MIB) -> None:
        self._set(max_frame=arguments.size(max_frame, "max_frame"))


class Varint(_Limited):
    """Frames that begin with their length as a LEB128 varint, as protobuf streams do; ``max_frame`` in bytes.

    Non-minimal forms of up to 10 bytes are accepted; a length over 2**64 - 1 is corrupt.
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.varint_framer(self.max_frame)


class Netstring(_Limited):
    """Frames as ``5:hello,``: the length in decimal digits, a colon, the body, a comma; ``max_frame`` in bytes."""

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.decimal_framer(0x3A, 0x2C, self.max_frame)


class OctetCounted(_Limited):
    """Frames as ``5 hello``: syslog's octet counting of RFC 6587; ``max_frame`` in bytes.

    The RFC has no empty messages; here an empty frame is a frame, as everywhere.
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.decimal_framer(0x20, None, self.max_frame)


class MultiprocessingPrefix(_Limited):
    """Frames as ``multiprocessing.connection`` writes them; ``max_frame`` in bytes.

    The length is signed, 32 bits, big-endian; -1 announces an unsigned 64-bit one, for bodies past 2 GiB.
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.escaped_framer(self.max_frame)


class Fixed(StreamCodec):
    """Frames that are all ``size`` bytes long (1 and up), with nothing between them."""

    _fields = ("size",)
    _defaults: ClassVar[dict[str, object]] = {}
    size: int

    def __init__(self, size: int) -> None:
        self._set(size=arguments.size(size, "size"))

    @property
    def max_frame(self) -> int:
        """The longest frame, in bytes: the only size there is."""
        return self.size

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.fixed_framer(self.size)


class Delimiter(StreamCodec):
    """Frames that end with one of several byte strings.

    The earliest end of a match wins, and on ties the longest delimiter.

    Arguments:
        *delimiters: one or more byte strings; `encode` writes the first. One that contains another, except as its
            end, would never match and is a ValueError.
        keep: leave the terminator on each frame (`encode` still takes it without).
        eof_frame: make the rest at the end of the stream a last frame, where it is otherwise an IncompleteFrame.
        max_frame: the longest frame in bytes, its terminator not counted (1 MiB).
    """

    _fields = ("delimiters", "keep", "eof_frame", "max_frame")
    _defaults: ClassVar[dict[str, object]] = {"keep": False, "eof_frame": False, "max_frame": MIB}
    delimiters: tuple[bytes, ...]
    keep: bool
    eof_frame: bool
    max_frame: int

    def __init__(self, *delimiters: bytes, keep: bool = False, eof_frame: bool = False, max_frame: int = MIB) -> None:
        delimiters = tuple(arguments.bytes_like(delimiter, "delimiters", 1) for delimiter in delimiters)
        if not delimiters:
            arguments.refuse(ValueError, "delimiters", delimiters, "at least one")
        for outer in delimiters:
            for inner in delimiters:
                # The inner one would always match first; as a suffix it ends where the outer one does.
                if inner in outer[:-1]:
                    raise ValueError(f"the delimiter {outer!r} contains {inner!r} and so never matches")
        self._set(
            delimiters=delimiters,
            keep=arguments.flag(keep, "keep"),
            eof_frame=arguments.flag(eof_frame, "eof_frame"),
            max_frame=arguments.size(max_frame, "max_frame"),
        )

    def _arguments(self) -> tuple[tuple[object, ...], dict[str, object]]:
        _, named = super()._arguments()
        return self.delimiters, named

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.delimiter_framer(self.delimiters, self.keep, self.eof_frame, self.max_frame)


class Lines(StreamCodec):
    """Lines: they end with LF, and one CR before it belongs to the end; `encode` writes LF.

    Arguments:
        keep: leave the terminator on each frame (`encode` still takes it without).
        eof_frame: make an unterminated rest at the end of the stream a last line, in which a final CR is data.
        max_frame: the longest line in bytes, its terminator not counted (1 MiB).
    """

    _fields = ("keep", "eof_frame", "max_frame")
    _defaults: ClassVar[dict[str, object]] = {"keep": False, "eof_frame": False, "max_frame": MIB}
    keep: bool
    eof_frame: bool
    max_frame: int

    def __init__(self, *, keep: bool = False, eof_frame: bool = False, max_frame: int = MIB) -> None:
        self._set(
            keep=arguments.flag(keep, "keep"),
            eof_frame=arguments.flag(eof_frame, "eof_frame"),
            max_frame=arguments.size(max_frame, "max_frame"),
        )

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.lines_framer(self.keep, self.eof_frame, self.max_frame)
