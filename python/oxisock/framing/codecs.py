"""Codecs: they define how messages are marked in a stream of bytes, however the stream is cut.

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
"""The most bytes for `offset` and `strip` of `LengthPrefix`, because `encode` writes them before each payload."""

Policy = Literal["fail", "skip"]
"""How a decoder handles a bad frame: "fail" raises, "skip" leaves it out if the next frame can be found."""


class StreamDecoder(Protocol):
    """The methods that your own decoder needs.

    To report a fault in the stream, raise any exception. If the call found good frames before the fault, put them in
    the exception's ``frames``, a list: receivers get these frames first. After that, every receiver gets an equal
    exception.
    """

    def feed(self, data: bytes, /) -> list[bytes]:
        """Take the next bytes of the stream and return the frames that they complete."""
        ...

    def eof(self) -> list[bytes]:
        """Take the end of the stream and return the frame that it completes, if any."""
        ...


@runtime_checkable
class Decoder(Protocol):
    """Cuts one stream into frames: bytes in, frames or an error out. It opens no socket and never waits.

    ``codec.decoder()`` makes one for each stream. Only one thread at a time may use it.
    """

    @property
    def buffered(self) -> int:
        """The bytes of a frame that is not complete yet: at most the longest legal frame and the last chunk."""
        ...

    @property
    def skipped_count(self) -> int:
        """The number of frames left out so far."""
        ...

    def feed(self, data: Buffer, /) -> list[bytes]:
        """Take the next bytes of the stream (any C-contiguous buffer) and return the frames that they complete.

        Raises FrameError if the stream is bad. The good frames of this call are in ``.frames``. Every later call raises
        an equal error without frames. MemoryError works the same way. Raises ValueError after `eof`, TypeError if
        ``data`` does not hold bytes, and BufferError if the buffer is not contiguous.
        """
        ...

    def eof(self) -> list[bytes]:
        """Take the end of the stream and return the frame that it completes, if any; a second call returns [].

        Raises IncompleteFrame if the stream ended in the middle of a frame.
        """
        ...

    def take_skipped(self) -> list[SkippedFrame]:
        """Return the frames left out since the last call, at most the last 1,000, and forget them."""
        ...

    def get_buffer(self, sizehint: int, /) -> memoryview:
        """Return a buffer of about ``sizehint`` bytes to receive into, as asyncio.BufferedProtocol needs it."""
        ...

    def buffer_updated(self, n: int, /) -> list[bytes]:
        """Take the first ``n`` bytes in the buffer of `get_buffer` as the next bytes of the stream, as `feed` does."""
        ...


@runtime_checkable
class Codec(Protocol):
    """The methods that FramedSocket and the servers need from a codec. Write your own codec with these two.

    ``oxisock.testing.check_codec`` checks that it behaves as the built-in ones do.
    """

    def encode(self, payload: bytes, /) -> bytes:
        """Return the frame for one payload; ValueError if decoding cannot return exactly this payload."""
        ...

    def decoder(self) -> StreamDecoder:
        """Begin a stream."""
        ...


class StreamCodec(Bound):
    """The base of all built-in codecs. Codecs are immutable, hashable and picklable.

    Two codecs with the same parameters are equal, in either engine. An unpickled codec uses the engine that is selected
    in the process that unpickles it.
    """

    _defaults: ClassVar[dict[str, object]]  # by parameter; parameters without a default are missing
    _fields: ClassVar[tuple[str, ...]]
    _framer: Framer
    _parameters: tuple[object, ...]

    def _set(self, **parameters: object) -> None:
        for name, value in parameters.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_parameters", tuple(parameters.values()))
        object.__setattr__(self, "_framer", self._framer_of(self._engine.framing))

    def _framer_of(self, engine: FramingModule) -> Framer:
        """Return this codec's machine in an engine, so that each engine accepts the codecs of both."""
        raise NotImplementedError

    def encode(self, payload: Buffer) -> bytes:
        """Return the frame for one payload (any C-contiguous buffer).

        Raises ValueError if decoding cannot return exactly this payload, and MemoryError if memory is short.
        """
        return self._framer.encode(payload)

    def encode_many(self, payloads: Iterable[Buffer]) -> bytes:
        """Return the frames for several payloads, joined; raises as `encode` does."""
        return self._framer.encode_many(payloads)

    def decode(self, data: Buffer) -> list[bytes]:
        """Cut a whole stream into its frames.

        Raises FrameError for a bad frame, with the good frames before it in ``.frames``, and IncompleteFrame if the
        last frame is not complete.
        """
        decoder = self._framer.decoder(False)
        frames = decoder.feed(data)
        try:
            return frames + decoder.eof()
        except FrameError as error:
            error.frames[:0] = frames
            raise

    def decoder(self, policy: Policy = "fail") -> Decoder:
        """Return a decoder for a new stream.

        With the policy "fail", a bad frame ends the stream. With "skip", the decoder leaves out a frame that is too
        long, and `Decoder.take_skipped` returns it. A codec with terminators goes on after the next terminator. A codec
        with lengths goes on after the frame, if its payload is at most 16 times the limit; otherwise, and for a corrupt
        frame, it fails.
        """
        return self._framer.decoder(arguments.choice(policy, "policy", ("fail", "skip")) == "skip")

    def explain(self, data: Buffer) -> str:
        """Return a drawing of a stream: its bytes, what each part is (header, body, terminator), and any fault."""
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
        """Return the arguments that make an equal codec, without those that equal their defaults."""
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
    """Unpickle a codec, bound to the engine selected in this process."""
    if isinstance(codec, str):
        codec = getattr(engine(selected()).names, codec)
    made: StreamCodec = codec(*positional, **named)  # type: ignore[operator]
    return made


