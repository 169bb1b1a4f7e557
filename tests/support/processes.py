"""Programs in processes of their own, for the tests: servers that say where they listen, code that runs to its end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.waiting import wait_until

OXISOCK = [sys.executable, "-m", "oxisock"]


@contextlib.contextmanager
def process(*command: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run a server until the block ends; give it and where it listens."""
    # Its standard error goes where nobody has to read it for the server to go on.
    with subprocess.Popen([*command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("Listening on "), server.stderr and server.stderr.read()
            host, _, port = line.removeprefix("Listening on ").strip().rpartition(":")
            yield server, (host, int(port))
        finally:
            if server.poll() is None:
                server.kill()


def script(impl: ModuleType, body: str, prelude: str = "") -> list[str]:
    code = f"""
import sys, threading, time
{prelude}
from oxisock import {impl.impl} as impl
def listening(server):
    print("Listening on %s:%d" % server.address, flush=True)
{body}
"""
    return [sys.executable, "-W", "error", "-X", "faulthandler", "-c", code]


def ended(server: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = server.communicate(timeout=30)
    return server.returncode, out, err


def serve(impl: ModuleType, *arguments: str) -> list[str]:
    return [*OXISOCK, "serve", *arguments, "--impl", impl.impl]


def python(code: str, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run some Python to its end, in which a warning is an error."""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", code, *words]
    return subprocess.run(command, **{"capture_output": True, "text": True, "timeout": 100, **more})


def heeds_signals(pid: int) -> bool:
    """Say whether a process has come so far that it catches SIGTERM."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        pytest.skip("the system does not tell which signals a process catches")
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def ended_well(child: int) -> bool:
    """Wait until a child has ended, and say whether as it should; one that does not end is killed."""
    ends: list[int] = []

    def has_ended() -> bool:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            ends.append(status)
        return bool(ends)

    if not wait_until(has_ended):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return ends == [0]


def stop(pid: int) -> None:
    """Stop a child, and wait until all of its threads have stopped: until then it may still answer."""
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
