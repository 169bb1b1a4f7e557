"""UDP requests: one datagram out, the answer back, and everything that can go wrong between them."""

from __future__ import annotations

import errno
import signal
import socket
import subprocess
import sys
import threading
import time
from types import ModuleType
from typing import Any

import pytest

from oxisock import Datagram
from support.datagrams import LOCAL, SECONDS, client
from support.threads import beside


def test_a_request_by_name(impl: ModuleType) -> None:
    with impl.UdpEchoServer("127.0.0.1") as server:
        assert impl.udp_request("localhost", server.address.port, b"x", timeout=SECONDS) == b"x"


def test_an_answer_counts_only_from_the_address_that_was_asked(impl: ModuleType) -> None:
    with client() as asked, client() as other, client(host="127.0.0.2") as elsewhere:

        def answer() -> None:
            data, peer = asked.recvfrom(100)
            other.sendto(b"forged", peer)
            elsewhere.sendto(b"forged", peer)
            asked.sendto(b"true " + data, peer)

        with beside(answer):
            assert impl.udp_request(*asked.getsockname(), b"x", timeout=SECONDS) == b"true x"


def test_a_request_is_repeated(impl: ModuleType) -> None:
    tries: list[Datagram] = []

    def third_time_lucky(datagram: Datagram) -> bytes | None:
        tries.append(datagram)
        return b"ok" if len(tries) == 3 else None

    with impl.UdpServer(third_time_lucky) as server:
        assert impl.udp_request(*server.address, b"x", timeout=0.1, retries=500) == b"ok"
    assert tries[0] == tries[1] == tries[2]


def test_a_request_without_an_answer(impl: ModuleType) -> None:
    with client() as silent:
        host, port = silent.getsockname()
        with pytest.raises(TimeoutError, match=rf"127.0.0.1:{port} within 0.05 s \(1 try\)"):
            impl.udp_request(host, port, b"x", timeout=0.05)
        started = time.monotonic()
        with pytest.raises(TimeoutError, match=r"\(3 tries\)"):
            impl.udp_request(host, port, b"x", timeout=0.05, retries=2)
        assert time.monotonic() - started >= 0.15
        assert [silent.recv(10) for _ in range(4)] == [b"x"] * 4


def test_a_refused_request(impl: ModuleType) -> None:
    with client() as gone:
        host, port = gone.getsockname()
    with pytest.raises(ConnectionRefusedError, match=f"127.0.0.1:{port}") as caught:
        impl.udp_request(host, port, b"x", timeout=SECONDS, retries=5)
    assert caught.value.errno == errno.ECONNREFUSED
    with pytest.raises(ConnectionRefusedError):
        impl.udp_request("localhost", port, b"x", timeout=SECONDS)


def test_a_request_to_nobody(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror):
        impl.udp_request("host.invalid", 53, b"x", timeout=SECONDS)


def test_looking_up_a_name_counts_towards_the_timeout(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def slow(*args: object, **more: object) -> None:
        gate.wait(SECONDS)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    try:
        with pytest.raises(TimeoutError, match=r"slow\.invalid:53"):
            impl.udp_request("slow.invalid", 53, b"x", timeout=0.05)
    finally:
        gate.set()


@pytest.mark.parametrize(
    ("error", "arguments", "options"),
    [
        (ValueError, (LOCAL, 0, b"x"), {}),
        (ValueError, (LOCAL, 65536, b"x"), {}),
        (TypeError, (LOCAL, "53", b"x"), {}),
        (ValueError, ("", 53, b"x"), {}),
        (TypeError, (None, 53, b"x"), {}),
        (TypeError, (LOCAL, 53, "x"), {}),
        (TypeError, (LOCAL, 53, 5), {}),
        (ValueError, (LOCAL, 53, bytes(65528)), {}),
        (ValueError, (LOCAL, 53, b"x"), {"timeout": 0}),
        (ValueError, (LOCAL, 53, b"x"), {"timeout": -1}),
        (ValueError, (LOCAL, 53, b"x"), {"timeout": float("nan")}),
        (ValueError, (LOCAL, 53, b"x"), {"retries": -1}),
        (TypeError, (LOCAL, 53, b"x"), {"retries": 1.5}),
    ],
)
def test_wrong_requests(impl: ModuleType, error: type[Exception], arguments: Any, options: Any) -> None:
    with pytest.raises(error):
        impl.udp_request(*arguments, **options)


def test_a_request_too_long_for_ipv4_keeps_its_errno(impl: ModuleType) -> None:
    with client() as sock, pytest.raises(OSError, match=LOCAL) as caught:
        impl.udp_request(*sock.getsockname(), bytes(65508))
    assert caught.value.errno == errno.EMSGSIZE


def test_ctrl_c_ends_a_request(impl: ModuleType) -> None:
    with client() as silent:
        code = (
            f"import oxisock.{impl.impl} as o\nprint('asking', flush=True)\n"
            f"try:\n    o.udp_request('127.0.0.1', {silent.getsockname()[1]}, b'x', timeout=None)\n"
            "except KeyboardInterrupt:\n    print('interrupted')\n"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert silent.recv(10) == b"x"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=SECONDS)[0] == "asking\ninterrupted\n"
