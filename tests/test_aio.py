"""Framed streams and servers on asyncio and uvloop: conversations, limits, drain, cancelling."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

import oxisock
from conftest import Run, descriptors
from oxisock import IncompleteFrame, Peer, ServerStats, StopReport


async def upper(stream: Any, peer: Peer) -> None:
    async for message in stream:
        await stream.send(message.upper())


async def ask(server: Any, line: bytes) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, oxisock.tcp_request, *server.address, line)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


def test_a_conversation(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        peers = []

        async def handler(stream: Any, peer: Peer) -> None:
            peers.append((peer, stream.peer))
            await upper(stream, peer)

        async with impl.aio.start_server(handler, codec=impl.Netstring()) as server:
            assert server.address.host == "127.0.0.1" and server.impl == impl.impl
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
        assert (await server.stop())[1:3] == (0, 0)
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
            stream._write(b"half")

        async with (
            impl.aio.start_server(talk, codec=Shout()) as server,
            impl.aio.open_framed(*server.address, Shout()) as stream,
        ):
            assert await stream.recv() == b"whole"
            for _ in range(2):
                with pytest.raises(KeyError, match="own error"):
                    await stream.recv()
        with pytest.raises(TypeError, match="codec must have encode and decoder, as 5 has not"):
            impl.aio.start_server(upper, codec=5)

    run(main())


def test_good_frames_come_before_the_error_and_the_error_comes_again(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def half(stream: Any, peer: Peer) -> None:
            await stream.send(b"whole")
            stream._write(b"9:cut")

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


# --- handlers that fail --------------------------------------------------------------------------------------------


def test_a_failing_handler_is_logged_and_ends_its_connection_alone(
    impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def handler(stream: Any, peer: Peer) -> None:
            async for message in stream:
                if message == b"bad":
                    raise LookupError("planned")
                await stream.send(message)

        async with impl.aio.start_server(handler) as server:
            async with (
                impl.aio.open_framed(*server.address) as good,
                impl.aio.open_framed(*server.address) as bad,
            ):
                await bad.send_many([b"first", b"bad"])
                assert await bad.recv() == b"first"
                assert await bad.recv() is None
                port = bad.sock.getsockname()[1]
                await good.send(b"x")
                assert await good.recv() == b"x"
                assert server.stats().handler_errors == 1
        assert f"the handler failed for 127.0.0.1 port {port}" in caplog.text and "planned" in caplog.text

    run(main())


def test_what_is_no_coroutine_is_a_handler_error(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with impl.aio.start_server(lambda stream, peer: None) as server:
            assert await impl.aio.tcp_request(*server.address, b"") == b""
            assert server.stats().handler_errors == 1
        assert "a handler is a coroutine function; this one gave NoneType" in caplog.text
        with pytest.raises(TypeError, match="handler must be callable"):
            impl.aio.start_server(5)

    run(main())


def test_broken_framing_is_counted_and_logged(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, codec=impl.Netstring()) as server:
            assert await impl.aio.tcp_request(*server.address, b"2:ok,x") == b"2:OK,"
            await until(lambda: server.stats().frame_errors == 1)
            assert server.stats().handler_errors == 0
        assert "broke the framing" in caplog.text

    run(main())


# --- limits --------------------------------------------------------------------------------------------------------


def test_newcomers_wait_at_the_connection_limit(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, max_connections=1) as server:
            first = await impl.aio.open_framed(*server.address)
            await first.send(b"a")
            assert await first.recv() == b"A"
            async with impl.aio.open_framed(*server.address) as second:
                await second.send(b"b")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await second.recv()
                assert server.stats().accepted == 1
                first.close()
                await first.wait_closed()
                assert await second.recv() == b"B"

    run(main())


def test_a_connection_without_messages_times_out(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        caught: list[BaseException] = []

        async def handler(stream: Any, peer: Peer) -> None:
            try:
                await upper(stream, peer)
            except TimeoutError as error:
                caught.append(error)
                raise

        async with impl.aio.start_server(handler, idle_timeout=0.3) as server:
            async with impl.aio.open_framed(*server.address) as stream:
                began = asyncio.get_running_loop().time()
                for _ in range(4):  # bytes alone do not count
                    await stream.send(b"x")
                    assert await stream.recv() == b"X"
                    await asyncio.sleep(0.1)
                stream._write(b"no newline")
                with suppress(ConnectionResetError):
                    assert await stream.recv() is None
                assert asyncio.get_running_loop().time() - began >= 0.6
            await until(lambda: bool(caught))
            assert server.stats().timeouts == 1 and server.stats().handler_errors == 0
            assert str(caught[0]) == "no message came for 0.3 s"

    run(main())


def test_a_handler_at_work_is_not_idle(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def slow(stream: Any, peer: Peer) -> None:
            async for message in stream:
                await asyncio.sleep(0.5)
                await stream.send(message)

        async with impl.aio.start_server(slow, idle_timeout=0.1) as server:
            async with impl.aio.open_framed(*server.address) as stream:
                await stream.send(b"x")
                assert await stream.recv() == b"x"

    run(main())


def test_a_peer_that_never_reads_is_closed(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        caught: list[BaseException] = []

        async def flood(stream: Any, peer: Peer) -> None:
            try:
                while True:
                    await stream.send(b"x" * 100_000)
            except TimeoutError as error:
                caught.append(error)
                raise

        async with impl.aio.start_server(flood, write_timeout=0.3, max_buffered=100_000) as server:
            with socket.create_connection(server.address):
                await until(lambda: bool(caught))
            assert server.stats().timeouts == 1 and server.stats().handler_errors == 0
            assert str(caught[0]) == "the peer took nothing for 0.3 s"

    run(main())


def test_a_peer_that_does_not_read_costs_little(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, max_buffered=100_000, codec=impl.LengthPrefix()) as server:
            with socket.create_connection(server.address) as sock:
                sock.setblocking(False)
                loop = asyncio.get_running_loop()
                wire = impl.LengthPrefix().encode(b"x" * 50_000)
                with suppress(TimeoutError):
                    async with asyncio.timeout(1.0):
                        while True:
                            await loop.sock_sendall(sock, wire)
                stats = server.stats()
                # What is neither here nor there is in the system's buffers.
                assert stats.bytes_in - stats.bytes_out < 600_000, stats

    run(main())


def test_out_of_descriptors_the_server_sheds_and_recovers(impl: ModuleType) -> None:
    code = f"""
