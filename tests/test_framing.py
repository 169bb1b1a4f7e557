"""Framing, clause by clause: what each codec takes, gives and refuses, on both engines."""

from __future__ import annotations

import array
import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import oxisock
import oxisock.native
import oxisock.pure
from oxisock import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame, SkippedFrame

MIB = 1 << 20

# One of each codec and shape, by how to make it; what each test adds is about one of them.
CODECS: dict[str, Any] = {
    "length": lambda m: m.LengthPrefix(4, max_frame=40),
    "length-little": lambda m: m.LengthPrefix(2, "little", max_frame=40),
    "length-3": lambda m: m.LengthPrefix(3, offset=1, max_frame=40),
    "length-8": lambda m: m.LengthPrefix(8, max_frame=40),
    "length-unstripped": lambda m: m.LengthPrefix(2, offset=1, adjustment=-3, strip=0, max_frame=40),
    "length-strip-past": lambda m: m.LengthPrefix(1, strip=3, max_frame=40),
    "varint": lambda m: m.Varint(max_frame=300),
    "netstring": lambda m: m.Netstring(max_frame=40),
    "octet-counted": lambda m: m.presets.syslog_octet_counted(max_frame=40),
    "multiprocessing": lambda m: m.presets.multiprocessing(max_frame=40),
    "fixed": lambda m: m.Fixed(5),
    "lines": lambda m: m.Lines(max_frame=8),
    "lines-keep": lambda m: m.Lines(keep=True, max_frame=8),
    "lines-eof": lambda m: m.Lines(eof_frame=True, max_frame=8),
    "delimiter": lambda m: m.Delimiter(b"\0", max_frame=8),
    "delimiter-long": lambda m: m.Delimiter(b"aab", max_frame=8, eof_frame=True),
    "delimiters": lambda m: m.Delimiter(b"\r\n", b"\n", b"--", b"xyx", max_frame=8),
    "delimiters-keep": lambda m: m.Delimiter(b"ab", b"cab", b"aa", keep=True, eof_frame=True, max_frame=8),
}


def for_each_codec(test: Callable[[Any], None]) -> Callable[[ModuleType], None]:
    """Run a test on every codec of an engine: one test, because the watch for leaks takes longer than most of them."""

    def run(impl: ModuleType) -> None:
        for name, make in CODECS.items():
            try:
                test(make(impl))
            except BaseException as error:
                error.add_note(f"codec: {name}")
                raise

    run.__name__ = test.__name__
    return run


def outcome(codec: Any, chunks: list[bytes], policy: str = "fail") -> tuple[list[bytes], Any, list[SkippedFrame]]:
    """Everything that a stream comes to: frames, the error's fields, what was skipped."""
    decoder, frames, failure = codec.decoder(policy), [], None
    try:
        for chunk in chunks:
            frames += decoder.feed(chunk)
        frames += decoder.eof()
    except FrameError as error:
        frames += error.frames
        failure = (type(error), str(error), error.offset, error.declared, error.limit)
        with pytest.raises(type(error)) as again:
            decoder.feed(b"more")
        assert again.value == error
        assert again.value.frames == []
    return frames, failure, decoder.take_skipped()


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


# --- streams with what they come to --------------------------------------------------------------------------------

