"""Plain sockets as clients of the TCP servers, for the tests of them."""

from __future__ import annotations

import gc
import socket
import struct
import time
from typing import Any

from oxisock import ServerStats


def connect(server: Any, timeout: float = 20.0) -> socket.socket:
    return socket.create_connection(server.address, timeout=timeout)


def ask(sock: socket.socket, line: bytes = b"hello\n") -> bytes:
    sock.sendall(line)
    return exactly(sock, len(line))


def exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            break
        data += piece
    return data


def until_the_end(sock: socket.socket) -> bytes:
    """Read to the end of the stream."""
    data = bytearray()
    while piece := sock.recv(1 << 18):
        data += piece
    return bytes(data)


def drop_all(kept: list[Any]) -> None:
    kept.clear()
    gc.collect()


def reset(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def adds_up(stats: ServerStats) -> bool:
    return stats.accepted == stats.active + stats.closed


def stuff_until_it_stops(sock: socket.socket, quiet: float = 0.3, piece: bytes = bytes(1024)) -> int:
    """Write until nothing has been taken for a while; give how much went."""
    sent, last = 0, time.monotonic()
    chunk = piece * 64
    while time.monotonic() - last < quiet:
        try:
            sent += sock.send(chunk)
            last = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    return sent
