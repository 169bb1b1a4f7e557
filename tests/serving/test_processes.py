"""Servers as processes: the end of the interpreter, full load, few descriptors, many connections."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from types import ModuleType

import pytest

import oxisock.native
import oxisock.pure
from support.processes import ended, process, script, serve, stop
from support.resources import resident
from support.waiting import wait_until

ENGINES = (oxisock.pure, oxisock.native)


@pytest.mark.parametrize(
    "kind", ["EchoServer()", "MessageServer(lambda m, p: m)", "ThreadedServer(lambda c, p: c.recv(1))"]
)
def test_the_interpreter_ends_cleanly_without_a_stop(impl: ModuleType, kind: str) -> None:
    body = f"server = impl.{kind}.start(); listening(server); sys.stdin.readline()"
    command = script(impl, body)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().split()[-1].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as sock:
            sock.sendall(b"half a mess")
            _, err = child.communicate(b"\n", timeout=60)
            assert (child.returncode, err) == (0, b"")


def test_the_interpreter_ends_while_a_handler_is_stuck(impl: ModuleType) -> None:
    body = """
def handler(message, peer):
    print("in", flush=True)
    time.sleep(1000)
server = impl.MessageServer(handler).start()
listening(server)
sys.stdin.readline()
"""
    command = script(impl, body)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        address = child.stdout.readline().decode().split()[-1].split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=20) as sock:
            sock.sendall(b"x\n")
            assert child.stdout.readline() == b"in\n"
            _, err = child.communicate(b"\n", timeout=60)
            assert (child.returncode, err) == (0, b"")


def test_a_process_that_was_paused_takes_what_has_come_before_it_judges_who_is_idle() -> None:
    prelude = "import asyncio"
    body = """
def repeat(stream, peer):
    while data := stream.recv(100):
        stream.sendall(data)
async def echo(stream, peer):
    async for message in stream:
        await stream.send(message)
async def main():
    async with impl.aio.start_server(echo, idle_timeout=5.0) as last:
        with (
            impl.EchoServer(idle_timeout=5.0) as one,
            impl.MessageServer(lambda m, p: m, idle_timeout=5.0) as two,
            impl.ThreadedServer(repeat, idle_timeout=5.0) as three,
            impl.ChatServer(idle_timeout=5.0) as four,
        ):
            for server in (one, two, three, four, last):
                print(*server.address, flush=True)
            listening(last)
            await asyncio.sleep(1000)
asyncio.run(main())
"""
    with contextlib.ExitStack() as stack:
        children, addresses = [], []
        for impl in ENGINES:  # both, for that is five seconds of waiting
            command = script(impl, body, prelude)
            child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(child.kill)
            assert child.stdout is not None
            children.append(child)
            addresses += [child.stdout.readline().split() for _ in range(5)]
        streams = []
        for host, port in addresses:
            sock = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            streams.append((sock, stack.enter_context(sock.makefile("rb"))))
        for sock, stream in streams:
            sock.sendall(b"before\n")
            assert next(line for line in stream if line.endswith(b"before\n"))
        for child in children:
            stop(child.pid)  # what comes from now on waits
        for sock, _ in streams:
            sock.sendall(b"meanwhile\n")
        time.sleep(5.5)
        for child in children:
            child.send_signal(signal.SIGCONT)
        assert all(stream.readline().endswith(b"meanwhile\n") for _, stream in streams)


def test_sigterm_at_full_load_answers_what_was_read(impl: ModuleType) -> None:
    body = """
def handler(message, peer):
    return message
server = impl.MessageServer(handler)
report = server.serve_forever(drain=20, on_start=lambda: listening(server))
print("report", *report[:3], "messages", server.stats().messages, flush=True)
"""
    with process(*script(impl, body)) as (server, address):
        socks = [socket.create_connection(address, timeout=20) for _ in range(20)]
        try:
            for sock in socks:
                sock.sendall(b"".join(b"%d\n" % number for number in range(200)))
            starts = [socks[0].recv(1), *[b""] * 19]  # something was read before the signal
            server.terminate()
            answers = 0
            for sock, start in zip(socks, starts, strict=True):
                data = bytearray(start)
                with contextlib.suppress(ConnectionResetError):
                    while piece := sock.recv(1 << 16):
                        data += piece
                # In order, and whole.
                lines = data.split(b"\n")
                assert lines.pop() == b""
                assert lines == [b"%d" % number for number in range(len(lines))]
                answers += len(lines)
        finally:
            for sock in socks:
                sock.close()
        _, out, err = ended(server)
        assert answers > 0
        assert re.fullmatch(rf"report \d+ 0 0 messages {answers}\n", out), (out, err)


def test_a_flood_of_connects_with_few_descriptors(impl: ModuleType) -> None:
    for kind in ("EchoServer()", "ThreadedServer(echo)"):
        body = f"""