GOOD = [
    ("length", b"\0\0\0\x05hello\0\0\0\0\0\0\0\x01x", [b"hello", b"", b"x"]),
    ("length-little", b"\x05\0hello", [b"hello"]),
    ("length-3", b"?\0\0\x02hi!\0\0\0", [b"hi", b""]),
    ("length-8", b"\0\0\0\0\0\0\0\x02hi", [b"hi"]),
    ("length-unstripped", b"A\0\x05hiB\0\x03", [b"A\0\x05hi", b"B\0\x03"]),
    ("length-strip-past", b"\x04ABhi\x02CD", [b"hi", b""]),
    ("varint", b"\x05hello\x00\x80\x00\xac\x02" + b"y" * 300, [b"hello", b"", b"", b"y" * 300]),
    ("netstring", b"5:hello,0:,", [b"hello", b""]),
    ("octet-counted", b"5 hello0 1 x", [b"hello", b"", b"x"]),
    ("multiprocessing", b"\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\0\0\0\0\x03abc", [b"hi", b"abc"]),
    ("fixed", b"helloworld", [b"hello", b"world"]),
    ("lines", b"one\ntwo\r\n\n\r\nx\ry\r\r\n12345678\r\n", [b"one", b"two", b"", b"", b"x\ry\r", b"12345678"]),
    ("lines-keep", b"one\ntwo\r\n\n", [b"one\n", b"two\r\n", b"\n"]),
    ("lines-eof", b"one\ntwo\r", [b"one", b"two\r"]),
    ("lines-eof", b"one\n", [b"one"]),
    ("delimiter", b"a\0\0b\0", [b"a", b"", b"b"]),
    ("delimiter-long", b"aaabxaabaa", [b"a", b"x", b"aa"]),
    ("delimiters", b"a\r\nb\nc--d-xyxyx\r\n", [b"a", b"b", b"c", b"d-", b"yx"]),
    ("delimiters-keep", b"xcabyabcaax", [b"xcab", b"yab", b"caa", b"x"]),
]

BAD = [
    # codec, stream, frames before the fault, (type, offset, declared, limit)
    ("length", b"\0\0\0\x01x\0\0\0\x29", [b"x"], (FrameTooLong, 5, 41, 40)),
    ("length", b"\0\0\0\x01x\0\0\0\x28ab", [b"x"], (IncompleteFrame, 5, 40, 40)),
    ("length", b"\0\0", [], (IncompleteFrame, 0, None, 40)),
    ("length-8", b"\xff" * 8, [], (FrameTooLong, 0, (1 << 64) - 1, 40)),
    ("length-unstripped", b"A\0\x02", [], (FrameCorrupt, 0, -1, 40)),
    ("length-strip-past", b"\x02AB\x01A", [b""], (FrameCorrupt, 3, 1, 40)),
    ("varint", b"\x01x\xad\x02", [b"x"], (FrameTooLong, 2, 301, 300)),
    ("varint", b"\xff" * 9 + b"\x02", [], (FrameCorrupt, 0, None, 300)),
    ("varint", b"\x80" * 10, [], (FrameCorrupt, 0, None, 300)),
    ("varint", b"\xff" * 9 + b"\x01", [], (FrameTooLong, 0, (1 << 64) - 1, 300)),
    ("varint", b"\x80\x80\x80", [], (IncompleteFrame, 0, None, 300)),
    ("netstring", b"1:x,41:", [b"x"], (FrameTooLong, 4, 41, 40)),
    ("netstring", b"1:x,123", [b"x"], (FrameTooLong, 4, None, 40)),
    ("netstring", b"007:", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b"00:,", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b"-1:", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b"+1:x,", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b" 1:x,", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b":,", [], (FrameCorrupt, 0, None, 40)),
    ("netstring", b"2:ab;", [], (FrameCorrupt, 0, 2, 40)),
    ("netstring", b"2:ab", [], (IncompleteFrame, 0, 2, 40)),
    ("netstring", b"12", [], (IncompleteFrame, 0, None, 40)),
    ("octet-counted", b"41 ", [], (FrameTooLong, 0, 41, 40)),
    ("octet-counted", b"1 x<13>", [b"x"], (FrameCorrupt, 3, None, 40)),
    ("multiprocessing", b"\xff\xff\xff\xfe", [], (FrameCorrupt, 0, -2, 40)),
    ("multiprocessing", b"\xff\xff\xff\xff" + b"\0" * 7 + b"\x29", [], (FrameTooLong, 0, 41, 40)),
    ("multiprocessing", b"\xff\xff\xff\xff\0", [], (IncompleteFrame, 0, None, 40)),
    ("fixed", b"hello wo", [b"hello"], (IncompleteFrame, 5, None, 5)),
    ("lines", b"a\n123456789", [b"a"], (FrameTooLong, 2, None, 8)),
    ("lines", b"a\n12345678\rx", [b"a"], (FrameTooLong, 2, None, 8)),
    ("lines", b"12345678\r\r\n", [], (FrameTooLong, 0, None, 8)),
    ("lines", b"12345678\r", [], (IncompleteFrame, 0, None, 8)),
    ("lines", b"a\nb", [b"a"], (IncompleteFrame, 2, None, 8)),
    ("lines-eof", b"12345678\r", [], (FrameTooLong, 0, None, 8)),
    ("delimiter", b"123456789\0", [], (FrameTooLong, 0, None, 8)),
    ("delimiter-long", b"12345678ab", [], (FrameTooLong, 0, None, 8)),
    ("delimiter-long", b"12345678aa", [], (FrameTooLong, 0, None, 8)),
    ("delimiters", b"12345678xyy", [], (FrameTooLong, 0, None, 8)),
]


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
        with pytest.raises(FrameError):
            pytest.fail(f"{name} took {stream!r} and gave {decoder.feed(stream[-1:])}")


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


