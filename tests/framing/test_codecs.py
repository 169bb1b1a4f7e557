"""Codecs: what they encode and refuse, and that they are values, on both engines."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest

import oxisock
import oxisock.native
import oxisock.pure
from support.framings import CODECS, for_each_codec, refuses

# --- encoding ------------------------------------------------------------------------------------------------------


@for_each_codec
def test_encode_is_the_inverse_of_decode(codec: Any) -> None:
    taken = 0
    for payload in [b"", b"x", b"hello", b"\0\0\0hi", b"\0" * 8, b"a\0b", b"y" * 8]:
        try:
            wire = codec.encode(payload)
        except ValueError:
            continue
        taken += 1
        (frame,) = codec.decode(wire)
        if getattr(codec, "keep", False):
            assert frame == payload + wire[len(payload) :]
        elif repr(codec).startswith("LengthPrefix") and codec.strip == 0:
            assert (frame[:1], frame[3:]) == (payload[:1], payload[3:])
        else:
            assert frame == payload
        assert codec.encode_many([payload, bytearray(payload), memoryview(payload)]) == wire * 3
        assert codec.encode_many(iter((payload,))) == wire
    assert taken
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
        assert refuses(lambda: codec.encode(payload)), (name, payload)  # noqa: B023
        assert refuses(lambda: codec.encode_many([payload])), (name, payload)  # noqa: B023


def test_a_length_that_the_field_cannot_tell_is_refused(impl: ModuleType) -> None:
    assert len(impl.LengthPrefix(1).encode(b"x" * 255)) == 256
    with pytest.raises(ValueError, match="256 bytes: expected a length that a field of 1 bytes can hold"):
        impl.LengthPrefix(1).encode(b"x" * 256)
    with pytest.raises(ValueError, match="can hold"):
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
        assert refuses(lambda: make(impl)), f"case {number}"  # noqa: B023


def test_a_delimiter_may_be_the_suffix_of_another(impl: ModuleType) -> None:
    assert impl.Delimiter(b"\r\n", b"\n").decode(b"a\r\nb\n") == [b"a", b"b"]


def test_wrong_types_are_type_errors(impl: ModuleType) -> None:
    for make in (lambda: impl.Fixed("5"), lambda: impl.Lines(max_frame=1.5), lambda: impl.Delimiter("\n")):
        with pytest.raises(TypeError):
            make()
    codec = impl.Lines()
    for wrong in (5, "text", None):
        for call in (codec.encode, codec.decode, codec.decoder().feed, lambda each: codec.encode_many([each])):
            with pytest.raises(TypeError, match="^(payload|data)=.*: expected bytes$"):
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
