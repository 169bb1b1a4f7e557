"""The stage of the server benchmarks: each server in a process and on a core of its own, asked by the native load."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from . import Contender

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PRELUDE = """
import os, sys
if sys.argv[1] != "any":
    os.sched_setaffinity(0, {int(sys.argv[1])})
def tell(port):
    print(port, flush=True)
def wait():
    sys.stdin.read()
"""


class Asking(NamedTuple):
    """What the load asks: over how many connections, how many in flight on each, what, and how often in all."""

    connections: int
    depth: int
    request: bytes
    reply: bytes
    messages: int

    def ask(self, name: str, address: str) -> int:
        """Ask the server called ``name`` and give the number of right answers; ValueError for a wrong one."""
        from .. import _native

        return _native.load_tcp(address, *self)[0]


class Asks(Protocol):
    """A load, and how many right answers there are to be."""

    @property
    def messages(self) -> int: ...
    def ask(self, name: str, address: str) -> int: ...


@contextlib.contextmanager
def contenders(servers: Mapping[str, str], asking: Asks) -> Iterator[list[Contender]]:
    """Start every server, given as the Python code that runs it and calls ``tell(port)``, and give the contenders.

    The CPU time of a contender is its server's alone. On a machine with several cores servers run on the first and the
    load on the second, so that neither takes the other's time.
    """
    with contextlib.ExitStack() as stack:
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        place = "any"
        if len(cores) > 1:
            place = str(cores[0])
            os.sched_setaffinity(0, {cores[1]})
            stack.callback(os.sched_setaffinity, 0, set(cores))
        yield [_contender(name, stack.enter_context(_server(code, place)), asking) for name, code in servers.items()]


@contextlib.contextmanager
def _server(code: str, place: str) -> Iterator[tuple[int, int]]:
    """Run a server until the block ends; give its process and its port."""
    command = [sys.executable, "-c", _PRELUDE + code, place]
    # What an event loop says when its clients are gone is of no interest.
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise OSError(f"a server for comparison did not start: {code}")
            yield process.pid, int(line)
        finally:
            process.kill()


def _contender(name: str, server: tuple[int, int], asking: Asks) -> Contender:
    pid, port = server

    def run() -> int:
        try:
            return asking.ask(name, f"127.0.0.1:{port}")
        except (OSError, ValueError) as error:
            failure.append(str(error))
            return 0

    def check(answered: int) -> str | None:
        if failure:
            return failure.pop()
        return None if answered >= asking.messages else f"{answered} answers to {asking.messages} messages"

    failure: list[str] = []
    return Contender(name, run, check, None, lambda: cpu_seconds(pid))


def cpu_seconds(pid: int) -> float:
    """Give the CPU seconds that all threads of a process have had so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that ended just now
            total += int(task.read_text().split()[0])
    return total / 1e9


def has_uvloop() -> bool:
    """Say whether uvloop is installed, as one more server to compare with."""
    from importlib.util import find_spec

    return find_spec("uvloop") is not None
