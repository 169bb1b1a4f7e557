"""The PROXY header: the machine that reads it, against a model and the vectors of its specification; and servers."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import re
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oxisock import Peer, _native
from oxisock.sockets.proxies import ProxyHeader
from support.certificates import certified
from support.talking import adds_up, ask, exactly, until_the_end
from support.waiting import wait_until

MACHINES: list[Any] = [ProxyHeader, _native.ProxyHeader]
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LINE = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"


def binary(command: int, family: int, addresses: bytes, tlvs: bytes = b"", version: int = 2) -> bytes:
    rest = addresses + tlvs
    return SIGNATURE + bytes([version << 4 | command, family]) + struct.pack("!H", len(rest)) + rest


def v4(host: str = "192.0.2.7", port: int = 4242) -> bytes:
    return socket.inet_aton(host) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", port, 80)


def v6(host: str = "2001:db8::7", port: int = 4242) -> bytes:
    six = [socket.inet_pton(socket.AF_INET6, each) for each in (host, "2001:db8::1")]
    return b"".join(six) + struct.pack("!HH", port, 80)


# --- the machine -----------------------------------------------------------------------------------------------------


def outcome(machine: Any, chunks: list[bytes]) -> Any:
    """Feed a stream; give the source and the size of the header, None where it goes on, or what is wrong."""
    taken = 0
    for chunk in chunks:
        try:
            end = machine.feed(chunk)
        except ValueError as error:
            return str(error)
        if end >= 0:
            return machine.source, taken + end
        taken += len(chunk)
    return None


def model(stream: bytes) -> Any:
    """Say the same, by other means: a good header, or one that may become one, or neither (True, None, False)."""
    text = re.match(rb"PROXY (?:UNKNOWN(?: [^\r]*)?|(TCP[46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))\r\n", stream)
    if text and text.end() <= 107:
        if text[1] is None:
            return None, text.end()
        kind = ipaddress.IPv4Address if text[1] == b"TCP4" else ipaddress.IPv6Address
        host, _ = kind(text[2].decode()), kind(text[3].decode())
        return (str(host), int(text[4])), text.end()
    if stream[:12] == SIGNATURE and len(stream) >= 16:
        meaning, protocol, size = struct.unpack("!BBH", stream[12:16])
        if len(stream) < 16 + size:
            return False
        if meaning == 0x20:
            return None, 16 + size
        if protocol in (0x11, 0x12):
            return (str(ipaddress.IPv4Address(stream[16:20])), struct.unpack("!H", stream[24:26])[0]), 16 + size
        if protocol in (0x21, 0x22):
            return (str(ipaddress.IPv6Address(stream[16:32])), struct.unpack("!H", stream[48:50])[0]), 16 + size
        return None, 16 + size
    return False


GOOD = [
    # The examples of the specification.
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", ("255.255.255.255", 65535)),
    (
        b"PROXY TCP6 ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"f...f", b"ffff:ffff:ffff:ffff:ffff:ffff"
        ),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
    ),
    (b"PROXY UNKNOWN\r\n", None),
    (
        b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n".replace(
            b"f...f", b"ffff:ffff:ffff:ffff:ffff:ffff"
        ),
        None,
    ),
    (LINE, ("192.168.0.1", 56324)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 0\r\n", ("2001:db8::7", 1)),
    (binary(1, 0x11, v4()), ("192.0.2.7", 4242)),
    (binary(1, 0x12, v4()), ("192.0.2.7", 4242)),
    (binary(1, 0x21, v6()), ("2001:db8::7", 4242)),
    (binary(1, 0x11, v4(), b"\x04\x00\x03abc" * 500), ("192.0.2.7", 4242)),  # TLVs
    (binary(0, 0x00, b""), None),  # LOCAL
    (binary(0, 0x11, v4()), None),
    (binary(1, 0x00, b"anything"), None),  # UNSPEC
    (binary(1, 0x31, b"/run/a".ljust(108, b"\0") + b"/run/b".ljust(108, b"\0")), None),  # Unix
]

BAD = [
    (b"GET / HTTP/1.1\r\n", "no PROXY header"),
    (b"PROXIES", "no PROXY header"),
    (SIGNATURE[:11] + b"!", "no PROXY header"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n", "torn"),
    (b"PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.01 192.168.0.11 56324 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 080 443\r\n", "torn"),
    (b"PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n", "torn"),
    (b"PROXY TCP4 ::1 ::1 1 443\r\n", "torn"),
    (b"PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n", "torn"),
    (b"PROXY TCP6 ::ffff:1.2.3.4 ::1 1 443\r\n", "torn"),
    (b"PROXY TCP6 fe80::1%lo ::1 1 443\r\n", "torn"),
    (b"PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n", "torn"),
    (b"PROXY \r\n", "torn"),
    (b"PROXY UNKNOWN " + b"x" * 93, "longer than 107"),
    (binary(1, 0x11, v4()[:11]), "torn"),
    (binary(1, 0x21, v4()), "torn"),
    (binary(1, 0x31, v4()), "torn"),
    (binary(1, 0x11, v4(), version=3), "unknown version"),
    (binary(2, 0x11, v4()), "command"),
    (binary(1, 0x41, v4()), "protocol"),
    (binary(1, 0x13, v4()), "protocol"),
    (binary(1, 0x11, v4(), bytes(65_000)), "longer than 4112"),
]


@pytest.mark.parametrize("kind", MACHINES)
def test_good_headers(kind: Any) -> None:
    for header, source in GOOD:
        assert outcome(kind(), [header + b"PROXY rest"]) == (source, len(header))
        assert outcome(kind(), [header[at : at + 1] for at in range(len(header))]) == (source, len(header))
        for end in range(len(header)):
            assert outcome(kind(), [header[:end]]) is None


@pytest.mark.parametrize("kind", MACHINES)
def test_bad_headers(kind: Any) -> None:
    for header, words in BAD:
        for chunks in ([header], [header[at : at + 1] for at in range(len(header))]):
            assert words in outcome(kind(), chunks), header


def test_nothing_is_read_past_the_end() -> None:
    for header, source in GOOD:
        machine, at = ProxyHeader(), 0
        while at < len(header):
            piece = header[at : at + machine.wanted]
            assert 0 < machine.wanted <= len(header) - at
            at += len(piece)
            assert (machine.feed(piece) >= 0) == (at == len(header))
        assert machine.source == source


lines = st.builds(
    lambda words, end: b" ".join(words) + end,
    st.lists(
        st.sampled_from(
            [b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"", b"1.2.3.4", b"01.2.3.4", b"1.2.3", b"::", b"1::8",
             b"1:2:3:4:5:6:7::", b"1:2:3:4:5:6:7:8", b"::1:2:3:4:5:6:7:8",
             b"::00001", b"::g", b"0", b"00", b"80", b"65535", b"65536", b"\xff"]
        ),
        max_size=7,
    ),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"", b"\r\nmore"]),
)  # fmt: skip
four = st.ip_addresses(v=4).map(str)
six = st.ip_addresses(v=6).map(lambda address: str(address) if "." not in str(address) else "::1")
port = st.integers(0, 65535)
good_lines = st.one_of(
    st.builds(lambda a, b, p, q: f"PROXY TCP4 {a} {b} {p} {q}\r\n".encode(), four, four, port, port),
    st.builds(lambda a, b, p, q: f"PROXY TCP6 {a} {b} {p} {q}\r\n".encode(), six, six, port, port),
)
binaries = st.builds(
    lambda meaning, protocol, size, rest: SIGNATURE + bytes([meaning, protocol]) + struct.pack("!H", size) + rest,
    st.sampled_from([0x20, 0x21, 0x22, 0x11, 0x31]),
    st.sampled_from([0x00, 0x10, 0x11, 0x12, 0x13, 0x21, 0x22, 0x31, 0x41]),
    st.one_of(st.integers(0, 300), st.integers(0, 65535)),
    st.binary(max_size=300),
)


@given(st.one_of(lines, good_lines, binaries, st.binary(max_size=40)), st.lists(st.integers(0, 300), max_size=8))
@example(b"PROXY TCP6 ::1:2 ::1 1 1\r\n", [])
def test_both_read_alike_however_it_is_cut_and_as_the_model_says(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    whole = [outcome(kind(), [stream]) for kind in MACHINES]
    assert whole[0] == whole[1]
    assert [outcome(kind(), chunks) for kind in MACHINES] == whole
    if isinstance(whole[0], tuple):
        assert canonical(whole[0]) == canonical(model(stream))
    elif isinstance(expected := model_or_none(stream), tuple):
        # What the model takes and the machine does not: a leading zero, a header too long, addresses cut short.
        assert isinstance(whole[0], str), expected


def canonical(found: Any) -> Any:
    """Write an address as the model's library does: mapped ones have two spellings."""
    source, size = found
    return (source and (str(ipaddress.ip_address(source[0])), source[1])), size