def echo(conn, peer):
    while data := conn.recv(100):
        conn.sendall(data)
server = impl.{kind}.start()
listening(server)
sys.stdin.readline()
"""
        prelude = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
        command = script(
            impl,
            body + "stats = server.stats()\nserver.stop()\nprint(stats.shed, *server.stats()[:3])",
            prelude,
        )
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
            assert child.stdout is not None
            host, port = child.stdout.readline().decode().split()[-1].split(":")
            socks = [socket.create_connection((host, int(port)), timeout=20) for _ in range(150)]
            served = 0
            for sock in socks:
                with contextlib.suppress(ConnectionError):
                    sock.sendall(b"x")
                    served += sock.recv(1) == b"x"
            assert 10 < served < 64
            for sock in socks:
                sock.close()

            def recovered() -> bool:
                with socket.create_connection((host, int(port)), timeout=20) as sock:  # noqa: B023
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(b"x")
                        return sock.recv(1) == b"x"
                return False

            assert wait_until(recovered)
            out, err = child.communicate(b"\n", timeout=30)
            shed, accepted, active, closed = map(int, out.split())
            assert (child.returncode, err) == (0, b"")
            assert shed >= 150 - served
            assert (active, accepted) == (0, closed)


def test_ten_thousand_connections(impl: ModuleType) -> None:
    count = 10_000
    if impl.impl == "pure":
        pytest.skip("a thousand is what is asked of the pure engine")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip(f"at most {hard} descriptors here")
    clients = f"""
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({count + 200}, {hard}))
address = (sys.argv[1], int(sys.argv[2]))
socks = []
for number in range({count}):
    sock = socket.create_connection(address, timeout=60)
    socks.append(sock)
for number, sock in enumerate(socks):
    sock.sendall(b"%06d" % number)
assert all(sock.recv(6, socket.MSG_WAITALL) == b"%06d" % number for number, sock in enumerate(socks))
print("all", flush=True)
sys.stdin.readline()
"""
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    try:
        with impl.EchoServer() as server:
            before = resident()
            command = [sys.executable, "-c", clients, *map(str, server.address)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
                assert child.stdout is not None
                assert child.stdout.readline() == b"all\n"
                assert server.stats().active >= count
                assert (resident() - before) / count < 4096
                child.communicate(b"\n", timeout=60)
            assert wait_until(lambda: server.stats().closed >= count), server.stats()
            assert server.stats().bytes_out == 6 * count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_much_through_echo_by_another_process(impl: ModuleType) -> None:
    """256 MiB here (1 GiB by hand): random writes, a half-close, byte for byte."""
    size = (256 if impl.impl == "native" else 64) << 20
    block = random.Random(3).randbytes(1 << 20)
    with process(*serve(impl, "echo")) as (_, address), socket.create_connection(address, timeout=60) as sock:
        generator = random.Random(4)
        sent = got = 0
        stream = memoryview(block * 2)
        sock.setblocking(False)
        ended = False
        import select

        while not ended:
            readers, writers, _ = select.select([sock], [sock] if sent < size else [], [], 60)
            assert readers or writers
            if writers:
                start = sent % len(block)
                step = min(generator.choice([1, 1000, 65_536, 1 << 20]), size - sent)
                sent += sock.send(stream[start : start + step])
                if sent == size:
                    sock.shutdown(socket.SHUT_WR)
            if readers:
                piece = sock.recv(1 << 20)
                start = got % len(block)
                assert piece == stream[start : start + len(piece)]
                got += len(piece)
                ended = not piece
        assert got == size
