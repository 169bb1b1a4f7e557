"""The examples, run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

from commands import environment, listening, refusing

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(impl: ModuleType, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(OXISOCK_IMPL=impl.impl),
    )


def test_check_host(impl: ModuleType) -> None:
    with refusing() as port:
        assert run(impl, "check_host.py", "127.0.0.1", port).stdout == f"127.0.0.1:{port} is down\n"
    with listening() as (port,):
        done = run(impl, "check_host.py", "127.0.0.1", port)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"127.0.0.1:{port} is up\n", "")
    assert run(impl, "check_host.py").stderr == "usage: check_host.py HOST PORT\n"


def test_port_scanner(impl: ModuleType) -> None:
    with listening(2) as ports:
        done = run(impl, "port_scanner.py", "127.0.0.1", f"{ports[0]},{ports[1]}")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, summary = done.stdout.splitlines()
    assert sorted(int(line.split()[0].split(":")[1]) for line in lines) == ports
    assert summary.startswith("2 open in ")
