"""Drawing streams with `codec.explain`, and codecs as words of a command line."""

from __future__ import annotations

from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import oxisock.native
import oxisock.pure
from oxisock.framing import explaining
from oxisock.framing.specs import CODEC_NAMES, parse_codec
from support.framings import BAD, CODECS, GOOD, PICTURE


def test_the_picture(impl: ModuleType) -> None:
    stream = b"\0\0\0\5hello\0\0\0\x63hi"
    assert impl.LengthPrefix(4).explain(stream) == PICTURE
    assert impl.LengthPrefix(4).explain(bytearray(stream)) == PICTURE


def drawn_bytes(picture: str) -> bytes:
    """All bytes of a picture, in order; none where offsets do not follow one another."""
    drawn = b""
    for line in picture.splitlines():
        if line[:8].strip().isdigit():
            if len(drawn) != int(line[:8]):
                return b""
            drawn += bytes.fromhex(line[10:57])
    return drawn


def test_every_byte_is_drawn_once_and_the_fault_is_told(impl: ModuleType) -> None:
    for name, stream in [case[:2] for case in (*GOOD, *BAD)]:
        picture = CODECS[name](impl).explain(stream)
        if len(stream) <= 60:  # long parts are not drawn in full
            assert drawn_bytes(picture) == stream
        try:
            CODECS[name](impl).decode(stream)
        except ValueError as error:
            assert f"{type(error).__name__}: {error}" in picture
        else:
            assert "then" not in picture.splitlines()[0]


@pytest.mark.parametrize("name", sorted(CODECS))
def test_any_stream_can_be_drawn(name: str) -> None:
    @given(st.lists(st.sampled_from(b"\r\n\0\1\2\5\xff\x8009:, abcx-"), max_size=40).map(bytes))
    def check(stream: bytes) -> None:
        picture = CODECS[name](oxisock.native).explain(stream)
        assert drawn_bytes(picture) == stream
        assert picture == CODECS[name](oxisock.pure).explain(stream)

    check()


def test_long_parts_are_shortened(impl: ModuleType) -> None:
    picture = impl.LengthPrefix(4).explain(impl.LengthPrefix(4).encode(b"x" * 100_000))
    assert len(picture.splitlines()) < 12
    assert "bytes more" in picture


def test_codecs_as_words(impl: ModuleType) -> None:
    expected = {
        "length": impl.LengthPrefix(),
        "length:4": impl.LengthPrefix(4),
        "length:2:little": impl.LengthPrefix(2, "little"),
        "length:2:offset=1:adjustment=-3:strip=0:max_frame=80": impl.LengthPrefix(
            2, offset=1, adjustment=-3, strip=0, max_frame=80
        ),
        "varint": impl.Varint(),
        "netstring:max_frame=9": impl.Netstring(max_frame=9),
        "fixed:7": impl.Fixed(7),
        "lines": impl.Lines(),
        "lines:keep:eof_frame:max_frame=80": impl.Lines(keep=True, eof_frame=True, max_frame=80),
        r"delimiter:\r\n:\n": impl.Delimiter(b"\r\n", b"\n"),
        r"delimiter:\x3a:keep": impl.Delimiter(b":", keep=True),
        "delimiter:--:max_frame=5": impl.Delimiter(b"--", max_frame=5),
        "erlang:2": impl.presets.erlang(2),
        "dns_tcp": impl.presets.dns_tcp(),
        "multiprocessing": impl.presets.multiprocessing(),
        "syslog_octet_counted": impl.presets.syslog_octet_counted(),
        "redis_inline": impl.presets.redis_inline(),
    }
    assert {spec.partition(":")[0] for spec in expected} == set(CODEC_NAMES)
    for spec, codec in expected.items():
        made = parse_codec(spec, impl)
        assert (made, made.impl) == (codec, impl.impl)
    for bad in (
        "",
        "line",
        "fixed",
        "fixed:0",
        "fixed:x",
        "length:4:wrong=5",
        "delimiter",
        "delimiter:\\x",
        "erlang:3",
    ):
        with pytest.raises(ValueError, match="^codec "):
            parse_codec(bad, impl)


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100])
def test_a_drawing_fits_its_columns(width: int) -> None:
    codec = oxisock.LengthPrefix(2)
    stream = codec.encode(b"hello, " * 30) + codec.encode(b"hi") + b"\0\x64cut off"
    drawn = explaining.explain(codec, stream, width=width).splitlines()
    assert max(map(len, drawn)) <= width
    shown = [word for line in drawn for word in line.split()]
    assert [word for word in shown if word in ("length", "body")] == ["length", "body"] * 2 + ["length"]
    assert shown[shown.index("body,") :][:5] == ["body,", "7", "of", "100", "bytes"]
