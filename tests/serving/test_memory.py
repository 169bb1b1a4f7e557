"""Servers where memory runs out: it costs the connections that want it, and nobody else."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from support.processes import script
from support.talking import exactly

if sys.platform != "linux":
    pytest.skip("only Linux bounds a process by its address space", allow_module_level=True)

MIB = 1 << 20
HUGE = min(1 << 40, sys.maxsize)

SERVERS = {
    "a message without end": f"impl.MessageServer(lambda m, p: m, codec=impl.Lines(max_frame={HUGE}))",
    "a codec of the user's": f"impl.MessageServer(lambda m, p: m, codec=Own(impl.Lines(max_frame={HUGE})))",
    "an echo that nobody takes": "impl.EchoServer(max_buffered=(1 << 31) - 1)",
}
WANTS = {
    "a message without end": bytes(MIB),
    "a codec of the user's": bytes(MIB),
    "an echo that nobody takes": bytes(MIB),
}
PRELUDE = """
import json, logging, resource, socket
logging.basicConfig()
class Own:
    def __init__(self, codec): self.codec = codec
    def encode(self, payload): return self.codec.encode(payload)
    def decoder(self): return self.codec.decoder()
"""
BODY = """
server = {server}.start()
def ask(line):
    with socket.create_connection(server.address, 20) as sock:
        sock.sendall(line)
        return sock.makefile("rb").readline()
assert ask(b"hello\\n")
with open("/proc/self/statm") as memory:
    pages = int(memory.read().split()[0])
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {room}, hard))
listening(server)
sys.stdin.readline()
print(json.dumps(server.stats()._asdict()), flush=True)
report = server.stop()
"""


def send_until_it_ends(sock: socket.socket, piece: bytes, count: int = 400, end: bytes = b"") -> None:
    """Send so many pieces, and wait for the reset."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        for _ in range(count):
            sock.sendall(piece)
        sock.sendall(end)
        ends = select.poll()
        ends.register(sock, select.POLLHUP | select.POLLERR)
        assert ends.poll(20_000), "it goes on"


@contextlib.contextmanager
def short_of_memory(impl: ModuleType, server: str) -> Iterator[tuple[subprocess.Popen[str], tuple[str, int]]]:
    """Run a server in a process with 48 MiB left."""
    command = script(impl, BODY.format(server=server, room=48 * MIB), PRELUDE)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},
    ) as child:
        try:
            assert child.stdout is not None
            line = child.stdout.readline()
            assert line, child.communicate()[1]
            host, _, port = line.split()[-1].rpartition(":")
            yield child, (host, int(port))
        finally:
            child.kill()


@pytest.mark.parametrize("want", SERVERS)
def test_one_who_wants_all_the_memory_is_cut_and_others_are_served(impl: ModuleType, want: str) -> None:
    with short_of_memory(impl, SERVERS[want]) as (child, address):
        with socket.create_connection(address, 20) as good:
            for _ in range(3):
                with socket.create_connection(address, 20) as greedy:
                    send_until_it_ends(greedy, WANTS[want])
                good.sendall(b"still here\n")
                assert exactly(good, 11) == b"still here\n"
        out, err = child.communicate("\n", timeout=60)
        assert child.returncode == 0, err
        assert '"active"' in out


@pytest.mark.parametrize("own", [False, True], ids=["framed", "a codec of the user's"])
def test_a_long_message_costs_its_sender_at_most(impl: ModuleType, own: bool) -> None:
    codec = f"impl.Lines(max_frame={HUGE})"
    server = f"impl.MessageServer(lambda m, p: b'', codec={f'Own({codec})' if own else codec})"
    with short_of_memory(impl, server) as (child, address), socket.create_connection(address, 20) as good:
        # There is memory for receiving some of them, but not for a second copy.
        for size in range(6, 42, 3):
            with socket.create_connection(address, 20) as greedy, contextlib.suppress(OSError):
                for _ in range(size):
                    greedy.sendall(bytes(MIB))
                greedy.sendall(b"\n")
                greedy.shutdown(socket.SHUT_WR)
                while greedy.recv(1 << 16):
                    pass
            good.sendall(b"still here\n")
            assert exactly(good, 1) == b"\n"
        _, err = child.communicate("\n", timeout=60)
        assert child.returncode == 0, err


@pytest.mark.parametrize("end", [b"", b"\n"], ids=["without end", "long"])
def test_a_line_that_takes_all_the_memory_costs_a_chat_its_sender(impl: ModuleType, end: bytes) -> None:
    server = "impl.ChatServer(max_line=(1 << 31) - 1, queue_limit=(1 << 31) - 1, rate=None)"
    with short_of_memory(impl, server) as (child, address):
        with socket.create_connection(address, 20) as good, good.makefile("rb") as heard:
            assert heard.readline().startswith(b"* welcome")
            for _ in range(2):
                with socket.create_connection(address, 20) as greedy:
                    send_until_it_ends(greedy, b"\xff" * MIB, 20 if end else 400, end)
                good.sendall(b"/ping\n")
                for line in heard:
                    if line == b"* pong\n":
                        break
                else:
                    pytest.fail("the chat has ended")
        _, err = child.communicate("\n", timeout=60)
        assert child.returncode == 0, err