# --- encoding ------------------------------------------------------------------------------------------------------


@for_each_codec
def test_encode_is_the_inverse_of_decode(codec: Any) -> None:
    for payload in [b"", b"x", b"hello", b"\0\0\0hi", b"\0" * 8, b"a\0b", b"y" * 8]:
        try:
            wire = codec.encode(payload)
        except ValueError:
            continue
        (frame,) = codec.decode(wire)
        if getattr(codec, "keep", False):
            assert frame == payload + wire[len(payload) :]
        elif repr(codec).startswith("LengthPrefix") and codec.strip == 0:
            assert (frame[:1], frame[3:]) == (payload[:1], payload[3:])
        else:
            assert frame == payload
        assert codec.encode_many([payload, bytearray(payload), memoryview(payload)]) == wire * 3
        assert codec.encode_many(iter((payload,))) == wire
    assert codec.encode_many([]) == b""


REFUSED = [
    ("length", b"x" * 41),
    ("length-unstripped", b"ab"),
    ("netstring", b"x" * 41),
    ("fixed", b"four"),
    ("lines", b"a\nb"),
    ("lines", b"a\r"),
    ("lines-keep", b"a\r"),
    ("lines", b"123456789"),
    ("delimiter", b"\0"),
    ("delimiter-long", b"xaab"),
    ("delimiter-long", b"xa" + b"a" * 7),
    ("delimiters", b"a\n"),
    ("delimiters", b"a--b"),
    ("delimiters-keep", b"xc"),
    ("delimiters-keep", b"xa"),
]


def test_encode_refuses_what_decode_would_not_give_back(impl: ModuleType) -> None:
    for name, payload in REFUSED:
        codec = CODECS[name](impl)
        with pytest.raises(ValueError):
            pytest.fail(f"{codec} made {codec.encode(payload)!r}")
        with pytest.raises(ValueError):
            codec.encode_many([payload])


def test_a_length_that_the_field_cannot_tell_is_refused(impl: ModuleType) -> None:
    assert len(impl.LengthPrefix(1).encode(b"x" * 255)) == 256
    with pytest.raises(ValueError, match="256 bytes, which a field of 1 bytes cannot tell"):
        impl.LengthPrefix(1).encode(b"x" * 256)
    with pytest.raises(ValueError, match="cannot tell"):
        impl.LengthPrefix(1, adjustment=5).encode(b"x")


def test_encode_writes_stripped_bytes_as_zero_and_the_field_in_place(impl: ModuleType) -> None:
    assert impl.LengthPrefix(2, offset=2).encode(b"hi") == b"\0\0\0\x02hi"
    assert impl.LengthPrefix(1, strip=3).encode(b"hi") == b"\x04\0\0hi"
    assert impl.LengthPrefix(2, offset=2, strip=0).encode(b"AB??hi") == b"AB\0\x02hi"
    assert impl.LengthPrefix(2, offset=2, strip=1).encode(b"B??hi") == b"\0B\0\x02hi"


# --- codecs as values ----------------------------------------------------------------------------------------------


