"""One chat room on one, two and four nodes, against the same room without a backplane: how fast, and how late.

    python benches/nodes.py [--rounds N] [--markdown FILE]

It starts a redis-server and the nodes as processes of their own, and checks that all clients saw every line once and in
one order. python-socketio with its Redis manager is measured beside it where that and aiohttp are installed.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import page

from oxisock import native, pure
from oxisock.bench.report import environment
from support.chatting import HOST, Guest, hear
from support.processes import process, script
from support.redis_server import RedisServer

_LINES = 60_000
_PACED = 3_000  # lines a second for the delay: a tenth of what a room is to bear
_LISTENERS = 1000
_TICKS = os.sysconf("SC_CLK_TCK")

PAGE = """\
# One chat room on many nodes

<!-- Written by `benches/nodes.py --markdown`: do not change it by hand. -->

All nodes, Redis and the clients are on one machine. One client on each node sends its part of {lines:,} lines as fast
as it can, and all clients read all lines. "Lines a second" is the rate at which the room takes them in. "CPU" is the
processor time of all nodes for a line, without Redis. The delay is the time from sending on the first node until the
last node shows the line, at {paced:,} lines a second. Deliveries are lines shown to {listeners:,} clients of the first
node. Every transcript is checked: each line comes once, and all clients see one order. Each figure is the median of
{rounds} rounds.

{where}
{table}

All processes share two cores, so more nodes are not faster here. Use more nodes for more clients, and to survive the
loss of a node. Run it with `python benches/nodes.py`. Other figures: [benchmarks](benchmarks.md).
"""

PEER = """
import asyncio, sys
import socketio
from aiohttp import web
sio = socketio.AsyncServer(async_mode="aiohttp", client_manager=socketio.AsyncRedisManager(sys.argv[1]))
@sio.event
async def line(sid, text):
    await sio.emit("line", text)
async def main():
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("Listening on 127.0.0.1:%d" % site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""

PEER_CLIENTS = """
import asyncio, sys, time
import socketio
async def main():
    count, clients, seen, over = int(sys.argv[1]), [], [], asyncio.Event()
    for address in sys.argv[2:]:
        client, lines = socketio.AsyncClient(), []
        def heard(text, lines=lines):
            lines.append(text)
            if all(len(each) >= count for each in seen):
                over.set()
        seen.append(lines)
        client.on("line", heard)
        await client.connect(f"http://{address}", transports=["websocket"])
        clients.append(client)
    await asyncio.sleep(0.5)
    began = time.perf_counter()
    async def say(client, part):
        for number in range(count // len(clients)):
            await client.emit("line", f"{part} {number}")
    await asyncio.gather(*(say(client, part) for part, client in enumerate(clients)))
    await asyncio.wait_for(over.wait(), 120)
    took = time.perf_counter() - began
    assert all(len(set(lines)) == count for lines in seen)
    print(count / took, all(lines == seen[0] for lines in seen))
    for client in clients:
        await client.disconnect()
asyncio.run(main())
"""


class Row(NamedTuple):
    """What one room did: lines a second, seconds of processor for a line, delays in seconds, deliveries a second."""

    rate: float
    cpu: float
    median: float
    late: float
    deliveries: float


class Node(NamedTuple):
    """A server in a process of its own."""

    pid: int
    address: tuple[str, int]


@contextlib.contextmanager
def room(redis: RedisServer | None, engines: list[ModuleType], name: str) -> Iterator[list[Node]]:
    """Start a node of each engine, on one room; without a Redis there is one, which is all there is."""
    backplane = f"oxisock.RedisBackplane({redis.url!r}, room={name!r})" if redis else "None"
    body = f"""
import oxisock
with impl.ChatServer({HOST!r}, rate=None, queue_limit=256 << 20, max_clients=2000, backplane={backplane}) as server:
    listening(server)
    time.sleep(600)
"""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(*script(engine, body))) for engine in engines]
        yield [Node(server.pid, address) for server, address in started]


def spent(nodes: list[Node]) -> float:
    """Give the processor time of the nodes so far, in seconds."""
    total = 0
    for node in nodes:
        fields = Path(f"/proc/{node.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def of_many(nodes: list[Node]) -> tuple[float, float]:
    """Say many lines on all nodes at once; give the rate, and the processor time for a line."""
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest(node.address)) for node in nodes]
        for guest in guests[:-1]:
            guest.until(f"* {guests[-1].nick} joined")
        each = _LINES // len(guests)
        wires = ["".join(f"x {part} {number}\n" for number in range(each)).encode() for part in range(len(guests))]
        before, began = spent(nodes), time.perf_counter()
        for guest, wire in zip(guests, wires, strict=True):
            threading.Thread(target=guest.sock.sendall, args=[wire], daemon=True).start()
        hear(guests, each * len(guests), b"] x ")
        took, cpu = time.perf_counter() - began, spent(nodes) - before
        transcripts = [[line for line in guest.rest.split(b"\n") if b"] x " in line] for guest in guests]
        assert all(transcript == transcripts[0] for transcript in transcripts), "one order"
        assert len(set(transcripts[0])) == each * len(guests), "each line once"
    return _LINES / took, cpu / _LINES


