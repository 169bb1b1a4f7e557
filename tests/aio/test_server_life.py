"""The life of servers on asyncio and uvloop: start, drain, stop, signals, forks; blocking ones under ``async with``."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import warnings
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer, ServerStats, StopReport
from support.addresses import HOST
from support.coroutines import Run, until, upper
from support.ipv6 import needs_ipv6

# --- the life of a server ------------------------------------------------------------------------------------------


def test_errors_of_binding_come_from_the_start(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        with socket.create_server((HOST, 0)) as taken:
            port = taken.getsockname()[1]
            server = impl.aio.start_server(upper, port=port)
            for _ in range(2):
                with pytest.raises(OSError, match=f"cannot listen on {HOST}:{port}") as caught:
                    await server
                assert caught.value.errno == errno.EADDRINUSE
        await server
        assert server.address == (HOST, port)
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
            async for _ in stream:
                try:
                    await asyncio.sleep(100)
                finally:
                    ended.append(True)

        server = await impl.aio.start_server(busy)
        async with impl.aio.open_framed(*server.address) as one, impl.aio.open_framed(*server.address) as idle:
            await one.send(b"x")
            await until(lambda: server.stats().messages == 1 and server.stats().active == 2)
            report = await server.stop(drain=0.1)
            assert report[:3] == (1, 1, 0)
            assert ended == [True]
            with pytest.raises(ConnectionResetError):
                await anext(one)
            with pytest.raises(StopAsyncIteration):
                await anext(idle)

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
        with pytest.warns(ResourceWarning, match="FramedServer listening .* was dropped while running") as told:
            del server
            # The thread that made its listener may hold it for a moment.
            await until(lambda: gc.collect() >= 0 and bool(told))
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
        await until(lambda: "listening" in repr(server))
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
        sock = socket.create_server(("127.0.0.1", 0))
        server = await impl.aio.start_server(upper, sock=sock)
        before = signal.getsignal(signal.SIGTERM)
        serving = asyncio.create_task(server.serve_forever())
        await until(lambda: signal.getsignal(signal.SIGTERM) is not before)
        signal.raise_signal(signal.SIGTERM)
        await serving
        assert sock.fileno() == -1

    run(main())


@pytest.mark.parametrize("wanted", [True, False])
def test_small_answers_are_sent_at_once_unless_told_otherwise(impl: ModuleType, run: Run, wanted: bool) -> None:
    async def main() -> None:
        async def handler(stream: Any, peer: Any) -> None:
            async for _ in stream:
                with socket.socket(fileno=os.dup(stream._transport.get_extra_info("socket").fileno())) as twin:
                    await stream.send(b"%d" % twin.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        async with impl.aio.start_server(handler, nodelay=wanted) as server:
            assert await impl.aio.tcp_request(*server.address, b"x") == b"%d\n" % wanted

    run(main())


@needs_ipv6
def test_ipv6_and_the_warning_off_loopback(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, host="::1") as server:
            assert await impl.aio.tcp_request(*server.address, b"x") == b"X\n"
        assert not caplog.records
        with caplog.at_level(logging.WARNING):
            async with impl.aio.start_server(upper, host="0.0.0.0") as server:
                assert f"0.0.0.0:{server.address.port}, which other machines may reach" in caplog.text

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
        with socket.create_server((HOST, 0)) as taken:
            with pytest.raises(OSError, match="cannot listen"):
                async with impl.EchoServer(port=taken.getsockname()[1]):
                    pass

    run(main())
