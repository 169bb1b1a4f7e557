"""Scanning this machine: what is open is found, nothing else is, and every way to end a scan gives everything back."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import ModuleType

import pytest

import oxisock
from oxisock import PortResult, PortState, ScanInterrupted
from support.addresses import HOST
from support.commands import listening, silent
from support.ipv6 import needs_ipv6
from support.processes import python
from support.resources import descriptors
from support.waiting import wait_until

SLOW = {"rate": 50.0}  # a scan that would take twenty minutes


# --- what is found


def test_a_full_scan_finds_what_is_open(impl: ModuleType) -> None:
    with listening(10, host=HOST) as ports:
        report = impl.scan(HOST, "-")
    assert set(ports) <= {result.port for result in report}
    assert sum(report.counts.values()) == 65535
    assert not report.partial
    assert all(result.rtt is not None and result.reason == "syn-ack" for result in report)


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_a_result_says_everything(impl: ModuleType, host: str) -> None:
    with listening(1, host=host) as ports:
        (port,) = ports
        report = impl.scan([host], [port, 1], keep=("open", "closed"))
    closed, opened = report.results
    assert (opened.host, opened.address, opened.port) == (host, host, port)
    assert (opened.state, opened.reason, opened.banner) == (PortState.OPEN, "syn-ack", None)
    assert opened.is_open
    assert 0 < opened.rtt < 60
    assert (closed.port, closed.state, closed.reason) == (1, "closed", "conn-refused")
    assert closed.service == oxisock.service_name(1)
    assert report.counts == {"open": 1, "closed": 1, "filtered": 0, "error": 0}
    assert report.stats.probes == 2
    assert report.hosts == {host: [closed, opened]}


@pytest.mark.parametrize("order", ["random", "sequential"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_port_is_decided_exactly_once(impl: ModuleType, order: str, threads: int) -> None:
    report = impl.scan(
        "127.0.0.1,127.0.0.2-5", "1-300", keep=list(PortState), order=order, threads=threads, concurrency=50
    )
    assert len(report) == len({(r.address, r.port) for r in report}) == 5 * 300
    assert [(r.address, r.port) for r in report] == [
        (f"127.0.0.{n}", port) for n in range(1, 6) for port in range(1, 301)
    ]


def test_shards_are_disjoint_and_complete(impl: ModuleType) -> None:
    parts = [
        {(r.address, r.port) for r in impl.scan("127.0.0.0/30", "1-50", shard=f"{k}/3", seed=4, keep="closed,open")}
        for k in (1, 2, 3)
    ]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 200


def test_hosts_keep_the_spelling_they_were_given(impl: ModuleType) -> None:
    with listening(1) as ports:
        report = impl.scan("localhost, 127.0.0.1, 127.0.0.2/31", ports, keep=list(PortState))
    assert [(r.host, r.address) for r in report] == [
        ("localhost", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.0.0.3", "127.0.0.3"),
    ]


def test_names_that_do_not_resolve_are_told_and_the_rest_goes_on(impl: ModuleType) -> None:
    with listening(1) as ports:
        report = impl.scan("127.0.0.1,no-such-host.invalid", ports)
    assert len(report.open) == 1
    assert list(report.unresolved) == ["no-such-host.invalid"]
    with pytest.raises(socket.gaierror, match="no-such-host.invalid: "):
        impl.scan("no-such-host.invalid", 80)


def test_many_addresses_pass_in_groups(impl: ModuleType) -> None:
    with listening(1) as ports:
        report = impl.scan("127.0.0.0/20", ports, keep=list(PortState))
    assert len(report.open) == 1
    assert report.counts[PortState.CLOSED] == 4095


def test_banners_are_read_with_a_deadline_of_their_own(impl: ModuleType) -> None:
    def greet(listener: socket.socket, greeting: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(greeting)
            connection.recv(1)  # until the scanner hangs up

    greetings = [b"220 hello\r\n", b"x" * 1000, b"no end of line", b""]
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in greetings]
        with ThreadPoolExecutor(len(greetings)) as pool:
            for server, greeting in zip(servers, greetings, strict=True):
                pool.submit(greet, server, greeting)
            ports = [server.getsockname()[1] for server in servers]
            report = impl.scan("127.0.0.1", ports, banner=2.0)
    banners = {result.port: result.banner for result in report}
    assert [banners[port] for port in ports] == [b"220 hello\r\n", b"x" * 256, b"no end of line", None]


def test_a_trace_tells_every_probe_and_answer(impl: ModuleType) -> None:
    report = impl.scan("127.0.0.1", "1-5", trace=True)
    trail = report.why("127.0.0.1", 3)
    assert [event.event for event in trail] == ["sent", "conn-refused"]
    assert 0 <= trail[0].time <= trail[1].time
    with pytest.raises(ValueError, match="trace=True"):
        impl.scan("127.0.0.1", "1-5").why("127.0.0.1", 3)


def test_a_rate_is_kept(impl: ModuleType) -> None:
    start = time.monotonic()
    impl.scan("127.0.0.1", "1-100", rate=200)
    assert time.monotonic() - start >= 0.45, "100 probes at 200 a second take half a second less the slack"


# --- faults of this machine


def test_the_answer_is_the_same_with_few_descriptors(impl: ModuleType) -> None:
    code = f"""
