"""Streams clause by clause: the frames, faults and skipped frames they come to, cut anywhere, on both engines."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from oxisock import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame, SkippedFrame
from support.framings import BAD, CODECS, GOOD, bytewise, outcome, refuses

# --- streams with what they come to --------------------------------------------------------------------------------


def ways_of_cutting(stream: bytes) -> list[list[bytes]]:
    """Byte by byte, and in two at every place, with an empty chunk between."""
    return [bytewise(stream), *([stream[:at], b"", stream[at:]] for at in range(len(stream) + 1))]


@pytest.mark.parametrize("name", sorted({case[0] for case in GOOD}))
def test_good_streams_give_their_frames_cut_anywhere(impl: ModuleType, name: str) -> None:
    codec = CODECS[name](impl)
    for stream, frames in [case[1:] for case in GOOD if case[0] == name]:
        assert codec.decode(stream) == frames
        for policy in ("fail", "skip"):
            for chunks in ways_of_cutting(stream):
                assert outcome(codec, chunks, policy) == (frames, None, []), chunks


@pytest.mark.parametrize("name", sorted({case[0] for case in BAD}))
def test_bad_streams_give_the_frames_before_and_the_fault_cut_anywhere(impl: ModuleType, name: str) -> None:
    codec = CODECS[name](impl)
    for stream, frames, fields in [case[1:] for case in BAD if case[0] == name]:
        with pytest.raises(FrameError) as caught:
            codec.decode(stream)
        error = caught.value
        assert (type(error), error.offset, error.declared, error.limit) == fields
        assert error.frames == frames
        whole, skipping = outcome(codec, [stream]), outcome(codec, [stream], "skip")
        for chunks in ways_of_cutting(stream):
            assert outcome(codec, chunks) == whole, chunks
            assert outcome(codec, chunks, "skip") == skipping, chunks


HOPELESS = [
    ("length", b"\0\0\0\x29"),
    ("netstring", b"41:"),
    ("netstring", b"411"),
    ("netstring", b"00"),
    ("varint", b"\xad\x02"),
    ("varint", b"\x80" * 10),
    ("multiprocessing", b"\xff\xff\xff\xfe"),
    ("lines", b"123456789"),
    ("lines", b"12345678\rx"),
    ("delimiter-long", b"12345678ac"),
]


def test_a_fault_is_told_with_the_first_byte_that_leaves_no_legal_frame(impl: ModuleType) -> None:
    for name, stream in HOPELESS:
        decoder = CODECS[name](impl).decoder()
        for byte in bytewise(stream)[:-1]:
            assert decoder.feed(byte) == []
        assert refuses(lambda: decoder.feed(stream[-1:])), (name, stream)  # noqa: B023


# --- skipping ------------------------------------------------------------------------------------------------------

SKIPPING = [
    ("lines", b"a\n123456789\r\nb\n", [b"a", b"b"], [SkippedFrame(2, 11, FrameTooLong, None, 8)], None),
    ("lines", b"123456789\n\nabcdefghijk", [b""], [(0, 10), (11, 11)], None),
    ("lines", b"123456789\nab", [], [(0, 10)], IncompleteFrame),
    ("lines-eof", b"a\n12345678\r", [b"a"], [(2, 9)], None),
    ("delimiters", b"123456789xyxa--", [b"a"], [(0, 12)], None),
    ("delimiter-long", b"123456789aaaabx", [b"x"], [(0, 14)], None),
    (
        "length",
        b"\0\0\0\x01x\0\0\0\x29" + b"y" * 41 + b"\0\0\0\x01z",
        [b"x", b"z"],
        [SkippedFrame(5, 45, FrameTooLong, 41, 40)],
        None,
    ),
    ("length", b"\0\0\x02\x80" + b"y" * 640 + b"\0\0\0\0", [b""], [(0, 644)], None),
    ("length", b"\0\0\x02\x81" + b"y" * 641, [], [], FrameTooLong),
    ("length", b"\0\0\0\x29yy", [], [(0, 6)], None),
    ("netstring", b"41:" + b"y" * 41 + b",1:a,", [b"a"], [SkippedFrame(0, 45, FrameTooLong, 41, 40)], None),
    ("netstring", b"41:" + b"y" * 41 + b";1:a,", [], [], FrameCorrupt),
    ("netstring", b"1:a,x", [b"a"], [], FrameCorrupt),
    ("varint", b"\xad\x02" + b"y" * 301 + b"\x01a", [b"a"], [SkippedFrame(0, 303, FrameTooLong, 301, 300)], None),
]


@pytest.mark.parametrize(("name", "stream", "frames", "skipped", "error"), SKIPPING)
def test_skipping_leaves_bad_frames_out_and_notes_them(
    impl: ModuleType, name: str, stream: bytes, frames: list[bytes], skipped: list[Any], error: type | None
) -> None:
    codec = CODECS[name](impl)
    whole = outcome(codec, [stream], "skip")
    assert whole[0] == frames
    assert [
        each if isinstance(want, SkippedFrame) else each[:2] for each, want in zip(whole[2], skipped, strict=True)
    ] == (skipped)
    assert (whole[1] and whole[1][0]) == error
    for chunks in [bytewise(stream), *([stream[:at], stream[at:]] for at in range(len(stream) + 1))]:
        assert outcome(codec, chunks, "skip") == whole


def test_only_the_last_1000_skipped_frames_are_kept_and_all_are_counted(impl: ModuleType) -> None:
    decoder = impl.Lines(max_frame=1).decoder("skip")
    assert decoder.feed(b"long\n" * 1500 + b"x\n") == [b"x"]
    taken = decoder.take_skipped()
    assert [each.offset for each in taken] == [5 * n for n in range(500, 1500)]
    assert (decoder.skipped_count, decoder.take_skipped()) == (1500, [])
    assert decoder.feed(b"long\n") == []
    assert [each.offset for each in decoder.take_skipped()] == [7502]


def test_a_skipped_frame_is_noted_once_the_stream_is_found_again(impl: ModuleType) -> None:
    for codec, stream in [(impl.Lines(max_frame=2), b"xxxx\n"), (impl.LengthPrefix(1, max_frame=2), b"\x03abc")]:
        decoder = codec.decoder("skip")
        decoder.feed(stream[:-1])
        assert (decoder.skipped_count, decoder.take_skipped()) == (0, [])
        decoder.feed(stream[-1:])
        assert decoder.skipped_count == len(decoder.take_skipped()) == 1
