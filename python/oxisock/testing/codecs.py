"""The properties that oxisock's own framing is tested by, for anybody's codec or decoder.

The core of them is *chunk invariance*: what comes out of a decoder must not depend on where the stream was cut.
"""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..framing.codecs import Delimiter, Fixed, LengthPrefix

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# Bytes that mean something to one codec or another: terminators, digits, separators, the edges of length fields.
_TELLING: Final = b"\r\n\x00\x01\x02\x03\x04\x7f\x80\xff0123459:, abxy"
_DEFAULT_LIMIT: Final = 16 << 20
_SMALL: Final = 4 << 10
_SLACK: Final = 1 << 10  # room for a header, a terminator and the decoder's own state


class Outcome(NamedTuple):
    """All that a stream came to: frames, and the error (type, and its fields where it has them)."""

    frames: list[bytes]
    error: tuple[object, ...] | None


def chunkings(data: bytes) -> SearchStrategy[list[bytes]]:
    """Ways of cutting ``data`` into chunks, as a Hypothesis strategy; some chunks are empty."""
    from hypothesis import strategies as st

    def cut(places: list[int]) -> list[bytes]:
        edges = [0, *sorted(places), len(data)]
        return [data[start:end] for start, end in itertools.pairwise(edges)]

    several = st.lists(st.integers(0, len(data)), max_size=12).map(cut)
    return several | st.just([data[at : at + 1] for at in range(len(data))])


def payloads(codec: Any, max_size: int = 48) -> SearchStrategy[bytes]:
    """Payloads that ``codec.encode`` takes, as a Hypothesis strategy: short ones, rich in bytes that mean something."""
    from hypothesis import strategies as st

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
    return (some | runs).filter(lambda payload: _encodable(codec, payload))


