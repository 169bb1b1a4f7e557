"""Servers behind a proxy: whoever the PROXY header names is the peer, and counted as such."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from support.certificates import certified, contexts
from support.ipv6 import needs_ipv6
from support.proxy_headers import BAD, GOOD, LINE, binary, v4, v6
from support.served import served
from support.talking import adds_up, ask, exactly, reset, until_the_end
from support.waiting import wait_until


def tell_by_hand(conn: Any, peer: Peer) -> None:
    while data := conn.recv(4096):
        conn.sendall(data.replace(b"who", b"%s" % str(peer).encode()))


async def tell(stream: Any, peer: Peer) -> None:
    async for line in stream:
        await stream.send(line.replace(b"who", str(peer).encode()))


MAKERS: dict[str, Callable[..., Any]] = {
    "messages": lambda impl, **options: impl.MessageServer(
        lambda message, peer: message.replace(b"who", str(peer).encode()), **options
    ),
    "threads": lambda impl, **options: impl.ThreadedServer(tell_by_hand, **options),
    "coroutines": lambda impl, **options: served(impl.aio.start_server(tell, **options), "coroutines"),
}


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest, impl: ModuleType) -> Callable[..., Any]:
    """Make a server that answers a line, with the word "who" as the peer that it knows."""
    return lambda **options: MAKERS[request.param](impl, **options)


def come(server: Any, header: bytes, source: str = "127.0.0.1") -> socket.socket:
    sock = socket.create_connection(server.address, timeout=20, source_address=(source, 0))
    sock.sendall(header)
    return sock


def told(sock: socket.socket) -> bytes:
    sock.sendall(b"who\n")
    data = b""
    while not data.endswith(b"\n"):
        piece = sock.recv(100)
        assert piece, data
        data += piece
    return data[:-1]


def closed(sock: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(10) == b""
    return True


def test_the_source_is_the_peer(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",)) as server:
        for header, source in GOOD:
            with come(server, header) as sock:
                own = Peer(*sock.getsockname())
                assert told(sock) == str(Peer(*source) if source else own).encode()
        with come(server, LINE + b"who\n") as sock:  # in one piece
            assert exactly(sock, 18) == b"192.168.0.1:56324\n"
        stats = server.stats()
        assert (stats.accepted, stats.frame_errors) == (len(GOOD) + 1, 0)


def test_byte_by_byte(make: Callable[..., Any]) -> None:
    with make(proxies=["127.0.0.0/8"]) as server:
        for header in (LINE, binary(1, 0x21, v6())):
            with come(server, b"") as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(header)):
                    sock.sendall(header[at : at + 1])
                assert told(sock) in (b"192.168.0.1:56324", b"[2001:db8::7]:4242")


def test_what_is_no_header_closes_the_connection(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",)) as server:
        for number, (header, _) in enumerate(BAD, 1):
            with come(server, header) as sock:
                assert closed(sock)
            assert wait_until(lambda number=number: server.stats().frame_errors == number)  # type: ignore[misc]
        for torn in (b"", LINE[:20]):
            with come(server, torn) as sock:
                sock.shutdown(socket.SHUT_WR)
                assert closed(sock)
        assert wait_until(lambda: server.stats().closed == len(BAD) + 2)
        stats = server.stats()
        assert (stats.frame_errors, stats.active, stats.messages, stats.handler_errors) == (len(BAD) + 2, 0, 0, 0)
        assert adds_up(stats)


def test_a_late_one_closes_the_connection(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",), idle_timeout=0.2) as server, come(server, LINE[:-1]) as sock:
        assert closed(sock)
        assert wait_until(lambda: server.stats().closed == 1)
        assert (server.stats().frame_errors, server.stats().timeouts) == (1, 0)


def test_from_anybody_else_it_is_bytes_like_others(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.9", "fd00::/8")) as server:
        with come(server, b"") as sock:
            assert ask(sock, LINE.replace(b"\r", b"")) == LINE.replace(b"\r", b"")
        with come(server, LINE, "127.0.0.9") as sock:
            assert told(sock) == b"192.168.0.1:56324"


def test_a_share_is_that_of_the_source(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",), max_per_address=2) as server, ExitStack() as stack:
        for _ in range(2):
            assert told(stack.enter_context(come(server, LINE))) == b"192.168.0.1:56324"
        for number in range(1, 4):
            with come(server, LINE) as third:
                assert closed(third)
            assert wait_until(lambda number=number: server.stats().rejected == number)  # type: ignore[misc]
        other = stack.enter_context(come(server, binary(1, 0x11, v4())))
        assert told(other) == b"192.0.2.7:4242"
        assert wait_until(lambda: server.stats().active == 3)
        stats = server.stats()
        assert (stats.accepted, stats.closed, stats.rejected, stats.frame_errors) == (3, 0, 3, 0)


def test_a_connection_without_a_thread_gives_back_no_share_of_another(
    impl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the proxy that has no thread, nobody was counted; a client with the proxy's address was."""
    start = threading.Thread.start
    refused: list[threading.Thread] = []

    def one_not(thread: threading.Thread) -> None:
        if not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    header = b"PROXY TCP4 127.0.0.1 10.0.0.1 40000 443\r\n"
    options: dict[str, Any] = {"proxies": ("127.0.0.1",), "max_per_address": 1}
    with impl.ThreadedServer(tell_by_hand, "127.0.0.1", **options) as server, come(server, header) as first:
        assert told(first) == b"127.0.0.1:40000"
        monkeypatch.setattr(threading.Thread, "start", one_not)
        with come(server, b"") as second:
            assert closed(second)
        assert wait_until(lambda: server.stats().shed == 1)
        with come(server, header) as third:
            assert closed(third)
        assert wait_until(lambda: server.stats().accepted == 1)  # which the third is no longer
        stats = server.stats()
        assert (stats.active, stats.rejected, stats.shed, stats.frame_errors) == (1, 1, 1, 0)


