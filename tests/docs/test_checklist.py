"""Each line of the checklist in docs/security.md does what it says."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support.addresses import HOST
from support.certificates import certified, contexts
from support.processes import ended, process, script
from support.talking import stuff_until_it_stops
from support.waiting import wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"


def echo(message: bytes, peer: Any) -> bytes:
    return message


def connected(server: Any) -> socket.socket:
    return socket.create_connection(server.address, timeout=30)


def address(impl: ModuleType, folder: Path) -> None:
    records: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    handler = Kept()
    logging.getLogger("oxisock").addHandler(handler)
    try:
        with impl.MessageServer(echo, "0.0.0.0"):
            assert any("0.0.0.0" in words for words in records)
    finally:
        logging.getLogger("oxisock").removeHandler(handler)


def encryption(impl: ModuleType, folder: Path) -> None:
    with impl.MessageServer(echo, ssl=contexts()[0]) as server, connected(server) as sock:
        sock.sendall(b"in the clear\n")
        assert b"in the clear" not in until_closed(sock)
        assert wait_until(lambda: server.stats().handshake_errors == 1)


def identity(impl: ModuleType, folder: Path) -> None:
    path = certified(folder)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(path)
    ours.verify_mode = ssl.CERT_REQUIRED
    ours.load_verify_locations(path)
    theirs = ssl.create_default_context(cafile=str(path))
    options: dict[str, Any] = {"ssl": theirs, "server_hostname": "localhost", "codec": impl.Lines(), "timeout": 30}
    with impl.MessageServer(echo, ssl=ours) as server:
        with pytest.raises((OSError, EOFError)):
            impl.tcp_request(*server.address, b"hello", **options)
        assert wait_until(lambda: server.stats().handshake_errors == 1)
        theirs.load_cert_chain(path)
        assert impl.tcp_request(*server.address, b"hello", **options) == b"hello"


def slow_handshakes(impl: ModuleType, folder: Path) -> None:
    with impl.MessageServer(echo, ssl=contexts()[0], handshake_timeout=0.2) as server, connected(server) as sock:
        sock.sendall(b"\x16")
        until_closed(sock)
        assert wait_until(lambda: server.stats().timeouts == 1)


def silence(impl: ModuleType, folder: Path) -> None:
    with impl.MessageServer(echo, idle_timeout=0.2) as server, connected(server) as sock:
        sock.sendall(b"never a line")
        until_closed(sock)
        assert wait_until(lambda: server.stats().timeouts == 1)


def deaf_peers(impl: ModuleType, folder: Path) -> None:
    with impl.MessageServer(echo, write_timeout=0.2) as server, connected(server) as sock:
        with contextlib.suppress(ConnectionError):
            stuff_until_it_stops(sock, piece=b"x" * 1000 + b"\n")
        assert wait_until(lambda: server.stats().timeouts == 1)


def crowds(impl: ModuleType, folder: Path) -> None:
    with impl.MessageServer(echo, max_per_address=1) as server, connected(server) as sock, connected(server) as more:
        sock.sendall(b"hello\n")
        assert sock.recv(6) == b"hello\n"
        until_closed(more)
        assert wait_until(lambda: server.stats().rejected == 1)


def memory(impl: ModuleType, folder: Path) -> None:
    codec = impl.Lines(max_frame=4096)
    with impl.MessageServer(echo, codec=codec, max_buffered=16 << 10) as server, connected(server) as sock:
        sock.sendall(b"x" * 5000)
        until_closed(sock)
        assert wait_until(lambda: server.stats().frame_errors == 1)


def proxies(impl: ModuleType, folder: Path) -> None:
    seen: list[Any] = []

    def handler(message: bytes, peer: Any) -> bytes:
        seen.append(peer)
        return message

    with impl.MessageServer(handler, proxies=("127.0.0.1", HOST)) as server, connected(server) as sock:
        sock.sendall(b"PROXY TCP4 203.0.113.9 10.0.0.1 40000 443\r\nhello\n")
        assert sock.recv(6) == b"hello\n"
    assert seen == [("203.0.113.9", 40000)]


def the_end(impl: ModuleType, folder: Path) -> None:
    body = """
server = impl.MessageServer(lambda message, peer: (time.sleep(0.2), message)[1])
print(server.serve_forever(drain=30.0, on_start=lambda: listening(server)))
"""
    with process(*script(impl, body)) as (server, where), socket.create_connection(where, timeout=30) as sock:
        sock.sendall(b"one\n")
        assert sock.recv(4) == b"one\n"
        sock.sendall(b"two\n")
        server.terminate()
        with contextlib.suppress(ConnectionError):
            sock.recv(4)
        code, out, _ = ended(server)
        assert (code, "aborted=0" in out) == (0, True)


def until_closed(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(1 << 16):
            data += piece
    return data


LINES: dict[str, Callable[[ModuleType, Path], None]] = {
    "Address": address,
    "Encryption": encryption,
    "Identity": identity,
    "Slow handshakes": slow_handshakes,
    "Silent clients": silence,
    "Clients that do not read": deaf_peers,
    "Too many connections": crowds,
    "Memory": memory,
    "Proxies": proxies,
    "The end": the_end,
}


def test_each_line_is_tried() -> None:
    part = PAGE.read_text("utf-8").partition("a checklist\n")[2].partition("\n### ")[0]
    assert re.findall(r"^\d+\. \*\*(.+?)\*\*", part, re.MULTILINE) == list(LINES)


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_checklist(impl: ModuleType, line: str, tmp_path: Path) -> None:
    LINES[line](impl, tmp_path)
