"""Measures the memory that an idle connection costs each kind of server, a thread included where there is one. Linux.

Each server runs in a process of its own. This process opens the connections, sends one line on each, waits until all
are counted, and reads the growth of the server's resident memory (VmRSS). The kernel's buffers are not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import oxisock.native
import oxisock.pure
from oxisock import aio

KINDS = {
    "echo, native": "oxisock.native.EchoServer",
    "echo, pure": "oxisock.pure.EchoServer",
    "messages, native": "oxisock.native.MessageServer",
    "messages, pure": "oxisock.pure.MessageServer",
    "asyncio, aio.start_server": "aio",
    "a thread each, ThreadedServer": "oxisock.native.ThreadedServer",
}


def serve(kind: str) -> None:
    """Run one server; print its port, and then the connections it has whenever a line comes in."""
    if kind == "aio":
        asyncio.run(_serve_coroutines())
        return
    _, engine, name = kind.split(".")
    face: Any = getattr(getattr(oxisock, engine), name)
    arguments = {"EchoServer": (), "MessageServer": (lambda message, peer: message,), "ThreadedServer": (_echo,)}
    with face(*arguments[name], idle_timeout=None, max_connections=100_000) as server:
        print(server.address.port, flush=True)
        for _ in sys.stdin:
            print(server.stats().active, flush=True)


def _echo(conn: oxisock.ThreadConnection, peer: object) -> None:
    while data := conn.recv(4096):
        conn.sendall(data)


async def _serve_coroutines() -> None:
    async def echo(stream: aio.FramedStream, peer: object) -> None:
        async for message in stream:
            await stream.send(message)

    async with aio.start_server(echo, idle_timeout=None, max_connections=100_000) as server:
        print(server.address.port, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(server.stats().active, flush=True)


def resident(pid: int) -> int:
    """Give the resident memory of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def measure(kind: str, count: int) -> float:
    """Give the bytes that one of ``count`` idle connections costs a server of this kind."""
    command = [sys.executable, __file__, "--serve", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with contextlib.ExitStack() as opened:
            _open(port, 10, opened)  # what the first ones make once for all
            before = resident(server.pid)
            _open(port, count, opened)
            while True:
                server.stdin.write("\n")
                server.stdin.flush()
                if int(server.stdout.readline()) == count + 10:
                    break
                time.sleep(0.05)
            after = resident(server.pid)
        server.stdin.close()
    return (after - before) / count


def _open(port: int, count: int, opened: contextlib.ExitStack) -> None:
    for _ in range(count):
        sock = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        sock.sendall(b"x\n")
        assert sock.recv(2) == b"x\n"


def main() -> None:
    """Measure all kinds and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, default=2000, metavar="N", help="idle connections (default: 2000)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.serve:
        serve(options.serve)
        return
    for name, kind in KINDS.items():
        print(f"{name:31} {measure(kind, options.connections) / 1024:6.1f} KiB a connection", flush=True)


if __name__ == "__main__":
    main()
