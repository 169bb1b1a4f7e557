"""Mistakes that type checkers must see: an error at every line marked ``# wrong``, and no other. Never run.

Each is a line of its own.
"""

from __future__ import annotations

import oxisock
from oxisock import aio
from oxisock.testing import FaultyServer


def message_handler(message: bytes, peer: oxisock.Peer) -> bytes:
    return message


async def async_message_handler(message: bytes, peer: oxisock.Peer) -> bytes:
    return message


def forgets_the_peer(message: bytes) -> bytes:
    return message


def wants_more(message: bytes, peer: oxisock.Peer, server: oxisock.MessageServer) -> bytes:
    return message


def gives_text(message: bytes, peer: oxisock.Peer) -> str:
    return message.decode()


def batch_handler(messages: list[tuple[bytes, oxisock.Peer]]) -> list[bytes]:
    return [message for message, _ in messages]


async def async_batch_handler(messages: list[tuple[bytes, oxisock.Peer]]) -> list[bytes]:
    return [message for message, _ in messages]


def gives_texts(messages: list[tuple[bytes, oxisock.Peer]]) -> list[str]:
    return [message.decode() for message, _ in messages]


def messages() -> None:
    oxisock.MessageServer(message_handler, max_conections=10)  # wrong
    oxisock.MessageServer(message_handler, idle_timeout="300")  # wrong
    oxisock.MessageServer(async_message_handler)  # wrong
    oxisock.MessageServer(forgets_the_peer)  # wrong
    oxisock.MessageServer(wants_more)  # wrong
    oxisock.MessageServer(gives_text)  # wrong
    oxisock.MessageServer(lambda message: message)  # wrong
    oxisock.MessageServer(batch_handler)  # wrong
    oxisock.MessageServer(batch_handler, batch=False)  # wrong
    oxisock.MessageServer(message_handler, batch=True)  # wrong
    oxisock.MessageServer(async_batch_handler, batch=True)  # wrong
    oxisock.MessageServer(gives_texts, batch=True)  # wrong
    oxisock.MessageServer(message_handler, codec=oxisock.Lines)  # wrong
    oxisock.native.MessageServer(async_message_handler)  # wrong
    oxisock.pure.MessageServer(message_handler, max_conections=10)  # wrong


def converse(conn: oxisock.ThreadConnection, peer: oxisock.Peer) -> None:
    conn.sendall(b"hello")


async def async_converse(conn: oxisock.ThreadConnection, peer: oxisock.Peer) -> None:
    conn.sendall(b"hello")


def alone(conn: oxisock.ThreadConnection) -> None:
    conn.sendall(b"hello")


def threads() -> None:
    oxisock.ThreadedServer(converse, backlogs=5)  # wrong
    oxisock.ThreadedServer(async_converse)  # wrong
    oxisock.ThreadedServer(alone)  # wrong
    oxisock.ThreadedServer(message_handler)  # wrong


def reply(datagram: oxisock.Datagram) -> bytes:
    return datagram.data


async def async_reply(datagram: oxisock.Datagram) -> bytes:
    return datagram.data


def reply_with_peer(datagram: oxisock.Datagram, peer: oxisock.Peer) -> bytes:
    return datagram.data


def reply_all(datagrams: list[oxisock.Datagram]) -> list[bytes | None]:
    return [datagram.data for datagram in datagrams]


async def async_reply_all(datagrams: list[oxisock.Datagram]) -> list[bytes | None]:
    return [datagram.data for datagram in datagrams]


def datagrams() -> None:
    oxisock.UdpServer(reply, idle_timeout=5.0)  # wrong
    oxisock.UdpServer(async_reply)  # wrong
    oxisock.UdpServer(reply_with_peer)  # wrong
    oxisock.UdpServer(reply_all)  # wrong
    oxisock.UdpServer(reply, batch=True)  # wrong
    oxisock.UdpServer(async_reply_all, batch=True)  # wrong


async def talk(stream: aio.FramedStream, peer: oxisock.Peer) -> None:
    await stream.send(b"hello")


def plain_talk(stream: aio.FramedStream, peer: oxisock.Peer) -> None:
    stream.close()


async def talk_alone(stream: aio.FramedStream) -> None:
    await stream.send(b"hello")


def asynchronous() -> None:
    aio.start_server(talk, idle_time=3.0)  # wrong
    aio.start_server(plain_talk)  # wrong
    aio.start_server(talk_alone)  # wrong
    aio.scan_iter("localhost", rates=100.0)  # wrong


def told(event: oxisock.ChatEvent) -> None:
    print(event)


async def async_told(event: oxisock.ChatEvent) -> None:
    print(event)


def told_apart(kind: str, nick: str, text: str) -> None:
    print(kind, nick, text)


def others() -> None:
    oxisock.EchoServer(max_conections=10)  # wrong
    oxisock.EchoServer(faults=oxisock.Faults(cut="1"))  # wrong
    oxisock.ChatServer(on_event=told, max_connections=3)  # wrong
    oxisock.ChatServer(on_event=async_told)  # wrong
    oxisock.ChatServer(on_event=told_apart)  # wrong
    oxisock.ChatServer(slow_policy="kick")  # wrong
    oxisock.scan("localhost", 22, retry=3)  # wrong
    lines: oxisock.pure.Lines = oxisock.native.Lines()  # wrong
    print(lines, oxisock.native.aio.scam)  # wrong
    oxisock.native.aio.scan_iter("localhost", rates=100.0)  # wrong
    FaultyServer(cutt=1)  # wrong
