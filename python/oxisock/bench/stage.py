"""The stage of the server benchmarks: each server in its own process and on its own core, with the native load."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from . import Clocked, Contender

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST = "127.0.0.1"
NOTE = (
    "Server and load run in two processes, on two cores if the system allows it. "
    "The CPU time is that of the server only."
)

# A server ends with the benchmark, however that ends: then there is nothing more to read.
_PRELUDE = """
import os, sys, threading
context = None  # of TLS, for who speaks it
if sys.argv[1] != "any":
    os.sched_setaffinity(0, {int(sys.argv[1])})
def tell(port):
    print(port, flush=True)
def wait():
    threading.Event().wait()
def end():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=end, daemon=True).start()
"""

_PROTOCOL = """
import asyncio, LOOP
connected = set()
class Server(asyncio.Protocol):
    rest = b""
    def connection_made(self, transport):
        self.transport = transport
        connected.add(transport)
    def connection_lost(self, error):
        connected.discard(self.transport)
    def data_received(self, data):
BODY
async def main():
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096, ssl=context)
    tell(server.sockets[0].getsockname()[1])
    await server.serve_forever()
LOOP.run(main())
"""


def on_loops(code: str) -> dict[str, str]:
    """Return the servers on asyncio and, where it is installed, uvloop; LOOP stands for either in the code."""
    from importlib.util import find_spec

    loops = ["asyncio", "uvloop"] if find_spec("uvloop") else ["asyncio"]
    return {loop: code.replace("LOOP", loop) for loop in loops}


def protocols(body: str) -> dict[str, str]:
    """Return the servers that are an asyncio.Protocol, the fastest kind; ``body`` is what ``data_received`` does."""
    return on_loops(_PROTOCOL.replace("BODY", body.strip("\n")))


class Answers(NamedTuple):
    """How a load went: the number of right answers, and what the load measured."""

    right: int
    clocked: Clocked


class Load(Protocol):
    """A load that knows how many right answers there are to be; ``ask`` raises an exception for a wrong one."""

    @property
    def messages(self) -> int: ...
    def ask(self, port: int) -> Answers: ...


class Asking(NamedTuple):
    """Messages over TCP: over how many connections, how many in flight on each, what, and how often in all."""

    connections: int
    depth: int
    request: bytes
    reply: bytes
    messages: int

    def ask(self, port: int) -> Answers:
        """Ask the server and compare each answer."""
        from .. import _native

        right, seconds, _ = _native.load_tcp(f"{HOST}:{port}", *self)
        # Whole volleys are asked, which may be more: the time is given for what was to be asked.
        return Answers(right, Clocked(seconds * self.messages / right if right else seconds))


@contextlib.contextmanager
def contenders(servers: Mapping[str, str], load: Load) -> Iterator[list[Contender]]:
    """Start every server, given as the Python code that runs it and calls ``tell(port)``, and return the contenders.

    The CPU time of a contender is its server's alone. On a machine with several cores servers run on the first and the
    load on the second, so that neither takes the other's time.
    """
    with contextlib.ExitStack() as stack:
        place = "any"
        if sys.platform.startswith("linux") and len(cores := sorted(os.sched_getaffinity(0))) > 1:
            place = str(cores[0])
            os.sched_setaffinity(0, {cores[1]})
            stack.callback(os.sched_setaffinity, 0, set(cores))
        # All start at once, and are waited for afterwards.
        processes = {name: stack.enter_context(_server(code, place)) for name, code in servers.items()}
        yield [_contender(name, process, load) for name, process in processes.items()]


@contextlib.contextmanager
def _server(code: str, place: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server until the block ends."""
    command = [sys.executable, "-c", _PRELUDE + code, place]
    # What an event loop says when its clients are gone is of no interest.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _contender(name: str, process: subprocess.Popen[str], load: Load) -> Contender:
    assert process.stdout is not None
    told = process.stdout.readline()

    def run() -> Answers:
        if not told:
            raise OSError("the server did not start")
        return load.ask(int(told))

    def check(answers: Answers) -> str | None:
        return None if answers.right >= load.messages else f"{answers.right:,} right answers to {load.messages:,}"

    return Contender(name, run, check, cpu=partial(cpu_seconds, process.pid), clocked=lambda answers: answers.clocked)


def cpu_seconds(pid: int) -> float | None:
    """Return the CPU seconds that a process has had so far; None where the system does not tell.

    The clock of the process counts in nanoseconds and keeps what threads had that have ended; /proc has one or the
    other.
    """
    if sys.platform == "win32":
        return None
    import ctypes
    import time

    clock = ctypes.c_int()
    try:
        if ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
            return None
        return time.clock_gettime(clock.value)
    except (AttributeError, OSError):  # macOS has no such clock
        return None