class LengthPrefix(StreamCodec):
    """Frames that begin with their length as a binary number.

    A frame is a header of ``offset`` + ``width`` bytes, and then the body.

    Arguments:
        width: the size of the length field in bytes, 1 to 8.
        byteorder: "big" or "little".
        offset: the number of bytes before the length field, 0 to 16 MiB.
        adjustment: body length minus field value. It is negative if the field counts the header too.
        strip: the number of bytes that the decoder removes from the front of each frame, up to 16 MiB. None removes the
            header, 0 nothing.
        max_frame: the longest body in bytes (default 16 MiB).

    `encode` takes what `decode` returns. It writes zeros for stripped bytes. If the length field is not stripped,
    `encode` overwrites it in the payload. Raises ValueError if no frame fits the parameters.
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
            raise ValueError(f"adjustment={adjustment} leaves no legal length for a field of {width} bytes")
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
    """Frames that begin with their length as a LEB128 varint, as in protobuf streams.

    The decoder accepts longer forms of a number, up to 10 bytes. A length over 2**64 - 1 is corrupt.

    Arguments:
        max_frame: the longest body in bytes (default 16 MiB).
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.varint_framer(self.max_frame)


class Netstring(_Limited):
    """Frames such as ``5:hello,``: the length in decimal digits, a colon, the body, and a comma.

    Arguments:
        max_frame: the longest body in bytes (default 16 MiB).
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.decimal_framer(0x3A, 0x2C, self.max_frame)


class OctetCounted(_Limited):
    """Frames such as ``5 hello``: the octet counting of syslog (RFC 6587).

    The RFC has no empty messages, but here an empty frame is allowed, as in other codecs.

    Arguments:
        max_frame: the longest body in bytes (default 16 MiB).
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.decimal_framer(0x20, None, self.max_frame)


class MultiprocessingPrefix(_Limited):
    """Frames as ``multiprocessing.connection`` writes them.

    The length is a signed 32-bit number, big-endian. For bodies over 2 GiB it is -1, and an unsigned 64-bit number
    follows.

    Arguments:
        max_frame: the longest body in bytes (default 16 MiB).
    """

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.escaped_framer(self.max_frame)


class Fixed(StreamCodec):
    """Frames that are all ``size`` bytes long, 1 or more, with nothing between them."""

    _fields = ("size",)
    _defaults: ClassVar[dict[str, object]] = {}
    size: int

    def __init__(self, size: int) -> None:
        self._set(size=arguments.size(size, "size"))

    @property
    def max_frame(self) -> int:
        """The longest frame in bytes, which is ``size``."""
        return self.size

    def _framer_of(self, engine: FramingModule) -> Framer:
        return engine.fixed_framer(self.size)


class Delimiter(StreamCodec):
    """Frames that end with one of several byte strings.

    A frame ends at the first delimiter. If two delimiters end there, the longer one counts.

    Arguments:
        *delimiters: one or more byte strings. `encode` writes the first one. A delimiter that contains another one,
            except at its end, can never match and is a ValueError.
        keep: keep the terminator on each frame that the decoder returns. `encode` takes payloads without it.
        eof_frame: return the rest at the end of the stream as a last frame, instead of raising IncompleteFrame.
        max_frame: the longest frame in bytes, without its terminator (default 1 MiB).
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
                # The inner delimiter would always match first. As a suffix, it ends together with the outer one.
                if inner in outer[:-1]:
                    raise ValueError(f"the delimiter {outer!r} contains {inner!r}, so it can never match")
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
    """Lines of text. A line ends with LF or CR LF; `encode` writes LF.

    Arguments:
        keep: keep the terminator on each line that the decoder returns. `encode` takes payloads without it.
        eof_frame: return the rest at the end of the stream as a last line, instead of raising IncompleteFrame. A CR at
            its end is then data.
        max_frame: the longest line in bytes, without its terminator (default 1 MiB).
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
