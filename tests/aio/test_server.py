"""Servers on asyncio and uvloop: handlers that fail, and limits."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from support.coroutines import Run, until, upper
from support.processes import python

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
        assert f"the handler failed for 127.0.0.1:{port}" in caplog.text and "planned" in caplog.text

    run(main())


def test_what_is_no_coroutine_is_a_handler_error(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with impl.aio.start_server(lambda stream, peer: None) as server:
            assert await impl.aio.tcp_request(*server.address, b"") == b""
            assert server.stats().handler_errors == 1
        assert "a handler returns something to await, not NoneType" in caplog.text
        with pytest.raises(TypeError, match="^handler=.*: expected something to call$"):
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

        async with impl.aio.start_server(handler, idle_timeout=1.2) as server:
            async with impl.aio.open_framed(*server.address) as stream:
                began = asyncio.get_running_loop().time()
                for _ in range(4):  # bytes alone do not count
                    await stream.send(b"x")
                    assert await stream.recv() == b"X"
                    await asyncio.sleep(0.25)
                stream._write(bytes, b"no newline")
                with suppress(ConnectionResetError):
                    assert await stream.recv() is None
                assert asyncio.get_running_loop().time() - began >= 1.9
            await until(lambda: bool(caught))
            assert server.stats().timeouts == 1 and server.stats().handler_errors == 0
            assert str(caught[0]) == "no message came for 1.2 s"

    run(main())


def test_a_handler_at_work_is_not_idle(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async def slow(stream: Any, peer: Peer) -> None:
            async for message in stream:
                await asyncio.sleep(0.8)
                await stream.send(message)

        async with impl.aio.start_server(slow, idle_timeout=0.4) as server:
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
                assert stats.bytes_in > 0
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
    done = python(code)
    assert (done.stdout, done.stderr) == ("recovered\n", "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"port": 65536}, "port=65536: expected a port from 0 to 65535"),
        ({"max_connections": 0}, "max_connections"),
        ({"idle_timeout": -1}, "idle_timeout"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(impl: ModuleType, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        impl.aio.start_server(upper, **options)
    with pytest.raises(TypeError, match="unknown"):
        impl.aio.start_server(upper, unknown=1)
