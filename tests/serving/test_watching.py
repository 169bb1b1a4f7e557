"""What happens to connections, as somebody who watches hears of it."""

from __future__ import annotations

import socket
import time
from types import ModuleType
from typing import Any

import pytest

from oxisock.serving.watching import ConnectionEvent, take_events
from support.talking import ask, reset
from support.waiting import wait_until


def gather(server: Any, count: int) -> list[ConnectionEvent]:
    """Give so many events, and check that there are no more of them."""
    found: list[ConnectionEvent] = []

    def enough() -> bool:
        events, lost = take_events(server)
        assert lost == 0
        found.extend(events)
        return len(found) >= count

    assert wait_until(enough), found
    assert len(found) == count
    return found


@pytest.mark.parametrize("kind", ["EchoServer", "MessageServer", "ChatServer"])
def test_every_connection_is_told_of_from_its_beginning_to_its_end(impl: ModuleType, kind: str) -> None:
    more = {"MessageServer": [lambda message, peer: message]}.get(kind, [])
    with getattr(impl, kind)(*more) as server:
        take_events(server)
        before = time.time()
        with socket.create_connection(server.address, timeout=20) as sock:
            peer = sock.getsockname()
            sock.sendall(b"hello\n")
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1000):
                pass
        opened, received, closed = gather(server, 3)
        assert opened[1:] == (peer, "opened", 0, "")
        assert received[1:] == (peer, "received", 6, "")
        assert closed[1:] == (peer, "closed", 0, "done")
        assert before - 1 <= opened.when <= received.when <= closed.when <= time.time() + 1


def test_why_a_connection_ended(impl: ModuleType) -> None:
    with impl.EchoServer(idle_timeout=0.05) as server:
        take_events(server)
        with socket.create_connection(server.address, timeout=20) as sock:
            assert sock.recv(1) == b""
        assert [event.reason for event in gather(server, 2)] == ["", "it was silent for too long"]
    with impl.EchoServer() as server:
        take_events(server)
        with socket.create_connection(server.address, timeout=20) as sock:
            ask(sock)
            reset(sock)
        assert [event.reason for event in gather(server, 3)] == ["", "", "the connection was lost"]


def test_who_begins_without_a_good_header_of_a_proxy(impl: ModuleType) -> None:
    with impl.EchoServer("127.0.0.1", proxies=["127.0.0.1"]) as server:
        take_events(server)
        with socket.create_connection(server.address, timeout=20) as sock:
            peer = sock.getsockname()
            sock.sendall(b"hello\n")
            assert sock.recv(1) == b""
        (event,) = gather(server, 1)
        assert event[1:] == (peer, "closed", 0, "it began without a good PROXY header")


def test_what_nobody_takes_is_counted_and_not_kept(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        with socket.create_connection(server.address, timeout=20) as sock:
            ask(sock)
            assert take_events(server) == ([], 0)  # nobody watched until now
            for _ in range(12_000):
                ask(sock)
    events, lost = take_events(server)
    assert len(events) == 10_000
    assert (lost, events[-1].kind) == (2_001, "closed")
