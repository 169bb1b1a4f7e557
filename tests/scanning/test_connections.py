"""Sockets of the pure scanner are used again, and what was asked before is never taken for what is asked now."""

from __future__ import annotations

import errno
import select
import socket
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from oxisock import PortState, pure
from oxisock.pure.scanning import driver
from oxisock.pure.scanning.connections import UNDER_WAY, Connection, Connections
from support.addresses import HOST

if TYPE_CHECKING:
    from oxisock.pure.scanning.lasting import LastingConnections

Address = tuple[str, int]

SYN_SENT, CLOSED = 2, 7  # of tcp_info

lasting_only = pytest.mark.skipif(not hasattr(select, "epoll"), reason="sockets are used again on Linux only")


@pytest.fixture
def lasting() -> Iterator[LastingConnections]:
    from oxisock.pure.scanning.lasting import LastingConnections

    connections = LastingConnections()
    yield connections
    connections.close()


@pytest.fixture
def listening() -> Iterator[Address]:
    with socket.create_server((HOST, 0), backlog=64) as listener:
        yield listener.getsockname()


@pytest.fixture
def silent() -> Iterator[Address]:
    """Give a port that answers nobody: its backlog is full."""
    with socket.create_server((HOST, 0), backlog=0) as listener:
        fillers = []
        while True:
            filler = socket.socket()
            fillers.append(filler)
            filler.settimeout(0.2)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()
        for filler in fillers:
            filler.close()


@pytest.fixture
def refusing() -> Iterator[Address]:
    with socket.socket() as bound:  # nobody else gets its port, and nobody listens there
        bound.bind((HOST, 0))
        yield bound.getsockname()


def begin(connections: Connections, address: Address) -> Connection:
    connection, code = connections.connect(socket.AF_INET, address)
    assert code in UNDER_WAY
    connection.order = 1, 0, address[1], 0
    return connection


def state(connection: Connection) -> int:
    return connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def verdict(connections: Connections, connection: Connection) -> int:
    for _ in range(100):
        if connection in connections.wait(0.2):
            return connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    raise AssertionError("nothing was heard")


@lasting_only
def test_a_connect_that_was_given_up_leaves_its_socket_to_the_next(
    lasting: LastingConnections, silent: Address, listening: Address
) -> None:
    first = begin(lasting, silent)
    before = first.sock.getsockname()
    lasting.give_up([first])
    assert first.order is None
    second = begin(lasting, listening)
    assert second is first
    assert verdict(lasting, second) == 0
    assert second.sock.getpeername() == listening
    assert second.sock.getsockname() != before
    lasting.drop(second)


@lasting_only
def test_a_connect_that_was_given_up_ends_when_there_is_time(lasting: LastingConnections, silent: Address) -> None:
    first = begin(lasting, silent)
    lasting.give_up([first])
    assert lasting.wait(0) == []
    assert state(first) == SYN_SENT  # the kernel would have news of each that ended
    assert lasting.wait(0.001) in ([], [first])
    assert state(first) == CLOSED
    second = begin(lasting, silent)
    assert second is first
    lasting.drop(second)


@lasting_only
def test_a_refused_connect_leaves_its_socket_to_the_next(
    lasting: LastingConnections, refusing: Address, listening: Address
) -> None:
    first = begin(lasting, refusing)
    assert verdict(lasting, first) == errno.ECONNREFUSED
    lasting.refused(first)
    second = begin(lasting, refusing)
    assert second is first
    assert verdict(lasting, second) == errno.ECONNREFUSED
    lasting.refused(second)
    third = begin(lasting, listening)
    assert third is first
    assert verdict(lasting, third) == 0
    lasting.drop(third)


@lasting_only
def test_an_answer_that_came_as_it_was_given_up_is_not_taken_for_the_next(
    lasting: LastingConnections, listening: Address, refusing: Address
) -> None:
    first = begin(lasting, listening)
    assert select.select([], [first.sock], [], 20)[1]  # it is connected, and nobody has looked
    lasting.give_up([first])
    second = begin(lasting, refusing)
    assert second is not first
    assert verdict(lasting, second) == errno.ECONNREFUSED
    lasting.drop(second)

    third = begin(lasting, refusing)
    assert select.select([], [third.sock], [], 20)[1]  # it is refused, and nobody has looked
    lasting.give_up([third])
    fourth = begin(lasting, listening)
    assert fourth is not third
    assert verdict(lasting, fourth) == 0
    lasting.drop(fourth)


@lasting_only
def test_those_at_rest_are_of_one_family_and_few(
    lasting: LastingConnections, silent: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oxisock.pure.scanning.lasting._FEW", 2)
    begun = [begin(lasting, silent) for _ in range(5)]
    lasting.give_up(begun)
    assert sum(connection.sock.fileno() >= 0 for connection in begun) == 2
    other, _ = lasting.connect(socket.AF_INET6, ("::1", silent[1]))
    lasting.drop(other)
    assert sum(connection.sock.fileno() >= 0 for connection in begun) == 1


def test_a_scan_finds_the_same_where_sockets_connect_once(
    listening: Address, refusing: Address, silent: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "connections", Connections)
    ports = {address[1]: state for address, state in ((listening, "open"), (refusing, "closed"), (silent, "filtered"))}
    report = pure.scan(HOST, ports, keep=list(PortState), timeout=1.0)
    assert {result.port: result.state for result in report} == ports


def test_a_banner_is_read_where_sockets_connect_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "connections", Connections)
    with socket.create_server((HOST, 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"hello\n")

        thread = threading.Thread(target=greet)
        thread.start()
        (result,) = pure.scan(HOST, [listener.getsockname()[1]], banner=20.0, timeout=20.0)
        thread.join()
    assert result.banner == b"hello\n"
