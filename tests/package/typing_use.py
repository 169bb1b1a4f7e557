"""Typical use of oxisock, for type checkers: every line must pass ``mypy --strict`` and pyright. Never run."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Sequence
from typing import Literal, assert_type

import oxisock
from oxisock import aio, presets
from oxisock.testing import assert_ports


def scanning() -> None:
    assert_type(oxisock.check_host("localhost", 22), bool)
    result = oxisock.scan_port("localhost", 22, timeout=0.5)
    assert_type(result.state, oxisock.PortState)
    waited: float | None = result.rtt
    print(waited)
    print(f"{result.rtt * 1000:.2f} ms" if result.is_open else result.reason)
    print(max(each.rtt for each in oxisock.scan("localhost", 22).open))
    assert_type(oxisock.scan_host("localhost", 1, 1024), list[int])
    found: list[oxisock.PortResult] = []
    report = oxisock.scan("10.0.0.0/24", "22,80", on_result=found.append, keep=("open", "closed"))
    assert_type(report, oxisock.ScanReport)
    assert_type(report.counts["open"], int)
    assert_type(report.counts[oxisock.PortState.FILTERED], int)
    assert_type(report.counts.get("closed", 0), int)
    print(", ".join(f"{count} {state}" for state, count in report.counts.items()))
    for each in report:
        print(each.address, each.port, each.service or "-")
    assert_type(report.hosts, dict[str, list[oxisock.PortResult]])
    assert_type(report.diff(report).opened, list[oxisock.PortResult])
    with oxisock.scan_iter(["localhost"], range(1, 100)) as scan:
        assert_type(next(scan), oxisock.PortResult)
        assert_type(scan.progress(), oxisock.Progress)
    assert_type(oxisock.parse_ports("1-10,!5"), tuple[int, ...])
    assert_type(oxisock.wait_for_port("localhost", 5432), float)


def framing() -> None:
    codec = oxisock.LengthPrefix(2, "little", max_frame=1024)
    assert_type(codec.encode(b"x"), bytes)
    assert_type(codec.decode(b"x"), list[bytes])
    decoder = codec.decoder("skip")
    assert_type(decoder.feed(memoryview(b"")), list[bytes])
    assert_type(decoder.take_skipped(), list[oxisock.SkippedFrame])
    with oxisock.connect("localhost", 9, oxisock.Lines(), timeout=None) as framed:
        framed.send(b"hello")
        assert_type(framed.recv(), bytes | None)
        for message in framed:
            assert_type(message, bytes)
    try:
        presets.erlang(4).decode(b"\0")
    except oxisock.FrameError as error:
        assert_type(error.frames, list[bytes])


class Codec:
    """A user's own."""

    def encode(self, payload: bytes, /) -> bytes:
        return payload + b"\0"

    def decoder(self) -> Decoder:
        return Decoder()


class Decoder:
    def feed(self, data: bytes, /) -> list[bytes]:
        return data.split(b"\0")

    def eof(self) -> list[bytes]:
        return []


def answer(message: bytes, peer: oxisock.Peer) -> bytes | None:
    return message.upper() if peer.host == "127.0.0.1" else None


def serving() -> None:
    with oxisock.MessageServer(answer, codec=Codec(), dispatchers=4, max_connections=10) as server:
        assert_type(server.address.port, int)
        assert_type(server.stats().accepted, int)
        assert_type(server.stop(drain=1.0), oxisock.StopReport)
    with oxisock.EchoServer("::1", faults=oxisock.Faults(cut=1)).start() as echo:
        assert_type(oxisock.tcp_request(*echo.address, b"x", codec=oxisock.Varint()), bytes)

    with oxisock.UdpServer(reply, max_datagram=512) as udp:
        assert_type(oxisock.udp_request(udp.address.host, udp.address.port, b"x", retries=2), bytes)


def reply(datagram: oxisock.Datagram) -> bytes:
    return datagram.data


def answer_none(messages: list[tuple[bytes, oxisock.Peer]]) -> list[None]:
    return [None for _ in messages]


def answer_all(messages: list[tuple[bytes, oxisock.Peer]]) -> list[bytes]:
    return [message for message, _ in messages]


def answer_some(messages: Sequence[tuple[bytes, tuple[str, int]]]) -> list[bytes | ValueError | None]:
    return [message or None for message, _ in messages]


def reply_all(datagrams: list[oxisock.Datagram]) -> list[bytes | None]:
    return [datagram.data for datagram in datagrams]