def model_or_none(stream: bytes) -> Any:
    try:
        return model(stream)
    except (ValueError, struct.error):
        return None


@given(good_lines)
def test_every_good_line_is_read(line: bytes) -> None:
    for kind in MACHINES:
        assert canonical(outcome(kind(), [line])) == canonical(model(line))


# --- servers ---------------------------------------------------------------------------------------------------------


def tell_by_hand(conn: Any, peer: Peer) -> None:
    while data := conn.recv(4096):
        conn.sendall(data.replace(b"who", b"%s" % str(peer).encode()))


MAKERS: dict[str, Callable[..., Any]] = {
    "messages": lambda impl, **options: impl.MessageServer(
        lambda message, peer: message.replace(b"who", str(peer).encode()), **options
    ),
    "threads": lambda impl, **options: impl.ThreadedServer(tell_by_hand, **options),
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


def test_a_stop_does_not_wait_for_headers(make: Callable[..., Any]) -> None:
    with make(proxies=("127.0.0.1",)) as server, come(server, LINE[:9]):
        assert wait_until(lambda: server.stats().active == 1)
        report = server.stop(drain=0.0)
    assert report.elapsed < 0.1 + 5.0  # not for as long as a header may take
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


def test_aio(impl: ModuleType, run: Any) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        assert peer == stream.peer
        async for _ in stream:
            await stream.send(str(peer).encode())

    async def work() -> None:
        options = {"proxies": ("127.0.0.1",), "max_per_address": 1, "idle_timeout": 0.5}
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
def haproxy(folder: Path, server: Any, how: str, tls: str = "") -> Iterator[int]:
    """Run HAProxy in front of a server, and give its port."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip("haproxy is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        front = free.getsockname()[1]
    config = folder / "haproxy.cfg"
    config.write_text(
        f"defaults\n mode tcp\n timeout connect 20s\n timeout client 60s\n timeout server 60s\n"
        f"listen front\n bind 127.0.0.1:{front} {tls}\n server back {server.address} {how} source 127.0.0.1\n"
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


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_haproxy(make: Callable[..., Any], tmp_path: Path, version: str) -> None:
    with make(proxies=("127.0.0.1",)) as server, haproxy(tmp_path, server, version) as front:
        with socket.create_connection(("127.0.0.1", front), timeout=20, source_address=("127.0.0.5", 0)) as sock:
            assert told(sock) == b"127.0.0.5:%d" % sock.getsockname()[1]


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
