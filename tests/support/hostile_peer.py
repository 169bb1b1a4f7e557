"""A hostile peer: everything that a stranger may do to a connection, or with datagrams."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable

from support.served import Served
from support.talking import reset
from support.waiting import wait_until

QUESTION = b"hello\n"
MANY, AT_ONCE = 1000, 100
_PIECE = bytes(range(1, 256)) * 64 + b"\n"

Held = list[socket.socket]
"""Connections that stay as they are until all is over."""


def _says(*pieces: bytes) -> Callable[[Served], Held]:
    """Say something and keep the connection."""

    def do(server: Served) -> Held:
        sock = server.converse()
        for piece in pieces:
            with contextlib.suppress(OSError):
                sock.sendall(piece)
        return [sock]

    return do


def _and_then(deed: Callable[[Served], Held], end: Callable[[socket.socket], object]) -> Callable[[Served], Held]:
    """Do something, and end all connections in a certain way."""

    def do(server: Served) -> Held:
        held = deed(server)
        for sock in held:
            with contextlib.suppress(OSError):
                end(sock)
        return held

    return do


def _close_half(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)


def _deaf(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RD)


def _close_half_and_reset(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_WR)
    reset(sock)


def _read_one_and_reset(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.recv(1)
    reset(sock)


def _read_one_and_close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.recv(1)
    sock.close()


def _byte_by_byte(server: Served) -> Held:
    sock = server.converse()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.suppress(OSError):
        for byte in QUESTION * 5:
            sock.sendall(bytes([byte]))
    return [sock]


def _never_reads(server: Served) -> Held:
    sock = server.converse()
    sock.setblocking(False)
    refused = sent = 0
    with contextlib.suppress(ConnectionError):
        while refused < 30 and sent < 4 << 20:
            try:
                sent += sock.send(_PIECE)
                refused = 0
            except BlockingIOError:
                refused += 1
                time.sleep(0.002)
    return [sock]


def _reads_a_byte_now_and_then(server: Served) -> Held:
    [sock] = _never_reads(server)
    with contextlib.suppress(OSError):
        for _ in range(10):
            sock.recv(1)
    return [sock]


def _says_urgent_things(server: Served) -> Held:
    sock = server.converse()
    with contextlib.suppress(OSError):
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(QUESTION)
        sock.send(b"?", socket.MSG_OOB)
    return [sock]


def _many(end: Callable[[socket.socket], object]) -> Callable[[Served], Held]:
    """Come and go many times, one after the other."""

    def do(server: Served) -> Held:
        for number in range(MANY):
            end(server.connect())
            if number % AT_ONCE == 0:  # both ends have their descriptors from this process
                assert wait_until(lambda: server.stats().active < 3 * AT_ONCE)
        return []

    return do


def _crowd(server: Served) -> Held:
    return [server.connect() for _ in range(AT_ONCE)]


def _knocks_and_runs(server: Served) -> Held:
    """Reset connections that are not even accepted yet, perhaps."""
    for _ in range(AT_ONCE):
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(server.address)
        reset(sock)
    return []


_GARBAGE = random.Random(1).randbytes(1 << 16)
_REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_CLIENT_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(189)

STREAMS: dict[str, Callable[[Served], Held]] = {
    "says nothing": _says(),
    "says nothing and closes": _and_then(_says(), socket.socket.close),
    "says nothing and closes one half": _and_then(_says(), _close_half),
    "says nothing and resets": _and_then(_says(), reset),
    "says half a message": _says(QUESTION[:3]),
    "says half a message and closes": _and_then(_says(QUESTION[:3]), socket.socket.close),
    "says half a message and closes one half": _and_then(_says(QUESTION[:3]), _close_half),
    "says half a message and resets": _and_then(_says(QUESTION[:3]), reset),
    "asks and closes": _and_then(_says(QUESTION), socket.socket.close),
    "asks and closes one half": _and_then(_says(QUESTION), _close_half),
    "asks and is deaf": _and_then(_says(QUESTION), _deaf),
    "asks and resets": _and_then(_says(QUESTION), reset),
    "asks much and closes in the middle of the answer": _and_then(_says(QUESTION * 20_000), _read_one_and_close),
    "asks much and resets in the middle of the answer": _and_then(_says(QUESTION * 20_000), _read_one_and_reset),
    "closes one half and resets": _and_then(_says(QUESTION), _close_half_and_reset),
    "asks twice, a half at a time": _says(QUESTION + QUESTION[:2], QUESTION[2:]),
    "asks byte by byte": _byte_by_byte,
    "asks nothing, often": _says(b"\n" * 20_000),
    "never reads": _never_reads,
    "reads a byte now and then": _reads_a_byte_now_and_then,
    "says too much at once": _says(bytes(3 << 20)),
    "says zeros": _says(bytes(1000), b"\n"),
    "says garbage": _says(_GARBAGE),
    "says garbage and resets": _and_then(_says(_GARBAGE), reset),
    "speaks HTTP": _says(_REQUEST),
    "speaks TLS": _says(_CLIENT_HELLO),
    "says urgent things": _says_urgent_things,
    "comes and goes": _many(socket.socket.close),
    "comes and resets": _many(reset),
    "comes in numbers and stays": _crowd,
    "comes in numbers and closes at once": _and_then(_crowd, socket.socket.close),
    "comes in numbers and resets at once": _and_then(_crowd, reset),
    "knocks and runs": _knocks_and_runs,
}
"""By what it does; each gives the connections that it keeps."""


def _datagrams(*sent: bytes, times: int = 1) -> Callable[[Served], Held]:
    def do(server: Served) -> Held:
        sock = server.connect()
        for _ in range(times):
            for data in sent:
                with contextlib.suppress(ConnectionError, BlockingIOError):
                    sock.send(data)
        return [sock]

    return do


DATAGRAMS: dict[str, Callable[[Served], Held]] = {
    "says nothing": _datagrams(),
    "sends nothing": _datagrams(b""),
    "sends nothing, often": _datagrams(b"", times=500),
    "sends as much as it can": _datagrams(bytes(65507)),
    "sends garbage": _datagrams(_GARBAGE[:1000], _GARBAGE[1000:1001]),
    "asks and is gone": _and_then(_datagrams(QUESTION, times=50), socket.socket.close),
    "floods and reads nothing": _datagrams(QUESTION, times=3000),
}
