"""UDP servers on a link that is slower than their replies: they wait for room, lose none, and still end in time."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from support.far_host import FarHost, run, why_not
from support.waiting import wait_until

WHY_NOT = why_not() or ("" if shutil.which("tc") else "a slow link needs tc")
pytestmark = [pytest.mark.namespace, pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "-")]

CLIENT = """
import socket, sys
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(60)
    for _ in range(count):
        sock.sendto(b"x", (host, port))
    for _ in range(count):
        assert sock.recv(2000) == b"x" * 1000
"""


@pytest.fixture
def far() -> Iterator[FarHost]:
    with FarHost() as host:
        yield host


def slow_down(far: FarHost, rate: str) -> None:
    """Let no more than so much through from here to there; a reply of a thousand bytes is some 8 kbit."""
    run(f"tc qdisc add dev {far.near_device} root tbf rate {rate} burst 2000 limit 1000000")


def small_socket(far: FarHost) -> socket.socket:
    """Give a socket whose replies soon fill the room that the system has for them."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    sock.bind((far.near_address, 0))
    return sock


def client(far: FarHost, server: Any, count: int, **more: Any) -> subprocess.Popen[bytes]:
    command = ["ip", "netns", "exec", far.name, sys.executable, "-c", CLIENT, *map(str, server.address), str(count)]
    return subprocess.Popen(command, **more)


def test_replies_wait_for_room(impl: ModuleType, far: FarHost) -> None:
    slow_down(far, "160kbit")
    with impl.UdpServer(lambda datagram: datagram.data * 1000, sock=small_socket(far)) as server:
        with client(far, server, 30) as asking:
            assert asking.wait(90) == 0
        stats = server.stats()
    assert (stats.messages, stats.bytes_out, stats.timeouts) == (30, 30_000, 0)


def test_a_stop_does_not_wait_for_room(impl: ModuleType, far: FarHost) -> None:
    slow_down(far, "40kbit")  # so that, whatever holds this test up, most of the replies are on their way for seconds
    server = impl.UdpServer(lambda datagram: datagram.data * 1000, sock=small_socket(far)).start()
    with client(far, server, 60, stderr=subprocess.DEVNULL) as asking:
        assert wait_until(lambda: server.stats().messages >= 10)
        report = server.stop()
        asking.kill()
    assert report.stuck_handlers == 0
    assert report.aborted > 0
