"""Framed streams on asyncio and uvloop: conversations, codecs, a peer that does not read, cancelling."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import sys
import time
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import IncompleteFrame, Peer
from oxisock.aio.protocol import StreamProtocol
from oxisock.aio.stream import FramedStream
from oxisock.framing.bound import BoundCodec
from support.addresses import HOST
from support.coroutines import Run, until, upper
from support.resources import descriptors
from support.threads import beside


def test_a_conversation(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        peers = []

        async def handler(stream: Any, peer: Peer) -> None:
            peers.append((peer, stream.peer))
            await upper(stream, peer)

        async with impl.aio.start_server(handler, codec=impl.Netstring()) as server:
            assert server.address.host == HOST and server.impl == impl.impl
            async with impl.aio.open_framed(*server.address, impl.Netstring()) as stream:
                await stream.send(b"one")
                assert await stream.recv() == b"ONE"
                await stream.send_many([b"two", b"", b"three"])
                assert [await stream.recv() for _ in range(3)] == [b"TWO", b"", b"THREE"]
                await stream.send(bytearray(b"last"))
                stream.shutdown_write()
                assert [message async for message in stream] == [b"LAST"]
                assert await stream.recv() is None
                assert stream.peer == server.address and stream.codec == impl.Netstring()
                here = Peer(*stream.sock.getsockname())
            await until(lambda: server.stats().active == 0)
            assert (here, here) in peers
            stats = server.stats()
            assert (stats.messages, stats.bytes_in, stats.bytes_out) == (5, 6 + 6 + 3 + 8 + 7, 30)
            assert stats.accepted == stats.closed >= 1  # whoever scans this machine meanwhile is counted, too

    run(main())


def test_a_server_and_a_stream_are_also_awaited(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        server = await impl.aio.start_server(upper)
        stream = await impl.aio.open_framed(*server.address)
        await stream.send(b"x")
        assert await stream.recv() == b"X"
        stream.close()
        await stream.wait_closed()
        stream.close()
        assert (await server.stop(drain=30))[1:3] == (0, 0)
        async with await impl.aio.start_server(upper) as second, await impl.aio.open_framed(*second.address) as other:
            await other.send(b"y")
            assert await other.recv() == b"Y"

    run(main())


def test_lines_are_the_codec_by_default_and_a_tail_is_a_line(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server:
            assert await impl.aio.tcp_request(*server.address, b"a\r\nb") == b"A\nB\n"

    run(main())


def test_codecs_of_either_engine_and_users_own(impl: ModuleType, run: Run) -> None:
    class Shout:
        """A codec of a user's."""

        def encode(self, payload: bytes) -> bytes:
            return payload + b"!"

        def decoder(self) -> Any:
            return Decoder()

    class Decoder:
        def __init__(self) -> None:
            self.rest = b""

        def feed(self, data: bytes) -> list[bytes]:
            assert type(data) is bytes
            *frames, self.rest = (self.rest + data).split(b"!")
            return frames

        def eof(self) -> list[bytes]:
            if self.rest:
                raise KeyError("a decoder's own error")
            return []

    async def main() -> None:
        for codec in (oxisock.pure.Varint(), oxisock.native.Varint(), Shout()):
            async with (
                impl.aio.start_server(upper, codec=codec) as server,
                impl.aio.open_framed(*server.address, codec) as stream,
            ):
                await stream.send_many([b"a", b"b"])
                assert [await stream.recv(), await stream.recv()] == [b"A", b"B"]

        async def talk(stream: Any, peer: Peer) -> None:
            stream.sock  # noqa: B018
            await stream.send(b"whole")
            stream._write(bytes, b"half")

        async with (
            impl.aio.start_server(talk, codec=Shout()) as server,
            impl.aio.open_framed(*server.address, Shout()) as stream,
        ):
            assert await stream.recv() == b"whole"
            for _ in range(2):
                with pytest.raises(KeyError, match="own error"):
                    await stream.recv()
        with pytest.raises(TypeError, match="codec=5: expected a codec, with encode and decoder"):
            impl.aio.start_server(upper, codec=5)

    run(main())


