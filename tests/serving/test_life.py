"""The life of servers, and echo: what every server promises, on both engines."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import pickle
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import Peer, ServerStats, StopReport
from support.addresses import HOST
from support.handlers import echo_by_hand
from support.ipv6 import needs_ipv6
from support.talking import adds_up, ask, connect, drop_all, exactly, reset, stuff_until_it_stops
from support.threads import beside
from support.waiting import wait_until

MAKERS: dict[str, Callable[..., Any]] = {
    "echo": lambda impl, **options: impl.EchoServer(**options),
    "messages": lambda impl, **options: impl.MessageServer(lambda message, peer: message, **options),
    "threads": lambda impl, **options: impl.ThreadedServer(echo_by_hand, **options),
}


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest, impl: ModuleType) -> Callable[..., Any]:
    """Make a server of each kind that answers a line with the same line."""
    return lambda **options: MAKERS[request.param](impl, **options)


# --- starting and stopping -----------------------------------------------------------------------------------------


def test_a_server_answers_and_counts(make: Callable[..., Any]) -> None:
    with make() as server:
        assert server.address.host == HOST
        assert isinstance(server.address, Peer)
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(10) == b""
        assert wait_until(lambda: server.stats().closed == 1)
    stats = server.stats()
    assert (stats.accepted, stats.active, stats.closed, stats.bytes_in, stats.bytes_out) == (1, 0, 1, 6, 6)


def test_before_start(make: Callable[..., Any]) -> None:
    server = make()
    with pytest.raises(RuntimeError, match="start"):
        server.address  # noqa: B018
    assert server.stop() == StopReport(0, 0, 0, 0.0)
    assert server.stats() == ServerStats()
    assert "not started" in repr(server)


def test_starting_twice_is_an_error_and_stopping_twice_is_not(make: Callable[..., Any]) -> None:
    server = make().start()
    address = server.address
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    report = server.stop()
    assert server.stop() is report
    assert server.address == address
    with pytest.raises(RuntimeError, match="started before"):
        server.start()
    assert "stopped" in repr(server)


def test_a_server_is_named_after_its_engine(impl: ModuleType) -> None:
    for name in ("EchoServer", "MessageServer", "ThreadedServer"):
        kind = getattr(impl, name)
        assert (kind.impl, kind.__module__) == (impl.impl, f"oxisock.{impl.impl}")
        assert getattr(oxisock, name).impl == oxisock.impl
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(impl.EchoServer())


def test_an_address_in_use_says_which(make: Callable[..., Any]) -> None:
    with make() as server:
        other = make(port=server.address.port)
        with pytest.raises(OSError, match=rf"{re.escape(str(server.address))}.*in use") as caught:
            other.start()
        assert caught.value.errno == errno.EADDRINUSE
        assert other.stop() == StopReport()


def test_a_host_that_is_no_address_of_ours(make: Callable[..., Any]) -> None:
    with pytest.raises(OSError, match=r"192\.0\.2\.1:0") as caught:
        make(host="192.0.2.1").start()
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_name_that_does_not_exist(make: Callable[..., Any]) -> None:
    with pytest.raises(socket.gaierror, match="nowhere.invalid:0"):
        make(host="nowhere.invalid").start()


def test_what_makes_no_sense_is_refused_at_once(make: Callable[..., Any]) -> None:
    for error, name, values in (
        (ValueError, "port", (-1, 65536)),
        (TypeError, "port", ("80", True)),
        (ValueError, "max_connections", (0,)),
        (TypeError, "max_connections", (1.5,)),
        (ValueError, "backlog", (0,)),
        (ValueError, "idle_timeout", (0, -1.0)),
        (TypeError, "idle_timeout", ("1",)),
        (ValueError, "write_timeout", (float("nan"),)),
        (ValueError, "max_buffered", (0,)),
    ):
        for value in values:
            with pytest.raises(error, match=f"^{name}="):
                make(**{name: value})


def test_unknown_limits_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match="max_conections"):
        make(max_conections=5)


def test_a_negative_drain_is_refused(make: Callable[..., Any]) -> None:
    with make() as server:
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="drain"):
                server.stop(drain=wrong)
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"


def test_a_port_can_be_had_again_right_after_a_stop_with_open_connections(make: Callable[..., Any]) -> None:
    with ExitStack() as stack:
        port = 0
        for _ in range(3):
            server = make(port=port).start()
            port = server.address.port
            socks = [stack.enter_context(connect(server)) for _ in range(5)]
            assert [ask(sock) for sock in socks] == [b"hello\n"] * 5
            assert server.stop(drain=30).drained == 5
            assert adds_up(server.stats())


def test_a_socket_of_ones_own(make: Callable[..., Any]) -> None:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        server = make(sock=own).start()
        assert server.address == own.getsockname()
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
        server.stop()
        assert own.fileno() == -1


def test_a_socket_of_ones_own_is_closed_after_a_signal(make: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        server = make(sock=own)
        server.serve_forever(on_start=lambda: signal.raise_signal(signal.SIGTERM))
        assert own.fileno() == -1


def test_a_socket_of_another_kind_is_refused(make: Callable[..., Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="stream"):
            make(sock=own).start()
    with socket.socket() as own, pytest.raises(ValueError, match="bound"):
        make(sock=own).start()


def test_two_servers_share_a_port_if_both_say_so(make: Callable[..., Any]) -> None:
    with make(reuse_port=True) as one, make(port=one.address.port, reuse_port=True) as two:
        with ExitStack() as stack:
            for _ in range(64):
                assert ask(stack.enter_context(connect(one))) == b"hello\n"
            assert one.stats().accepted > 0
            assert two.stats().accepted > 0
            assert one.stats().accepted + two.stats().accepted == 64


@needs_ipv6
def test_ipv6_and_dual_stack(make: Callable[..., Any]) -> None:
    with make(host="::1") as server:
        assert server.address.host == "::1"
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
    with make(host="::", dual_stack=True) as server:
        with socket.create_connection(("127.0.0.1", server.address.port), timeout=20) as sock:
            assert ask(sock) == b"hello\n"
    with make(host="::") as server, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.address.port), timeout=20)


def test_others_may_reach_it_is_logged(make: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "oxisock"):
        with make():
            assert not caplog.records
        with make(host="0.0.0.0"):
            assert "0.0.0.0" in caplog.text


def test_stop_is_on_time_in_a_storm_of_connects(make: Callable[..., Any]) -> None:
    server = make().start()
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            try:
                sock = socket.create_connection(server.address, timeout=1)
                sock.close()
            except OSError:
                pass

    threads = [threading.Thread(target=storm) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: server.stats().accepted > 20)
    report = server.stop(drain=1.0)
    over.set()
    for thread in threads:
        thread.join()
    assert report.elapsed < 60  # the storm would go on for ever
    assert adds_up(server.stats())
    assert server.stats().active == 0


def test_stop_from_several_threads_gives_one_report(make: Callable[..., Any]) -> None:
    server = make().start()
    with connect(server) as sock:
        ask(sock)
        reports: list[StopReport] = []
        threads = [threading.Thread(target=lambda: reports.append(server.stop(drain=30))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(reports)) == 1
    assert reports[0].drained == 1


def test_a_second_stop_may_bring_the_end_forward(impl: ModuleType) -> None:
    server = impl.EchoServer(max_buffered=1 << 24).start()
    with connect(server) as sock:
        sock.setblocking(False)
        stuff_until_it_stops(sock)
        with beside(server.stop, 600):
            assert wait_until(lambda: "stopped" in repr(server))
            report = server.stop()
        assert report.aborted == 1


def test_serve_forever_ends_with_a_stop_elsewhere(make: Callable[..., Any]) -> None:
    server = make()
    with beside(server.serve_forever) as reports:
        assert wait_until(lambda: "listening" in repr(server))
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
            report = server.stop()
    assert reports == [report]


def test_a_server_dropped_while_running_warns_and_stops(make: Callable[..., Any]) -> None:
    server = make().start()
    with connect(server) as sock:
        assert ask(sock) == b"hello\n"
        address = server.address
        kept = [server]
        del server
        with pytest.warns(ResourceWarning, match="dropped while running"):
            drop_all(kept)
        assert sock.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=20)


def test_a_server_dropped_with_what_refers_to_itself_warns_and_stops(make: Callable[..., Any]) -> None:
    class Owner:
        def __init__(self) -> None:
            self.server = make().start()
            self.itself = self

    owner = Owner()
    address = owner.server.address
    with pytest.warns(ResourceWarning, match="dropped while running"):
        del owner
        gc.collect()

    def refused() -> bool:
        try:
            socket.create_connection(address, timeout=20).close()
        except ConnectionError as error:  # a listener that is just closing resets
            return isinstance(error, ConnectionRefusedError)
        return False

    assert wait_until(refused)


def test_a_server_dropped_after_its_stop_is_silent(make: Callable[..., Any]) -> None:
    server = make().start()
    server.stop()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del server
        gc.collect()


def test_a_forked_child_gets_clear_errors_and_does_not_hold_the_port(make: Callable[..., Any]) -> None:
    server = make().start()
    with connect(server) as sock:
        assert ask(sock) == b"hello\n"
        ready, told = os.pipe()
        done, tell = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from 3.12 on
            child = os.fork()
        if child == 0:
            complaints = 0
            for use in (server.start, server.stop, server.stats, server.serve_forever, lambda: server.address):
                try:
                    use()
                except RuntimeError as error:
                    complaints += "forked child" in str(error)
            os.write(told, bytes([complaints]))
            os.read(done, 1)
            os._exit(0)
        try:
            assert os.read(ready, 1) == b"\x05"
            assert ask(sock) == b"hello\n"
            port = server.address.port
            server.stop()
            assert sock.recv(1) == b""  # although the child holds a duplicate
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((HOST, port), timeout=20)
            with make(port=port) as again, connect(again) as other:
                assert ask(other) == b"hello\n"
        finally:
            os.write(tell, b"x")
            os.waitpid(child, 0)
            for descriptor in (ready, told, done, tell):
                os.close(descriptor)


def test_a_running_event_loop_beside_it(make: Callable[..., Any]) -> None:
    async def talk(server: Any) -> bytes:
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"hello\n")
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    async def many() -> list[bytes]:
        with make() as server:
            return list(await asyncio.gather(*(talk(server) for _ in range(50))))

    assert asyncio.run(many()) == [b"hello\n"] * 50


# --- limits ---------------------------------------------------------------------------------------------------------


def test_at_the_limit_newcomers_wait_in_the_backlog(make: Callable[..., Any]) -> None:
    with make(max_connections=2) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(connect(server)) for _ in range(3))
        assert ask(first) == ask(second) == b"hello\n"
        third.sendall(b"hello\n")
        third.settimeout(0.2)
        with pytest.raises(TimeoutError):
            third.recv(6)
        assert server.stats().accepted == 2
        first.close()
        third.settimeout(20)
        assert exactly(third, 6) == b"hello\n"


def test_who_says_nothing_is_closed(make: Callable[..., Any]) -> None:
    for limit in (0.2, 2.0, 20.0):
        with make(idle_timeout=limit) as server, connect(server) as sock:
            with contextlib.suppress(ConnectionError):
                if ask(sock) == b"hello\n":
                    assert sock.recv(1) == b""
                    assert wait_until(lambda: server.stats().closed == 1)
                    assert server.stats().timeouts == 1
                    return
        # The machine was so busy that even this client was silent for too long.
    pytest.fail("nobody was served in time")


def test_who_does_not_read_is_closed_and_costs_little(impl: ModuleType) -> None:
    for kind in ("echo", "messages"):
        with MAKERS[kind](impl, write_timeout=0.5, max_buffered=10_000) as server, socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(20)
            sock.connect(server.address)
            sock.setblocking(False)
            line, closed = b"x" * 999 + b"\n", False
            deadline = time.monotonic() + 20
            while not closed and time.monotonic() < deadline:
                try:
                    sock.send(line * 64)
                except BlockingIOError:
                    time.sleep(0.01)
                except ConnectionError:
                    closed = True
            assert closed
            assert wait_until(lambda: server.stats().closed == 1)
            stats = server.stats()
            assert stats.timeouts == 1
            # What was read and not written is what it cost; a chunk of messages not yet handled adds to it.
            assert stats.bytes_in - stats.bytes_out <= 2 * 10_000 + 1000


def test_a_connection_reset_in_mid_message(make: Callable[..., Any]) -> None:
    with make() as server:
        for _ in range(5):
            sock = connect(server)
            assert ask(sock) == b"hello\n"
            sock.sendall(b"half a mess")
            reset(sock)
        with connect(server) as sock:
            assert ask(sock) == b"hello\n"
        assert wait_until(lambda: server.stats().closed == 6)
        assert adds_up(server.stats())
        assert server.stats().handler_errors == 0


@pytest.fixture(autouse=True)
def _nobody_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    from oxisock.sockets import forks

    assert not list(forks.live)
