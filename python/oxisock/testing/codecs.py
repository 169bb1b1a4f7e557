"""Tests any codec or decoder with the properties that oxisock's own framing is tested by.

The core of them is *chunk invariance*: what comes out of a decoder must not depend on where the stream was cut.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .. import arguments
from ..framing.codecs import Delimiter, Fixed, LengthPrefix
from .checks import SLACK, Checks, pieces, same
from .subject import Decoded, Subject, Wrong, shown

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# Bytes with a meaning in some codec: terminators, digits, separators, the edges of length fields.
_TELLING: Final = b"\r\n\x00\x01\x02\x03\x04\x7f\x80\xff0123459:, abxy"
_DEFAULT_LIMIT: Final = 16 << 20

# Streams to try if only a decoder is given: it may find frames in one of them.
_STREAMS: Final = (
    b"one\r\ntwo\r\n",
    b"one;two;",
    b"one\0two\0",
    b"\0\0\0\2hi",
    b"\0\0\2hi",
    b"\0\2hi",
    b"\2hi",
    b"2:hi,",
    b"x" * 64,
)


def chunkings(data: bytes) -> SearchStrategy[list[bytes]]:
    """Return a Hypothesis strategy for ways to cut ``data`` into chunks. Some chunks are empty.

    One way is byte by byte. Data of more than 4 KiB is cut into at most about 4,000 chunks.
    """
    from hypothesis import strategies as st

    data = arguments.bytes_like(data, "data")

    def cut(places: list[int]) -> list[bytes]:
        edges = [0, *sorted(places), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(edges)]

    several = st.lists(st.integers(0, len(data)), max_size=12).map(cut)
    return several | st.just(pieces(data, 1 + len(data) // 4096))


def payloads(codec: Any, max_size: int = 48) -> SearchStrategy[bytes]:
    """Return a Hypothesis strategy for payloads that ``codec.encode`` takes: short ones, with many special bytes."""
    from hypothesis import strategies as st

    arguments.having(codec, "codec", "a codec", "encode")
    max_size = arguments.size(max_size, "max_size", 0, arguments.MOST)
    limit = min(max_size, getattr(codec, "max_frame", max_size))
    telling = _TELLING + (b"".join(codec.delimiters) if isinstance(codec, Delimiter) else b"")
    some = st.lists(st.sampled_from(telling) | st.integers(0, 255), max_size=limit).map(bytes)
    runs = st.tuples(st.sampled_from(telling), st.integers(0, limit)).map(lambda run: bytes(run[:1]) * run[1])
    if isinstance(codec, Fixed):
        size = codec.size
        return some.map(lambda payload: (payload * size + bytes(size))[:size])
    if isinstance(codec, LengthPrefix) and codec.strip is not None:
        least = max(0, codec.offset + codec.width - codec.strip)
        some = some.map(lambda payload: bytes(least) + payload)
    return (some | runs).filter(lambda payload: Subject(codec).encode(payload) is not None)


def check_codec(
    codec: Any,
    *,
    payloads: SearchStrategy[bytes] | None = None,
    streams: SearchStrategy[bytes] | None = None,
    max_buffered: int | None = None,
    max_examples: int = 100,
) -> None:
    """Check your codec, or a decoder alone, with the same tests as oxisock's own codecs. This takes some seconds.

    Arguments:
        codec: an object with ``encode(payload)`` and ``decoder()``, or only ``decoder()``; or a callable that makes a
            decoder, such as its class. ``encode`` raises ValueError to refuse a payload. A decoder has ``feed(data)``
            and ``eof()``, which return lists of frames. It raises any Exception for a bad stream; the exception's
            ``frames``, if there are any, are the good frames that the same call found.
        payloads: a strategy for more payloads to encode.
        streams: a strategy for more whole streams to decode.
        max_buffered: the most bytes that the decoder may hold besides the last chunk. The default is
            ``codec.max_frame`` + 1 KiB, or 16 MiB if the codec has no ``max_frame``.
        max_examples: the number of examples for each property.

    Raises AssertionError if one of these properties does not hold. The message says what is wrong and shows the
    smallest example found:

    - Decoding returns the payloads that were encoded: of all sizes up to the largest that ``encode`` takes (at most
      32 MiB), few and many at a time.
    - Frames and errors are the same however the stream is cut, and no frame before an error is lost.
    - Empty chunks change nothing, and neither does another stream at the same time.
    - Frames do not change when the buffer that was fed is overwritten.
    - A stream that ends in the middle of a frame raises.
    - The decoder holds no more than allowed, by ``decoder.buffered`` and by the memory that Python allocates.
    """
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    if not callable(getattr(codec, "decoder", codec)):
        arguments.refuse(TypeError, "codec", codec, "a codec, or something to call that makes a decoder")
    for name, strategy in (("payloads", payloads), ("streams", streams)):
        if strategy is not None:
            arguments.instance(strategy, name, st.SearchStrategy, "a strategy of Hypothesis")
    arguments.count(max_examples, "max_examples")
    if max_buffered is not None:
        arguments.size(max_buffered, "max_buffered", 0)
    subject = Subject(codec)
    rules = settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    )
    if max_buffered is None:
        max_buffered = int(getattr(codec, "max_frame", _DEFAULT_LIMIT)) + SLACK
    telling = st.lists(st.sampled_from(_TELLING), max_size=64).map(bytes)
    noise = st.one_of(telling, st.binary(max_size=64), *([streams] if streams is not None else []))
    drawn = payloads if payloads is not None else _payloads_of(codec) if subject.encodes else None
    samples = [] if drawn is None else _samples(subject, drawn)
    checks = Checks(subject, samples, _wires(subject, samples, streams), max_buffered)
    checks.basics()

    if drawn is not None:

        @rules
        @given(st.lists(drawn, max_size=6), st.data())
        def round_trip(messages: list[bytes], data: Any) -> None:
            stream = _encoded(subject, messages)
            whole = subject.decode([stream])
            if whole != Decoded([subject.expected(message) for message in messages], None):
                raise Wrong(
                    f"a payload does not come back: {shown(messages)} became {shown(stream)}, which became {whole}"
                )
            chunks = data.draw(chunkings(stream))
            same(whole, subject.decode(chunks), chunks)

        @rules
        @given(st.lists(drawn, min_size=1, max_size=3), noise, st.data())
        def partition_after_frames(messages: list[bytes], tail: bytes, data: Any) -> None:
            stream = _encoded(subject, messages) + tail
            chunks = data.draw(chunkings(stream))
            same(subject.decode([stream]), subject.decode(chunks), chunks)

        _hunt(round_trip)
        _hunt(partition_after_frames)
        checks.sizes()

    @rules
    @given(noise, st.data())
    def partition(stream: bytes, data: Any) -> None:
        chunks = data.draw(chunkings(stream))
        same(subject.decode([stream]), subject.decode(chunks), chunks)

    _hunt(partition)
    checks.cuts()
    checks.counts()
    checks.buffers()
    checks.errors()
    checks.memory()
    checks.ends()


def _hunt(property_: Callable[[], None]) -> None:
    """Let Hypothesis search for a counterexample, and raise its error without the notes of Hypothesis."""
    from hypothesis.errors import Flaky, Unsatisfiable

    try:
        property_()
    except Wrong as wrong:
        raise AssertionError(str(wrong)) from wrong.__cause__
    except Flaky:
        raise AssertionError("the same stream gives another result the second time") from None
    except Unsatisfiable:
        raise AssertionError(
            "encode refused all payloads tried: pass `payloads`, a strategy for payloads that it takes"
        ) from None


def _encoded(subject: Subject, messages: Sequence[bytes]) -> bytes:
    wires = [subject.encode(message) for message in messages]
    from hypothesis import assume

    assume(None not in wires)
    return b"".join(wire for wire in wires if wire is not None)


def _payloads_of(codec: Any) -> SearchStrategy[bytes]:
    return payloads(codec)


def _samples(subject: Subject, drawn: SearchStrategy[bytes]) -> list[bytes]:
    """Return a few payloads that the codec accepts. Search only if plain payloads are refused."""
    plain = (b"hello", b"\x00\x00\x00\x00\x00\x00\x00\x00hello", b"x" * getattr(subject.codec, "size", 0), b"")
    taken = [payload for payload in plain if subject.encode(payload) is not None]
    if taken:
        return taken[:1]
    from hypothesis import find, settings
    from hypothesis.errors import NoSuchExample

    try:
        return [find(drawn, lambda payload: subject.encode(payload) is not None, settings=settings(database=None))]
    except NoSuchExample:
        return []


def _wires(subject: Subject, samples: Sequence[bytes], streams: SearchStrategy[bytes] | None) -> list[bytes]:
    """Return some streams that contain frames, and contain twice as many if they are repeated."""
    if samples:
        return [wire for sample in samples if (wire := subject.encode(sample)) is not None]

    def makes_frames(stream: bytes) -> bool:
        once = subject.decode([stream])
        return bool(once.frames) and subject.decode([stream * 2]) == Decoded(once.frames * 2, None)

    found = [stream for stream in _STREAMS if makes_frames(stream)]
    if not found and streams is not None:
        from hypothesis import find, settings
        from hypothesis.errors import NoSuchExample

        with contextlib.suppress(NoSuchExample):
            found.append(find(streams, makes_frames, settings=settings(database=None, derandomize=True)))
    return found[:1]