def check_codec(
    codec: Any,
    *,
    payloads: SearchStrategy[bytes] | None = None,
    streams: SearchStrategy[bytes] | None = None,
    max_buffered: int | None = None,
    max_examples: int = 100,
) -> None:
    """Check a codec, or a decoder alone, by the properties that oxisock's own are tested by.

    ``codec`` has ``decoder()`` and, for what is checked by encoding, ``encode(payload)``; or it is a callable that
    makes a decoder, such as a decoder's class. A decoder has ``feed(data)`` and ``eof()``, and reports bad streams by
    a ValueError, whose ``frames`` are the good frames that the failing call found before it.

    ``payloads`` and ``streams`` are strategies for what to encode and for whole streams, beside those that are drawn
    anyway; ``max_buffered`` is how many bytes the decoder may hold besides the last chunk (default:
    ``codec.max_frame`` and 1 KiB, or 16 MiB where there is none); ``max_examples`` is for each property.

    Raises AssertionError, with the smallest example found, where a property does not hold:

    - decoding what was encoded gives the payloads back;
    - frames and error are the same however the stream is cut, and no frame before an error is lost;
    - empty chunks change nothing;
    - arbitrary bytes give frames or a ValueError, and nothing else;
    - what is held is bounded, by ``decoder.buffered`` and by the memory that Python allocates.
    """
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    subject = _Subject(codec)
    rules = settings(
        max_examples=max_examples,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    if max_buffered is None:
        max_buffered = getattr(codec, "max_frame", _DEFAULT_LIMIT) + _SLACK
    telling = st.lists(st.sampled_from(_TELLING), max_size=64).map(bytes)
    noise = st.one_of(telling, st.binary(max_size=64), *([streams] if streams is not None else []))

    if subject.encode is not None:
        drawn = payloads if payloads is not None else _payloads_of(codec)
        encode = subject.encode

        @rules
        @given(st.lists(drawn, max_size=6), st.data())
        def round_trip(messages: list[bytes], data: Any) -> None:
            stream = b"".join([encode(message) for message in messages])
            whole = subject.decode([stream])
            expected = [subject.expected(message) for message in messages]
            assert whole == Outcome(expected, None), f"{messages} became {stream!r}, and that {whole}"
            chunks = data.draw(chunkings(stream))
            _same(whole, subject.decode(chunks), chunks)

        @rules
        @given(st.lists(drawn, min_size=1, max_size=3), noise, st.data())
        def partition_after_frames(messages: list[bytes], tail: bytes, data: Any) -> None:
            stream = b"".join([encode(message) for message in messages]) + tail
            chunks = data.draw(chunkings(stream))
            _same(subject.decode([stream]), subject.decode(chunks), chunks)

        round_trip()
        partition_after_frames()
        _check_errors(subject, _samples(codec, drawn))
        _check_memory(subject, max_buffered, _samples(codec, drawn))

    @rules
    @given(noise, st.data())
    def partition(stream: bytes, data: Any) -> None:
        chunks = data.draw(chunkings(stream))
        _same(subject.decode([stream]), subject.decode(chunks), chunks)

    partition()
    _check_memory(subject, max_buffered, [])


class _Subject:
    """What is being checked."""

    def __init__(self, codec: Any) -> None:
        self.codec = codec
        self.limit: int | None = getattr(codec, "max_frame", None)
        self.decoder: Callable[[], Any] = codec.decoder if hasattr(codec, "decoder") else codec
        self.encode: Callable[[bytes], bytes] | None = getattr(codec, "encode", None)

    def expected(self, payload: bytes) -> bytes:
        """What decoding gives back for a payload: all of it, but for what our own codecs add to it on purpose."""
        codec = self.codec
        if getattr(codec, "keep", False):
            return payload + (codec.delimiters[0] if isinstance(codec, Delimiter) else b"\n")
        if isinstance(codec, LengthPrefix) and codec.strip is not None and codec.strip <= codec.offset:
            return codec.encode(payload)[codec.strip :]
        return payload

    def decode(self, chunks: Iterable[bytes]) -> Outcome:
        """Put a stream through a new decoder, chunk by chunk."""
        decoder, frames = self.decoder(), list[bytes]()
        try:
            for chunk in chunks:
                frames += decoder.feed(chunk)
            frames += decoder.eof()
        except ValueError as error:
            frames += getattr(error, "frames", [])
            fields = [getattr(error, name, None) for name in ("offset", "declared", "limit")]
            return Outcome(frames, (type(error), *fields))
        return Outcome(frames, None)


def _same(whole: Outcome, cut: Outcome, chunks: list[bytes]) -> None:
    assert cut == whole, f"cut as {chunks} the stream gives {cut}, in one piece {whole}"


def _encodable(codec: Any, payload: bytes) -> bool:
    try:
        codec.encode(payload)
    except ValueError:
        return False
    return True


def _payloads_of(codec: Any) -> SearchStrategy[bytes]:
    return payloads(codec)


def _samples(codec: Any, drawn: SearchStrategy[bytes]) -> list[bytes]:
    """A few frames that are sure to be legal, without searching for them if plain ones do."""
    for payload in (b"hello", b"\x00\x00\x00\x00\x00\x00\x00\x00hello", b"x" * getattr(codec, "size", 0), b""):
        if _encodable(codec, payload):
            return [codec.encode(payload)]
    from hypothesis import find, settings

    found: bytes = find(drawn, lambda payload: True, settings=settings(database=None))
    return [codec.encode(found)]


def _bad_tails(subject: _Subject) -> list[bytes]:
    """Bytes that one codec or another has to refuse."""
    tails = [b"\xff" * 16, b"\x00" * 16, b"\x80" * 16, b"-1:x,", b"007:abcdefg,", b"99999999999999999999:", b"3:abcX"]
    if subject.limit is not None and subject.limit <= 2 << 20:
        tails.append(b"x" * (subject.limit + 16))
    return tails


def _check_errors(subject: _Subject, samples: Sequence[bytes]) -> None:
    """Whatever ends a stream badly, the frames before it are given, cut anywhere or nowhere."""
    for sample in samples:
        good = subject.decode([sample]).frames
        for tail in _bad_tails(subject):
            stream = sample * 2 + tail
            whole = subject.decode([stream])
            assert whole.frames[: 2 * len(good)] == good * 2, f"{stream[:80]!r} lost frames before {whole.error}"
            edges = {1, len(sample), 2 * len(sample), 2 * len(sample) + 1, len(stream) - 1}
            for edge in sorted(edges):
                chunks = [stream[:edge], b"", stream[edge:]]
                _same(whole, subject.decode(chunks), [chunk[:80] for chunk in chunks])


def _check_memory(subject: _Subject, max_buffered: int, samples: Sequence[bytes]) -> None:
    """Neither many good frames nor one that never ends make a decoder grow."""
    for sample in samples:
        chunk = sample * (_SMALL // max(1, len(sample)) + 1)
        _feed_and_watch(subject, [chunk] * 64, len(chunk) + len(sample) + _SLACK)
    big = min(max(max_buffered // 8, _SMALL), 1 << 20)
    for byte in b"x\x00\x01\x7f\x80\xff09 ":
        small = bytes([byte]) * _SMALL
        # Where this makes frames, or none can be made of it, there is no frame that never ends.
        if subject.decode([small]).frames or _refused(subject, small):
            continue
        _feed_and_watch(subject, [bytes([byte]) * big] * (4 * max_buffered // big + 8), max_buffered + big)


def _refused(subject: _Subject, chunk: bytes) -> bool:
    try:
        subject.decoder().feed(chunk)
    except ValueError:
        return True
    return False


def _feed_and_watch(subject: _Subject, chunks: Sequence[bytes], bound: int) -> None:
    decoder = subject.decoder()
    ours = not tracemalloc.is_tracing()
    if ours:
        tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for chunk in chunks:
            try:
                decoder.feed(chunk)
            except ValueError:
                break
            held = getattr(decoder, "buffered", 0)
            assert held <= bound, f"{held} bytes are held, of {bound} at most, after {chunk[:16]!r}... again and again"
            # Growing arrays have room to spare, so what is allocated may be twice what is held, or a little more.
            grown = tracemalloc.get_traced_memory()[0] - before
            assert grown <= 3 * bound + (1 << 16), (
                f"{grown} bytes are allocated, with {bound} held at most, after {chunk[:16]!r}... again and again"
            )
    finally:
        if ours:
            tracemalloc.stop()