def converse(conn: oxisock.ThreadConnection, peer: oxisock.Peer) -> None:
    conn.sendall(b"hello")
    for message in conn.frames(oxisock.Lines()):
        conn.send_frame(message, oxisock.Lines())


def told(event: oxisock.ChatEvent) -> None:
    print(event.kind, event.nick)


class Counting:
    """A handler with a memory."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, message: bytes, peer: tuple[str, int]) -> bytes:
        self.count += 1
        return b"%d" % self.count


def handlers(calls: queue.SimpleQueue[oxisock.ChatEvent]) -> None:
    oxisock.MessageServer(Counting())
    oxisock.MessageServer(Counting().__call__, batch=False, nodelay=False, dual_stack=True)
    oxisock.MessageServer(lambda message, peer: message if peer.port else None)
    oxisock.MessageServer(lambda message, *_: message.upper())
    oxisock.MessageServer(answer_all, batch=True, idle_timeout=None)
    oxisock.MessageServer(answer_some, batch=True)
    oxisock.MessageServer(answer_none, batch=True)
    oxisock.MessageServer(lambda messages: [message for message, _ in messages], batch=True)
    oxisock.UdpServer(lambda datagram: datagram.data)
    oxisock.UdpServer(reply_all, batch=True, reuse_port=True)
    oxisock.UdpServer(lambda datagrams: [datagram.data for datagram in datagrams], batch=True)
    oxisock.ThreadedServer(converse, backlog=5, keepalive=True)
    oxisock.ThreadedServer(lambda conn, peer: conn.sendall(b"hello"), max_buffered=1 << 16)
    oxisock.ChatServer(on_event=told, slow_policy="drop", history=20)
    oxisock.ChatServer(on_event=calls.put)
    oxisock.EchoServer(workers=2, write_timeout=1, reuse_port=True)


def engines() -> None:
    assert_type(oxisock.Lines(), oxisock.native.Lines)
    assert_type(oxisock.pure.Lines(), oxisock.pure.Lines)
    assert_type(oxisock.native.connect("localhost", 9, oxisock.pure.Varint()), oxisock.native.FramedSocket)
    assert_type(oxisock.native.EchoServer().start(), oxisock.native.EchoServer)
    assert_type(oxisock.presets.erlang(4).encode(b"x"), bytes)
    assert_type(oxisock.impl, Literal["native", "pure"])


async def asynchronous_engines() -> None:
    async with oxisock.native.aio.start_server(talk, "::1", max_connections=2) as server:
        assert_type(server.address, oxisock.Peer)
    assert_type(await oxisock.pure.aio.check_host("localhost", 22), bool)
    stream = await oxisock.native.aio.open_framed("localhost", 9)
    assert_type(stream, oxisock.aio.FramedStream)
    oxisock.testing.assert_ports("localhost", open=22)


async def talk(stream: aio.FramedStream, peer: oxisock.Peer) -> None:
    async for message in stream:
        await stream.send(message.upper())
    assert_type(await stream.recv(), bytes | None)


async def asynchronous() -> None:
    async with aio.start_server(talk, codec=Codec(), idle_timeout=None) as server:
        async with aio.open_framed(*server.address, oxisock.Lines()) as stream:
            assert_type(stream, aio.FramedStream)
            await stream.send_many([b"a", b"b"])
        other = await aio.open_framed("localhost", 9)
        other.close()
        await other.wait_closed()
        assert_type(await server.stop(drain=2.0), oxisock.StopReport)
    started = await aio.start_server(talk, "localhost", 0)
    assert_type(started, aio.FramedServer)
    async for result in aio.scan_iter("localhost", "1-1024", rate=100.0):
        assert_type(result, oxisock.PortResult)
    async with aio.scan_iter("localhost", keep="open,closed") as scan:
        assert_type(scan.report(), oxisock.ScanReport)
    first, second = await asyncio.gather(aio.check_host("localhost", 22), aio.scan_port("localhost", 22))
    assert_type(first, bool)
    assert_type(second, oxisock.PortResult)
    assert_type(await aio.tcp_request("localhost", 9, b"x"), bytes)
    assert_type(await aio.udp_request("localhost", 9, b"x"), bytes)
    async with oxisock.EchoServer() as echo:
        assert_type(echo, oxisock.EchoServer)


def test_with_fixtures(
    oxisock_echo_server: oxisock.EchoServer,
    oxisock_message_server: Callable[..., oxisock.MessageServer],
    free_port: int,
) -> None:
    assert_ports(oxisock_echo_server.address.host, open=oxisock_echo_server.address.port, closed=free_port)
    assert_type(oxisock_message_server(answer).address, oxisock.Peer)
