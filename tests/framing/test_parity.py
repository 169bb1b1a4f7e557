"""Framing by properties: any stream, cut in any way, comes to the same thing on both engines, within bounds."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import oxisock.native
import oxisock.pure
from oxisock import FrameError
from oxisock.framing.bound import BoundCodec
from oxisock.pure.framing import framers
from oxisock.testing import check_codec, chunkings, payloads
from support.framings import CODECS, outcome

# Terminators, digits, separators, and the edges of length fields and limits.
TELLING = b"\r\n\0\x01\x02\x03\x05\x08\x09\x28\x29\x7f\x80\xff0123459:, -abcxy"


def streams(codec: Any) -> st.SearchStrategy[bytes]:
    """Streams of good frames, bad ones and noise, in any order."""
    noise = st.lists(st.sampled_from(TELLING), max_size=24).map(bytes)
    runs = st.tuples(st.sampled_from(TELLING), st.integers(1, 700)).map(lambda run: bytes(run[:1]) * run[1])
    frames = payloads(codec).map(codec.encode)
    oversized = st.integers(codec.max_frame, 20 * codec.max_frame).map(lambda size: header(codec, size) + b"y" * size)
    return st.lists(frames | noise | runs | oversized, max_size=6).map(b"".join)


def header(codec: Any, size: int) -> bytes:
    """A header that declares `size` bytes, where the codec has such headers."""
    name = type(codec).__name__
    if name == "LengthPrefix":
        return bytes(codec.offset) + (size % (1 << 8 * codec.width)).to_bytes(codec.width, codec.byteorder)
    if name == "Varint":
        return bytes((size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14))
    decimal = {"Netstring": b"%d:", "OctetCounted": b"%d "}.get(name)
    return b"" if decimal is None else decimal % size


class AFewAtATime:
    """A codec of the pure engine whose decoders are asked for so many frames at once, as its message server does."""

    def __init__(self, codec: Any, most: int) -> None:
        self.bound = BoundCodec(codec, framers)
        self.most = most

    def decoder(self, policy: str) -> AFewAtATime:
        self.inner = self.bound.framer.decoder(policy == "skip")
        self.eof, self.take_skipped = self.inner.eof, self.inner.take_skipped
        return self

    def feed(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        try:
            while data:
                some, taken = self.inner.feed_some(data, self.most)
                assert len(some) == self.most if taken < len(data) else len(some) <= self.most
                frames, data = frames + some, data[taken:]
        except FrameError as error:
            error.frames = frames + error.frames
            raise
        return frames


@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_partition_comes_to_the_same_on_both_engines(name: str) -> None:
    pure, native = CODECS[name](oxisock.pure), CODECS[name](oxisock.native)

    @given(st.sampled_from(["fail", "skip"]), st.data())
    def check(policy: str, data: Any) -> None:
        stream = data.draw(streams(pure))
        whole = outcome(pure, [stream], policy)
        assert outcome(native, [stream], policy) == whole
        chunks = data.draw(chunkings(stream))
        assert outcome(pure, chunks, policy) == whole
        assert outcome(native, chunks, policy) == whole
        most = data.draw(st.integers(1, 4))
        assert outcome(AFewAtATime(pure, most), chunks, policy) == whole

    check()


@pytest.mark.parametrize("name", sorted(CODECS))
def test_encoding_is_the_same_on_both_engines_and_comes_back(name: str) -> None:
    pure, native = CODECS[name](oxisock.pure), CODECS[name](oxisock.native)

    def encoded(codec: Any, payload: bytes) -> bytes | str:
        try:
            return codec.encode(payload)
        except ValueError as error:
            return str(error)

    @given(st.lists(st.sampled_from(TELLING), max_size=50).map(bytes) | st.binary(max_size=50))
    def check(payload: bytes) -> None:
        wire = encoded(pure, payload)
        assert encoded(native, payload) == wire
        if isinstance(wire, bytes) and not getattr(pure, "keep", False) and getattr(pure, "strip", None) is None:
            assert pure.decode(wire) == native.decode(wire) == [payload]

    check()


def one_by_one(codec: Any, payloads: list[bytes]) -> bytes | str:
    """What framing them one after the other comes to: the wire, or the words for the first that is refused."""
    try:
        return b"".join([codec.encode(payload) for payload in payloads])
    except ValueError as error:
        return str(error)


def all_at_once(codec: Any, payloads: list[bytes]) -> bytes | str:
    try:
        return codec.encode_many(payloads)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("name", sorted(CODECS))
def test_many_payloads_are_framed_as_one_after_the_other_is(name: str) -> None:
    pure, native = CODECS[name](oxisock.pure), CODECS[name](oxisock.native)
    some = st.lists(st.sampled_from(TELLING), max_size=10).map(bytes)

    # Few, and many of which most are alike: there are other ways for those.
    @given(st.lists(some | st.binary(max_size=50) | st.just(b"four!"), max_size=8), st.integers(0, 3), some)
    def check(few: list[bytes], rounds: int, last: bytes) -> None:
        payloads = few + 20 * rounds * [last] + few[:1]
        wire = one_by_one(pure, payloads)
        assert all_at_once(pure, payloads) == all_at_once(native, payloads) == wire

    check()


def test_payloads_are_framed_with_delimiters_of_any_shape() -> None:
    @given(
        st.lists(st.lists(st.sampled_from(b"ab\n"), min_size=1, max_size=3).map(bytes), min_size=1, max_size=2),
        st.lists(st.lists(st.sampled_from(b"ab\nx"), max_size=6).map(bytes), max_size=4),
        st.sampled_from([b"", b"y" * 2000]),
    )
    @settings(max_examples=300)
    def check(delimiters: list[bytes], payloads: list[bytes], long: bytes) -> None:
        try:
            pure = oxisock.pure.Delimiter(*delimiters)
        except ValueError:
            return
        native = oxisock.native.Delimiter(*delimiters)
        payloads = [long + payload for payload in payloads]
        assert all_at_once(pure, payloads) == all_at_once(native, payloads) == one_by_one(pure, payloads)

    check()


def test_delimiters_of_any_shape_cut_alike_on_both_engines() -> None:
    @given(
        st.lists(st.lists(st.sampled_from(b"ab\n"), min_size=1, max_size=3).map(bytes), min_size=1, max_size=3),
        st.lists(st.sampled_from(b"ab\nx"), max_size=40).map(bytes),
        st.integers(1, 6),
        st.booleans(),
        st.sampled_from(["fail", "skip"]),
        st.data(),
    )
    @settings(max_examples=300)
    def check(delimiters: list[bytes], stream: bytes, limit: int, eof_frame: bool, policy: str, data: Any) -> None:
        try:
            pure = oxisock.pure.Delimiter(*delimiters, eof_frame=eof_frame, max_frame=limit)
        except ValueError:
            return
        native = oxisock.native.Delimiter(*delimiters, eof_frame=eof_frame, max_frame=limit)
        whole = outcome(pure, [stream], policy)
        assert outcome(native, [stream], policy) == whole
        chunks = data.draw(chunkings(stream))
        assert outcome(pure, chunks, policy) == outcome(native, chunks, policy) == whole
        if policy == "fail" and whole[1] is None:
            assert whole[0] == by_definition(stream, delimiters)

    check()


def by_definition(stream: bytes, delimiters: list[bytes]) -> list[bytes]:
    """Cut as the contract says it: the earliest end of a match wins, and on ties the longest delimiter."""
    frames, begin, end = [], 0, 1
    while end <= len(stream):
        here = [each for each in delimiters if stream[begin:end].endswith(each)]
        if here:
            frames.append(stream[begin : end - max(map(len, here))])
            begin = end
        end += 1
    return frames + ([stream[begin:]] if begin < len(stream) else [])


class Life(RuleBasedStateMachine):
    """One stream through a decoder of each engine, by every call there is, beside the stream as a whole."""

    @initialize(name=st.sampled_from(sorted(CODECS)), policy=st.sampled_from(["fail", "skip"]))
    def begin(self, name: str, policy: str) -> None:
        self.name, self.policy = name, policy
        self.decoders = [CODECS[name](module).decoder(policy) for module in (oxisock.pure, oxisock.native)]
        self.codec = CODECS[name](oxisock.pure)
        self.stream, self.frames, self.skipped, self.last = b"", list[bytes](), list[Any](), 0
        self.failure: Any = None
        self.ended = False

    def both(self, call: Any) -> None:
        results = []
        for decoder in self.decoders:
            try:
                results.append((call(decoder), None))
            except FrameError as error:
                results.append((error.frames, (type(error), str(error), error.offset, error.declared, error.limit)))
            except ValueError as error:
                results.append(([], str(error)))
        assert results[0] == results[1]
        frames, failure = results[0]
        if self.failure is not None:
            assert (frames, failure) == ([], self.failure)
        elif failure is not None and not isinstance(failure, str):
            self.failure = failure
        self.frames += frames

    def feed(self, data: bytes, call: Any) -> None:
        if not self.ended and self.failure is None:
            self.stream += data
        self.last = len(data)
        self.both(call)

    @rule(data=st.data())
    def feed_some(self, data: Any) -> None:
        part = data.draw(streams(self.codec))
        self.feed(part, lambda decoder: decoder.feed(part))

    @rule(part=st.lists(st.sampled_from(TELLING), max_size=3).map(bytes))
    def feed_little(self, part: bytes) -> None:
        self.feed(part, lambda decoder: decoder.feed(bytearray(part)))

    @rule()
    def feed_empty(self) -> None:
        self.feed(b"", lambda decoder: decoder.feed(b""))

    @rule(part=st.lists(st.sampled_from(TELLING), max_size=9).map(bytes), sizehint=st.integers(-1, 100_000))
    def receive(self, part: bytes, sizehint: int) -> None:
        def call(decoder: Any) -> Any:
            decoder.get_buffer(sizehint)[: len(part)] = part
            return decoder.buffer_updated(len(part))

        self.feed(part, call)

    @rule()
    def take_skipped(self) -> None:
        one, other = (decoder.take_skipped() for decoder in self.decoders)
        assert one == other
        self.skipped += one

    @rule()
    def eof(self) -> None:
        self.both(lambda decoder: decoder.eof())
        self.ended = True

    @invariant()
    def bounded_and_alike(self) -> None:
        if hasattr(self, "decoders"):
            one, other = self.decoders
            assert one.buffered == other.buffered <= self.codec.max_frame + 24 + self.last
            assert one.skipped_count == other.skipped_count

    def teardown(self) -> None:
        if not hasattr(self, "decoders"):
            return
        self.take_skipped()
        if not self.ended and self.failure is None:
            self.eof()
            self.take_skipped()
        assert (self.frames, self.failure, self.skipped) == outcome(self.codec, [self.stream], self.policy)


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=12)


@pytest.mark.parametrize(
    "name",
    ["length", "length-unstripped", "varint", "netstring", "fixed", "lines", "delimiters-keep", "multiprocessing"],
)
def test_our_own_codecs_pass_our_own_check(impl: ModuleType, name: str) -> None:
    check_codec(CODECS[name](impl), max_examples=15)
