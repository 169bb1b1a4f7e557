"""Every public object of an engine used by eight threads at once, which take turns as often as Python can."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import oxisock

THREADS = 8
SECONDS = 60.0


@pytest.fixture(autouse=True)
def quick_turns() -> Iterator[None]:
    """Have threads take turns every microsecond."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(work: Callable[[int], None]) -> None:
    """Run the same in eight threads at once, each with its number; the first failure is this one's."""
    together = threading.Barrier(THREADS)
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            together.wait(SECONDS)
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    if failures:
        raise failures[0]


def test_codecs(impl: ModuleType) -> None:
    # What is shared is the codec; a decoder is one thread's at a time.
    codecs = (
        impl.LengthPrefix(2),
        impl.Varint(),
        impl.Netstring(),
        impl.Fixed(7),
        impl.Delimiter(b"\0"),
        impl.Lines(),
        impl.OctetCounted(),
        impl.MultiprocessingPrefix(),
        impl.presets.erlang(4),
    )
    for codec in codecs:

        def work(number: int, codec: Any = codec) -> None:
            frames = [b"%d:%05d" % (number, i) for i in range(50)]
            wire = b"".join(map(codec.encode, frames))
            assert codec.decode(wire) == frames
            assert codec.encode_many(frames) == wire
            decoder = codec.decoder()
            assert [frame for i in range(0, len(wire), 3) for frame in decoder.feed(wire[i : i + 3])] == frames

        in_threads(work)


def test_a_decoder_handed_from_thread_to_thread(impl: ModuleType) -> None:
    decoder = impl.Lines().decoder()
    mine = threading.Lock()
    got: list[bytes] = []

    def work(number: int) -> None:
        for i in range(50):
            with mine:
                got.extend(decoder.feed(b"%d " % number))
                got.extend(decoder.feed(b"%d\n" % i))

    in_threads(work)
    assert sorted(got) == sorted(b"%d %d" % (number, i) for number in range(THREADS) for i in range(50))


def test_echo_server(impl: ModuleType) -> None:
    with impl.EchoServer(faults=impl.Faults(cut=3)) as server:
        ask_each(impl, server, lambda text: text)
        assert server.stats().accepted == THREADS * 5


@pytest.mark.parametrize("dispatchers", [1, 3])
def test_message_server(impl: ModuleType, dispatchers: int) -> None:
    with impl.MessageServer(lambda message, peer: message.upper(), dispatchers=dispatchers) as server:
        ask_each(impl, server, bytes.upper)


def test_threaded_server(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Any) -> None:
        codec = impl.Lines()
        for message in conn.frames(codec):
            conn.sendall(codec.encode(message.upper()))

    with impl.ThreadedServer(handler) as server:
        ask_each(impl, server, bytes.upper)


def ask_each(impl: ModuleType, server: Any, expected: Callable[[bytes], bytes]) -> None:
    host, port = server.address

    def work(number: int) -> None:
        for i in range(5):
            text = b"thread %d, %d" % (number, i)
            answer = impl.tcp_request(host, port, text, codec=impl.Lines(), timeout=SECONDS)
            assert answer == expected(text), answer
            assert server.stats().accepted > 0 and server.address == (host, port)

    in_threads(work)


@pytest.mark.parametrize("name", ["UdpEchoServer", "UdpServer"])
def test_udp_servers(impl: ModuleType, name: str) -> None:
    make = impl.UdpEchoServer if name == "UdpEchoServer" else lambda: impl.UdpServer(lambda datagram: datagram.data)
    with make() as server:
        host, port = server.address

        def work(number: int) -> None:
            for i in range(5):
                text = b"%d, %d" % (number, i)
                assert impl.udp_request(host, port, text, timeout=SECONDS / 10, retries=5).endswith(text)
                assert server.stats().messages > 0

        in_threads(work)


def test_chat(impl: ModuleType) -> None:
    with impl.ChatServer(rate=None) as server:

        def work(number: int) -> None:
            with impl.ChatClient(*server.address, nick=f"n{number}", timeout=SECONDS) as client:
                for i in range(5):
                    client.send(f"line {i}")
                mine = f"[n{number}] line 4"
                assert mine in client
                server.broadcast("hello")
                assert f"n{number}" in [member.nick for member in server.members()]
                assert server.stats().accepted > 0

        in_threads(work)


def test_framed_socket_sends_from_all(impl: ModuleType) -> None:
    with impl.EchoServer() as server, impl.connect(*server.address, impl.Lines(), timeout=SECONDS) as conn:
        in_threads(lambda number: [conn.send(b"%d %d" % (number, i)) for i in range(20)] and None)
        got = [conn.recv() for _ in range(THREADS * 20)]
    assert sorted(got) == sorted(b"%d %d" % (number, i) for number in range(THREADS) for i in range(20))