IMPOSSIBLE: list[Any] = [
    lambda m: m.LengthPrefix(0),
    lambda m: m.LengthPrefix(9),
    lambda m: m.LengthPrefix(4, "middle"),
    lambda m: m.LengthPrefix(4, offset=-1),
    lambda m: m.LengthPrefix(4, strip=-1),
    lambda m: m.LengthPrefix(4, strip=2),
    lambda m: m.LengthPrefix(4, offset=2, strip=5),
    lambda m: m.LengthPrefix(4, max_frame=10, strip=15),
    lambda m: m.LengthPrefix(4, max_frame=-1),
    lambda m: m.LengthPrefix(1, adjustment=-256),
    lambda m: m.LengthPrefix(4, max_frame=10, adjustment=11),
    lambda m: m.LengthPrefix(4, max_frame=sys.maxsize),
    lambda m: m.Varint(max_frame=0),
    lambda m: m.Netstring(max_frame=1 << 64),
    lambda m: m.Fixed(0),
    lambda m: m.Fixed(-1),
    lambda m: m.Delimiter(),
    lambda m: m.Delimiter(b""),
    lambda m: m.Delimiter(b"\n", b""),
    lambda m: m.Delimiter(b"\r\n", b"\r"),
    lambda m: m.Delimiter(b"abc", b"b"),
    lambda m: m.Delimiter(b"\n", max_frame=0),
    lambda m: m.Lines(max_frame=-1),
    lambda m: m.presets.erlang(3),
    lambda m: m.Lines().decoder("ignore"),
]


def test_impossible_parameters_are_value_errors(impl: ModuleType) -> None:
    for number, make in enumerate(IMPOSSIBLE):
        with pytest.raises(ValueError):
            pytest.fail(f"case {number} made {make(impl)}")


def test_a_delimiter_may_be_the_suffix_of_another(impl: ModuleType) -> None:
    assert impl.Delimiter(b"\r\n", b"\n").decode(b"a\r\nb\n") == [b"a", b"b"]


def test_wrong_types_are_type_errors(impl: ModuleType) -> None:
    for make in (lambda: impl.Fixed("5"), lambda: impl.Lines(max_frame=1.5), lambda: impl.Delimiter("\n")):
        with pytest.raises(TypeError):
            make()
    codec = impl.Lines()
    for wrong in (5, "text", None):
        for call in (codec.encode, codec.decode, codec.decoder().feed, lambda each: codec.encode_many([each])):
            with pytest.raises(TypeError, match=f"a bytes-like object is required, not '{type(wrong).__name__}'"):
                call(wrong)


@for_each_codec
def test_codecs_are_values(codec: Any) -> None:
    again = eval(repr(codec), {name: getattr(oxisock, name) for name in oxisock.__all__})
    assert again == codec
    assert hash(again) == hash(codec)
    assert codec != oxisock.Fixed(4)
    assert codec != "codec"
    with pytest.raises(AttributeError):
        codec.max_frame = 5
    with pytest.raises(AttributeError):
        del codec.impl
    assert copy.copy(codec) is codec
    assert copy.deepcopy([codec]) == [codec]


def test_a_codec_is_one_value_in_both_engines_and_comes_back_bound_to_the_selected_one() -> None:
    for make in CODECS.values():
        pure, native = make(oxisock.pure), make(oxisock.native)
        assert pure == native
        assert hash(pure) == hash(native)
        assert (pure.impl, native.impl) == ("pure", "native")
        for codec in (pure, native):
            again = pickle.loads(pickle.dumps(codec))
            assert again == codec
            assert again.impl == oxisock.impl


def test_a_pickle_is_bound_to_the_engine_of_the_process_that_reads_it() -> None:
    code = "import pickle, sys; print(pickle.loads(bytes.fromhex(sys.argv[1])).impl)"
    for name in ("pure", "native"):
        done = subprocess.run(
            [sys.executable, "-c", code, pickle.dumps(oxisock.native.Lines(keep=True)).hex()],
            capture_output=True,
            text=True,
            env={**os.environ, "OXISOCK_IMPL": name},
            timeout=60,
        )
        assert done.stdout.strip() == name, done.stderr