import asyncio, os, resource, socket
from oxisock import {impl.impl} as impl
async def upper(stream, peer):
    async for message in stream:
        await stream.send(message.upper())
async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news
    async with impl.aio.start_server(upper) as server:
        assert await impl.aio.tcp_request(*server.address, b"a") == b"A\\n"
        limit = len(os.listdir("/dev/fd")) + 2
        clients = [socket.socket() for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for client in clients:
            client.connect(server.address)
        while not server.stats().shed:
            await asyncio.sleep(0.01)
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit + 50, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        while True:
            try:
                assert await impl.aio.tcp_request(*server.address, b"b") == b"B\\n"
                break
            except OSError:
                await asyncio.sleep(0.01)
        print("recovered")
asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("recovered\n", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 65536}, "port must be an integer from 0 to 65535"),
        ({"max_connections": 0}, "max_connections"),
        ({"idle_timeout": -1}, "idle_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(impl: ModuleType, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        impl.aio.start_server(upper, **options)
    with pytest.raises(TypeError, match="unknown"):
        impl.aio.start_server(upper, unknown=1)


# --- the life of a server ------------------------------------------------------------------------------------------


def test_errors_of_binding_come_from_the_start(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            server = impl.aio.start_server(upper, port=port)
            for _ in range(2):
                with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}") as caught:
                    await server
                assert caught.value.errno == errno.EADDRINUSE
        await server
        assert server.address == ("127.0.0.1", port)
        with pytest.raises(RuntimeError, match="started before"):
            await server.start()
        await server.stop()

    run(main())


def test_before_the_start_and_after_the_end(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        server = impl.aio.start_server(upper)
        with pytest.raises(RuntimeError, match="no address"):
            _ = server.address
        assert server.stats() == ServerStats() and await server.stop() == StopReport()
        assert "not started" in repr(server)
        async with server:
            assert "listening" in repr(server)
            address = server.address
        assert "stopped" in repr(server) and server.address == address
        first = await server.stop()
        assert first == await server.stop() and first.elapsed >= 0
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(server)
        with pytest.raises(ValueError, match="drain"):
            await server.stop(-1)
        with pytest.raises(ConnectionRefusedError):
            await impl.aio.open_framed(*address)

    run(main())


def test_a_drain_lets_handlers_finish(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def slow(stream: Any, peer: Peer) -> None:
            async for message in stream:
                await asyncio.sleep(0.2)
                await stream.send(message)
            await stream.send(b"bye")

        async with (
            impl.aio.start_server(slow) as server,
            impl.aio.open_framed(*server.address) as stream,
            impl.aio.open_framed(*server.address) as idle,
        ):
            await stream.send_many([b"a", b"b"])
            await until(lambda: server.stats().bytes_in == 4 and server.stats().active == 2)
            report = await server.stop(drain=30)
            assert report[:3] == (2, 0, 0) and 0.2 <= report.elapsed < 20
            assert [message async for message in stream] == [b"a", b"b", b"bye"]
            assert [message async for message in idle] == [b"bye"]

    run(main())


def test_a_stop_cuts_what_goes_on(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        ended = []

        async def busy(stream: Any, peer: Peer) -> None:
            await stream.recv()
            try:
                await asyncio.sleep(100)
            finally:
                ended.append(True)

        server = await impl.aio.start_server(busy)
        async with impl.aio.open_framed(*server.address) as one, impl.aio.open_framed(*server.address) as two:
            await one.send(b"x")
            await until(lambda: server.stats().messages == 1 and server.stats().active == 2)
            report = await server.stop(drain=0.1)
            assert report[:3] == (1, 1, 0) or report[:3] == (0, 2, 0), report
            assert ended
            with pytest.raises((ConnectionError, StopAsyncIteration)):
                await anext(two)

    run(main())


def test_a_handler_that_will_not_end_is_told_of(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        let_go = asyncio.Event()

        async def stubborn(stream: Any, peer: Peer) -> None:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue

        server = await impl.aio.start_server(stubborn)
        async with impl.aio.open_framed(*server.address):
            await until(lambda: server.stats().active == 1)
            report = await server.stop()
            assert report[:3] == (0, 1, 1)
            let_go.set()
            await until(lambda: server.stats().active == 0)

    run(main())


def test_stop_from_a_handler_begins_it(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        server: Any = None
        reports = []

        async def handler(stream: Any, peer: Peer) -> None:
            reports.append(await server.stop(drain=20))
            await stream.send(b"stopping")

        server = await impl.aio.start_server(handler)
        assert await impl.aio.tcp_request(*server.address, b"x") == b"stopping\n"
        assert reports == [StopReport()]
        assert (await server.stop())[:3] == (1, 0, 0)

    run(main())


def test_a_shorter_stop_brings_the_end_forward(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def busy(stream: Any, peer: Peer) -> None:
            await asyncio.sleep(100)

        server = await impl.aio.start_server(busy)
        async with impl.aio.open_framed(*server.address):
            await until(lambda: server.stats().active == 1)
            long = asyncio.create_task(server.stop(drain=None))
            await asyncio.sleep(0.05)
            assert not long.done()
            assert (await server.stop()) == (await long)

    run(main())


def test_the_end_of_the_program_is_the_end_of_the_server(impl: ModuleType, run: Run) -> None:
    async def main() -> Any:
        server = await impl.aio.start_server(upper)
        async with impl.aio.open_framed(*server.address) as stream:
            await stream.send(b"x")
            assert await stream.recv() == b"X"
        return server

    server = run(main())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address)


def test_a_server_dropped_while_running_warns_and_stops(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        server = await impl.aio.start_server(upper)
        address = server.address
        with pytest.warns(ResourceWarning, match="FramedServer listening .* was dropped while running"):
            del server
            gc.collect()
        async with asyncio.timeout(20):
            while await impl.aio.check_host(*address):
                await asyncio.sleep(0.01)

    run(main())


def test_a_stream_dropped_while_open_warns_and_closes(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server:
            stream = await impl.aio.open_framed(*server.address)
            await until(lambda: server.stats().active == 1)
            with pytest.warns(ResourceWarning, match="FramedStream .* was dropped while open"):
                del stream
                gc.collect()
            await until(lambda: server.stats().active == 0)

    run(main())


def test_a_forked_child_is_refused_and_holds_no_port(impl: ModuleType) -> None:
    async def main() -> None:
        server = await impl.aio.start_server(upper)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking with threads, from Python 3.12 on
            child = os.fork()
        if child == 0:
            try:
                _ = server.address
            except RuntimeError as error:
                signal.pause() if "forked child" in str(error) else os._exit(1)
            os._exit(1)
        try:
            address = server.address
            await server.stop()
            with pytest.raises(ConnectionRefusedError):
                await impl.aio.open_framed(*address)
        finally:
            os.kill(child, signal.SIGKILL)
            assert os.waitpid(child, 0)[1] == signal.SIGKILL

    asyncio.run(main())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_forever_drains_at_the_first_signal_and_stops_at_the_second(
    impl: ModuleType, loop: str, number: signal.Signals
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    code = f"""
import asyncio, signal
from {loop} import run
from oxisock import {impl.impl} as impl
async def handler(stream, peer):
    async for message in stream:
        pass
    await asyncio.sleep(100)
async def main():
    server = await impl.aio.start_server(handler)
    async with impl.aio.open_framed(*server.address):
        while not server.stats().active:
            await asyncio.sleep(0.01)
        before = signal.getsignal({int(number)})
        serving = asyncio.create_task(server.serve_forever(drain=50))
        while signal.getsignal({int(number)}) is before:
            await asyncio.sleep(0)
        print("serving", flush=True)
        while "listening" in repr(server):
            await asyncio.sleep(0.001)
        print("draining", flush=True)
        print((await serving)[:3])
        assert signal.getsignal({int(number)}) is before
run(main())
"""
    with subprocess.Popen([sys.executable, "-X", "dev", "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for expected in ("serving\n", "draining\n"):
            assert process.stdout.readline() == expected
            process.send_signal(number)
        assert process.stdout.read() == "(0, 1, 0)\n"
        assert process.wait(30) == 0


def test_cancelling_serve_forever_stops(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        server = impl.aio.start_server(upper)
        serving = asyncio.create_task(server.serve_forever())
        async with asyncio.timeout(20):
            while "listening" not in repr(server):
                await asyncio.sleep(0.001)
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert "stopped" in repr(server)

    run(main())


def test_a_given_socket_is_taken_over(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        async with impl.aio.start_server(upper, sock=sock) as server:
            assert server.address == sock.getsockname()
            assert await impl.aio.tcp_request(*server.address, b"x") == b"X\n"
        assert sock.fileno() == -1

    run(main())


def test_ipv6_and_the_warning_off_loopback(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        try:
            server = await impl.aio.start_server(upper, host="::1")
        except OSError:
            pytest.skip("no IPv6 here")
        async with server:
            assert await impl.aio.tcp_request(*server.address, b"x") == b"X\n"
        assert not caplog.records
        with caplog.at_level(logging.WARNING):
            async with impl.aio.start_server(upper, host="0.0.0.0") as server:
                assert f"0.0.0.0 port {server.address.port}, which other machines may reach" in caplog.text

    run(main())


# --- cancelling ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["connect", "recv", "send", "server", "request"])
def test_cancelling_gives_back_every_descriptor(impl: ModuleType, run: Run, what: str) -> None:
    async def main() -> None:
        async def silent(stream: Any, peer: Peer) -> None:
            await asyncio.sleep(100)

        async def connect() -> None:
            # Documentation addresses are routed nowhere, or refused at once: then it is tried again.
            while True:
                try:
                    await impl.aio.open_framed("192.0.2.1", 9, impl.Lines(), timeout=None)
                except OSError:
                    await asyncio.sleep(0.01)

        async def recv() -> None:
            async with impl.aio.open_framed(*server.address) as stream:
                await stream.recv()

        async def send() -> None:
            async with impl.aio.open_framed(*server.address) as stream:
                while True:
                    await stream.send(b"x" * 1_000_000)

        async def serve() -> None:
            async with impl.aio.start_server(silent), impl.EchoServer():
                await asyncio.sleep(100)

        async def request() -> None:
            await impl.aio.tcp_request(*server.address, b"x", timeout=None)

        works = {"connect": connect, "recv": recv, "send": send, "server": serve, "request": request}
        async with impl.aio.start_server(silent) as server:
            for number in range(2):
                before = descriptors()
                active = server.stats().active
                task = asyncio.create_task(works[what]())
                await asyncio.sleep(0.2)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                if number:  # the first time a loop may open what it keeps
                    # What is left are the server's own ends. (uvloop closes its descriptors in its next turn.)
                    await until(lambda: len(descriptors() - before) <= server.stats().active - active)  # noqa: B023

    run(main())


# --- the blocking servers ------------------------------------------------------------------------------------------


def test_every_server_under_async_with(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with (
            impl.EchoServer() as echo,
            impl.MessageServer(lambda message, peer: message.upper()) as messages,
            impl.ThreadedServer(lambda conn, peer: conn.sendall(conn.recv(10))) as threads,
            impl.UdpEchoServer() as udp,
            impl.UdpServer(lambda datagram: datagram.data * 2) as twice,
        ):
            assert await impl.aio.tcp_request(*echo.address, b"a") == b"a"
            assert await impl.aio.tcp_request(*messages.address, b"a") == b"A\n"
            assert await impl.aio.tcp_request(*threads.address, b"a") == b"a"
            assert await impl.aio.udp_request(*udp.address, b"a") == b"a"
            assert await impl.aio.udp_request(*twice.address, b"a") == b"aa"
            servers = (echo, messages, threads, udp, twice)
        assert all("stopped" in repr(server) for server in servers)
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(OSError, match="cannot listen"):
                async with impl.EchoServer(port=taken.getsockname()[1]):
                    pass

    run(main())
