"""Who may come into a chat: those who come and go are let in at a limited rate, and nobody waits for them."""

from __future__ import annotations

import ipaddress
import socket
import threading
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock import _native
from oxisock.pure.chat.porter import KEPT, SHORT, Porter
from oxisock.sockets.addresses import network_of
from support.addresses import HOST
from support.talking import connect
from support.waiting import wait_until

PORTERS: dict[str, Any] = {"pure": Porter, "native": _native.Porter}
SECOND = 10**9
NEVER = 2**63 - 1


@pytest.fixture(params=sorted(PORTERS))
def make(request: pytest.FixtureRequest) -> Any:
    return PORTERS[request.param]


def test_a_crowd_that_stays_is_let_in(make: Any) -> None:
    porter = make(SECOND // 10, 20)
    assert all(porter.admits(1, 0) for _ in range(10_000))
    for _ in range(10_000):
        porter.left(1, 0, SHORT)
    assert porter.admits(1, SHORT)


def test_those_who_come_and_go_take_tokens(make: Any) -> None:
    porter = make(SECOND, 3)
    for _ in range(3):
        assert porter.admits(1, 1)
        porter.left(1, 0, 1)
    assert not porter.admits(1, 1)
    assert porter.admits(2, 1)
    assert not porter.admits(1, SECOND)
    assert porter.admits(1, SECOND + 1)
    porter.left(1, 0, SECOND + 1)
    assert not porter.admits(1, SECOND + 1)


def test_who_may_have_gone_holds_a_token_until_that_is_known(make: Any) -> None:
    porter = make(SECOND, 3)
    assert porter.most == 3
    porter.left(1, 0, 1)
    for _ in range(2):
        assert porter.admits(1, 1)
        porter.came(1)
    assert not porter.admits(1, 1)
    porter.heard(1)  # one is still there
    assert porter.admits(1, 1)
    porter.left(1, 0, 1)  # the other has gone
    porter.heard(1)
    assert porter.admits(1, 1)
    porter.came(1)
    assert not porter.admits(1, 1)
    assert porter.admits(2, 1)
    assert make(0, 3).most == NEVER


def test_what_many_networks_cost_is_bounded(make: Any) -> None:
    porter = make(SECOND, 1)
    for network in range(3 * KEPT):
        porter.left(network, 0, 0)
    assert not porter.admits(KEPT - 1, 0)
    assert porter.admits(2 * KEPT, 0)  # more are not remembered
    porter.left(2 * KEPT, 10 * SECOND, 10 * SECOND)  # by now the others may be forgotten
    assert not porter.admits(2 * KEPT, 10 * SECOND)


@given(
    interval=st.one_of(st.just(0), st.integers(1, 5 * SECOND), st.just(2**56)),
    burst=st.one_of(st.integers(1, 4), st.just(2**31 - 1)),
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 2 * SECOND),
            st.sampled_from([0, SHORT, None]),
            st.integers(0, 4),
        ),
        max_size=60,
    ),
)
def test_both_engines_and_a_bucket_of_tokens_agree(
    interval: int, burst: int, steps: list[tuple[int, int, int | None, int]]
) -> None:
    porters = [make(interval, burst) for make in PORTERS.values()]
    # The independent truth counts in tokens: a bucket of `burst`, of which one second fills 1/interval.
    missing: dict[int, int] = {}  # what a bucket lacks, in nanoseconds that it takes to fill
    unheard = dict.fromkeys(range(4), 0)
    now = 0
    for network, pause, stay, heard in steps:
        now += pause
        missing = {each: max(0, lack - pause) for each, lack in missing.items()}
        # One whole token is there: so much may be missing of a full bucket.
        expected = missing.get(network, 0) + unheard[network] * interval <= (burst - 1) * interval
        assert [porter.admits(network, now) for porter in porters] == [expected] * 2
        heard = min(heard, unheard[network])
        unheard[network] -= heard
        for porter in porters:
            for _ in range(heard):
                porter.heard(network)
        if stay is None:
            unheard[network] += 1
            for porter in porters:
                porter.came(network)
            continue
        joined = max(0, now - stay)
        for porter in porters:
            porter.left(network, joined, now)
        if interval and now - joined < SHORT:
            missing[network] = min(missing.get(network, 0) + interval, NEVER - now)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_a_network_is_an_address_or_a_prefix(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    network = network_of(str(address))
    mapped = getattr(address, "ipv4_mapped", address) if address.version == 6 else address
    if mapped is not None:
        assert network == 0xFFFF << 32 | int(ipaddress.IPv4Address(str(mapped)))
    else:
        assert network == int(ipaddress.ip_network((address, 64), strict=False).network_address)
    if address.version == 6:
        assert network_of(f"{address}%lo") == network


# --- through the server ----------------------------------------------------------------------------------------------


def said(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 16):
        data += piece
    return data


def test_coming_and_going_is_news_at_a_limited_rate(impl: ModuleType) -> None:
    with impl.ChatServer(rate=0.001, burst=5) as server, connect(server) as member:
        for _ in range(5):
            with connect(server) as sock:
                assert b"welcome" in sock.recv(100)
            assert wait_until(lambda: len(server.members()) == 1 and server.stats().active == 1)
        for _ in range(50):
            with connect(server) as sock:
                assert said(sock) == b"! slow down\n"
        assert server.stats().rejected == 50
        server.broadcast("the end")
        news = b""
        while b"the end" not in news:
            news += member.recv(1 << 16)
        assert news.count(b"joined") == news.count(b"left") == 5


def test_those_who_have_gone_before_they_are_let_in_take_tokens_too(impl: ModuleType) -> None:
    listener = socket.create_server((HOST, 0), backlog=300)
    for _ in range(200):
        socket.create_connection(listener.getsockname()).close()
    with impl.ChatServer(rate=0.001, burst=5, sock=listener) as server:
        assert wait_until(lambda: (s := server.stats()).rejected + s.closed == 200)
        assert server.stats().accepted == 5


def test_without_a_rate_anybody_may_come_and_go(impl: ModuleType) -> None:
    with impl.ChatServer(rate=None, burst=1) as server:
        for _ in range(50):
            with connect(server) as sock:
                assert b"welcome" in sock.recv(100)
        assert server.stats().rejected == 0


def test_a_crowd_from_one_address_comes_in(impl: ModuleType) -> None:
    with impl.ChatServer(rate=1.0, burst=1) as server:
        crowd = [connect(server) for _ in range(200)]
        assert wait_until(lambda: len(server.members()) == 200)
        for sock in crowd:
            sock.close()


def test_comers_do_not_keep_members_waiting(impl: ModuleType) -> None:
    over = threading.Event()

    def come() -> None:
        while not over.is_set():
            some = [connect(server) for _ in range(20)]
            for sock in some:
                sock.close()

    with impl.ChatServer(max_clients=3000, rate=None) as server:
        crowd = [connect(server) for _ in range(100)]
        for sock in crowd:
            sock.shutdown(socket.SHUT_RD)
        with connect(server) as me:
            comer = threading.Thread(target=come)
            comer.start()
            try:
                for _ in range(20):
                    me.sendall(b"/ping\n")
                    seen = b""
                    while b"* pong\n" not in seen:
                        seen = seen[-10:] + me.recv(1 << 18)
            finally:
                over.set()
                comer.join()
        for sock in crowd:
            sock.close()
