"""UDP servers: datagrams in, replies out, and everything that can go wrong between them."""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import Datagram, Peer, udp_request
from support.datagrams import LOCAL, SECONDS, ask, client, linux
from support.ipv6 import needs_ipv6
from support.waiting import wait_until

# --- echo ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1472, 1473, 9000, 65507])
def test_echo_of_every_size(impl: ModuleType, size: int) -> None:
    payload = os.urandom(size)
    with impl.UdpEchoServer() as server:
        assert udp_request(*server.address, payload, timeout=SECONDS) == payload
        stats = server.stats()
    assert (stats.messages, stats.bytes_in, stats.bytes_out) == (1, size, size)


def test_the_prefix_goes_before_each_datagram(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server, client() as sock:
        assert ask(sock, server.address, b"hello") == b"ACK: hello"
        assert ask(sock, server.address, b"") == b"ACK: "
        assert ask(sock, server.address, b"ACK: x") == b"ACK: ACK: x"


def test_an_echo_too_long_for_a_datagram_is_counted_and_survived(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server, client() as sock:
        sock.sendto(bytes(65507), server.address)
        assert ask(sock, server.address, bytes(65502)) == b"ACK: " + bytes(65502)
        assert server.stats().handler_errors == 1
        assert server.stats().bytes_out == 65507


def test_many_in_flight_are_all_answered_in_order(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b">") as server, client() as sock:
        for first in range(0, 4000, 100):
            for number in range(first, first + 100):
                sock.sendto(b"%d" % number, server.address)
            assert [sock.recv(100) for _ in range(100)] == [b">%d" % n for n in range(first, first + 100)]
        stats = server.stats()
    assert stats.messages == 4000
    assert stats.bytes_out == stats.bytes_in + 4000


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "::"])
def test_ipv6(impl: ModuleType, host: str) -> None:
    with impl.UdpServer(lambda datagram: b"%s %d" % (datagram.data, datagram.peer.port), host) as server:
        assert server.address.host == host
        with client(socket.AF_INET6, "::1") as sock:
            port = sock.getsockname()[1]
            sock.connect(("::1", server.address.port))
            sock.send(b"six")
            assert sock.recv(100) == b"six %d" % port


# --- handlers ------------------------------------------------------------------------------------------------------


def test_a_handler_gets_a_datagram_and_gives_the_reply(impl: ModuleType) -> None:
    seen: list[Datagram] = []

    def upper(datagram: Datagram) -> bytes | None:
        seen.append(datagram)
        return datagram.data.upper() if datagram.data else None

    with impl.UdpServer(upper) as server, client() as sock:
        me = Peer(*sock.getsockname())
        sock.sendto(b"", server.address)
        assert ask(sock, server.address, b"hello") == b"HELLO"
    assert seen == [(b"", me, False), (b"hello", me, False)]
    assert all(type(one) is Datagram and type(one.peer) is Peer for one in seen)
    assert seen[1].data == b"hello"
    assert seen[1].peer.host == LOCAL
    assert pickle.loads(pickle.dumps(seen)) == seen
    assert server.stats().messages == 2
    assert server.stats().handler_errors == 0


def test_an_empty_reply_is_a_datagram(impl: ModuleType) -> None:
    with impl.UdpServer(lambda datagram: b"") as server:
        assert udp_request(*server.address, b"x", timeout=SECONDS) == b""


def failing(datagram: Datagram) -> Any:
    if datagram.data == b"raise":
        raise LookupError("on purpose")
    if datagram.data == b"exit":
        raise SystemExit(3)
    return {b"str": "text", b"int": 5, b"array": bytearray(b"x"), b"long": bytes(65508)}.get(datagram.data, b"fine")


def failing_batch(batch: list[Datagram]) -> Any:
    if batch[0].data == b"raise":
        raise LookupError("on purpose")
    if batch[0].data == b"exit":
        raise SystemExit(3)
    wrong = {b"short": [], b"none": None, b"tuple": (b"x",), b"item": [LookupError("one")], b"str": ["x"]}
    return wrong.get(batch[0].data, [b"fine"])