def test_good_frames_come_before_the_error_and_the_error_comes_again(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def half(stream: Any, peer: Peer) -> None:
            await stream.send(b"whole")
            stream._write(bytes, b"9:cut")

        async with impl.aio.start_server(half, codec=impl.Netstring()) as server:
            with impl.connect(*server.address, impl.Netstring()) as blocking:
                loop = asyncio.get_running_loop()
                assert await loop.run_in_executor(None, blocking.recv) == b"whole"
                with pytest.raises(IncompleteFrame) as expected:
                    await loop.run_in_executor(None, blocking.recv)
            async with impl.aio.open_framed(*server.address, impl.Netstring()) as stream:
                assert await stream.recv() == b"whole"
                for _ in range(2):
                    with pytest.raises(IncompleteFrame) as caught:
                        await stream.recv()
                    assert caught.value.args == expected.value.args
                    assert (caught.value.offset, caught.value.declared) == (8, 9)

    run(main())


def test_a_cancelled_recv_loses_nothing(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server, impl.aio.open_framed(*server.address) as stream:
            for number in range(20):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.001):
                        await stream.recv()
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number

    run(main())


def test_one_task_receives_at_a_time(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server, impl.aio.open_framed(*server.address) as stream:
            first = asyncio.create_task(stream.recv())
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="another task receives"):
                await stream.recv()
            await stream.send(b"x")
            assert await first == b"X"

    run(main())


def test_a_closed_stream_says_so(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server:
            stream = await impl.aio.open_framed(*server.address)
            waiting = asyncio.create_task(stream.recv())
            await asyncio.sleep(0)
            stream.close()
            for call in (waiting, stream.recv(), stream.send(b"x"), stream.send_many([b"x"])):
                with pytest.raises(OSError) as caught:
                    await call
                assert caught.value.errno == errno.EBADF
            await stream.wait_closed()
            assert "closed" in repr(stream)

    run(main())


def test_what_was_sent_before_close_arrives(impl: ModuleType, run: Run) -> None:
    payload = b"x" * 300_000

    async def main() -> None:
        got = []

        async def handler(stream: Any, peer: Peer) -> None:
            got.extend([message async for message in stream])

        async with impl.aio.start_server(handler, codec=impl.LengthPrefix()) as server:
            async with impl.aio.open_framed(*server.address, impl.LengthPrefix()) as stream:
                await stream.send_many([payload] * 10)
            await until(lambda: len(got) == 10 and server.stats().active == 0)
        assert got == [payload] * 10

    run(main())


def test_what_a_handler_said_last_arrives_though_input_was_not_read(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def one_answer(stream: Any, peer: Peer) -> None:
            await stream.recv()
            await stream.send(b"answer" * 50_000)

        async with impl.aio.start_server(one_answer) as server:
            for _ in range(20):
                async with impl.aio.open_framed(*server.address, impl.Lines()) as stream:
                    await stream.send_many([b"question" * 100] * 100)
                    assert await stream.recv() == b"answer" * 50_000
                    assert await stream.recv() is None

    run(main())


def test_a_reset_connection_is_an_error_and_no_end(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def cut(stream: Any, peer: Peer) -> None:
            stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.abort()

        async with impl.aio.start_server(cut) as server:
            async with impl.aio.open_framed(*server.address) as stream:
                for _ in range(2):
                    with pytest.raises(ConnectionResetError):
                        await stream.recv()
                with pytest.raises(ConnectionResetError):
                    await stream.send(b"x")
                assert "lost" in repr(stream)

    run(main())


def test_sending_waits_for_a_peer_that_does_not_read(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        read = asyncio.Event()
        got = 0

        async def slow(stream: Any, peer: Peer) -> None:
            nonlocal got
            await read.wait()
            async for message in stream:
                got += len(message)

        async with impl.aio.start_server(slow, codec=impl.LengthPrefix(), max_buffered=1 << 16) as server:
            async with impl.aio.open_framed(*server.address, impl.LengthPrefix()) as stream:
                sent = 0

                async def flood() -> None:
                    nonlocal sent
                    for _ in range(1000):
                        await stream.send(b"x" * 60_000)
                        sent += 60_000

                flooding = asyncio.create_task(flood())
                while True:  # until it stands still
                    before = sent
                    await asyncio.sleep(0.1)
                    if sent == before and sent:
                        break
                assert sent < 40_000_000
                read.set()
                await flooding
            await until(lambda: got == 60_000_000)

    run(main())


@pytest.mark.parametrize("how", ["close", "async with"])
def test_closing_gives_up_a_peer_that_takes_nothing(impl: ModuleType, run: Run, how: str) -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as listener:  # the system connects, and nobody reads
            stream = await impl.aio.open_framed(*listener.getsockname())

            async def conversation() -> None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await stream.send_many([bytes(1_000_000)] * 10)

            async def closed() -> None:
                if how == "close":
                    await conversation()
                    stream.close()
                    await stream.wait_closed()
                else:
                    async with stream:
                        await conversation()

            with pytest.raises(TimeoutError, match=r"closed before \d+ bytes had arrived"):
                async with asyncio.timeout(20):
                    await closed()
            peer, _ = listener.accept()
            with peer, pytest.raises(ConnectionResetError):
                peer.settimeout(20)
                while peer.recv(1 << 20):
                    pass

    run(main())


def test_closing_waits_for_a_peer_that_takes_something_now_and_then(impl: ModuleType, run: Run) -> None:
    got: list[int] = []

    def read_slowly(listener: socket.socket) -> None:
        peer, _ = listener.accept()
        peer.settimeout(20)
        with peer:
            while data := peer.recv(400_000):
                got.append(len(data))
                time.sleep(0.1)  # altogether more than 2 seconds

    async def main() -> None:
        with socket.create_server((HOST, 0)) as listener:
            listener.settimeout(20)
            with beside(read_slowly, listener):
                async with asyncio.timeout(60), impl.aio.open_framed(*listener.getsockname()) as stream:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.1):
                            await stream.send_many([bytes(1_000_000)] * 10)

    run(main())
    assert sum(got) == 10_000_010


def test_many_small_frames_leave_others_their_turn(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server, impl.aio.open_framed(*server.address) as stream:
            turns = 0

            async def others() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.create_task(others())
            sending = asyncio.create_task(stream.send_many([b"a"] * 20_000))
            for _ in range(20_000):
                assert await stream.recv() == b"A"
            await sending
            counting.cancel()
            assert turns >= 20_000 // 128

    run(main())


def test_hundreds_of_connections_on_one_thread(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server:

            async def talk(number: int) -> None:
                async with impl.aio.open_framed(*server.address, timeout=50) as stream:
                    for turn in range(3):
                        await stream.send(b"c%d-%d" % (number, turn))
                        assert await stream.recv() == b"C%d-%d" % (number, turn)

            await asyncio.gather(*map(talk, range(300)))
            assert server.stats().messages == 900

    run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="no connections share a buffer")
def test_connections_of_two_loops_do_not_read_into_the_same_bytes(impl: ModuleType) -> None:
    async def made() -> tuple[FramedStream, StreamProtocol]:
        stream = FramedStream(BoundCodec(impl.Lines(), impl.Lines._engine.framing))
        return stream, StreamProtocol(stream)

    with asyncio.Runner() as one, asyncio.Runner() as two:
        ours, theirs = one.run(made()), two.run(made())
        # As on two threads: the second loop reads before the first one decodes what it has read.
        reads = [(ours, b"ours\n"), (theirs, b"theirs\n")]
        for (_, protocol), said in reads:
            protocol.get_buffer(-1)[: len(said)] = said
        for (stream, protocol), said in reads:
            protocol.buffer_updated(len(said))
            assert list(stream._frames) == [said[:-1]]
        # Within a loop, many connections cost one buffer.
        again = one.run(made())
        assert again[1].get_buffer(-1) is ours[1].get_buffer(-1)


# --- cancelling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["connect", "recv", "send", "server", "request"])
def test_cancelling_gives_back_every_descriptor(impl: ModuleType, run: Run, what: str) -> None:
    async def main() -> None:
        async def silent(stream: Any, peer: Peer) -> None:
            await asyncio.sleep(100)

        begun = asyncio.Event()

        async def connect() -> None:
            begun.set()
            # Documentation addresses are routed nowhere, or refused at once: then it is tried again.
            while True:
                try:
                    await impl.aio.open_framed("192.0.2.1", 9, impl.Lines(), timeout=None)
                except OSError:
                    await asyncio.sleep(0.01)

        async def recv() -> None:
            async with impl.aio.open_framed(*server.address) as stream:
                begun.set()
                await stream.recv()

        async def send() -> None:
            async with impl.aio.open_framed(*server.address) as stream:
                begun.set()
                while True:
                    await stream.send(b"x" * 1_000_000)

        async def serve() -> None:
            async with impl.aio.start_server(silent), impl.EchoServer():
                begun.set()
                await asyncio.sleep(100)

        async def request() -> None:
            begun.set()
            await impl.aio.tcp_request(*server.address, b"x", timeout=None)

        works = {"connect": connect, "recv": recv, "send": send, "server": serve, "request": request}
        async with impl.aio.start_server(silent) as server:
            for number in range(2):
                before = descriptors()
                active = server.stats().active
                begun.clear()
                task = asyncio.create_task(works[what]())
                await begun.wait()
                await asyncio.sleep(0.05)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                if number:  # the first time a loop may open what it keeps
                    # What is left are the server's own ends. (uvloop closes its descriptors in its next turn.)
                    await until(lambda: len(descriptors() - before) <= server.stats().active - active)  # noqa: B023

    run(main())


def test_a_request_is_a_frame_and_the_next_one(impl: ModuleType, run: Run) -> None:
    async def once(stream: Any, peer: Peer) -> None:
        for _ in range(2):
            await stream.send((await stream.recv()).upper())

    async def main() -> None:
        async with impl.aio.start_server(once) as server, impl.aio.open_framed(*server.address) as stream:
            assert [await stream.request(word) for word in (b"one", b"two")] == [b"ONE", b"TWO"]
            with pytest.raises((IncompleteFrame, ConnectionError)):
                await stream.request(b"three")

    run(main())