def test_presets(impl: ModuleType) -> None:
    import oxisock.presets

    presets = impl.presets
    assert presets.erlang(4) == impl.LengthPrefix(4)
    assert presets.erlang(1).decode(b"\x02hi") == [b"hi"]
    assert presets.dns_tcp() == impl.LengthPrefix(2, max_frame=65535)
    assert presets.multiprocessing().encode(b"hi") == b"\0\0\0\x02hi"
    assert presets.syslog_octet_counted().encode(b"<13>hi") == b"6 <13>hi"
    assert presets.redis_inline().encode(b"PING") == b"PING\r\n"
    assert presets.redis_inline().decode(b"PING\r\nPING\n") == [b"PING", b"PING"]
    for name in oxisock.presets.__all__:
        arguments = (2,) if name == "erlang" else ()
        assert getattr(oxisock.presets, name)(*arguments) == getattr(presets, name)(*arguments)


# --- decoders ------------------------------------------------------------------------------------------------------


def test_feed_takes_any_contiguous_buffer(impl: ModuleType) -> None:
    for data in [
        b"ab\n",
        bytearray(b"ab\n"),
        memoryview(b"ab\n"),
        memoryview(b"xab\n")[1:],
        array.array("B", b"ab\n"),
        memoryview(b"ab\nx").cast("B", (2, 2)),
    ]:
        decoder = impl.Lines().decoder()
        assert decoder.feed(data) == [b"ab"]
        assert isinstance(impl.Fixed(1).encode(memoryview(data).cast("B")[:1]), bytes)
    assert impl.Fixed(8).decode(array.array("I", [1, 2])) == [array.array("I", [1, 2]).tobytes()]
    assert impl.Lines().decoder().feed(array.array("I")) == []
    for strided in (memoryview(b"a1b1\n1")[::2], memoryview(b"abcdef")[::-1]):
        with pytest.raises(BufferError, match="a C-contiguous buffer is required"):
            impl.Lines().decoder().feed(strided)
        with pytest.raises(BufferError):
            impl.Lines().encode(strided)


def test_a_buffer_may_be_changed_once_it_was_fed(impl: ModuleType) -> None:
    for codec in (impl.Lines(), impl.LengthPrefix(1)):
        data, decoder = bytearray(codec.encode(b"abc") + codec.encode(b"abc")[:2]), codec.decoder()
        frames = decoder.feed(data)
        data.clear()  # a buffer still exported could not be
        assert frames == [b"abc"]
        assert decoder.feed(codec.encode(b"abc")[2:]) == [b"abc"]


@for_each_codec
def test_after_the_end_nothing_more_is_taken(codec: Any) -> None:
    decoder = codec.decoder()
    assert decoder.eof() == []
    assert decoder.eof() == []
    for call in (lambda: decoder.feed(b""), lambda: decoder.get_buffer(-1), lambda: decoder.buffer_updated(0)):
        with pytest.raises(ValueError, match="the stream has ended"):
            call()


def test_every_call_after_a_fault_raises_an_equal_error(impl: ModuleType) -> None:
    decoder = impl.Netstring(max_frame=9).decoder()
    with pytest.raises(FrameCorrupt) as first:
        decoder.feed(b"1:a,x")
    assert first.value.frames == [b"a"]
    for call in (lambda: decoder.feed(b"1:a,"), lambda: decoder.feed(b""), decoder.eof, lambda: decoder.get_buffer(9)):
        with pytest.raises(FrameCorrupt) as again:
            call()
        assert again.value == first.value
        assert again.value.frames == []
    assert (decoder.buffered, decoder.take_skipped()) == (0, [])


def test_errors_are_values(impl: ModuleType) -> None:
    with pytest.raises(FrameTooLong) as caught:
        impl.LengthPrefix(1, max_frame=3).decode(b"\x01x\x04")
    error = caught.value
    assert str(error) == "a frame of 4 bytes, over the limit of 3, at offset 2"
    again = pickle.loads(pickle.dumps(error))
    assert (again, again.frames, hash(again)) == (error, [b"x"], hash(error))
    assert error != FrameCorrupt(*error.args, error.offset, error.declared, error.limit)
    assert error != 5
    assert issubclass(IncompleteFrame, EOFError)
    assert issubclass(FrameError, ValueError)


