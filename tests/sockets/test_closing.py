"""How much of what was sent has not arrived, on each system; where nobody knows; and requests whose peer resets."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock.sockets.closing import end_output, still_sending, unacknowledged
from support.talking import reset

fcntl = pytest.importorskip("fcntl", reason="asked of the system where it is no Windows")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as ours:
        theirs, _ = listener.accept()
        ours.setblocking(False)
        with theirs:
            yield ours, theirs


class Counting:
    """A socket of a system that says how much is on its way."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.asked: tuple[int, int] | None = None

    def getsockopt(self, *which: int) -> int:
        self.asked = which[0], which[1]
        return self.count


@pytest.mark.parametrize(("count", "told"), [(0, 0), (1, 2), (5000, 5001)])
def test_macos_and_freebsd_do_not_count_the_end(monkeypatch: pytest.MonkeyPatch, count: int, told: int) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    sock: Any = Counting(count)
    assert unacknowledged(sock) == told
    assert sock.asked == (socket.SOL_SOCKET, 0x1024)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    asked: list[int] = []

    def ioctl(sock: Any, request: int, room: bytes) -> bytes:
        asked.append(request)
        return count.to_bytes(len(room), sys.byteorder)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    assert unacknowledged(sock) == told
    assert asked == [0x40046677]


def test_where_nobody_knows_a_server_goes_on_until_the_peer_ends(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    monkeypatch.setattr(sys, "platform", "win32")
    end_output(ours)
    assert unacknowledged(ours) == 0
    assert still_sending(ours, 0) and still_sending(ours, 1)
    theirs.shutdown(socket.SHUT_WR)
    ours.setblocking(True)
    assert not still_sending(ours, 1)


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_request_whose_connection_is_reset_before_its_end_is_sent_says_so(
    impl: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    shutdown = socket.socket.shutdown

    def after_the_reset(sock: socket.socket, how: int) -> None:
        watch = select.poll()
        watch.register(sock, 0)
        assert watch.poll(20_000)
        shutdown(sock, how)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take_and_reset() -> None:
            conn, _ = listener.accept()
            conn.recv(100)
            reset(conn)

        peer = threading.Thread(target=take_and_reset)
        peer.start()
        monkeypatch.setattr(socket.socket, "shutdown", after_the_reset)
        with pytest.raises(ConnectionResetError):
            if kind == "blocking":
                impl.tcp_request(*listener.getsockname(), b"hello", timeout=30.0)
            else:
                asyncio.run(impl.aio.tcp_request(*listener.getsockname(), b"hello", timeout=30.0))
        peer.join()
