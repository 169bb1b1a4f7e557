"""How much of what was sent has not arrived, on each system, and what a server makes of it where nobody knows."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from oxisock.sockets.closing import end_output, still_sending, unacknowledged

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
