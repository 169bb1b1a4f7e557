"""A connection that is read in bytes and in frames: no byte is lost, whoever asks for the next one."""

from __future__ import annotations

import contextlib
import socket
import tracemalloc
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock import FrameError, IncompleteFrame
from oxisock.framing import bound
from oxisock.serving import thread_connection
from support.receivers import WORDS, CutMinds, Own, OwnDecoder, Threaded, receiving, tcp_pair
from support.talking import reset
from support.threads import beside


def by_hand(codec: Any, stream: bytes, at: int) -> tuple[bytes | None, int]:
    """The model: the next frame from a place on and where it ends, found with the least bytes that do; None: none."""
    for stop in range(at, len(stream) + 1):
        with contextlib.suppress(Exception):
            if frames := codec.decoder().feed(stream[at:stop]):
                return frames[0], stop
    return None, at


OPERATIONS = st.lists(
    st.tuples(st.just("frames"), st.integers(0, 5), st.integers(1, 3))
    | st.tuples(st.just("recv"), st.integers(1, 9), st.none())
    | st.tuples(st.just("exactly"), st.integers(0, 9), st.none()),
    max_size=14,
)
PIECES = st.one_of(
    st.binary(max_size=8),
    WORDS.map(lambda word: b"%d:%s," % (len(word), word)),
    WORDS.map(lambda word: word + b"!"),
    WORDS.map(lambda word: word + b"\r\n"),
    WORDS.map(lambda word: bytes([len(word)]) + word),
)


@given(pieces=st.lists(PIECES, max_size=12), operations=OPERATIONS, chunk=st.integers(1, 40), logged=st.integers(1, 20))
def test_no_byte_is_lost_between_codecs_and_plain_reading(
    impl: ModuleType, pieces: list[bytes], operations: list[Any], chunk: int, logged: int
) -> None:
    stream = b"".join(pieces)

    def codecs() -> list[Any]:
        return [
            impl.Lines(),
            impl.Netstring(max_frame=30),
            impl.LengthPrefix(1, max_frame=40),
            impl.Delimiter(b"\r\n", b":"),
            impl.Fixed(3),
            CutMinds(),
        ]

    at = 0
    ours, theirs = tcp_pair()
    # Small chunks, and a small log, so that both have ends everywhere.
    with pytest.MonkeyPatch.context() as patch, ours, theirs:
        patch.setattr(thread_connection, "_CHUNK", chunk)
        patch.setattr(bound, "_LOGGED", logged)
        patch.setattr(bound, "_ENTRY", 1)
        patch.setattr(bound, "_JOINED", logged)
        conn = Threaded(impl, ours, None).conn
        theirs.sendall(stream)
        theirs.shutdown(socket.SHUT_WR)
        for name, number, count in operations:
            if name == "frames":
                codec = codecs()[number]
                reading = conn.frames(codec)
                for _ in range(count):
                    frame, end = by_hand(codec, stream, at)
                    if frame is None:
                        # A fault, or the end: the bytes are there for who knows what to do with them.
                        try:
                            assert next(reading, None) is None
                            assert at == len(stream)
                        except (FrameError, KeyError, ZeroDivisionError):
                            assert at < len(stream)
                        break
                    assert next(reading) == frame
                    at = end
            elif name == "recv":
                data = conn.recv(number)
                assert data == stream[at : at + len(data)]
                assert len(data) <= number and (data or at == len(stream))
                at += len(data)
            elif at + number <= len(stream):
                assert conn.recv_exactly(number) == stream[at : at + number]
                at += number
            else:
                with pytest.raises(IncompleteFrame, match=f"after {len(stream) - at} of {number} bytes"):
                    conn.recv_exactly(number)
        rest = b""
        while data := conn.recv(100):
            rest += data
        assert rest == stream[at:]


def test_two_iterations_at_once_share_the_stream(impl: ModuleType) -> None:
    with receiving("threaded", impl, None) as (receiver, peer):
        peer.sendall(b"a\n1:b,c\n1:d,rest\n")
        lines, strings = receiver.conn.frames(impl.Lines()), receiver.conn.frames(impl.Netstring())
        assert [next(lines), next(strings), next(lines), next(strings)] == [b"a", b"b", b"c", b"d"]
        assert next(receiver.conn.frames(impl.Lines())) == b"rest"