def test_a_proxy_that_breaks_off_is_lost_and_has_broken_nothing(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",)) as server:
        for number, words in enumerate([b"", LINE[:9], binary(1, 0x11, v4())[:15]], 1):
            with come(server, words) as sock:
                assert wait_until(lambda number=number: server.stats().accepted == number)  # type: ignore[misc]
                reset(sock)
            assert wait_until(lambda number=number: server.stats().closed == number)  # type: ignore[misc]
        stats = server.stats()
        assert (stats.frame_errors, stats.handler_errors, stats.handshake_errors, stats.timeouts) == (0, 0, 0, 0)


def test_a_stop_does_not_wait_for_headers(make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oxisock.sockets.proxies.PATIENCE", 90_000_000_000)
    with make(proxies=("127.0.0.1",)) as server, come(server, LINE[:9]):
        assert wait_until(lambda: server.stats().active == 1)
        report = server.stop(drain=0.0)
    assert report.elapsed < 60  # not for as long as a header may take
    assert (report.drained + report.aborted, server.stats().frame_errors) == (1, 0)


def test_echo_on_many_threads(impl: ModuleType) -> None:
    with impl.EchoServer(workers=3, proxies=("127.0.0.1",), max_per_address=3) as server, ExitStack() as stack:
        for _ in range(3):
            assert ask(stack.enter_context(come(server, LINE))) == b"hello\n"
        with come(server, LINE) as sock:
            assert closed(sock)
        assert wait_until(lambda: server.stats().rejected == 1)
        with come(server, b"hello\n") as sock:
            assert closed(sock)
        assert wait_until(lambda: server.stats().closed == 1)
        stats = server.stats()
        assert (stats.accepted, stats.active, stats.bytes_in, stats.frame_errors) == (4, 3, 18, 1)


def test_a_chat(impl: ModuleType) -> None:
    with impl.ChatServer(proxies=("127.0.0.1",), max_clients=1) as server, come(server, LINE) as sock:
        assert sock.recv(100).startswith(b"* welcome")
        assert [member.peer for member in server.members()] == [("192.168.0.1", 56324)]
        with come(server, binary(1, 0x11, v4())) as second:
            assert until_the_end(second) == b"! server is full\n"
        with come(server, b"hello\n") as third:
            assert closed(third)
        assert wait_until(lambda: server.stats().frame_errors == 1)
        assert (server.stats().accepted - server.stats().closed, server.stats().rejected) == (1, 1)


def test_aio(impl: ModuleType, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oxisock.sockets.proxies.PATIENCE", 1_500_000_000)

    async def handler(stream: Any, peer: Peer) -> None:
        assert peer == stream.peer
        async for _ in stream:
            await stream.send(str(peer).encode())

    async def work() -> None:
        options = {"proxies": ("127.0.0.1",), "max_per_address": 1}
        async with impl.aio.start_server(handler, **options) as server:
            with await asyncio.to_thread(come, server, LINE) as first:
                assert await asyncio.to_thread(told, first) == b"192.168.0.1:56324"
                with await asyncio.to_thread(come, server, LINE) as second:
                    assert await asyncio.to_thread(closed, second)
                for wrong in (b"hello, world and more\n", b"PROX"):
                    with await asyncio.to_thread(come, server, wrong) as third:
                        assert await asyncio.to_thread(closed, third)
            while server.stats().active:
                await asyncio.sleep(0.005)
            stats = server.stats()
            assert (stats.accepted, stats.rejected, stats.frame_errors, stats.handler_errors) == (3, 1, 2, 0)

    run(work())


@pytest.mark.parametrize(
    ("wrong", "error"),
    [("10.0.0.7", TypeError), (5, TypeError), ([5], TypeError), (["name"], ValueError), (["10.0.0.0/33"], ValueError)],
)
def test_proxies_that_make_no_sense(make: Callable[..., Any], wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="^proxies="):
        make(proxies=wrong)


# --- a real proxy ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def haproxy(folder: Path, server: Any, how: str, tls: str = "", host: str = "127.0.0.1") -> Iterator[int]:
    """Run HAProxy in front of a server, and give its port."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip("haproxy is not installed")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as held:
        # HAProxy shares the port with a socket that only holds it, so that nobody else gets it meanwhile.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        held.bind((host, 0))
        front = held.getsockname()[1]
        config = folder / "haproxy.cfg"
        config.write_text(
            f"defaults\n mode tcp\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n"
            f"listen front\n bind {host}:{front} {tls}\n server back {server.address} {how} source 127.0.0.1\n"
        )
        with subprocess.Popen([program, "-db", "-f", str(config)]) as proxy:
            try:

                def up() -> bool:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", front), timeout=20):
                        return True
                    return False

                assert wait_until(up)
                yield front
            finally:
                proxy.terminate()


VERSIONS = [
    ("send-proxy", False),
    ("send-proxy-v2", False),
    ("send-proxy-v2-ssl", True),
    ("send-proxy-v2-ssl-cn", True),
    ("send-proxy-v2 proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,crc32c", True),
]


@pytest.mark.parametrize(("version", "tls"), VERSIONS)
def test_haproxy(make: Callable[..., Any], tmp_path: Path, version: str, tls: bool) -> None:
    certificate = certified(tmp_path)
    front_tls = f"ssl crt {certificate} ca-file {certificate} verify optional" if tls else ""
    with make(proxies=("127.0.0.1",)) as server, haproxy(tmp_path, server, version, front_tls) as front:
        with socket.create_connection(("127.0.0.1", front), timeout=20, source_address=("127.0.0.5", 0)) as raw:
            sock = raw
            if tls:
                trusting = ssl.create_default_context(cafile=str(certificate))
                trusting.load_cert_chain(certificate)
                sock = trusting.wrap_socket(raw, server_hostname="localhost")
            with sock:
                assert told(sock) == b"127.0.0.5:%d" % sock.getsockname()[1]
        assert server.stats().frame_errors == 0


@needs_ipv6
@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy_for_ipv4_and_ipv6_at_once(make: Callable[..., Any], tmp_path: Path, version: str) -> None:
    """It writes IPv4 addresses as IPv6 ones then; each still has a share of its own."""
    options: dict[str, Any] = {"proxies": ("127.0.0.1",), "max_per_address": 1}
    with make(**options) as server, haproxy(tmp_path, server, version, "v4v6", "::") as front, ExitStack() as stack:
        for source in ("127.0.0.5", "127.0.0.6"):
            sock = socket.create_connection(("127.0.0.1", front), timeout=20, source_address=(source, 0))
            stack.enter_context(sock)
            assert told(sock) == b"[::ffff:%s]:%d" % (source.encode(), sock.getsockname()[1])
        sock = stack.enter_context(socket.create_connection(("::1", front), timeout=20))
        assert told(sock) == b"[::1]:%d" % sock.getsockname()[1]
        assert (server.stats().frame_errors, server.stats().rejected) == (0, 0)


def test_haproxy_looks_whether_the_server_lives(make: Callable[..., Any], tmp_path: Path) -> None:
    """Its checks are connections of its own (LOCAL), and no faults."""
    how = "send-proxy-v2 check inter 50ms"
    with make(proxies=("127.0.0.1",)) as server, haproxy(tmp_path, server, how) as front:
        assert wait_until(lambda: server.stats().closed >= 5)
        with socket.create_connection(("127.0.0.1", front), timeout=20) as sock:
            assert told(sock) == b"127.0.0.1:%d" % sock.getsockname()[1]
        stats = server.stats()
        assert (stats.frame_errors, stats.handler_errors, stats.timeouts) == (0, 0, 0)


def test_haproxy_before_a_server_with_tls(impl: ModuleType, tmp_path: Path) -> None:
    """The header comes first, and then the handshake that goes through."""
    with (
        impl.MessageServer(lambda _, peer: str(peer).encode(), ssl=contexts().server, proxies=("127.0.0.1",)) as server,
        haproxy(tmp_path, server, "send-proxy-v2") as front,
        contexts().client.wrap_socket(
            socket.create_connection(("127.0.0.1", front), timeout=20), server_hostname="localhost"
        ) as sock,
    ):
        assert told(sock) == b"127.0.0.1:%d" % sock.getsockname()[1]


def test_haproxy_ends_tls_before_a_chat(impl: ModuleType, tmp_path: Path) -> None:
    certificate = certified(tmp_path)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with (
        impl.ChatServer(proxies=("127.0.0.1",)) as server,
        haproxy(tmp_path, server, "send-proxy-v2", f"ssl crt {certificate}") as front,
    ):
        options: dict[str, Any] = {"timeout": 20, "ssl": trusting, "server_hostname": "localhost"}
        with (
            impl.ChatClient("127.0.0.1", front, nick="ann", **options) as ann,
            impl.ChatClient("127.0.0.1", front, nick="bob", **options) as bob,
        ):
            bob.send("hello")
            assert "[bob] hello" in (ann.recv(20) for _ in range(5))
            peers = {member.nick: member.peer for member in server.members()}
            assert peers == {"ann": ann.sock.getsockname(), "bob": bob.sock.getsockname()}
