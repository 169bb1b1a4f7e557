"""UDP servers on a link that is slower than their replies: they wait for room, lose none, and still end in time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from support.waiting import wait_until

HERE, FAR = "10.97.0.1", "10.97.0.2"
CLIENT = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(60)
    for _ in range(30):
        sock.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
    for _ in range(30):
        assert sock.recv(2000) == b"x" * 1000
"""


def ip(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True, timeout=30)


@pytest.fixture
def far() -> Iterator[str]:
    """Give the name of a namespace behind a link of 80 kbit/s, from here to there."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "tc"))):
        pytest.skip("needs root, ip and tc")
    name, near, there = (f"oxi-{kind}{os.getpid() % 100_000}" for kind in ("f", "n", "t"))
    try:
        try:
            ip("ip", "netns", "add", name)
            ip("ip", "link", "add", near, "type", "veth", "peer", "name", there)
            ip("ip", "link", "set", there, "netns", name)
            ip("ip", "addr", "add", f"{HERE}/24", "dev", near)
            ip("ip", "link", "set", near, "up")
            ip("ip", "-n", name, "addr", "add", f"{FAR}/24", "dev", there)
            ip("ip", "-n", name, "link", "set", there, "up")
            ip("tc", "qdisc", "add", "dev", near, "root", "tbf", "rate", "80kbit", "burst", "2000", "limit", "1000000")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no such network to be had here: {error.stderr.decode().strip()}")
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30)
        subprocess.run(["ip", "link", "del", near], capture_output=True, timeout=30)


def small_socket() -> socket.socket:
    """Give a socket whose replies soon fill the room that the system has for them."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    sock.bind((HERE, 0))
    return sock


def client(far: str, server: Any, **more: Any) -> subprocess.Popen[bytes]:
    command = ["ip", "netns", "exec", far, sys.executable, "-c", CLIENT, HERE, str(server.address.port)]
    return subprocess.Popen(command, **more)


@pytest.mark.namespace
def test_replies_wait_for_room(impl: ModuleType, far: str) -> None:
    with impl.UdpServer(lambda datagram: datagram.data * 1000, sock=small_socket()) as server:
        with client(far, server) as asking:
            assert asking.wait(90) == 0
        stats = server.stats()
    assert (stats.messages, stats.bytes_out, stats.timeouts) == (30, 30_000, 0)


@pytest.mark.namespace
def test_a_stop_does_not_wait_for_room(impl: ModuleType, far: str) -> None:
    server = impl.UdpServer(lambda datagram: datagram.data * 1000, sock=small_socket()).start()
    with client(far, server, stderr=subprocess.DEVNULL) as asking:
        assert wait_until(lambda: server.stats().messages >= 20)
        report = server.stop()
        asking.kill()
    assert report.stuck_handlers == 0
    assert report.aborted > 0
