"""The examples, run as a reader would run them."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from types import ModuleType

import pytest

from support.addresses import HOST
from support.chatting import Guest
from support.commands import environment, listening, refusing
from support.pages import EXAMPLES
from support.processes import ended, process

pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the source tree")


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


@pytest.mark.parametrize(
    "name", ["chat.py", "check_host.py", "framed_client.py", "port_scanner.py", "tcp_echo_client.py", "udp_client.py"]
)
def test_without_arguments_a_program_says_what_it_takes(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, env=environment()
    )
    assert done.returncode == 1
    assert re.fullmatch(rf"usage: {name} [A-Z. \[\]]+\n", done.stderr)


def test_port_scanner(impl: ModuleType) -> None:
    with listening(2) as ports:
        done = run(impl, "port_scanner.py", "127.0.0.1", f"{ports[0]},{ports[1]}")
    assert (done.returncode, done.stderr) == (0, "")
    *lines, summary = done.stdout.splitlines()
    assert sorted(int(line.split()[0].split(":")[1]) for line in lines) == ports
    assert summary.startswith("2 open in ")


@pytest.mark.parametrize("name", ["tcp_echo_server.py", "tcp_threaded_server.py"])
def test_the_echo_examples(impl: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable, value in environment(OXISOCK_IMPL=impl.impl).items():
        monkeypatch.setenv(variable, value)
    with process(sys.executable, str(EXAMPLES / name)) as (server, address):
        done = run(impl, "tcp_echo_client.py", *address, "hello there")
        assert (done.returncode, done.stdout, done.stderr) == (0, "hello there\n", "")
        with socket.create_connection(address, timeout=20) as sock:
            server.send_signal(signal.SIGINT)
            assert sock.recv(1) == b""
        code, out, err = ended(server)
        assert (code, err) == (0, "")
        assert "11 bytes" in out
    done = run(impl, "tcp_echo_client.py", *address, "x")
    assert (done.returncode, done.stderr) == (1, f"{address[0]}:{address[1]}: Connection refused\n")


def test_timeouts(impl: ModuleType) -> None:
    done = run(impl, "timeouts.py")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("the silent one was closed after ")
    assert lines[1].startswith("the trickling one was closed after ")
    assert lines[2:] == ["the one that does not read was reset", "3 timeouts"]


def test_framed_client(impl: ModuleType) -> None:
    with impl.MessageServer(lambda message, peer: message.upper()) as server:
        done = run(impl, "framed_client.py", *server.address, "hello", "world")
    assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO\nWORLD\n", "")


def test_chat(impl: ModuleType) -> None:
    with impl.ChatServer(HOST) as server, Guest(server, nick="ann") as ann:
        command = [sys.executable, EXAMPLES / "chat.py", *map(str, server.address)]
        with subprocess.Popen(command, env=environment(OXISOCK_IMPL=impl.impl)) as bot:
            try:
                ann.until("[adder] Hello, I add: try 2 + 3")
                ann.say("2 + 3")
                ann.until("[adder] ann: 5")
                server.stop()
                assert bot.wait(30) == 0
            finally:
                bot.kill()
    done = run(impl, "chat.py")
    assert (done.returncode, done.stderr) == (1, "usage: chat.py HOST PORT\n")
