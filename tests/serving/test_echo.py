"""Echo, byte for byte, under load, at its end, and with faults made on purpose."""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from types import ModuleType

import pytest

from oxisock import Faults, StopReport
from support.commands import environment
from support.talking import connect, exactly, stuff_until_it_stops, until_the_end
from support.threads import beside
from support.waiting import wait_until

# --- echo -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_echo_gives_back_byte_for_byte(impl: ModuleType, workers: int) -> None:
    size = 16 << 20
    generator = random.Random(5)
    payload = generator.randbytes(1 << 20) * (size >> 20)
    with impl.EchoServer(workers=workers, max_buffered=100_000) as server, connect(server) as sock:

        def write() -> None:
            at = 0
            while at < size:
                step = generator.choice([1, 7, 100, 4096, 65_537, 300_000])
                sock.sendall(payload[at : at + step])
                at += step
            sock.shutdown(socket.SHUT_WR)

        with beside(write):
            got = until_the_end(sock)
        assert got == payload
    assert server.stats().bytes_in == server.stats().bytes_out == size


def test_a_thousand_connections_at_once(impl: ModuleType) -> None:
    with impl.EchoServer(workers=2) as server, ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(1000)]
        for number, sock in enumerate(socks):
            sock.sendall(f"{number:06}".encode())
        assert [int(exactly(sock, 6)) for sock in socks] == list(range(1000))
        assert server.stats().active == 1000
        assert server.stop(drain=5).drained == 1000
    assert (server.stats().accepted, server.stats().closed) == (1000, 1000)


def test_echo_is_drained_when_what_it_had_read_is_written(impl: ModuleType) -> None:
    server = impl.EchoServer(max_buffered=1 << 22).start()
    with connect(server) as sock:
        sock.setblocking(False)
        stuff_until_it_stops(sock)
        read = server.stats().bytes_in
        reports: list[StopReport] = []
        stopper = threading.Thread(target=lambda: reports.append(server.stop(drain=20)))
        stopper.start()
        assert wait_until(lambda: "stopped" in repr(server))
        sock.setblocking(True)
        sock.settimeout(20)
        got = 0
        try:
            while piece := sock.recv(1 << 18):
                got += len(piece)
        except ConnectionResetError:  # for what we had sent and it had not read
            pass
        stopper.join()
        # What it still read after the question is owed too.
        assert got == server.stats().bytes_in >= read
        assert reports[0][:2] == (1, 0)


def test_what_is_not_read_within_the_drain_is_cut(impl: ModuleType) -> None:
    server = impl.EchoServer(max_buffered=1 << 22).start()
    with connect(server) as sock:
        sock.setblocking(False)
        stuff_until_it_stops(sock)
        report = server.stop(drain=0.2)
        assert report[:2] == (0, 1)
        assert 0.2 <= report.elapsed < 60  # the peer never reads
        sock.setblocking(True)
        with pytest.raises(ConnectionResetError):
            until_the_end(sock)


# --- faults made on purpose -----------------------------------------------------------------------------------------


def test_cut_and_delay_send_byte_after_byte(impl: ModuleType) -> None:
    with impl.EchoServer(faults=Faults(cut=1, delay=0.02)) as server, connect(server) as sock:
        began = time.monotonic()
        sock.sendall(b"hello")
        assert exactly(sock, 5) == b"hello"
        assert time.monotonic() - began >= 0.1
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""


def test_reset_after_so_many_bytes(impl: ModuleType) -> None:
    with impl.EchoServer(faults=Faults(reset_after=7)) as server, connect(server) as sock:
        sock.sendall(b"hello")
        assert exactly(sock, 5) == b"hello"
        sock.sendall(b"hello")
        with pytest.raises(ConnectionResetError):
            until_the_end(sock)


def test_drop_swallows_by_the_seed(impl: ModuleType) -> None:
    with impl.EchoServer(faults=Faults(drop=1.0)) as server, connect(server) as sock:
        sock.sendall(b"hello")
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1)
    fates = []
    with impl.EchoServer(faults=Faults(drop=0.5, seed=7)) as server, connect(server) as sock:
        for number in range(12):
            before = server.stats().bytes_in
            sock.sendall(bytes([number]))
            assert wait_until(lambda: server.stats().bytes_in > before)  # noqa: B023
        sock.shutdown(socket.SHUT_WR)
        fates = list(iter(lambda: sock.recv(1), b""))
    assert [piece[0] for piece in fates] == [2, 3, 11]


@pytest.mark.parametrize(
    ("name", "wrong"), [("cut", 0), ("delay", -1), ("reset_after", 0), ("drop", 1.5), ("drop", float("nan"))]
)
def test_faults_that_make_no_sense(impl: ModuleType, name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=f"^{name}={wrong}: expected "):
        impl.EchoServer(faults=Faults(**{name: wrong}))


def test_workers_must_be_some(impl: ModuleType) -> None:
    with pytest.raises(ValueError, match="workers"):
        impl.EchoServer(workers=0)


@pytest.mark.skipif(sys.platform != "linux", reason="only there pages are counted for each process")
def test_a_read_asks_the_system_for_no_memory(impl: ModuleType) -> None:
    """Where it does, it is faults of pages that are most of the time of an echo; in a process that is new."""
    rounds = 500
    program = f"""
import resource, socket
from oxisock import {impl.impl} as engine
with engine.EchoServer() as server, socket.create_connection(server.address) as sock:
    for number in range({2 * rounds}):
        if number == {rounds}:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        sock.sendall(b"?")
        assert sock.recv(1) == b"?"
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), check=True
    )
    assert int(done.stdout) < rounds