def test_framed_socket_is_received_from_by_all(impl: ModuleType) -> None:
    got: list[bytes] = []
    with impl.EchoServer() as server, impl.FramedSocket.connect(*server.address, impl.Lines()) as conn:
        conn.settimeout(SECONDS)
        conn.send_many([b"%d" % number for number in range(THREADS * 20)])
        in_threads(lambda number: [got.append(conn.recv()) for _ in range(20)] and None)
        in_threads(lambda number: conn.close())
    assert sorted(got) == sorted(b"%d" % number for number in range(THREADS * 20))


def test_load(impl: ModuleType) -> None:
    if impl.impl == "pure":
        pytest.skip("the pure engine has no load generator")
    with impl.EchoServer() as server:
        host, port = server.address

        def work(number: int) -> None:
            report = impl.load_test(host, port, connections=2, rate=100, duration=0.2, timeout=SECONDS)
            assert report.errors == {} and report.figures["wrong"] == 0

        in_threads(work)


def test_targets_and_reports(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        host, port = server.address
        report = impl.scan(host, str(port), timeout=SECONDS, trace=True)
    targets = impl.parse_targets("10.0.0.0/8,192.0.2.1-9")

    def work(number: int) -> None:
        for _ in range(20):
            assert targets.count == impl.parse_targets("10.0.0.0/8,192.0.2.1-9").count == (1 << 24) + 9
            assert str(targets.address(number)) == f"10.0.0.{number}"
            assert impl.ScanReport.from_json(report.to_json()).open == report.open
            assert not any(report.diff(report))
            assert report.why(host, port)[-1].event == "syn-ack" and impl.service_name(22) == "ssh"

    in_threads(work)


def test_scans(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        host, port = server.address

        def work(number: int) -> None:
            report = impl.scan(host, f"{port},{port + 1 if port < 65535 else port - 1}", timeout=SECONDS / 10)
            assert port in [result.port for result in report.open]
            assert impl.check_host(host, port, timeout=SECONDS)
            assert impl.wait_for_port(host, port, timeout=SECONDS) >= 0
            assert impl.scan_host(host, port, port, timeout=SECONDS) == [port]
            assert impl.scan_port(host, port, timeout=SECONDS).state == "open"
            assert impl.parse_ports("1-10,!5") == (1, 2, 3, 4, 6, 7, 8, 9, 10)

        in_threads(work)


def test_one_scan_asked_by_all(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        host, port = server.address
        with impl.scan_iter(host, str(port), timeout=SECONDS / 10) as scan:
            in_threads(lambda number: [scan.progress() for _ in range(50)] and None)
            assert [result.port for result in scan] == [port]
        in_threads(lambda number: scan.close())
        assert scan.report().counts["open"] == 1


def test_stops_from_all(impl: ModuleType) -> None:
    for server in (
        impl.EchoServer(),
        impl.MessageServer(lambda message, peer: message),
        impl.UdpEchoServer(),
        impl.UdpServer(lambda datagram: datagram.data),
        impl.ChatServer(),
        impl.ThreadedServer(lambda conn, peer: None),
    ):
        server.start()
        in_threads(lambda number, server=server: server.stop(drain=0.1) and None)
        assert server.stats() is not None


VALUES = {
    *(
        "Datagram",
        "Peer",
        "PortChange",
        "PortResult",
        "PortState",
        "ProbeEvent",
        "Progress",
        "ReportDiff",
        "ScanSource",
    ),
    *("ScanStats", "ServerStats", "SkippedFrame", "StopReport", "ChatEvent", "ChatMember", "LoadReport"),
    *("ChatError", "FrameCorrupt", "FrameError", "FrameTooLong", "IncompleteFrame", "ScanInterrupted"),
}
"""Whose instances nobody changes."""
MADE_BY_OTHERS = {"Codec", "Decoder", "Scan", "Targets", "ThreadConnection", "impl", "__version__"}
ELSEWHERE = {"RedisBackplane"}
"""Used from a server's own threads alone: tests/chat/test_nodes.py."""


def test_nothing_public_is_missing_here() -> None:
    used = set(re.findall(r"impl\.(\w+)", Path(__file__).read_text(encoding="utf-8"))) | {"UdpEchoServer", "UdpServer"}
    assert set(oxisock.__all__) - VALUES - MADE_BY_OTHERS - ELSEWHERE - used == set()
