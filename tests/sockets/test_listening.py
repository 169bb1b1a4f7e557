"""Listening: a host is read as it is by those who connect."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Make = Callable[[ModuleType, str], Any]


async def _aio(impl: ModuleType, host: str) -> None:
    async def handler(stream: Any, peer: Any) -> None:
        raise AssertionError("nobody connects")

    async with impl.aio.start_server(handler, host):
        pass


def _start(name: str, *arguments: Any) -> Make:
    return lambda impl, host: getattr(impl, name)(*arguments, host=host).start().stop()


MAKE: dict[str, Make] = {
    "EchoServer": _start("EchoServer"),
    "MessageServer": _start("MessageServer", lambda message, peer: message),
    "ThreadedServer": _start("ThreadedServer", lambda conn, peer: None),
    "ChatServer": _start("ChatServer"),
    "UdpServer": _start("UdpServer", lambda datagram: None),
    "UdpEchoServer": _start("UdpEchoServer"),
    "aio.start_server": lambda impl, host: asyncio.run(_aio(impl, host)),
}


@pytest.mark.parametrize("what", sorted(MAKE))
@pytest.mark.parametrize("host", ["127.0.0.010", "127.1", "0x7f.1", "127.0.0.0/8", "a..b"])
def test_what_is_no_host_is_refused_before_it_is_asked(
    impl: ModuleType, what: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it was looked up"))
    with pytest.raises(ValueError, match=f"^host='{host}': expected"):
        MAKE[what](impl, host)


@pytest.mark.parametrize("what", sorted(MAKE))
def test_the_name_asked_for_is_the_name_given(impl: ModuleType, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def look_up(host: Any, *_: Any, **__: Any) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(socket.gaierror, match=r"cannot listen on fa\u00df\.example:0: unknown"):
        MAKE[what](impl, "fa\u00df.example")
    assert asked == ["xn--fa-hia.example"]