import resource, socket
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from oxisock import {impl.impl} as impl
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
ports = [l.getsockname()[1] for l in listeners]
spec = sorted({{*range(1, 3000), *ports}})
few = impl.scan("127.0.0.1", spec)
many = impl.scan("127.0.0.1", spec, concurrency=500)
for report in few, many:
    assert {{r.port for r in report}} >= set(ports)
    assert report.counts["error"] == report.counts["filtered"] == 0, report.counts
    assert sum(report.counts.values()) == len(spec)
print("same")
"""
    done = python(code)
    assert done.stdout == "same\n", done.stderr


def test_no_descriptors_at_all_is_an_error_and_no_verdict(impl: ModuleType) -> None:
    code = f"""
import os, resource, socket
from oxisock import {impl.impl} as impl
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
ports = [l.getsockname()[1] for l in listeners]
run = impl.scan_iter("127.0.0.1", ports, timeout=0.5, keep=["open", "error"], rate=0.35, threads=1)
assert next(run).is_open
free = os.dup(0)  # the lowest number that is free: from now on there is none
os.close(free)
resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))
error = next(run)  # three seconds after the first probe
print(error.state, error.reason, error.rtt)
try:
    impl.check_host("127.0.0.1", 1, timeout=0.5)
except OSError as error:
    print(error.errno)
