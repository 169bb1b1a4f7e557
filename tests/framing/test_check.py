"""check_codec finds the ways in which framing goes wrong in the field, planted here, and passes what is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import find, given
from hypothesis import strategies as st

import oxisock
from oxisock.testing import check_codec, chunkings, payloads
from support.users_codecs import LaterError, LengthDecoder, Lengths, LineDecoder, Lines, OnlyBytes, Packed
from support.wrong_codecs import (
    LENGTH_BUGS,
    LINE_BUGS,
    CountsInOneByte,
    GivesViews,
    KeepsViews,
    NeverFails,
    Raises,
    Recurses,
    ReusesItsList,
    SharesItsBuffer,
    TakesEmptyForTheEnd,
    TakesTooMuch,
    WrapsAround,
)

# --- what is right ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "codec",
    [Lines(), Lengths(), Lines(OnlyBytes), Lines(LaterError), Packed(), oxisock.Fixed(70_000), oxisock.Varint()],
    ids=lambda codec: type(codec).__name__,
)
def test_what_is_right_passes(codec: Any) -> None:
    check_codec(codec)


def test_a_decoder_alone_passes() -> None:
    check_codec(LineDecoder, max_buffered=80)
    check_codec(LengthDecoder, max_buffered=70_010)


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", LINE_BUGS, ids=lambda bug: bug.__name__)
def test_bugs_of_lines_are_found_and_named(bug: type[LineDecoder]) -> None:
    with pytest.raises(AssertionError, match=LINE_BUGS[bug]) as found:
        check_codec(Lines(bug))
    assert len(str(found.value)) < 1000


@pytest.mark.parametrize("bug", LENGTH_BUGS, ids=lambda bug: bug.__name__)
def test_bugs_of_lengths_are_found_and_named(bug: type[LengthDecoder]) -> None:
    with pytest.raises(AssertionError, match=LENGTH_BUGS[bug]) as found:
        check_codec(Lengths(bug))
    assert len(str(found.value)) < 1000


def test_a_decoder_for_all_streams_is_found() -> None:
    one = LineDecoder()
    with pytest.raises(AssertionError, match="the same decoder twice"):
        check_codec(Lines(lambda: one))


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (TakesTooMuch(), "does not come back"),
        (WrapsAround(), r"b'x' \* 65536 became"),
        (Raises(), r"encode raises IndexError .*: b'\\xff"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_bugs_of_encoders_are_found_and_named(codec: Any, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_codec(codec)


def test_a_decoder_alone_is_found_out_too() -> None:
    for bug in (NeverFails, TakesEmptyForTheEnd, SharesItsBuffer, ReusesItsList):
        with pytest.raises(AssertionError):
            check_codec(bug, max_buffered=80, streams=st.sampled_from([b"one\r\ntwo\r\n"]))
    for other in (KeepsViews, GivesViews, Recurses, CountsInOneByte):
        with pytest.raises(AssertionError):
            check_codec(other, max_buffered=70_010)


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


# --- the strategies --------------------------------------------------------------------------------------------------


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
