"""One contract for everybody who receives frames: none is lost and none comes twice, and then the fault, for good."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock import FrameCorrupt, IncompleteFrame
from support.receivers import RECEIVERS, WORDS, Broken, CutMinds, Own, Threaded, faulty, raising, receiving, with_frames
from support.talking import reset
from support.waiting import wait_until

# What a user's decoder does at a "?" that comes with two frames; whether these are known then; what is told.
FAULTS: dict[str, tuple[Any, bool, type[Exception], str]] = {
    "key error": (lambda frames: faulty(KeyError("mine"))(frames), True, KeyError, "mine"),
    "frame error": (lambda frames: raising(FrameCorrupt("bad", 7, None, None, frames))(), True, FrameCorrupt, "bad"),
    "eof error": (lambda frames: faulty(EOFError("early"))(frames), True, EOFError, "early"),
    "timeout": (lambda frames: faulty(TimeoutError("slow"))(frames), True, TimeoutError, "slow"),
    "os error": (lambda frames: faulty(OSError(5, "disk"))(frames), True, OSError, "disk"),
    "memory": (lambda frames: faulty(MemoryError("full"))(frames), True, MemoryError, "full"),
    "not to be copied": (lambda frames: faulty(Broken("a", second="b"))(frames), True, Broken, "ab"),
    "stop iteration": (lambda frames: faulty(StopIteration())(frames), True, RuntimeError, "StopIteration"),
    "stop async iteration": (lambda frames: faulty(StopAsyncIteration())(frames), True, RuntimeError, "StopAsync"),
    "no frames": (lambda frames: raising(ZeroDivisionError("by zero"))(), False, ZeroDivisionError, "by zero"),
    "frames of no use": (lambda frames: faulty(KeyError("mine"))(5), False, KeyError, "mine"),  # type: ignore[arg-type]
    "frames of another type": (lambda frames: faulty(KeyError("mine"))(["a"]), False, KeyError, "mine"),  # type: ignore[list-item]
    "none": (lambda frames: None, False, TypeError, "feed returns a list of bytes, not None"),
    "bytes": (lambda frames: b"ab", False, TypeError, "feed returns a list of bytes, not b'ab'"),
    "text": (lambda frames: ["a"], False, TypeError, r"feed returns a list of bytes, not \['a'\]"),
    "a generator": (lambda frames: iter(frames), False, TypeError, "feed returns a list of bytes, not <"),
}


@pytest.mark.parametrize("kind", RECEIVERS)
def test_frames_come_first_and_then_whatever_a_users_decoder_raises_for_good(impl: ModuleType, kind: str) -> None:
    for name, (bad, known, error, words) in FAULTS.items():
        with receiving(kind, impl, Own(bad)) as (receiver, peer):
            peer.sendall(b"one!")
            assert receiver.recv() == b"one", name
            peer.sendall(b"two!three!?four")
            if known:
                assert receiver.some(2) == [b"two", b"three"], name
            for _ in range(3):
                with pytest.raises(error, match=words) as caught:
                    receiver.recv()
                assert type(caught.value) is error, name
                assert not getattr(caught.value, "frames", None) or not known, name
            with pytest.raises(error, match=words):
                receiver.some(1)


@pytest.mark.parametrize("kind", RECEIVERS)
def test_a_fault_at_the_end_and_one_at_the_beginning(impl: ModuleType, kind: str) -> None:
    class NoDecoder(Own):
        def decoder(self) -> Any:
            return self.at_end()

    cases = [
        (Own(list, faulty_end := raising(with_frames(KeyError("mine"), [b"last"]))), [b"a", b"last"], KeyError, "mine"),
        (Own(list, lambda: None), [b"a"], TypeError, "eof returns a list of bytes, not None"),
        (NoDecoder(list, raising(KeyError("mine"))), [], KeyError, "mine"),
        (NoDecoder(list, lambda: None), [], TypeError, "returns what has feed and eof, not None"),
    ]
    assert faulty_end
    for codec, frames, error, words in cases:
        with receiving(kind, impl, codec) as (receiver, peer):
            peer.sendall(b"a!")
            peer.shutdown(socket.SHUT_WR)
            assert [receiver.recv() for _ in frames] == frames
            for _ in range(2):
                with pytest.raises(error, match=words):
                    receiver.recv()


def test_a_message_server_handles_the_frames_and_tells_of_the_fault(
    impl: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    class Leaving(BaseException):
        pass

    more: dict[str, Any] = {
        "exit": (lambda frames: raising(SystemExit(3))(), False, SystemExit, "3"),
        "no exception": (lambda frames: raising(Leaving("bye"))(), False, Leaving, "bye"),  # type: ignore[arg-type]
    }
    for batch in (False, True):
        for name, (bad, known, _, _) in (FAULTS | more).items():
            got: list[bytes] = []

            def one(message: bytes, peer: Any, got: list[bytes] = got) -> bytes:
                got.append(message)
                return message

            def many(messages: list[Any], got: list[bytes] = got) -> list[bytes]:
                got.extend(message for message, _ in messages)
                return [message for message, _ in messages]

            with impl.MessageServer(many if batch else one, codec=Own(bad), batch=batch) as server:
                for number in range(1, 3):  # and others are served
                    with socket.create_connection(server.address, timeout=30) as client:
                        client.sendall(b"one!")
                        assert client.recv(100) == b"one!", name
                        client.sendall(b"two!three!?four")
                        answer = b"".join(iter(lambda: client.recv(100), b""))
                        assert answer == (b"two!three!" if known else b""), name
                    assert wait_until(lambda: server.stats().frame_errors == number)  # noqa: B023
                assert got == [b"one", b"two", b"three"] * 2 if known else got == [b"one"] * 2, name
                assert server.stats().handler_errors == 0
    assert "broke the framing" in caplog.text


@pytest.mark.parametrize("server", ["ThreadedServer", "start_server"])
def test_servers_count_whatever_a_users_decoder_raises_as_a_fault_of_framing(impl: ModuleType, server: str) -> None:
    def talk(conn: Any, peer: Any) -> None:
        for frame in conn.frames(codec):
            conn.send_frame(frame, codec)

    async def talk_on_a_loop(stream: Any, peer: Any) -> None:
        async for frame in stream:
            await stream.send(frame)

    def ask(address: Any) -> bytes:
        with socket.create_connection(address, timeout=30) as client:
            client.sendall(b"two!three!?four")
            return b"".join(iter(lambda: client.recv(100), b""))

    async def main() -> None:
        async with impl.aio.start_server(talk_on_a_loop, codec=codec) as running:
            assert await asyncio.to_thread(ask, running.address) == (b"two!three!" if known else b""), name
            while running.stats().active:
                await asyncio.sleep(0.002)
            assert running.stats().frame_errors == 1, name
            assert (running.stats().handler_errors, running.stats().timeouts) == (0, 0), name

    for name, (bad, known, _, _) in FAULTS.items():
        codec = Own(bad)
        if server == "start_server":
            asyncio.run(asyncio.wait_for(main(), 60))
            continue
        with impl.ThreadedServer(talk) as running:
            assert ask(running.address) == (b"two!three!" if known else b""), name
            assert wait_until(lambda: running.stats().closed == 1)
            stats = running.stats()
            assert (stats.frame_errors, stats.handler_errors, stats.timeouts) == (1, 0, 0), name


def test_a_users_own_traceback_is_told_once(impl: ModuleType) -> None:
    with receiving("blocking", impl, Own(raising(KeyError("mine")))) as (receiver, peer):
        peer.sendall(b"?")
        depths = []
        for _ in range(3):
            with pytest.raises(KeyError) as caught:
                receiver.recv()
            depths.append(len(caught.traceback))
        assert caught.traceback[-1].name == "end"
        assert depths[0] > depths[1] == depths[2]


def test_what_has_no_encode_or_decoder_is_refused_by_everybody(impl: ModuleType) -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda codec: impl.FramedSocket(ours, codec),
        lambda codec: impl.MessageServer(lambda message, peer: None, codec=codec),
        lambda codec: impl.aio.start_server(lambda stream, peer: None, codec=codec),
        lambda codec: impl.aio.open_framed("127.0.0.1", 9, codec),
        lambda codec: Threaded(impl, ours, codec).conn.frames(codec),
    ]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for call in calls:
            for wrong in (5, object(), Own):
                with pytest.raises(TypeError, match=r"^codec=.*: expected a codec, with encode and decoder$"):
                    call(wrong)


# --- nothing is lost and nothing comes twice, whatever is done in whatever order -------------------------------------

END = ["clean", "cut", "fault", "reset"]


@st.composite
def conversations(draw: Any) -> tuple[list[bytes], bytes, str]:
    """Frames, what comes after them in the stream, and how that ends."""
    end = draw(st.sampled_from(END))
    frames = draw(st.lists(WORDS, max_size=12))
    # "9:x" is cut, "9x" and "?" are faults, for a netstring and for our own codec.
    return frames, {"cut": b"9:x", "fault": b"9?"}.get(end, b""), end


def expected_error(end: str, own: bool) -> type[BaseException] | None:
    if end == "reset":
        return ConnectionResetError
    if own:
        return {"cut": KeyError, "fault": ZeroDivisionError}.get(end)
    return {"cut": IncompleteFrame, "fault": FrameCorrupt}.get(end)


@pytest.mark.parametrize("kind", RECEIVERS)
@given(conversation=conversations(), own=st.booleans(), turns=st.lists(st.integers(0, 5), max_size=12), data=st.data())
def test_every_frame_comes_once_and_then_the_end(
    impl: ModuleType, kind: str, conversation: Any, own: bool, turns: list[int], data: st.DataObject
) -> None:
    frames, tail, end = conversation
    codec = CutMinds() if own else impl.Netstring()
    stream = b"".join(map(codec.encode, frames)) + tail
    half = data.draw(st.integers(0, len(stream)))
    error = expected_error(end, own)
    left = list(frames)  # the model
    with receiving(kind, impl, codec) as (receiver, peer):
        peer.sendall(stream[:half])
        whole = {len(b"".join(map(codec.encode, frames[:count]))): count for count in range(len(frames) + 1)}
        at_hand = max(count for size, count in whole.items() if size <= half) - 1  # that come without the other half
        if at_hand > 0 and data.draw(st.booleans()):
            assert receiver.recv() == left.pop(0)
        peer.sendall(stream[half:])
        if end == "reset":
            reset(peer)
        else:
            peer.close()
        for count in turns:
            if kind == "threaded":  # an equal codec each time
                receiver._codec = CutMinds() if own else impl.Netstring()
            if not count:
                if left:
                    assert receiver.recv() == left.pop(0)
            else:
                count = min(count, len(left))  # further on is the end
                assert receiver.some(count) == left[:count]
                del left[:count]
        assert [receiver.recv() for _ in left] == left
        for _ in range(2):
            if error is None:
                assert receiver.recv() is None
                assert receiver.some(3) == []
            else:
                with pytest.raises(error) as caught:
                    receiver.recv()
                assert type(caught.value) is error
                with pytest.raises(error):
                    receiver.some(1)


@given(
    conversation=conversations(), own=st.booleans(), cuts=st.lists(st.integers(0, 60), max_size=6), room=st.booleans()
)
def test_a_message_server_handles_every_frame_once(
    impl: ModuleType, conversation: Any, own: bool, cuts: list[int], room: bool
) -> None:
    frames, tail, end = conversation
    codec = CutMinds() if own else impl.Netstring()
    stream = b"".join(map(codec.encode, frames)) + tail
    got: list[bytes] = []

    def handler(message: bytes, peer: Any) -> bytes:
        got.append(message)
        return message * 3

    with impl.MessageServer(handler, codec=codec, max_buffered=1 if room else 1 << 20) as server:
        with socket.create_connection(server.address, timeout=30) as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
            for start, stop in itertools.pairwise(edges):
                client.sendall(stream[start:stop])
            if end == "reset":
                assert wait_until(lambda: server.stats().messages == len(frames))
                reset(client)
            else:
                client.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: client.recv(1000), b""))
                assert answer == b"".join([codec.encode(frame * 3) for frame in frames])
        assert wait_until(lambda: server.stats().active == 0)
        assert server.stats().frame_errors == (end in ("cut", "fault"))
        assert server.stats().messages == len(frames)
    assert got == frames
