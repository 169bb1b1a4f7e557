"""TCP servers and clients that others wrote: netcats, redis-benchmark, dig, asyncio, uvloop, trio."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from support.dns import dns_answer
from support.talking import ask, connect
from support.tools import tool


@pytest.mark.parametrize(
    "command",
    [
        ["nc.openbsd", "-N", "HOST", "PORT"],
        ["ncat", "HOST", "PORT"],
        ["socat", "-t", "20", "-", "TCP:HOST:PORT"],
    ],
    ids=lambda command: command[0],
)
def test_lines_by_netcats(impl: ModuleType, command: list[str]) -> None:
    tool(command[0])
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        host, port = server.address
        words = [word.replace("HOST", host).replace("PORT", str(port)) for word in command]
        done = subprocess.run(words, input=b"one\ntwo\nthree", capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"ONE\nTWO\nTHREE\n")


def test_redis_benchmark_pings(impl: ModuleType) -> None:
    program = tool("redis-benchmark")

    def handler(message: bytes, peer: Any) -> bytes | None:
        # Inline commands, and RESP arrays whose last element is the command's only word.
        if message.upper() == b"PING":
            return b"+PONG"
        return b"*0" if message.upper() == b"CONFIG" else None

    with impl.MessageServer(handler, codec=impl.presets.redis_inline()) as server:
        host, port = server.address
        words = [program, "-h", host, "-p", str(port), "-t", "ping", "-n", "2000", "-c", "20", "-q"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert "requests per second" in done.stdout.replace("\r", "\n"), done.stderr
    assert server.stats().handler_errors == 0


def test_dig_over_tcp(impl: ModuleType) -> None:
    program = tool("dig")
    with impl.MessageServer(lambda query, peer: dns_answer(query), codec=impl.presets.dns_tcp()) as server:
        host, port = server.address
        words = [program, "+tcp", "+short", "+noedns", f"@{host}", "-p", str(port), "example.test"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.stdout == "192.0.2.7\n", done.stdout + done.stderr


@pytest.fixture(scope="module", autouse=True)
def _uvloop_opens_a_pipe_for_good() -> None:
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(asyncio.sleep(0))


async def converse() -> None:
    """Five hundred lines by asyncio streams, on whichever loop runs."""
    host, port = converse.address  # type: ignore[attr-defined]
    reader, writer = await asyncio.open_connection(host, port)
    for number in range(500):
        writer.write(b"line %d\n" % number)
        assert await reader.readline() == b"LINE %d\n" % number
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def on_asyncio() -> None:
    asyncio.run(converse())


def on_uvloop() -> None:
    pytest.importorskip("uvloop").run(converse())


def on_trio() -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        stream = await trio.open_tcp_stream(*converse.address)  # type: ignore[attr-defined]
        async with stream:
            await stream.send_all(b"one\ntwo\n")
            await stream.send_eof()
            assert b"".join([piece async for piece in stream]) == b"ONE\nTWO\n"

    trio.run(main)


@pytest.mark.parametrize("client", [on_asyncio, on_uvloop, on_trio])
def test_asynchronous_clients(impl: ModuleType, client: Callable[[], None]) -> None:
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        converse.address = server.address  # type: ignore[attr-defined]
        with connect(server) as sock:
            client()
            assert ask(sock, b"X\n") == b"X\n"