def test_one_decoder_for_all_streams_serves_until_its_bytes_are_asked_back(impl: ModuleType) -> None:
    class Itself(Own):
        def __init__(self) -> None:
            super().__init__(list)
            self.rest = b""

        def decoder(self) -> Any:
            return self

        feed = OwnDecoder.feed

        def eof(self) -> list[bytes]:
            return []

        codec = property(lambda self: self)

    with receiving("threaded", impl, Itself()) as (receiver, peer):
        peer.sendall(b"a!b!c")
        assert receiver.some(2) == [b"a", b"b"]
        with pytest.raises(TypeError, match="does not begin a stream afresh"):
            receiver.conn.recv(1)
        peer.sendall(b"!")
        assert receiver.recv() == b"c"


def test_bytes_that_came_in_time_outlast_a_timeout(impl: ModuleType) -> None:
    with receiving("threaded", impl, None) as (receiver, peer):
        conn = receiver.conn
        peer.sendall(b"abc")
        conn.settimeout(0.05)
        with pytest.raises(TimeoutError):
            conn.recv_exactly(4)
        peer.sendall(b"d")
        conn.settimeout(30)
        assert conn.recv_exactly(4) == b"abcd"


def test_a_reset_that_sending_was_told_of_is_no_end_for_reading(impl: ModuleType) -> None:
    with receiving("threaded", impl, None) as (receiver, peer):
        reset(peer)
        conn = receiver.conn
        with pytest.raises(OSError) as told:
            for _ in range(100):
                conn.sendall(b"x")
        assert isinstance(told.value, ConnectionResetError)
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                conn.recv(1)


def test_a_long_stream_costs_no_memory_for_what_was_taken(impl: ModuleType) -> None:
    for codec in (impl.Netstring(), CutMinds()):
        with receiving("threaded", impl, codec) as (receiver, peer):
            frame = codec.encode(b"x" * 1000)
            with beside(peer.sendall, frame * 5000):
                assert len(receiver.some(5000)) == 5000
            assert receiver.conn._inbox._logged <= 2 << 20


class EachByte:
    """A user's codec in which each byte is a frame."""

    def encode(self, payload: bytes) -> bytes:
        return payload

    def decoder(self) -> Any:
        return self

    def feed(self, data: bytes) -> list[bytes]:
        return [bytes([byte]) for byte in data]

    def eof(self) -> list[bytes]:
        return []


class EachByteAfresh(EachByte):
    def decoder(self) -> Any:
        return EachByte()


@contextlib.contextmanager
def little_memory() -> Iterator[None]:
    """Fail if what is allocated in the block, and kept to its end, is more than 2 MiB."""
    tracemalloc.start()
    try:
        yield
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 << 20


def test_a_long_frame_in_tiny_pieces_costs_little_more_than_its_bytes(impl: ModuleType) -> None:
    inbox = bound.RewindableInbox(bound.BoundCodec(impl.Lines(), impl.Lines._engine.framing))
    frame = bytes(byte for byte in range(32, 96)) * 1563
    with little_memory():
        for at in range(len(frame)):
            inbox.feed(frame[at : at + 1])
    assert inbox.rest() == frame
    assert inbox.feed(b"\nmore") == 1
    assert inbox.rest() == frame + b"\nmore"
    assert inbox.taken() == [frame]
    assert inbox.rest() == b"more"


def test_tiny_frames_of_a_users_codec_in_tiny_pieces_cost_little(impl: ModuleType) -> None:
    inbox = bound.RewindableInbox(bound.BoundCodec(EachByteAfresh(), impl.Lines._engine.framing))
    with little_memory():
        for number in range(100_000):
            inbox.feed(b"%c" % (number % 256))
            assert inbox.taken()
    inbox.feed(b"ab")
    inbox.frames.popleft()
    assert inbox.rest() == b"b"
