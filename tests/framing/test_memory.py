"""Framing where memory runs out: a MemoryError for who asked, and nothing lost for anybody else."""

from __future__ import annotations

import os
import sys
from types import ModuleType

import pytest

from support.processes import python

if sys.platform != "linux":
    pytest.skip("only Linux bounds a process by its address space", allow_module_level=True)

HUGE = min(1 << 50, sys.maxsize >> 1)  # more than there is; a 32-bit Python counts no further
BOUND = """
import resource, sys, oxisock
from oxisock import {impl} as impl

def room(size):
    "Let this process have so many bytes more."
    with open("/proc/self/statm") as memory:
        pages = int(memory.read().split()[0])
    limit = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))

def fails(call):
    try:
        call()
    except MemoryError as error:
        return error
    raise AssertionError("that went well")

MIB = 1 << 20
HUGE = {huge}
"""


def bounded(impl: ModuleType, code: str) -> None:
    """Run code in a process of its own, which may bound its memory."""
    result = python(BOUND.format(impl=impl.impl, huge=HUGE) + code, env=os.environ | {"MALLOC_ARENA_MAX": "1"})
    assert (result.returncode, result.stdout) == (0, "done\n"), result.stderr


@pytest.mark.parametrize(
    "codec",
    [
        "Fixed(96 * MIB)",
        "LengthPrefix(8, max_frame=HUGE)",
        "LengthPrefix(8, offset=3, strip=0, max_frame=HUGE)",
        "Varint(max_frame=HUGE)",
        "Netstring(max_frame=HUGE)",
        "Lines(max_frame=HUGE)",
        "Delimiter(b'end', b'--', max_frame=HUGE)",
    ],
)
def test_what_cannot_be_framed_is_a_memory_error(impl: ModuleType, codec: str) -> None:
    code = f"""
codec = impl.{codec}
payload = bytearray(96 * MIB)
room(48 * MIB)
fails(lambda: codec.encode(payload))
fails(lambda: codec.encode_many([payload, payload]))
fails(lambda: impl.LengthPrefix(8, strip=0, max_frame=HUGE).encode(payload))
assert impl.Lines().encode(b"hi") == b"hi\\n"
print("done")
"""
    bounded(impl, code)


@pytest.mark.parametrize(
    ("codec", "head"),
    [
        ("LengthPrefix(8, max_frame=HUGE)", HUGE.to_bytes(8, "big")),
        ("Varint(max_frame=HUGE)", b"\xff\xff\xff\xff\x03"),  # 2**30 - 1
        ("Netstring(max_frame=HUGE)", b"%d:" % HUGE),
        ("Fixed(HUGE)", b""),
        ("Lines(max_frame=HUGE)", b""),
        ("Delimiter(b'end', b'--', max_frame=HUGE)", b""),
    ],
)
def test_a_stream_that_cannot_be_held_ends_with_a_memory_error(impl: ModuleType, codec: str, head: bytes) -> None:
    code = f"""
decoder = impl.{codec}.decoder()
other = impl.Lines().decoder()
chunk = bytes(MIB)
room(48 * MIB)
decoder.feed({head!r})
error = fails(lambda: [decoder.feed(chunk) for _ in range(1000)])
assert error.frames == [], error.frames
assert decoder.buffered == 0, decoder.buffered
fails(lambda: decoder.feed(b"x"))
fails(decoder.eof)
fails(lambda: decoder.get_buffer(1))
assert other.feed(b"a\\nb") == [b"a"] and other.buffered == 1
held = bytearray(32 * MIB)  # what the decoder held is free again
print("done")
"""
    bounded(impl, code)


def test_frames_that_cannot_be_given_end_the_stream(impl: ModuleType) -> None:
    code = """
decoder = impl.Lines().decoder()
chunk = b"\\n" * (24 * MIB)
room(48 * MIB)
fails(lambda: decoder.feed(chunk))
fails(lambda: decoder.feed(b"x\\n"))
print("done")
"""
    bounded(impl, code)


def test_sizes_that_no_memory_has_are_refused_when_the_codec_is_made(impl: ModuleType) -> None:
    for name in ("offset", "strip"):
        with pytest.raises(ValueError, match=f"{name}=16777217: expected a number of bytes from 0 to 16777216"):
            impl.LengthPrefix(8, **{name: (16 << 20) + 1})
    codec = impl.LengthPrefix(8, offset=16 << 20, max_frame=9)
    assert codec.decode(codec.encode(b"x")) == [b"x"]


def test_the_tests_bound_is_one() -> None:
    code = BOUND.format(impl="pure", huge=HUGE) + "room(48 * MIB); fails(lambda: bytearray(64 * MIB)); print('done')"
    done = python(code)
    assert done.stdout == "done\n", done.stderr
