"""One address has no more connections than its share: on every TCP server, and in the machine that counts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock import Peer, _native
from oxisock.sockets.addresses import network_of
from oxisock.sockets.shares import Shares
from support.handlers import echo_by_hand
from support.ipv6 import needs_ipv6
from support.talking import adds_up, ask, until_the_end
from support.waiting import wait_until

SHARES: dict[str, Any] = {"pure": Shares, "native": _native.Shares}


# --- the machine -----------------------------------------------------------------------------------------------------


NETWORKS = st.sampled_from([0, 1, 2**32 - 1, 2**128 - 1])


@given(st.integers(1, 3), st.lists(st.tuples(st.booleans(), NETWORKS), max_size=60))
def test_both_count_as_a_plain_list_does(most: int, script: list[tuple[bool, int]]) -> None:
    machines = [kind(most) for kind in SHARES.values()]
    there: list[int] = []
    for coming, network in script:
        if coming:
            room = there.count(network) < most
            assert [machine.take(network) for machine in machines] == [room, room]
            there += [network] * room
        elif network in there:
            there.remove(network)
            for machine in machines:
                machine.give_back(network)
        assert {len(machine) for machine in machines} == {len(set(there))}


@pytest.mark.parametrize("kind", sorted(SHARES))
def test_giving_back_what_was_not_taken_changes_nothing(kind: str) -> None:
    shares = SHARES[kind](1)
    shares.give_back(5)
    assert (len(shares), shares.take(5), shares.take(5)) == (0, True, False)


# --- servers ---------------------------------------------------------------------------------------------------------


MAKERS: dict[str, Callable[..., Any]] = {
    "echo": lambda impl, **options: impl.EchoServer(**options),
    "workers": lambda impl, **options: impl.EchoServer(workers=3, **options),
    "messages": lambda impl, **options: impl.MessageServer(lambda message, peer: message, **options),
    "threads": lambda impl, **options: impl.ThreadedServer(echo_by_hand, **options),
}


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest, impl: ModuleType) -> Callable[..., Any]:
    """Make a server of each kind that answers a line with the same line."""
    return lambda **options: MAKERS[request.param](impl, **options)


def come(server: Any, source: str = "") -> socket.socket:
    return socket.create_connection(server.address, timeout=20, source_address=(source, 0) if source else None)


def turned_away(sock: socket.socket) -> bool:
    with sock:
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True


def test_more_than_its_share_is_closed_on_arrival(make: Callable[..., Any]) -> None:
    with make(max_per_address=3) as server, ExitStack() as stack:
        mine = [stack.enter_context(come(server)) for _ in range(3)]
        assert [ask(sock) for sock in mine] == [b"hello\n"] * 3
        for number in range(1, 6):
            assert turned_away(come(server))
            assert server.stats().rejected == number
        # Another address has a share of its own.
        with come(server, "127.0.0.2") as other:
            assert ask(other) == b"hello\n"
        # And who leaves makes room.
        mine.pop().close()
        assert wait_until(lambda: server.stats().active == 2)
        with come(server) as again:
            assert ask(again) == b"hello\n"
            stats = server.stats()
            assert (stats.accepted, stats.active, stats.rejected, stats.shed) == (5, 3, 5, 0)
            assert adds_up(stats)


def test_one_address_that_comes_again_and_again_costs_others_nothing(make: Callable[..., Any]) -> None:
    with make(max_per_address=2, max_connections=4) as server, ExitStack() as stack:
        for _ in range(2):
            ask(stack.enter_context(come(server, "127.0.0.3")))
        crowd = [stack.enter_context(come(server, "127.0.0.3")) for _ in range(300)]
        with come(server) as mine:
            assert ask(mine) == b"hello\n"
        assert all(turned_away(sock) for sock in crowd)
        assert server.stats().rejected == 300


@needs_ipv6
def test_an_address_of_ipv6_is_counted_alone_where_it_is_the_loopback(make: Callable[..., Any]) -> None:
    with make(host="::1", max_per_address=1) as server, come(server) as first:
        assert ask(first) == b"hello\n"
        assert turned_away(come(server))


@needs_ipv6
def test_a_mapped_address_is_the_ipv4_one(make: Callable[..., Any]) -> None:
    with make(host="::", dual_stack=True, max_per_address=1) as server, ExitStack() as stack:
        address = ("127.0.0.1", server.address.port)
        first = stack.enter_context(socket.create_connection(address, timeout=20))
        assert ask(first) == b"hello\n"
        assert turned_away(socket.create_connection(address, timeout=20))
        other = stack.enter_context(socket.create_connection(address, timeout=20, source_address=("127.0.0.2", 0)))
        assert ask(other) == b"hello\n"


def test_a_64_of_ipv6_is_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")


def test_a_chat(impl: ModuleType) -> None:
    with impl.ChatServer(max_per_address=2) as server, ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(impl.ChatClient(*server.address))
        with come(server) as third:
            assert until_the_end(third) == b""
        assert (server.stats().rejected, len(server.members())) == (1, 2)
        with come(server, "127.0.0.2") as other:
            assert other.recv(20).startswith(b"* welcome")


def test_one_that_a_chat_refuses_takes_no_share(impl: ModuleType) -> None:
    with impl.ChatServer(max_clients=1, max_per_address=2) as server, impl.ChatClient(*server.address):
        for _ in range(4):
            with come(server) as sock:
                assert until_the_end(sock) == b"! server is full\n"


def test_aio(impl: ModuleType, run: Any) -> None:
    async def upper(stream: Any, peer: Peer) -> None:
        async for message in stream:
            await stream.send(message.upper())

    async def work() -> None:
        async with impl.aio.start_server(upper, max_per_address=2) as server:
            mine = [await impl.aio.open_framed(*server.address) for _ in range(2)]
            for stream in mine:
                await stream.send(b"x")
                assert await stream.recv() == b"X"
            for number in range(1, 4):
                reader, writer = await asyncio.open_connection(*server.address)
                assert await reader.read() == b""
                writer.close()
                assert server.stats().rejected == number
            mine[0].abort()
            while server.stats().active == 2:
                await asyncio.sleep(0.005)
            async with impl.aio.open_framed(*server.address) as again:
                await again.send(b"y")
                assert await again.recv() == b"Y"
            mine[1].abort()

    run(work())


@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)])
def test_a_share_that_makes_no_sense(make: Callable[..., Any], wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="^max_per_address="):
        make(max_per_address=wrong)
