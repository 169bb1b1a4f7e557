"""oxisock.testing finds the bugs that framing has in the field: planted here, one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import oxisock
from oxisock.errors import FrameCorrupt, FrameTooLong
from oxisock.testing import check_codec, chunkings, payloads


class LineDecoder:
    """Lines as a careful user would write them; each bug below changes one thing."""

    limit = 64

    def __init__(self) -> None:
        self.held = b""

    @property
    def buffered(self) -> int:
        return len(self.held)

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.held = (self.held + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in lines]
        good: list[bytes] = []
        for line in lines:
            if len(line) > self.limit:
                raise FrameTooLong("too long", limit=self.limit, frames=good)
            good.append(line)
        if len(self.held.removesuffix(b"\r")) > self.limit:
            raise FrameTooLong("too long", limit=self.limit, frames=good)
        return lines

    def eof(self) -> list[bytes]:
        if self.held:
            raise FrameCorrupt("cut off")
        return []


def codec_of(decoder: Callable[[], Any]) -> Any:
    class LineCodec:
        max_frame = LineDecoder.limit

        def encode(self, payload: bytes) -> bytes:
            if b"\n" in payload or payload.endswith(b"\r") or len(payload) > self.max_frame:
                raise ValueError("not a line")
            return payload + b"\r\n"

        def decoder(self) -> Any:
            return decoder()

    return LineCodec()


class SplitsReturnFromFeed(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        # What is left of a chunk is stripped before the LF is there.
        *lines, rest = (self.held + data).replace(b"\r\n", b"\n").split(b"\n")
        self.held = rest
        if any(len(line) > self.limit for line in [*lines, rest]):
            raise FrameTooLong("too long", limit=self.limit, frames=[])
        return lines


class LosesFramesBeforeAnError(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        try:
            return super().feed(data)
        except FrameTooLong as error:
            error.frames.clear()
            raise


class NeverFails(LineDecoder):
    limit = 1 << 60


class NeverForgets(LineDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.all.append(bytes(bytearray(data)))
        return super().feed(data)


class SaysItHoldsAll(LineDecoder):
    total = 0

    def feed(self, data: bytes) -> list[bytes]:
        self.total += len(data)
        return super().feed(data)

    @property
    def buffered(self) -> int:
        return self.total


class TakesEmptyForTheEnd(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        if not data and self.held:
            line, self.held = self.held, b""
            return [line]
        return super().feed(data)


class Crashes(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        if b"\xff" in data:
            raise KeyError("a byte I did not think of")
        return super().feed(data)


BUGS = [
    SplitsReturnFromFeed,
    LosesFramesBeforeAnError,
    NeverFails,
    NeverForgets,
    SaysItHoldsAll,
    TakesEmptyForTheEnd,
]


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bugs_are_found(bug: type[LineDecoder]) -> None:
    with pytest.raises(AssertionError):
        check_codec(codec_of(bug))


def test_an_exception_that_is_no_value_error_comes_through() -> None:
    with pytest.raises(KeyError):
        check_codec(codec_of(Crashes))


def test_a_careful_codec_passes_as_a_codec_and_as_a_decoder_alone() -> None:
    check_codec(codec_of(LineDecoder))
    check_codec(LineDecoder, max_buffered=80)


def test_a_decoder_alone_is_found_out_too() -> None:
    for bug in (NeverFails, TakesEmptyForTheEnd):
        with pytest.raises(AssertionError):
            check_codec(bug, max_buffered=80, streams=st.sampled_from([b"one\r\ntwo\r\n"]))


def test_a_wrapped_codec_of_ours_is_found_out() -> None:
    class Wrapped:
        max_frame = 32

        def __init__(self, feed: Callable[[Any, bytes], list[bytes]]) -> None:
            self.spoilt = feed

        def encode(self, payload: bytes) -> bytes:
            return oxisock.Netstring(max_frame=32).encode(payload)

        def decoder(self) -> Any:
            spoilt, inner = self.spoilt, oxisock.Netstring(max_frame=32).decoder()

            class Decoder:
                buffered = 0
                eof = inner.eof

                def feed(self, data: bytes) -> list[bytes]:
                    return spoilt(inner, data)

            return Decoder()

    check_codec(Wrapped(lambda inner, data: inner.feed(data)))
    with pytest.raises(AssertionError):
        check_codec(Wrapped(lambda inner, data: inner.feed(data)[:3]))
    with pytest.raises(AssertionError):
        check_codec(Wrapped(lambda inner, data: [frame.strip() for frame in inner.feed(data)]))


def test_chunkings_are_the_stream_in_pieces() -> None:
    @given(st.binary(max_size=30), st.data())
    def check(data: bytes, draw: Any) -> None:
        assert b"".join(draw.draw(chunkings(data))) == data

    check()
    assert find(chunkings(b"ab"), lambda chunks: b"" in chunks and len(chunks) > 2)
    assert find(chunkings(b"abc"), lambda chunks: chunks == [b"a", b"b", b"c"])


@pytest.mark.parametrize(
    "codec", [oxisock.Lines(max_frame=3), oxisock.Fixed(7), oxisock.LengthPrefix(2, offset=3, strip=0)]
)
def test_payloads_can_be_encoded(codec: Any) -> None:
    @given(payloads(codec))
    def check(payload: bytes) -> None:
        codec.encode(payload)

    check()
