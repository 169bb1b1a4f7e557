"""TLS of servers with clients of others, and with crowds whose handshakes never end."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

from oxisock.sockets.closing import reset_on_close
from support.certificates import contexts
from support.served import Client, Served, served
from support.waiting import wait_until

trio = pytest.importorskip("trio")
CROWD = 1000
KINDS = ["coroutines over TLS", "messages over TLS", "threads over TLS"]


def echo(message: bytes, peer: Any) -> bytes:
    return message


async def answer(stream: Any, peer: Any) -> None:
    async for message in stream:
        await stream.send(message)


@contextlib.contextmanager
def secured(impl: ModuleType, kind: str, **options: Any) -> Iterator[Served]:
    """Run a server with TLS that gives lines back."""

    def talk(conn: Any, peer: Any) -> None:
        for line in conn.frames(impl.Lines()):
            conn.send_frame(line, impl.Lines())

    options = {"ssl": contexts().server, **options}
    if kind.startswith("coroutines"):
        server = impl.aio.start_server(answer, **options)
    elif kind.startswith("threads"):
        server = impl.ThreadedServer(talk, **options)
    else:
        server = impl.MessageServer(echo, **options)
    with served(server, kind) as running:
        yield running


def hello() -> bytes:
    """Give what a client says first."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        contexts().client.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_reset_within_a_handshake_is_one_that_failed(impl: ModuleType, kind: str) -> None:
    whole = hello()
    with secured(impl, kind) as running:
        for number, (words, answered) in enumerate([(b"", False), (whole[:99], False), (whole, True)], 1):
            with running.connect() as sock:
                sock.sendall(words)
                if answered:
                    assert sock.recv(1)
                reset_on_close(sock)
            assert wait_until(lambda number=number: running.stats().closed == number)  # type: ignore[misc]
            assert running.stats().handshake_errors == number
        with Client(running) as good:
            assert good.is_served()
            reset_on_close(good.sock)
        assert wait_until(lambda: running.stats().closed == 4)
        stats = running.stats()
        assert (stats.handshake_errors, stats.timeouts, stats.handler_errors, stats.messages) == (3, 0, 0, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stop_is_no_fault_of_a_handshake(impl: ModuleType, kind: str) -> None:
    with secured(impl, kind) as running, running.connect() as sock:
        sock.sendall(hello()[:99])
        assert wait_until(lambda: running.stats().active == 1)
        running.stop()
        stats = running.stats()
        assert (stats.closed, stats.handshake_errors, stats.timeouts) == (1, 0, 0)


@pytest.mark.parametrize("kind", ["messages over TLS", "coroutines over TLS"])
def test_a_crowd_whose_handshakes_never_end_holds_nobody_up(impl: ModuleType, kind: str) -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2 * CROWD + 500:
        pytest.skip("too few descriptors may be open")
    options: dict[str, Any] = {"ssl": contexts()[0], "handshake_timeout": None}
    start = impl.aio.start_server if kind.startswith("coroutines") else impl.MessageServer
    server = start(answer if kind.startswith("coroutines") else echo, **options)
    with served(server, kind) as running, ExitStack() as stack:
        with Client(running) as good:
            assert good.is_served()
            for number in range(CROWD):
                sock = stack.enter_context(running.connect())
                if number % 2:
                    sock.sendall(b"\x16\x03\x01\x02")
            assert wait_until(lambda: running.stats().active == CROWD + 1)
            assert good.is_served()
            with Client(running) as another:
                assert another.is_served()
        report = running.stop(drain=15.0)
        assert (report.aborted, report.stuck_handlers) == (0, 0)
        assert report.elapsed < 15.0
        assert running.stats().handshake_errors == 0


def test_clients_of_asyncio_and_trio(impl: ModuleType) -> None:
    ours, theirs = contexts()
    lines = [b"%d\n" % number * 1000 for number in range(100)]

    async def by_asyncio(address: tuple[str, int]) -> bytes:
        reader, writer = await asyncio.open_connection(*address, ssl=theirs, server_hostname="localhost")
        for line in lines:
            writer.write(line)
        found = await reader.readexactly(sum(map(len, lines)))
        writer.close()
        await writer.wait_closed()
        return found

    async def by_trio(address: tuple[str, int]) -> bytes:
        stream = trio.SSLStream(await trio.open_tcp_stream(*address), theirs, server_hostname="localhost")
        found = bytearray()

        async def hear() -> None:
            while len(found) < sum(map(len, lines)):
                found.extend(await stream.receive_some(1 << 16))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            for line in lines:
                await stream.send_all(line)
        await stream.aclose()
        return bytes(found)

    with impl.MessageServer(echo, ssl=ours) as server:
        assert asyncio.run(by_asyncio(server.address)) == b"".join(lines)
        assert trio.run(by_trio, server.address) == b"".join(lines)
        assert wait_until(lambda: server.stats().closed == 2)
        stats = server.stats()
        assert (stats.frame_errors, stats.handshake_errors, stats.handler_errors) == (0, 0, 0)


def test_the_versions_are_those_that_the_context_allows(impl: ModuleType) -> None:
    ours, theirs = contexts()
    before = theirs.minimum_version, theirs.maximum_version
    with impl.MessageServer(echo, ssl=ours) as server:
        try:
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                theirs.minimum_version, theirs.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, version
                raw = socket.create_connection(server.address, timeout=30)
                with theirs.wrap_socket(raw, server_hostname="localhost") as sock:
                    assert sock.version() == version.name.replace("v1_", "v1.")
        finally:
            theirs.minimum_version, theirs.maximum_version = before
