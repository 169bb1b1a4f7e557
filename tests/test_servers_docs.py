"""The page on servers and the example programs are run as a reader would run them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

import oxisock
from commands import environment
from test_servers_process import ended, process

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")


def test_every_step_of_the_page(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "servers.md").read_text()
    for name in ("EchoServer", "MessageServer", "ThreadedServer", "tcp_request", "connect", "Lines"):
        monkeypatch.setattr(oxisock, name, getattr(impl, name))
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 7
    for block in blocks:
        exec(compile(textwrap.dedent(block), "docs/servers.md", "exec"), {})


@pytest.fixture
def engine(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment(OXISOCK_IMPL=impl.impl).items():
        monkeypatch.setenv(name, value)
    return str(impl.impl)


def example(name: str, *words: object) -> list[str]:
    return [sys.executable, str(ROOT / "examples" / name), *map(str, words)]


@pytest.mark.parametrize("name", ["tcp_echo_server.py", "tcp_threaded_server.py"])
def test_the_echo_examples(engine: str, name: str) -> None:
    with process(*example(name)) as (server, address):
        done = subprocess.run(
            example("tcp_echo_client.py", *address, "hello there"), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")
        with socket.create_connection(address, timeout=20) as sock:
            server.send_signal(signal.SIGINT)
            assert sock.recv(1) == b""
        code, out, err = ended(server)
        assert (code, err) == (0, "")
        assert "11 bytes" in out
    done = subprocess.run(example("tcp_echo_client.py", *address, "x"), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"{address[0]}:{address[1]}: Connection refused\n")


def test_the_timeouts_example(engine: str) -> None:
    done = subprocess.run(example("timeouts.py"), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("the silent one was closed after ")
    assert lines[1].startswith("the trickling one was closed after ")
    assert lines[2:] == ["the one that does not read was reset", "3 timeouts"]
