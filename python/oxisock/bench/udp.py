"""The UDP benchmark: servers that answer "ACK: " and the datagram, under a native load that checks every answer."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from . import Contender, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST = "127.0.0.1"
PREFIX = b"ACK: "
SIZE = 64
PATIENCE = 1.0  # seconds of silence after which datagrams count as lost
WINDOWS = ((1, 20_000), (32, 200_000), (256, 200_000))

_LOOP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sock.bind(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
while True:
    data, peer = sock.recvfrom(65535)
    sock.sendto(b"ACK: " + data, peer)
"""
_ASYNCIO = """
import asyncio, socket{imports}

class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def datagram_received(self, data, peer):
        self.transport.sendto(b"ACK: " + data, peer)

async def main():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    print(transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.Event().wait()

{run}
"""
_SERVER = """
import oxisock.{engine} as oxisock
server = oxisock.{make}.start()
print(server.address.port, flush=True)
server.serve_forever()
"""
_ECHO = 'UdpEchoServer(prefix=b"ACK: ")'
_HANDLER = 'UdpServer(lambda datagram: b"ACK: " + datagram.data)'
_BATCH = 'UdpServer(lambda datagrams: [b"ACK: " + one.data for one in datagrams], batch=True)'

_NOTES = (
    f"{SIZE} bytes each; every answer is checked. CPU is the server's alone: server and load are processes of their",
    "own, on a core each where there are two and the system lets us choose.",
)


def scenarios() -> list[Scenario]:
    """Give one scenario for each window, the number of datagrams under way at a time."""
    return [
        Scenario(
            name=f"udp, window {window}",
            amount=amount,
            unit="datagrams",
            contenders=lambda window=window, amount=amount: _contenders(window, amount),  # type: ignore[misc]
            ratios=[
                ("recvfrom and sendto", "native echo"),
                ("recvfrom and sendto", "native handler"),
                ("recvfrom and sendto", "native handler, batches"),
                ("uvloop", "native handler"),
                ("asyncio", "native handler"),
                ("pure handler", "native handler"),
            ],
            notes=_NOTES,
        )
        for window, amount in WINDOWS
    ]


@contextmanager
def _contenders(window: int, amount: int) -> Iterator[list[Contender]]:
    """Start a server for each contender; they idle while it is not their turn."""
    from importlib.util import find_spec

    codes = {
        "native echo": _SERVER.format(engine="native", make=_ECHO),
        "native handler": _SERVER.format(engine="native", make=_HANDLER),
        "native handler, batches": _SERVER.format(engine="native", make=_BATCH),
        "pure echo": _SERVER.format(engine="pure", make=_ECHO),
        "pure handler": _SERVER.format(engine="pure", make=_HANDLER),
        "recvfrom and sendto": _LOOP,
        "asyncio": _ASYNCIO.format(imports="", run="asyncio.run(main())"),
    }
    if find_spec("uvloop"):
        codes["uvloop"] = _ASYNCIO.format(imports=", uvloop", run="uvloop.run(main())")
    with ExitStack() as stack:
        cores = _cores()
        stack.callback(_pin, _allowed())
        ways = []
        _pin(cores[0])  # what is started now stays there, with all its threads
        for name, code in codes.items():
            process, port = stack.enter_context(_server(code))
            ways.append(Contender(name, _load(port, window, amount), _checker(amount), cpu=_clock_of(process.pid)))
        _pin(cores[1])
        yield ways


@contextmanager
def _server(code: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server that says its port; it is killed in the end, having nothing left to say."""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def _load(port: int, window: int, amount: int) -> Callable[[], tuple[int, int, int, float]]:
    from .. import _native

    return lambda: _native.udp_load((HOST, port), amount, window, SIZE, PATIENCE, PREFIX)


def _checker(amount: int) -> Callable[[tuple[int, int, int, float]], str | None]:
    def check(result: tuple[int, int, int, float]) -> str | None:
        sent, answered, wrong, _ = result
        if (sent, answered, wrong) == (amount, amount, 0):
            return None
        return f"{answered:,} of {amount:,} datagrams answered, {wrong} of them wrongly"

    return check


def _clock_of(pid: int) -> Callable[[], float] | None:
    """Give what reads the CPU seconds of a process, to the nanosecond; None where the system does not tell."""
    tasks = Path(f"/proc/{pid}/task")
    if not tasks.exists():
        return None

    def clock() -> float:
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9

    return clock


def _allowed() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


def _cores() -> tuple[set[int], set[int]]:
    """Give the cores of the servers and of the load: different ones where there are two."""
    cores = sorted(_allowed())
    return (set(cores[:1]), set(cores[1:2])) if len(cores) > 1 else (set(cores), set(cores))


def _pin(cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(0, cores)
