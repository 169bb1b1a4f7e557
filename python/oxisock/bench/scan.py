"""The scan benchmark: every TCP port of this machine, ten of them open, asked in every way that we know."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Contender, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

HOST = "127.0.0.1"
LAST = 65535
LISTENERS = 10
TUTORIAL_THREADS = 200
_SELF_CONNECTS = 12  # Linux makes one a scan on average, so that more than 12 are as good as impossible

_NOTES = (
    "Every answer is checked: the ten listeners must be found, and nothing that nobody listened on before or after.",
    "The raw loop and the tutorial take a self-connect (a probe that met its own source port) for an open port. About",
    "one is to be expected in each run, and it is theirs to get wrong: 12 are let pass for them, none for a scanner.",
)


def scenarios() -> list[Scenario]:
    """Give the one scenario of this group."""
    tutorial, nmap = f"tutorial, {TUTORIAL_THREADS} threads", "nmap -sT -T4"
    return [
        Scenario(
            name="scan",
            amount=LAST,
            unit="ports",
            contenders=_contenders,
            ratios=[
                ("native, 2 threads", "raw loop, 2 threads"),
                ("native, 1 thread", "raw loop, 1 thread"),
                ("pure", "native, 2 threads"),
                (nmap, "native, 2 threads"),
                (tutorial, "native, 2 threads"),
                (tutorial, "pure"),
            ],
            notes=_NOTES,
        )
    ]


@contextmanager
def _contenders() -> Iterator[list[Contender]]:
    """Open the listeners, and give every way of finding them."""
    import oxisock.native
    import oxisock.pure

    with ExitStack() as stack:
        stage = _Stage({stack.enter_context(_listener()) for _ in range(LISTENERS)})

        def contender(name: str, run: Callable[[], Any], self_connects: int = 0) -> Contender:
            return Contender(name, run, lambda answer: stage.check(answer, self_connects), stage.look)

        ways = [
            contender("native, 1 thread", lambda: _scan(oxisock.native, 1)),
            contender("raw loop, 1 thread", lambda: _raw_loop(1), _SELF_CONNECTS),
            contender("native, 2 threads", lambda: _scan(oxisock.native, 2)),
            contender("raw loop, 2 threads", lambda: _raw_loop(2), _SELF_CONNECTS),
            contender("pure", lambda: _scan(oxisock.pure, 1)),
            contender(f"tutorial, {TUTORIAL_THREADS} threads", _tutorial, _SELF_CONNECTS),
        ]
        if shutil.which("nmap"):
            ways.append(contender("nmap -sT -T4", _nmap))
        yield ways


@contextmanager
def _listener() -> Iterator[int]:
    """Hold a port open; every run connects to it once more, and nobody accepts."""
    with socket.create_server((HOST, 0), backlog=1024) as server:
        yield server.getsockname()[1]


class _Stage:
    """What is known to be open, and what may be: other programs of this machine listen as they please."""

    def __init__(self, ours: set[int]) -> None:
        self.ours = ours
        self.before: set[int] = set()

    def look(self) -> None:
        """Remember who listens before a run."""
        self.before = listening()

    def check(self, answer: Collection[int] | int, self_connects: int) -> str | None:
        """Compare an answer, open ports or how many there are, with the truth."""
        may = self.ours | self.before | listening()
        if isinstance(answer, int):
            if len(self.ours) <= answer <= len(may) + self_connects:
                return None
            return f"{answer} open ports, where there are {len(self.ours)} to {len(may)}"
        if missed := self.ours - set(answer):
            return f"missed {sorted(missed)}"
        false = set(answer) - may
        return f"open but not listening: {sorted(false)}" if len(false) > self_connects else None


def listening() -> set[int]:
    """Give the TCP ports that somebody on this machine listens on, as far as the system tells (Linux does)."""
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        ports |= {int(fields[1].rpartition(":")[2], 16) for line in lines if (fields := line.split())[3] == "0A"}
    return ports


def _scan(face: Any, threads: int) -> list[int]:
    return [result.port for result in face.scan(HOST, "1-65535", threads=threads).open]


def _raw_loop(threads: int) -> int:
    from .. import _native

    return _native.raw_connect_loop(HOST, 1, LAST, threads)


def _tutorial() -> list[int]:
    """Scan as tutorials do: a pool of threads, and one blocking connect for each port."""
    from concurrent.futures import ThreadPoolExecutor

    def is_open(port: int) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex((HOST, port)) == 0

    ports = range(1, LAST + 1)
    with ThreadPoolExecutor(TUTORIAL_THREADS) as pool:
        return [port for port, found in zip(ports, pool.map(is_open, ports), strict=True) if found]


def _nmap() -> list[int]:
    command = ["nmap", "-sT", "-T4", "-n", "-Pn", "-p-", "-oG", "-", HOST]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [int(port) for port in re.findall(r"\b(\d+)/open/tcp", output)]
