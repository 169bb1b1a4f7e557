"""Connecting: which addresses are tried, when it is over, and what is said, for every function that connects."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
import threading
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from oxisock.errors import errno_words
from oxisock.sockets.connecting import Destination, LookUp, Try, connecting
from support.commands import oxisock, refusing, silent
from support.processes import python

REFUSED = f"[Errno {errno.ECONNREFUSED}] {{}}: {errno_words(errno.ECONNREFUSED)}"
Way = Callable[..., Any]

WAYS: dict[str, Callable[[ModuleType], Way]] = {
    "connect": lambda impl: lambda host, port, timeout: impl.connect(host, port, impl.Lines(), timeout=timeout).close(),
    "tcp_request": lambda impl: lambda host, port, timeout: impl.tcp_request(host, port, b"x\n", timeout=timeout),
    "tcp_request with a codec": lambda impl: (
        lambda host, port, timeout: impl.tcp_request(host, port, b"x", codec=impl.Lines(), timeout=timeout)
    ),
    "ChatClient": lambda impl: lambda host, port, timeout: impl.ChatClient(host, port, timeout=timeout).close(),
    "aio.open_framed": lambda impl: lambda host, port, timeout: asyncio.run(_open(impl, host, port, timeout)),
    "aio.tcp_request": lambda impl: (
        lambda host, port, timeout: asyncio.run(impl.aio.tcp_request(host, port, b"x\n", timeout=timeout))
    ),
    "aio.tcp_request with a codec": lambda impl: (
        lambda host, port, timeout: asyncio.run(
            impl.aio.tcp_request(host, port, b"x", codec=impl.Lines(), timeout=timeout)
        )
    ),
}
UDP: dict[str, Callable[[ModuleType], Way]] = {
    "udp_request": lambda impl: lambda host, port, timeout: impl.udp_request(host, port, b"x", timeout=timeout),
    "aio.udp_request": lambda impl: (
        lambda host, port, timeout: asyncio.run(impl.aio.udp_request(host, port, b"x", timeout=timeout))
    ),
}


async def _open(impl: ModuleType, host: str, port: int, timeout: float | None) -> None:
    async with impl.aio.open_framed(host, port, impl.Lines(), timeout=timeout):
        pass


@pytest.fixture(params=sorted(WAYS))
def way(impl: ModuleType, request: pytest.FixtureRequest) -> Way:
    """One of the functions that connect, as ``way(host, port, timeout)``."""
    return WAYS[request.param](impl)


@pytest.fixture(params=sorted(WAYS | UDP))
def any_way(impl: ModuleType, request: pytest.FixtureRequest) -> Way:
    """One of them, or one that asks over UDP."""
    return (WAYS | UDP)[request.param](impl)


# --- the decisions, without a socket -------------------------------------------------------------------------------


def play(steps: Generator[Any, Any, None], *outcomes: Any) -> list[str]:
    """Answer one step after the other, errors by throwing them; give the addresses tried, and let the error out."""
    tried: list[str] = []
    step = next(steps)
    try:
        for outcome in outcomes:
            if isinstance(step, Try):
                tried.append(step.address[0])
            step = steps.throw(outcome) if isinstance(outcome, OSError) else steps.send(outcome)
    except StopIteration:
        return tried
    except OSError as error:
        error.add_note(",".join(tried))
        raise
    raise AssertionError(f"it goes on with {step}")


def steps() -> Generator[Any, Any, None]:
    return connecting(Destination.of(" host.example ", 80, 2.5))


ENDS, ITSELF = (("10.0.0.9", 5), ("10.0.0.1", 80)), (("10.0.0.1", 80), ("10.0.0.1", 80))
SHUT, LOST = ConnectionRefusedError(errno.ECONNREFUSED, "no"), TimeoutError(errno.ETIMEDOUT, "no")
LATE = TimeoutError("timed out")
THREE = ["10.0.0.1", "fe80::1%4294967295", "::ffff:10.0.0.3"]


def test_the_first_step_is_the_name() -> None:
    assert next(steps()) == LookUp("host.example")


@pytest.mark.parametrize(
    ("outcomes", "tried"),
    [
        ([ENDS], ["10.0.0.1"]),
        ([SHUT, ENDS], ["10.0.0.1", "fe80::1"]),
        ([LOST, ITSELF, ENDS], ["10.0.0.1", "fe80::1", "10.0.0.3"]),
    ],
)
def test_addresses_are_tried_in_turn(outcomes: list[Any], tried: list[str]) -> None:
    assert play(steps(), THREE, *outcomes) == tried


def test_an_address_is_what_a_socket_takes() -> None:
    asking = steps()
    next(asking)
    assert asking.send(THREE) == Try(socket.AF_INET, ("10.0.0.1", 80))
    assert asking.throw(SHUT) == Try(socket.AF_INET6, ("fe80::1", 80, 0, 4294967295))
    assert asking.throw(SHUT) == Try(socket.AF_INET, ("10.0.0.3", 80))


@pytest.mark.parametrize(
    ("outcomes", "kind", "code", "words", "tried"),
    [
        ([THREE, LOST, LOST, SHUT], ConnectionRefusedError, errno.ECONNREFUSED, None, 3),
        ([THREE, SHUT, SHUT, LOST], TimeoutError, errno.ETIMEDOUT, None, 3),
        ([THREE, SHUT, LOST, ITSELF], ConnectionRefusedError, errno.ECONNREFUSED, None, 3),
        ([THREE, SHUT, SHUT, OSError(errno.ENETUNREACH, "no")], OSError, errno.ENETUNREACH, None, 3),
        ([THREE, SHUT, LATE], TimeoutError, errno.ETIMEDOUT, "no connection within 2.5 s", 2),
        ([LATE], TimeoutError, errno.ETIMEDOUT, "the name was not resolved within 2.5 s", 0),
        ([socket.gaierror(socket.EAI_NONAME, "unknown")], socket.gaierror, socket.EAI_NONAME, "unknown", 0),
    ],
)
def test_the_error_of_the_last_address_says_where(
    outcomes: list[Any], kind: type[OSError], code: int, words: str | None, tried: int
) -> None:
    with pytest.raises(OSError, match=r"host\.example:80") as caught:
        play(steps(), *outcomes)
    error = caught.value
    assert (type(error), error.errno) == (kind, code)
    assert error.strerror == f"host.example:80: {words or errno_words(code)}"
    assert len([name for name in error.__notes__[0].split(",") if name]) == tried
    assert isinstance(error.__cause__, OSError)


def test_bad_destinations() -> None:
    assert Destination.of("::1", 80, float("inf")) == (Peer("::1", 80), None)
    for bad in (("127.0.0.010", 80, 1), ("host", 0, 1), ("host", 65536, 1), ("host", 80, -1)):
        with pytest.raises(ValueError, match=r"^(host|port|timeout)=.*: expected"):
            Destination.of(*bad)


# --- every function that connects ----------------------------------------------------------------------------------


def test_a_refusal_says_where(way: Way) -> None:
    with refusing() as port, pytest.raises(ConnectionRefusedError) as caught:
        way("127.0.0.1", port, 30.0)
    assert caught.value.errno == errno.ECONNREFUSED
    assert str(caught.value) == REFUSED.format(f"127.0.0.1:{port}")


def test_the_deadline_says_where_and_when(way: Way) -> None:
    with silent() as port, pytest.raises(TimeoutError) as caught:
        way("127.0.0.1", port, 0.1)
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.strerror == f"127.0.0.1:{port}: no connection within 0.1 s"


def test_an_answer_that_does_not_come_says_where_and_when(impl: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        for name, make in WAYS.items():
            if name in ("connect", "aio.open_framed"):  # which wait for none
                continue
            with pytest.raises(TimeoutError) as caught:
                make(impl)("127.0.0.1", port, 0.1)
            assert caught.value.errno == errno.ETIMEDOUT
            assert caught.value.strerror == f"127.0.0.1:{port}: no answer within 0.1 s", name


@pytest.mark.parametrize("host", ["127.0.0.010", "127.1", "0x7f.1", "10.0.0.0/8", "a:b", "a b"])
def test_what_is_no_host_is_refused_before_it_is_asked(
    any_way: Way, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("it was looked up"))
    with pytest.raises(ValueError, match=f"^host='{host}': expected"):
        any_way(host, 80, 1.0)


def answers(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> list[Any]:
    """Let every look-up of ``host.example`` give something; what was asked for is in the list."""
    asked: list[Any] = []
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host == "host.example":
            asked.append(host)
            return answer()
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_every_address_of_a_name_is_tried(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("127.7.7.1", "127.7.7.2", "127.7.7.3")]
    asked = answers(monkeypatch, lambda: found)
    for name, make in WAYS.items():
        server = impl.ChatServer("127.7.7.2") if "Chat" in name else impl.EchoServer("127.7.7.2")
        with server:
            make(impl)("host.example", server.address.port, 30.0)
        with pytest.raises(ConnectionRefusedError) as caught:
            make(impl)("host.example", server.address.port, 30.0)
        assert str(caught.value) == REFUSED.format(f"host.example:{server.address.port}")
    assert len(asked) == 2 * len(WAYS)


def test_a_name_that_has_no_address(any_way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    answers(monkeypatch, unknown)
    with pytest.raises(socket.gaierror) as caught:
        any_way("host.example", 80, 30.0)
    assert (caught.value.errno, caught.value.strerror) == (socket.EAI_NONAME, "host.example:80: unknown")


def test_a_name_that_takes_too_long(any_way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    answers(monkeypatch, lambda: gate.wait(60) and [])
    try:
        with pytest.raises(TimeoutError) as caught:
            any_way("host.example", 80, 0.05)
    finally:
        gate.set()
        for thread in threading.enumerate():
            if thread.name.startswith("oxisock-resolve"):
                thread.join(30)
    assert caught.value.errno == errno.ETIMEDOUT
    assert caught.value.strerror == "host.example:80: the name was not resolved within 0.05 s"


def test_a_mapped_address_is_the_ipv4_one(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        host, port = f"::ffff:{server.address.host}", server.address.port
        with impl.connect(host, port, impl.Lines(), timeout=30.0) as framed:
            assert framed.peer == server.address
        assert impl.tcp_request(host, port, b"x", timeout=30.0) == b"x"


class Itself(socket.socket):
    """Connects from the port that it connects to: TCP's simultaneous open, with both ends the same."""

    def connect(self, address: Any) -> None:
        self.bind(address)
        super().connect(address)


@pytest.mark.skipif(sys.platform != "linux", reason="every address of 127/8 is this machine's on Linux alone")
def test_nobody_talks_to_himself(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.7.7.4", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(socket, "socket", Itself)
    with pytest.raises(ConnectionRefusedError) as caught:
        way("127.7.7.4", port, 30.0)
    assert str(caught.value) == REFUSED.format(f"127.7.7.4:{port}")


@pytest.mark.parametrize("words", [["send"], ["send", "--codec", "none"], ["chat"]])
def test_the_command_says_where_once(impl: ModuleType, words: list[str]) -> None:
    with refusing() as port:
        command, *options = words
        done = oxisock(command, f"127.0.0.1:{port}", *options, "--impl", impl.impl, input="hello\n")
    assert done.stderr == f"oxisock: 127.0.0.1:{port}: {errno_words(errno.ECONNREFUSED)}\n"


def test_connecting_needs_no_asyncio() -> None:
    code = "import sys, oxisock, oxisock.sockets.connecting; sys.exit('asyncio' in sys.modules)"
    assert python(code).returncode == 0