def of_delay(nodes: list[Node], seconds: float = 2.0) -> tuple[float, float]:
    """Say lines at a steady rate on the first node; give the median and the 99th percentile of their delays."""
    with Guest(nodes[0].address) as talker, Guest(nodes[-1].address) as listener:
        talker.until(f"* {listener.nick} joined")
        count = int(_PACED * seconds)
        began = time.monotonic()

        def say() -> None:
            for number in range(count):
                time.sleep(max(0.0, began + number / _PACED - time.monotonic()))
                talker.say(f"x {time.monotonic_ns()}")

        speaking = threading.Thread(target=say)
        speaking.start()
        delays = []
        while len(delays) < count:
            line = listener.line()
            if "] x " in line:
                delays.append((time.monotonic_ns() - int(line.rpartition(" ")[2])) / 1e9)
        speaking.join()
        delays.sort()
        return delays[count // 2], delays[count * 99 // 100]


def of_deliveries(nodes: list[Node], lines: int = 2000) -> float:
    """Say lines to many listeners of the first node; give how many deliveries there are a second."""
    with contextlib.ExitStack() as stack:
        guests = [stack.enter_context(Guest(nodes[0].address)) for _ in range(_LISTENERS)]
        guests[0].until(f"* {guests[-1].nick} joined")
        talker = socket.create_connection(nodes[0].address)
        stack.callback(talker.close)
        began = time.perf_counter()
        talker.sendall(b"".join(b"x %d\n" % number for number in range(lines)))
        hear(guests, lines, b"] x ")
        return _LISTENERS * lines / (time.perf_counter() - began)


def of_room(redis: RedisServer | None, engines: list[ModuleType], name: str) -> Row:
    """Measure one room."""
    with room(redis, engines, name) as nodes:
        return Row(*of_many(nodes), *of_delay(nodes), of_deliveries(nodes))


def of_peer(redis: RedisServer, nodes: int, lines: int = 4000) -> tuple[float, bool]:
    """Give the lines a second of python-socketio, and whether all clients saw one order."""
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(process(sys.executable, "-c", PEER, redis.url)) for _ in range(nodes)]
        addresses = [f"{host}:{port}" for _, (host, port) in started]
        command = [sys.executable, "-c", PEER_CLIENTS, str(lines), *addresses]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
        rate, one_order = done.stdout.split()
        return float(rate), one_order == "True"


def measured(redis: RedisServer, rounds: int) -> list[str]:
    """Measure all rooms in turn, so many times; give the lines of a table."""
    rooms: list[tuple[str, RedisServer | None, list[ModuleType]]] = [
        ("native, no backplane", None, [native]),
        ("native, 1 node", redis, [native]),
        ("native, 2 nodes", redis, [native] * 2),
        ("native, 4 nodes", redis, [native] * 4),
        ("native and pure, 2 nodes", redis, [native, pure]),
        ("pure, no backplane", None, [pure]),
        ("pure, 1 node", redis, [pure]),
        ("pure, 2 nodes", redis, [pure] * 2),
    ]
    rows: dict[str, list[Row]] = {what: [] for what, _, _ in rooms}
    for number in range(rounds):
        for what, where, engines in rooms:
            rows[what].append(of_room(where, engines, f"{what} {number}"))
            print(f"{what}: {rows[what][-1]}", file=sys.stderr, flush=True)
    table = [
        "| room | lines a second | CPU for a line | delay, median | delay, p99 | deliveries a second |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for what, found in rows.items():
        row = Row(*map(statistics.median, zip(*found, strict=True)))
        table.append(
            f"| {what} | {row.rate:,.0f} | {row.cpu * 1e6:.1f} µs | {row.median * 1e3:.2f} ms | {row.late * 1e3:.2f} ms"
            f" | {row.deliveries:,.0f} |"
        )
    if importlib.util.find_spec("socketio") and importlib.util.find_spec("aiohttp"):
        for nodes in (1, 2):
            peers = [of_peer(redis, nodes) for _ in range(rounds)]
            order = "" if all(one_order for _, one_order in peers) else ", orders differ"
            rate = statistics.median(rate for rate, _ in peers)
            table.append(f"| python-socketio, {nodes} node{'s' * (nodes > 1)}{order} | {rate:,.0f} | | | | |")
    return table


def main() -> None:
    """Print a table, and write it as a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write a page")
    args = parser.parse_args()
    if not shutil.which("redis-server") or not Path("/proc/self/stat").exists():
        print("rooms on many nodes are skipped: they need redis-server, on Linux")
        return
    watch = environment.Watch()
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(RedisServer(Path(folder))) as redis:
        table = measured(redis, args.rounds)
    print(*table, sep="\n")
    if args.markdown:
        measures = {"lines": _LINES, "paced": _PACED, "listeners": _LISTENERS, "rounds": args.rounds}
        page.write(args.markdown, PAGE, watch, table="\n".join(table), **measures)


if __name__ == "__main__":
    main()