def test_receiving_into_the_decoders_own_buffer(impl: ModuleType) -> None:
    codec = impl.Lines()
    decoder, stream, frames = codec.decoder(), b"one\ntwo\nthree\n", []
    for at in range(0, len(stream), 5):
        part = stream[at : at + 5]
        with decoder.get_buffer(-1) as room:
            assert not room.readonly
            room[: len(part)] = part
            frames += decoder.buffer_updated(len(part))
    assert frames == [b"one", b"two", b"three"]
    for sizehint in (-1, 0, 1, 100_000, 1 << 40):
        assert 1 <= len(decoder.get_buffer(sizehint)) <= MIB
    with pytest.raises(ValueError, match="cannot have been received"):
        decoder.buffer_updated(-1)
    with pytest.raises(ValueError, match="cannot have been received"):
        decoder.buffer_updated(2 * MIB)
    with pytest.raises(ValueError, match="cannot have been received"):
        codec.decoder().buffer_updated(1)


@for_each_codec
def test_decoders_satisfy_the_public_protocols(codec: Any) -> None:
    assert isinstance(codec, oxisock.Codec)
    assert isinstance(codec.decoder(), oxisock.Decoder)


# --- bounds --------------------------------------------------------------------------------------------------------


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_nothing_is_allocated_from_a_declared_length(impl: ModuleType) -> None:
    codec = impl.LengthPrefix(4, max_frame=1 << 31)
    decoders = [codec.decoder() for _ in range(10_000)]
    before = resident()
    for decoder in decoders:
        decoder.feed(b"\x80\0\0\0")
    assert resident() - before < 8 * MIB
    assert decoders[0].buffered == 4


@for_each_codec
def test_what_is_held_is_at_most_a_frame(codec: Any) -> None:
    for byte in (b"x", b"\0", b"0", b"\r", b"a", b"\x80", b"\x20"):
        for policy in ("fail", "skip"):
            decoder = codec.decoder(policy)
            try:
                for _ in range(2000):
                    decoder.feed(byte)
                    assert decoder.buffered <= codec.max_frame + 24
            except FrameError:
                pass


class Counting:
    """A machine that counts the bytes it is given to look at."""

    def __init__(self, machine: Any) -> None:
        self.machine, self.count = machine, 0
        find = getattr(machine, "find", None)
        if find is not None:

            def counting(source: bytes, at: int) -> Any:
                self.count += len(source) - at
                return find(source, at)

            machine.find = counting

    def __getattr__(self, name: str) -> Any:
        return getattr(self.machine, name)

    def scan(self, source: bytes, at: int, frames: list[bytes]) -> Any:
        self.count += len(source) - at
        return self.machine.scan(source, at, frames)


def operations(codec: Any, stream: bytes) -> int:
    """What a stream fed byte by byte costs: lines of Python, and bytes looked at."""
    lines = 0

    def trace(frame: Any, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    decoder = codec.decoder()
    decoder._machine = machine = Counting(decoder._machine)
    sys.settrace(trace)
    try:
        for at in range(len(stream)):
            decoder.feed(stream[at : at + 1])
    finally:
        sys.settrace(None)
    return lines + machine.count


@pytest.mark.parametrize("name", ["length", "netstring", "lines", "delimiter", "fixed"])
def test_byte_by_byte_takes_linear_work(name: str) -> None:
    def work(size: int) -> int:
        codec: Any = {
            "length": oxisock.pure.LengthPrefix(),
            "netstring": oxisock.pure.Netstring(),
            "lines": oxisock.pure.Lines(),
            "delimiter": oxisock.pure.Delimiter(b"--end--", b"\0\0"),
            "fixed": oxisock.pure.Fixed(size),
        }[name]
        return operations(codec, codec.encode(b"x" * size))

    assert work(8000) <= 2.3 * work(4000)
