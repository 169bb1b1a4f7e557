"""One of each codec, for the tests of framing: by name, with streams and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

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


def refuses(call: Callable[[], Any]) -> bool:
    """Say whether a call is a ValueError: in a loop over cases, the assertion then names the case."""
    try:
        call()
    except ValueError:
        return True
    return False


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


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

# What `LengthPrefix(4)` makes of b"\0\0\0\5hello\0\0\0\x63hi".
PICTURE = """\
LengthPrefix(4): 15 bytes, 1 frame, then IncompleteFrame at offset 9

frame 1, 5 bytes
       0  00 00 00 05                                      ....              length 5
       4  68 65 6c 6c 6f                                   hello             body

IncompleteFrame: the stream ended within a frame, after 6 of its bytes, at offset 9
       9  00 00 00 63                                      ...c              length 99
      13  68 69                                            hi                body, 2 of 99 bytes"""
