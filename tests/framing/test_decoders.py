"""Decoders: what they take and raise, and how much memory and work a stream costs."""

from __future__ import annotations

import array
import os
import pickle
import sys
from types import ModuleType
from typing import Any

import pytest

import oxisock
import oxisock.native
import oxisock.pure
from oxisock import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame
from support.framings import MIB, for_each_codec
from support.resources import resident

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
    for sizehint in (-1, 0, 1, 100_000, min(1 << 40, sys.maxsize)):
        assert 1 <= len(decoder.get_buffer(sizehint)) <= MIB
    with pytest.raises(ValueError, match=r"^n=-?\d+: expected a whole number from 0 to "):
        decoder.buffer_updated(-1)
    with pytest.raises(ValueError, match=r"^n=-?\d+: expected a whole number from 0 to "):
        decoder.buffer_updated(2 * MIB)
    with pytest.raises(ValueError, match=r"^n=-?\d+: expected a whole number from 0 to "):
        codec.decoder().buffer_updated(1)


@for_each_codec
def test_decoders_satisfy_the_public_protocols(codec: Any) -> None:
    assert isinstance(codec, oxisock.Codec)
    assert isinstance(codec.decoder(), oxisock.Decoder)


# --- bounds --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux's /proc")
def test_nothing_is_allocated_from_a_declared_length(impl: ModuleType) -> None:
    codec = impl.LengthPrefix(4, max_frame=1 << 30)
    decoders = [codec.decoder() for _ in range(10_000)]
    before = resident()
    for decoder in decoders:
        decoder.feed(b"\x40\0\0\0")
    assert resident() - before < 8 * MIB
    assert decoders[0].buffered == 4


@for_each_codec
def test_what_is_held_is_at_most_a_frame(codec: Any) -> None:
    most = 0
    for byte in (b"x", b"\0", b"0", b"\r", b"a", b"\x80", b"\x20"):
        for policy in ("fail", "skip"):
            decoder = codec.decoder(policy)
            try:
                for _ in range(2000):
                    decoder.feed(byte)
                    most = max(most, decoder.buffered)
            except FrameError:
                pass
    assert 0 < most <= codec.max_frame + 24


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

    def scan(self, source: bytes, at: int, frames: list[bytes], most: int) -> Any:
        self.count += len(source) - at
        return self.machine.scan(source, at, frames, most)


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
    assert machine.count >= len(stream), "the machine was not watched"
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
