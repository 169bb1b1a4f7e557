"""What the tests of UDP share: sockets with deadlines, and what the system can do."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator

import pytest

SECONDS = 20.0
LOCAL = "127.0.0.1"


@contextlib.contextmanager
def client(family: int = socket.AF_INET, host: str = LOCAL, port: int = 0) -> Iterator[socket.socket]:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, port))
        sock.settimeout(SECONDS)
        yield sock


def ask(sock: socket.socket, address: tuple[str, int], data: bytes) -> bytes:
    sock.sendto(data, address)
    return sock.recv(65535)


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what Linux tells of a datagram")