@pytest.mark.parametrize("kind", ["raise", "exit", "str", "int", "array", "long"])
def test_a_handler_that_fails_is_logged_with_its_peer_and_survived(
    impl: ModuleType, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with impl.UdpServer(failing) as server, client() as sock:
        sock.sendto(kind.encode(), server.address)
        assert ask(sock, server.address, b"good") == b"fine"
        assert server.stats().handler_errors == 1
        assert wait_until(lambda: bool(caplog.records))
        assert f"{LOCAL}:{sock.getsockname()[1]}" in caplog.records[0].getMessage()
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", ["raise", "exit", "short", "none", "tuple", "item", "str"])
def test_a_batch_handler_that_fails_is_logged_and_survived(
    impl: ModuleType, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with impl.UdpServer(failing_batch, batch=True) as server, client() as sock:
        sock.sendto(kind.encode(), server.address)
        assert wait_until(lambda: server.stats().handler_errors == 1)
        assert ask(sock, server.address, b"good") == b"fine"
        assert server.stats().handler_errors == 1
        assert f"{LOCAL}:{sock.getsockname()[1]}" in caplog.text


def test_a_batch_is_a_list_in_and_a_list_out(impl: ModuleType) -> None:
    gate, sizes = threading.Event(), []

    def handle(batch: list[Datagram]) -> list[bytes | Exception | None]:
        gate.wait(SECONDS)
        sizes.append(len(batch))
        out: list[bytes | Exception | None] = []
        for datagram in batch:
            number = int(datagram.data)
            out.append(None if number % 3 == 1 else ValueError("no") if number % 3 == 2 else datagram.data)
        batch.clear()  # the list is the handler's own
        return out

    with impl.UdpServer(handle, batch=True) as server, client() as sock:
        for number in range(150):
            sock.sendto(b"%d" % number, server.address)
        gate.set()
        assert [sock.recv(100) for _ in range(50)] == [b"%d" % number for number in range(0, 150, 3)]
        assert wait_until(lambda: server.stats().handler_errors == 50)
    assert sum(sizes) == 150
    assert 2 < max(sizes) <= 64


@pytest.mark.parametrize(("size", "limit"), [(99, 100), (100, 100), (101, 100), (5, 1), (0, 1)])
def test_truncation_is_told(impl: ModuleType, size: int, limit: int) -> None:
    payload = os.urandom(size)
    seen: list[Datagram] = []
    with impl.UdpServer(lambda datagram: seen.append(datagram) or b"ok", max_datagram=limit) as server:
        assert udp_request(*server.address, payload, timeout=SECONDS) == b"ok"
        assert udp_request(*server.address, b"y", timeout=SECONDS) == b"ok"
    assert [(one.data, one.truncated) for one in seen] == [(payload[:limit], size > limit), (b"y", False)]


def test_replies_go_to_whom_they_belong(impl: ModuleType) -> None:
    with impl.UdpServer(lambda datagram: datagram.data + b"!") as server, contextlib.ExitStack() as stack:
        socks = [stack.enter_context(client()) for _ in range(50)]
        for round_ in range(3):
            for number, sock in enumerate(socks):
                sock.sendto(b"%d %d" % (round_, number), server.address)
            for number, sock in enumerate(socks):
                assert sock.recv(100) == b"%d %d!" % (round_, number)


# --- the network ---------------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("kind", ["echo", "handler"])
def test_icmp_errors_are_counted_and_survived(impl: ModuleType, kind: str) -> None:
    make = impl.UdpEchoServer if kind == "echo" else lambda: impl.UdpServer(lambda datagram: datagram.data)
    with make() as server, client() as live, client() as deaf, client() as nobody:
        # Connected to somebody else, it hears no answer: the system says so to the server by ICMP.
        deaf.connect(nobody.getsockname())
        for number in range(20):
            deaf.sendto(b"gone", server.address)
            # Nobody's answer may get lost because of the errors that others' answers met.
            assert ask(live, server.address, b"%d" % number) == b"%d" % number
        assert wait_until(lambda: server.stats().icmp_errors > 0)
        assert ask(live, server.address, b"still") == b"still"
        assert server.stats().messages == 41
        assert server.stats().handler_errors == 0
        assert server.stats().icmp_errors <= 20


@linux
def test_a_reply_leaves_from_the_address_that_was_asked(impl: ModuleType) -> None:
    with impl.UdpServer(lambda datagram: datagram.data, "0.0.0.0") as server, client() as sock:
        for number in (1, 2, 77, 254):
            asked = (f"127.0.0.{number}", server.address.port)
            sock.sendto(b"from where?", asked)
            assert sock.recvfrom(100) == (b"from where?", asked)


@linux
@needs_ipv6
def test_a_socket_for_both_families(impl: ModuleType) -> None:
    given = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    given.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    given.bind(("::", 0))
    with impl.UdpServer(lambda datagram: datagram.peer.host.encode(), sock=given) as server:
        port = server.address.port
        with client() as four, client(socket.AF_INET6, "::1") as six:
            for number in (1, 99):
                asked = (f"127.0.0.{number}", port)
                four.sendto(b"x", asked)
                assert four.recvfrom(100) == (b"::ffff:127.0.0.1", asked)
            six.sendto(b"x", ("::1", port))
            data, asked_six = six.recvfrom(100)
            assert (data, asked_six[:2]) == (b"::1", ("::1", port))


@contextlib.contextmanager
def low_client() -> Iterator[socket.socket]:
    for port in range(1023, 600, -1):
        try:
            with client(port=port) as sock:
                yield sock
                return
        except PermissionError:
            pytest.skip("ports below 1024 need a privilege")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    pytest.skip("no port below 1024 is free")


@pytest.mark.parametrize("kind", ["echo", "handler"])
def test_low_ports_are_not_answered_unless_told_to(impl: ModuleType, kind: str) -> None:
    def make(**options: Any) -> Any:
        if kind == "echo":
            return impl.UdpEchoServer(**options)
        return impl.UdpServer(lambda datagram: datagram.data, **options)

    with low_client() as low, client() as high:
        with make() as server:
            low.sendto(b"chargen", server.address)
            assert ask(high, server.address, b"x") == b"x"
            assert server.stats().ignored == 1
            assert server.stats().messages == 1
            low.setblocking(False)
            with pytest.raises(BlockingIOError):
                low.recv(100)
            low.settimeout(SECONDS)
        with make(answer_low_ports=True) as server:
            assert ask(low, server.address, b"dns") == b"dns"
            assert server.stats().ignored == 0


# --- binding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["UdpEchoServer", "UdpServer"])
def test_errors_of_binding_name_the_address(impl: ModuleType, name: str) -> None:
    arguments = () if name == "UdpEchoServer" else (lambda datagram: None,)
    with client() as taken:
        port = taken.getsockname()[1]
        server = getattr(impl, name)(*arguments, LOCAL, port)
        with pytest.raises(OSError, match=f"127.0.0.1:{port}") as caught:
            server.start()
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(OSError, match=r"192\.0\.2\.1:0") as caught:
        getattr(impl, name)(*arguments, "192.0.2.1").start()
    assert caught.value.errno == errno.EADDRNOTAVAIL
    # The first failed, and so may try again.
    with server:
        assert server.address == (LOCAL, port)


def test_a_restart_on_the_same_port_at_once(impl: ModuleType) -> None:
    with impl.UdpEchoServer() as server:
        address = server.address
        assert udp_request(*address, b"1", timeout=SECONDS) == b"1"
    for _ in range(5):
        with impl.UdpServer(lambda datagram: b"2", *address):
            assert udp_request(*address, b"1", timeout=SECONDS) == b"2"


def test_a_shared_port(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with impl.UdpEchoServer(reuse_port=True, prefix=b"1") as one:
        with impl.UdpEchoServer(port=one.address.port, reuse_port=True, prefix=b"2") as two:
            heard = set()
            deadline = time.monotonic() + SECONDS
            while heard != {b"1x", b"2x"} and time.monotonic() < deadline:
                heard.add(udp_request(*two.address, b"x", timeout=SECONDS))
            assert heard == {b"1x", b"2x"}
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(OSError, match="SO_REUSEPORT") as caught:
        impl.UdpEchoServer(reuse_port=True).start()
    assert caught.value.errno == errno.ENOTSUP


def test_a_socket_of_the_users_own(impl: ModuleType) -> None:
    given = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    given.bind((LOCAL, 0))
    with impl.UdpServer(lambda datagram: datagram.data, sock=given) as server:
        assert server.address == given.getsockname()
        assert udp_request(*server.address, b"x", timeout=SECONDS) == b"x"
    assert given.fileno() == -1
    with client(port=server.address.port):
        pass
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream:
        with pytest.raises(ValueError, match="datagram"):
            impl.UdpServer(lambda datagram: None, sock=stream).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
        with pytest.raises(ValueError, match="bound"):
            impl.UdpServer(lambda datagram: None, sock=unbound).start()


@pytest.mark.parametrize(
    ("error", "make"),
    [
        (TypeError, lambda impl: impl.UdpServer(None)),
        (ValueError, lambda impl: impl.UdpServer(print, port=65536)),
        (ValueError, lambda impl: impl.UdpServer(print, port=-1)),
        (ValueError, lambda impl: impl.UdpServer(print, max_datagram=0)),
        (ValueError, lambda impl: impl.UdpServer(print, max_datagram=65536)),
        (TypeError, lambda impl: impl.UdpServer(print, max_datagram=1.5)),
        (TypeError, lambda impl: impl.UdpEchoServer(prefix="text")),
        (TypeError, lambda impl: impl.UdpEchoServer(prefix=5)),
        (ValueError, lambda impl: impl.UdpEchoServer(prefix=bytes(70000))),
    ],
)
def test_wrong_arguments(impl: ModuleType, error: type[Exception], make: Callable[[ModuleType], object]) -> None:
    with pytest.raises(error):
        make(impl)


def test_others_than_this_machine_are_worth_a_warning(impl: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    with impl.UdpEchoServer("0.0.0.0"):
        assert "0.0.0.0" in caplog.text
    caplog.clear()
    with impl.UdpEchoServer():
        assert not caplog.records


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "0.0.0.0", pytest.param("::1", marks=needs_ipv6), pytest.param("::", marks=needs_ipv6)]
)
@pytest.mark.parametrize("kind", ["handler", "echo"])
def test_a_datagram_from_the_server_itself_is_ignored(impl: ModuleType, kind: str, host: str) -> None:
    # A twin of the server's socket sends what somebody else would have to forge.
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as twin:
        twin.bind((host, 0))
        sock = twin.dup()
        with (
            impl.UdpServer(lambda datagram: datagram.data, sock=sock)
            if kind == "handler"
            else impl.UdpEchoServer(sock=sock) as server
        ):
            port = server.address.port
            here = "::1" if ":" in host else "127.0.0.1"
            twin.sendto(b"hello", (here, port))
            assert wait_until(lambda: server.stats().ignored == 1)
            if host == "0.0.0.0":  # any other address of this machine is as good
                twin.sendto(b"hello", ("127.0.0.2", port))
                assert wait_until(lambda: server.stats().ignored == 2)
            # From another port, the same address is anybody's.
            assert udp_request(here, port, b"hello", timeout=20) == b"hello"
            assert server.stats().messages == 1


def test_another_machine_with_the_same_port_is_answered(impl: ModuleType) -> None:
    # 127.0.0.2 is as another machine to a server that is bound to 127.0.0.1.
    with impl.UdpEchoServer() as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.settimeout(20)
        other.bind(("127.0.0.2", server.address.port))
        other.sendto(b"hello", server.address)
        assert other.recv(100) == b"hello"
