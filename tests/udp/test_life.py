"""The life of UDP servers: start, drain, stop, drop, exit, fork, signals."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from types import ModuleType

import pytest

from oxisock import Datagram, ServerStats, udp_request
from support.datagrams import LOCAL, SECONDS, client
from support.processes import heeds_signals, python
from support.resources import native_threads
from support.threads import beside
from support.waiting import wait_until


def test_before_and_after(impl: ModuleType) -> None:
    server = impl.UdpServer(lambda datagram: b"y")
    with pytest.raises(RuntimeError):
        _ = server.address
    assert server.stats() == ServerStats()
    assert server.stop() == (0, 0, 0, 0.0)
    assert server.start() is server
    with pytest.raises(RuntimeError):
        server.start()
    assert udp_request(*server.address, b"x", timeout=SECONDS) == b"y"
    report = server.stop(drain=5)
    assert report[:3] == (0, 0, 0)
    assert server.stop() is report
    assert server.stats().messages == 1
    with pytest.raises(ConnectionRefusedError):
        udp_request(*server.address, b"x")


def test_a_drain_answers_what_is_queued(impl: ModuleType) -> None:
    entered, gate = threading.Event(), threading.Event()

    def slow(datagram: Datagram) -> bytes:
        entered.set()
        gate.wait(SECONDS)
        return datagram.data

    server = impl.UdpServer(slow).start()
    with client() as sock:
        sock.sendto(b"0", server.address)
        assert entered.wait(SECONDS)
        for number in range(1, 200):
            sock.sendto(b"%d" % number, server.address)
        with beside(server.stop, SECONDS) as reports:
            assert wait_until(lambda: "stopped" in repr(server))
            gate.set()
        assert [sock.recv(100) for _ in range(200)] == [b"%d" % number for number in range(200)]
    assert reports[0][:3] == (200, 0, 0)


def test_without_a_drain_the_rest_is_dropped(impl: ModuleType) -> None:
    entered, gate = threading.Event(), threading.Event()
    handled: list[bytes] = []

    def slow(datagram: Datagram) -> bytes:
        handled.append(datagram.data)
        entered.set()
        gate.wait(90)
        return datagram.data

    threads = native_threads()
    with client() as sock:
        server = impl.UdpServer(slow).start()
        for number in range(50):
            sock.sendto(b"%d" % number, server.address)
        assert entered.wait(SECONDS)
        report = server.stop()
        assert report.stuck_handlers == 1
        assert report.elapsed < 60  # the handler takes longer
        # The handler is stuck, the port is free.
        with client(port=server.address.port):
            pass
        gate.set()
        assert wait_until(lambda: native_threads() <= threads)
        assert handled == [b"0"]


def test_a_drain_has_an_end_while_datagrams_keep_coming(impl: ModuleType) -> None:
    server = impl.UdpEchoServer().start()
    done = threading.Event()

    def flood() -> None:
        with client() as sock:
            while not done.is_set():
                sock.sendto(b"more", server.address)

    flooder = threading.Thread(target=flood)
    flooder.start()
    try:
        assert wait_until(lambda: server.stats().messages > 100)
        assert server.stop(drain=60).elapsed < 30
    finally:
        done.set()
        flooder.join()


def test_stop_from_a_handler_begins_it_and_sends_the_reply(impl: ModuleType) -> None:
    def quit_(datagram: Datagram) -> bytes:
        server.stop()
        return b"bye"

    server = impl.UdpServer(quit_).start()
    assert udp_request(*server.address, b"quit", timeout=SECONDS) == b"bye"
    assert server.serve_forever().stuck_handlers == 0
    with client(port=server.address.port):
        pass


def test_stop_from_a_batch_handler(impl: ModuleType) -> None:
    def quit_(batch: list[Datagram]) -> list[bytes]:
        server.stop(drain=1)
        return [b"bye"] * len(batch)

    server = impl.UdpServer(quit_, batch=True).start()
    assert udp_request(*server.address, b"quit", timeout=SECONDS) == b"bye"
    assert server.serve_forever()[:3] == (1, 0, 0)


@pytest.mark.parametrize("make", ["UdpEchoServer()", "UdpServer(lambda d: d.data)"])
def test_a_dropped_server_warns_and_stops(impl: ModuleType, make: str) -> None:
    server = eval(f"impl.{make}.start()", {"impl": impl})
    address = server.address
    with pytest.warns(ResourceWarning, match="dropped while running"):
        del server
    gc.collect()

    def free() -> bool:
        try:
            with client(port=address.port):
                return True
        except OSError:
            return False

    assert wait_until(free)


@pytest.mark.parametrize("make", ["UdpEchoServer()", "UdpServer(lambda d: d.data)"])
def test_an_exit_without_a_stop_is_clean(impl: ModuleType, make: str) -> None:
    done = python(
        f"import oxisock.{impl.impl} as o\n"
        f"server = o.{make}.start()\nassert o.udp_request(*server.address, b'x', timeout=20) == b'x'\nprint('out')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("make", ["UdpEchoServer()", "UdpServer(lambda d: d.data)"])
def test_a_forked_child_says_so_and_does_not_hold_the_port(impl: ModuleType, make: str) -> None:
    code = f"""
import os, socket, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import oxisock.{impl.impl} as o
server = o.{make}.start()
ask, tell = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    for call in (lambda: server.address, server.stats, server.stop, server.start, server.serve_forever):
        try:
            call()
        except RuntimeError as error:
            assert "forked child" in str(error), error
        else:
            os._exit(1)
    os.write(tell[1], b"x")
    os.read(ask[0], 1)
    os._exit(0)
os.read(tell[0], 1)
assert o.udp_request(*server.address, b"still here", timeout=20) == b"still here"
server.stop()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(server.address)
os.write(ask[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fork_within_a_handler(impl: ModuleType) -> None:
    code = f"""
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import oxisock.{impl.impl} as o
children = []
def handle(datagram):
    pid = os.fork()
    if pid:
        children.append(pid)
        return b"parent"
    return b"child"  # and its thread, the only one there, ends after this
with o.UdpServer(handle) as server:
    assert o.udp_request(*server.address, b"x", timeout=20) == b"parent"
    assert o.udp_request(*server.address, b"x", timeout=20) == b"parent"
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_forever_ends_with_a_signal(impl: ModuleType, number: int) -> None:
    code = (
        f"import oxisock.{impl.impl} as o\nserver = o.UdpServer(lambda d: d.data).start()\n"
        "print(server.address.port, flush=True)\nreport = server.serve_forever()\nprint(report.stuck_handlers)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        assert udp_request(LOCAL, port, b"x", timeout=SECONDS) == b"x"
        assert wait_until(lambda: heeds_signals(process.pid))
        process.send_signal(number)
        assert process.stdout.read() == "0\n"
        assert process.wait(SECONDS) == 0
