"""The scan benchmark: all TCP ports of this machine, ten of them open, scanned by every contender."""

from __future__ import annotations

import random
import re
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..scanning.plan import cores
from . import Contender, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

HOST = "127.0.0.1"
LAST = 65535
LISTENERS = 10
TUTORIAL_THREADS = 200
_PART = 0.25  # of the ports, for those threads: they are slow
_SELF_CONNECTS = 12  # Linux makes one a scan on average, so that more than 12 are as good as impossible

_NOTES = (
    "Each contender must find ten listeners, and no port on which nobody listened before or after. If other programs "
    "open and close ports meanwhile, that looks like a wrong answer; `unshare --net` gives a network without them.",
    "Ceiling: a loop of `connect` in the native core, which only counts, with as many threads as native. 200 threads: "
    "a thread pool with a blocking `connect` for each port, as in tutorials, for a quarter of the ports. nmap: "
    "`nmap -sT -T4 -n -Pn`.",
    "The ceiling and the 200 threads count a self-connect (a probe that met its own source port) as an open port. "
    f"About one is expected in each scan. So {_SELF_CONNECTS} are allowed for them, and none for a scanner.",
)


def scenarios() -> list[Scenario]:
    """Return the one scenario of this group."""
    return [Scenario("scan", "scan", LAST, "ports", _contenders, quick=8192, cost=7.0, notes=_NOTES)]


@contextmanager
def _contenders(amount: int) -> Iterator[list[Contender]]:
    """Open the listeners among the last so many ports, and return every way of finding them."""
    import oxisock.native
    import oxisock.pure

    first, threads = LAST + 1 - amount, cores()
    with ExitStack() as stack:
        # Those who scan a part only find all listeners, too.
        within = LAST + 1 - int(amount * _PART)
        listeners = [stack.enter_context(_listener(within)) for _ in range(LISTENERS)]
        stage = _Stage({listener.getsockname()[1] for listener in listeners}, first)

        def contender(name: str, run: Callable[[], Any], self_connects: int = 0, part: float = 1.0) -> Contender:
            return Contender(name, run, lambda answer: stage.check(answer, self_connects), stage.look, part=part)

        ways = [
            contender("pure", lambda: _scan(oxisock.pure, first, 1)),
            contender("native", lambda: _scan(oxisock.native, first, threads)),
            contender("ceiling", lambda: _raw_loop(first, threads), _SELF_CONNECTS),
        ]
        if threads > 1:
            ways += [
                contender("native 1 thread", lambda: _scan(oxisock.native, first, 1)),
                contender("ceiling 1 thread", lambda: _raw_loop(first, 1), _SELF_CONNECTS),
            ]
        if shutil.which("nmap"):
            ways.append(contender("nmap", lambda: _nmap(first)))
        ways.append(contender(f"{TUTORIAL_THREADS} threads", lambda: _tutorial(within), _SELF_CONNECTS, _PART))
        yield ways


def _listener(first: int) -> socket.socket:
    """Hold a port from ``first`` on open; every run connects to it once more, and nobody accepts."""
    for _ in range(1000):
        with suppress(OSError):  # somebody has that port
            return socket.create_server((HOST, random.randrange(max(first, 1024), LAST + 1)), backlog=1024)
    raise OSError(f"no port from {first:,} to {LAST:,} could be had")


class _Stage:
    """What is known to be open, and what may be: other programs of this machine listen as they please."""

    def __init__(self, ours: set[int], first: int = 1) -> None:
        self.ours = ours
        self.first = first
        self.before: set[int] = set()

    def look(self) -> None:
        """Remember who listens before a run."""
        self.before = self._now()

    def check(self, answer: Collection[int] | int, self_connects: int) -> str | None:
        """Compare an answer, open ports or how many there are, with the truth."""
        may = self.ours | self.before | self._now()
        if isinstance(answer, int):
            if len(self.ours) <= answer <= len(may) + self_connects:
                return None
            return f"{answer} open ports, where there are {len(self.ours)} to {len(may)}"
        if missed := self.ours - set(answer):
            return f"missed {sorted(missed)}"
        false = set(answer) - may
        return f"open, though nobody listened before or after: {sorted(false)}" if len(false) > self_connects else None

    def _now(self) -> set[int]:
        return {port for port in listening() if port >= self.first}


def listening() -> set[int]:
    """Return the TCP ports that somebody on this machine listens on, as far as the system tells (Linux does)."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(fields[1].rpartition(":")[2], 16) for line in lines if (fields := line.split())[3] == "0A"}
    return ports


def _scan(face: Any, first: int, threads: int) -> list[int]:
    return [result.port for result in face.scan(HOST, f"{first}-{LAST}", threads=threads).open]


def _raw_loop(first: int, threads: int) -> int:
    from .. import _native

    return _native.raw_connect_loop(HOST, first, LAST, threads)


def _tutorial(first: int) -> list[int]:
    """Scan as tutorials do: a pool of threads, and one blocking connect for each port."""
    from concurrent.futures import ThreadPoolExecutor

    def is_open(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, port)) == 0

    ports = range(first, LAST + 1)
    with ThreadPoolExecutor(TUTORIAL_THREADS) as pool:
        return [port for port, found in zip(ports, pool.map(is_open, ports), strict=True) if found]


def _nmap(first: int) -> list[int]:
    command = ["nmap", "-sT", "-T4", "-n", "-Pn", "-p", f"{first}-{LAST}", "-oG", "-", HOST]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(port) for port in re.findall(r"\b(\d+)/open/tcp", output)]