"""
    done = python(code)
    assert done.stdout == f"error local-error: EMFILE None\n{errno.EMFILE}\n", done.stderr


def test_nothing_is_filtered_while_the_machine_is_loaded(impl: ModuleType) -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with listening(5) as ports:
            report = impl.scan("127.0.0.1", sorted({*range(1, 20000), *ports}))
        assert report.counts[PortState.FILTERED] == 0
        assert set(ports) <= {result.port for result in report}
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_ten_scans_at_once_in_threads(impl: ModuleType) -> None:
    with listening(5) as ports, ThreadPoolExecutor(10) as pool:
        spec = sorted({*range(1, 2000), *ports})
        reports = list(pool.map(lambda _: impl.scan("127.0.0.1", spec), range(10)))
    for report in reports:
        assert set(ports) <= {result.port for result in report}
        assert sum(report.counts.values()) == len(spec)
        assert report.counts[PortState.FILTERED] == report.counts[PortState.ERROR] == 0


# --- ending early


def assert_partial(report: oxisock.ScanReport) -> None:
    assert report.partial
    assert 0 < sum(report.counts.values()) < 65535
    assert oxisock.ScanReport.from_json(report.to_json()) == report


def test_cancel_from_another_thread_ends_a_scan(impl: ModuleType) -> None:
    before = descriptors()
    with impl.scan_iter(HOST, "-", keep=["closed"], **SLOW) as scan:
        next(scan)
        canceller = threading.Timer(0.2, scan.cancel)
        canceller.start()
        start = time.monotonic()
        rest = list(scan)
        assert time.monotonic() - start < 60
        canceller.join()
        report = scan.report()
        assert len(report) == len(rest) + 1
        assert_partial(report)
        assert wait_until(lambda: descriptors() <= before), "while the Scan is still held"
        assert "of 65535 ports decided" in repr(scan)


def test_leaving_with_and_dropping_end_a_scan(impl: ModuleType) -> None:
    before = descriptors()
    with impl.scan_iter(HOST, "-", keep=["closed"], **SLOW) as scan:
        first = next(scan)
    assert descriptors() <= before
    assert first in scan.report().results
    assert_partial(scan.report())
    assert list(scan) == []
    scan.close()
    scan.cancel()
    with impl.scan_iter(HOST, "-", keep=["closed"]) as scan:
        next(scan)
    # What was found in the same moment is in the report, and given to nobody any more.
    assert list(scan) == [] and len(scan.report()) >= 1
    dropped = impl.scan_iter(HOST, "-", keep=["closed"], **SLOW)
    next(dropped)
    del dropped
    assert wait_until(lambda: descriptors() <= before)


def test_an_exception_in_a_callback_ends_the_scan_and_carries_the_report(impl: ModuleType) -> None:
    def fail(result: PortResult) -> None:
        raise LookupError("enough")

    start = time.monotonic()
    with pytest.raises(LookupError, match="enough") as caught:
        impl.scan(HOST, "-", keep=["closed"], on_result=fail, **SLOW)
    assert time.monotonic() - start < 60
    assert_partial(caught.value.report)  # type: ignore[attr-defined]


def test_an_exception_in_progress_ends_the_scan_too(impl: ModuleType) -> None:
    def fail(progress: oxisock.Progress) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        impl.scan(HOST, "-", on_progress=fail, **SLOW)
    assert_partial(caught.value.report)  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as POSIX has them")
@pytest.mark.parametrize("how", ["scan", "scan_iter"])
def test_ctrl_c_ends_a_scan_with_a_partial_report(impl: ModuleType, how: str) -> None:
    def go() -> None:
        if how == "scan":
            impl.scan(HOST, "-", on_progress=lambda _: started.set(), **SLOW)
        else:
            for _ in impl.scan_iter(HOST, "-", keep=["closed"], **SLOW):
                started.set()

    def interrupt() -> None:
        started.wait(30)
        os.kill(os.getpid(), signal.SIGINT)

    started = threading.Event()
    sender = threading.Thread(target=interrupt)
    sender.start()
    try:
        with pytest.raises(ScanInterrupted) as caught:
            go()
    finally:
        sender.join()
    assert isinstance(caught.value, KeyboardInterrupt)
    assert_partial(caught.value.report)


# --- progress


def test_progress_is_told_and_ends_complete(impl: ModuleType) -> None:
    calls: list[oxisock.Progress] = []
    thread = set()

    def note(progress: oxisock.Progress) -> None:
        calls.append(progress)
        thread.add(threading.get_ident())

    impl.scan("127.0.0.1", "1-100", rate=200, on_progress=note)
    assert thread == {threading.get_ident()}
    assert (calls[-1].done, calls[-1].total) == (100, 100)
    assert [call.done for call in calls] == sorted(call.done for call in calls)
    assert len(calls) <= 1 + calls[-1].elapsed / 0.1 + 1


# --- the simple functions


def test_check_host(impl: ModuleType) -> None:
    with listening(1) as ports:
        (port,) = ports
        assert impl.check_host("127.0.0.1", port) is True
        assert impl.check_host("localhost", port) is True
        assert impl.check_host(host="localhost", port=port, timeout=None) is True
    assert impl.check_host("127.0.0.1", port) is False
    assert impl.check_host("no-such-host.invalid", port) is False
    for bad in (0, 65536, -1):
        with pytest.raises(ValueError, match="65535"):
            impl.check_host("127.0.0.1", bad)
    for timeout in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            impl.check_host("127.0.0.1", 1, timeout)


def test_scan_port(impl: ModuleType) -> None:
    with listening(1) as ports:
        (port,) = ports
        result = impl.scan_port("localhost", port)
    assert (result.host, result.address, result.port, result.state) == ("localhost", "127.0.0.1", port, "open")
    assert impl.scan_port("127.0.0.1", port).reason in ("conn-refused", "self-connect")
    with pytest.raises(socket.gaierror, match="no-such-host.invalid:1: "):
        impl.scan_port("no-such-host.invalid", 1)


def test_scan_host(impl: ModuleType) -> None:
    with listening(3) as ports:
        found = impl.scan_host("127.0.0.1", min(ports), max(ports), workers=20, timeout=2)
    assert found == sorted(found)
    assert set(ports) <= set(found)
    with pytest.raises(ValueError, match="above end"):
        impl.scan_host("127.0.0.1", 10, 5)


def test_wait_for_port(impl: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert impl.wait_for_port("127.0.0.1", port) < 30
    for timeout in (0.3, 3.0, 30.0):  # a busy machine may let no try end within a short time
        with pytest.raises(TimeoutError, match=f"127.0.0.1:{port}.* {timeout:g} s") as caught:
            impl.wait_for_port("127.0.0.1", port, timeout=timeout, interval=0.05)
        if isinstance(caught.value.__cause__, ConnectionRefusedError):
            break
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert caught.value.__cause__.errno == errno.ECONNREFUSED
    with pytest.raises(TimeoutError) as caught:
        impl.wait_for_port("no-such-host.invalid", port, timeout=0.3)
    # Where the machine is busy, there was no time left for the last look-up.
    assert isinstance(caught.value.__cause__, (socket.gaierror, TimeoutError))


def test_wait_for_port_sees_it_open_later(impl: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = holder.getsockname()
    opened: list[socket.socket] = []
    opener = threading.Timer(0.3, lambda: opened.append(socket.create_server(address)))
    opener.start()
    try:
        assert impl.wait_for_port(*address, timeout=30) > 0
    finally:
        opener.join()
        opened[0].close()


@pytest.mark.parametrize("timeout", [60.0, None, float("inf")], ids=str)
def test_ctrl_c_ends_a_wait_for_results(impl: ModuleType, timeout: float | None) -> None:
    with silent() as port, impl.scan_iter("127.0.0.1", port, timeout=60.0, retries=0) as scan:
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            timer.start()
            scan.advance(timeout)
        assert time.monotonic() - start < 30
        timer.join()
