"""Scanning and asking from a coroutine: the same answers, ended with the task, never in the loop's way."""

from __future__ import annotations

import asyncio
import errno
import gc
import pickle
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import FrameTooLong, IncompleteFrame, PortResult, PortState, Progress
from support.addresses import HOST
from support.commands import listening, refusing
from support.coroutines import Run, until
from support.processes import python


def alike(result: PortResult) -> PortResult:
    """A result without what differs from time to time."""
    return result._replace(rtt=None)


async def outcome(call: Any) -> Any:
    """Give what a coroutine returns, or type and words of what it raises."""
    try:
        return await call
    except Exception as error:
        return type(error), str(error), getattr(error, "errno", None)


def blocking_outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        return type(error), str(error), getattr(error, "errno", None)


# --- the same answers ----------------------------------------------------------------------------------------------


def test_questions_are_answered_as_by_the_blocking_functions(impl: ModuleType, run: Run) -> None:
    with listening() as (port,), refusing() as shut:
        for name, arguments in [
            ("check_host", ("127.0.0.1", port)),
            ("check_host", ("localhost", port)),
            ("check_host", ("127.0.0.1", shut)),
            ("check_host", ("no-such-name.invalid", port)),
            ("check_host", ("127.0.0.1", 0)),
            ("check_host", ("127.0.0.1", True)),
            ("check_host", (" ", 80)),
            ("check_host", (5, 80)),
            ("check_host", ("127.0.0.1", port, -1)),
            ("scan_port", ("127.0.0.1", port)),
            ("scan_port", (" localhost ", shut)),
            ("scan_port", ("no-such-name.invalid", port)),
            ("scan_host", ("127.0.0.1", port, port)),
            ("scan_host", ("127.0.0.1", 2, 1)),
            ("wait_for_port", ("127.0.0.1", shut, 0.1, 0.05)),
            ("wait_for_port", ("no-such-name.invalid", shut, 0.1, 0.05)),
            ("wait_for_port", ("127.0.0.1", port, 0)),
        ]:
            expected = blocking_outcome(lambda: getattr(impl, name)(*arguments))  # noqa: B023
            got = run(outcome(getattr(impl.aio, name)(*arguments)))
            if isinstance(expected, PortResult):
                expected, got = alike(expected), alike(got)
            assert got == expected, (name, arguments)
        assert 0 <= run(impl.aio.wait_for_port("127.0.0.1", port)) < 30


def test_wait_for_port_sees_a_server_come(impl: ModuleType, run: Run, free_port: int) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(impl.aio.wait_for_port(HOST, free_port, interval=0.01))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        async with impl.EchoServer(HOST, free_port):
            assert 0.05 <= await waiting < 30

    run(main())


def test_reports_equal_those_of_the_blocking_scan(impl: ModuleType, run: Run) -> None:
    with listening(3) as ports, refusing() as shut:
        spec = [*ports, shut]
        options = {"keep": ["open", "closed"], "seed": 7, "exclude": "127.0.0.3", "retries": 2}
        expected = impl.scan("127.0.0.1-127.0.0.4", spec, **options)
        got = run(impl.aio.scan("127.0.0.1-127.0.0.4", spec, **options))
    assert [alike(result) for result in got] == [alike(result) for result in expected]
    assert (got.counts, got.seed, got.partial, got.unresolved) == (expected.counts, 7, False, {})


@pytest.mark.parametrize(
    ("targets", "options", "kind", "text"),
    [
        ("", {}, ValueError, "targets: '' at position 1"),
        ("127.0.0.1", {"ports": "x"}, ValueError, "ports: 'x'"),
        ("127.0.0.1", {"timeout": 0}, ValueError, "timeout=0"),
        ("127.0.0.1", {"exclude": "127.0.0.1"}, ValueError, "excluded"),
        ("no-such-name.invalid", {}, socket.gaierror, ""),
        ("127.0.0.1", {"nonsense": 1}, TypeError, "nonsense"),
    ],
)
def test_bad_arguments_are_those_of_the_blocking_scan(
    impl: ModuleType, run: Run, targets: str, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    expected = blocking_outcome(lambda: impl.scan(targets, **options))

    async def main() -> None:
        got = await outcome(impl.aio.scan(targets, **options))
        assert got[0] is kind and text in got[1]
        if kind is not TypeError:  # there the function is named
            assert got == expected
            with pytest.raises(kind):
                async with impl.aio.scan_iter(targets, **options):
                    pass
            scan = impl.aio.scan_iter(targets, **options)
            with pytest.raises(kind):
                await anext(scan)
            with pytest.raises(StopAsyncIteration):
                await anext(scan)
        with pytest.raises(kind):
            await impl.aio.scan(targets, **options)

    run(main())


def test_results_come_one_by_one(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        with listening(5) as ports:
            assert sorted([r.port async for r in impl.aio.scan_iter("127.0.0.1", ports)]) == ports
            async with impl.aio.scan_iter("127.0.0.1", ports) as scan:
                assert sorted([r.port async for r in scan]) == ports
                assert scan.progress().done == scan.progress().total == 5
            assert [r.port for r in scan.report()] == ports and not scan.report().partial
            assert repr(scan) == "<AsyncScan: 5 of 5 ports decided, 5 open>"
            with pytest.raises(StopAsyncIteration):
                await anext(scan)

    run(main())


def test_callbacks_are_called_on_the_loop(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        here = threading.get_ident()
        found: list[PortResult] = []
        progress: list[Progress] = []

        def on_result(result: PortResult) -> None:
            assert threading.get_ident() == here
            found.append(result)

        with listening(3) as ports:
            report = await impl.aio.scan("127.0.0.1", ports, on_result=on_result, on_progress=progress.append)
        assert sorted(found) == sorted(report)
        assert progress[-1][:3] == (3, 3, 3)

        def fail(result: PortResult) -> None:
            raise LookupError("planned")

        with listening(3) as ports:
            for option in ("on_result", "on_progress"):
                with pytest.raises(LookupError, match="planned") as caught:
                    await impl.aio.scan("127.0.0.1", ports, **{option: fail})
                assert caught.value.report.results  # type: ignore[attr-defined]

    run(main())


def test_a_scan_has_a_report_at_any_time(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        scan = impl.aio.scan_iter(HOST, "-", keep="closed", rate=200, seed=3)
        assert scan.progress() == Progress(0, 0, 0, 0.0, 0.0)
        with pytest.raises(RuntimeError, match="not begun"):
            scan.report()
        async with scan:
            await anext(scan)
            report = scan.report()
            assert report.partial and report.seed == 3 and report.results
            scan.cancel()
            rest = [result async for result in scan]
            assert len(scan.report().results) == 1 + len(rest)
        report = scan.report()
        assert report.partial and 1 <= len(report.results) < 65535
        scan.close()
        assert scan.report() == report

    run(main())


def test_closing_ends_the_iteration(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        scan = impl.aio.scan_iter(HOST, "-", keep="closed", rate=500)
        await anext(scan)
        scan.close()
        assert [result async for result in scan] == []
        await scan.wait_closed()
        never = impl.aio.scan_iter(HOST, "-")
        never.close()
        assert [result async for result in never] == []

    run(main())


# --- one question, one answer --------------------------------------------------------------------------------------


def test_tcp_requests(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.EchoServer("127.0.0.1") as server:
            for codec in (None, impl.Lines(), oxisock.pure.Netstring(), oxisock.native.Varint()):
                assert await impl.aio.tcp_request(*server.address, b"hello", codec=codec) == b"hello"
            assert await impl.aio.tcp_request("localhost", server.address.port, b"x" * 1_000_000) == b"x" * 1_000_000

    run(main())


def test_the_answer_is_read_while_the_payload_is_sent(impl: ModuleType, run: Run) -> None:
    # The server reads on only when its answers are read.
    payload = random.Random(1).randbytes(15 << 20)
    with impl.EchoServer("127.0.0.1", max_buffered=64 << 10) as server:
        assert impl.tcp_request(*server.address, payload, timeout=30.0) == payload
        assert run(impl.aio.tcp_request(*server.address, payload, timeout=30.0)) == payload


def test_a_peer_that_ends_its_output_first_gets_the_whole_payload(impl: ModuleType, run: Run) -> None:
    payload = bytes(4 << 20)

    def early(conn: Any, peer: Any) -> None:
        conn.sendall(b"hello")
        conn.sock.shutdown(socket.SHUT_WR)
        got.append(sum(len(data) for data in iter(lambda: conn.recv(1 << 16), b"")))

    got: list[int] = []
    with impl.ThreadedServer(early) as server:
        assert impl.tcp_request(*server.address, payload, timeout=30.0) == b"hello"
        assert run(impl.aio.tcp_request(*server.address, payload, timeout=30.0)) == b"hello"
        run(until(lambda: len(got) == 2))
    assert got == [len(payload)] * 2


def test_failing_tcp_requests_fail_as_the_blocking_ones_do(impl: ModuleType, run: Run) -> None:
    over = threading.Event()

    def mute(conn: Any, peer: Any) -> None:
        conn.recv(100)

    def speechless(conn: Any, peer: Any) -> None:
        while conn.recv(100):
            pass
        over.wait(30)

    def flood(conn: Any, peer: Any) -> None:
        with suppress(OSError):
            conn.sendall(b"x" * (17 << 20))

    with (
        refusing() as shut,
        impl.ThreadedServer(mute) as muted,
        impl.ThreadedServer(speechless) as quiet,
        impl.ThreadedServer(flood) as flooding,
    ):
        cases: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception]]] = [
            (("127.0.0.1", shut, b"x"), {}, ConnectionRefusedError),
            (("127.0.0.1", shut, b"x"), {"codec": impl.Lines()}, ConnectionRefusedError),
            (("no-such-name.invalid", 80, b"x"), {}, socket.gaierror),
            (("127.0.0.1", 0, b"x"), {}, ValueError),
            (("127.0.0.1", "80", b"x"), {}, TypeError),
            (("127.0.0.1", 80, b"x"), {"timeout": -1}, ValueError),
            ((*muted.address, b"x"), {"codec": impl.Lines()}, IncompleteFrame),
            ((*quiet.address, b"x"), {"timeout": 0.2}, TimeoutError),
            ((*quiet.address, b"x"), {"timeout": 0.2, "codec": impl.Lines()}, TimeoutError),
            ((*flooding.address, b"x"), {}, FrameTooLong),
            ((*quiet.address, b"a\nb"), {"codec": impl.Lines(), "timeout": 20}, ValueError),
        ]
        try:
            for arguments, options, kind in cases:
                expected = blocking_outcome(lambda: impl.tcp_request(*arguments, **options))  # noqa: B023
                got = run(outcome(impl.aio.tcp_request(*arguments, **options)))
                assert got == expected and issubclass(got[0], kind), (arguments, options)
        finally:
            over.set()


def test_udp_requests(impl: ModuleType, run: Run, free_port: int) -> None:
    with impl.UdpEchoServer("127.0.0.1") as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        for arguments, options in [
            ((*server.address, b"hello"), {}),
            ((*server.address, b""), {}),
            (("localhost", server.address.port, b"x"), {"timeout": None}),
            ((*deaf.getsockname(), b"x"), {"timeout": 0.05, "retries": 2}),
            (("127.0.0.1", free_port, b"x"), {}),
            (("no-such-name.invalid", 53, b"x"), {}),
            (("127.0.0.1", 0, b"x"), {}),
            (("127.0.0.1", 53, "x"), {}),
            (("127.0.0.1", 53, b"x"), {"retries": -1}),
        ]:
            expected = blocking_outcome(lambda: impl.udp_request(*arguments, **options))  # noqa: B023
            assert run(outcome(impl.aio.udp_request(*arguments, **options))) == expected, (arguments, options)


# --- the loop stays free -------------------------------------------------------------------------------------------


def queued() -> float:
    """Give the seconds in which this thread was ready to run, and the system let others run instead."""
    schedstat = Path("/proc/thread-self/schedstat")
    return int(schedstat.read_text().split()[1]) / 1e9 if schedstat.exists() else 0.0


def test_a_large_scan_leaves_the_loop_free(impl: ModuleType, run: Run) -> None:
    """No turn of the loop does 10 ms of work for the scan, and the next turn comes within 10 ms.

    What the machine's other work takes of the time is not counted. It can still hit the thread that holds the
    interpreter, so one turn in twenty may be late here; on a quiet machine none is.
    """
    gaps: list[float] = []
    longest = 0.0  # of the processor's time in one turn of the loop

    async def watch() -> None:
        nonlocal longest
        while True:
            began, waited, worked = time.monotonic(), queued(), time.thread_time()
            await asyncio.sleep(0.001)
            longest = max(longest, time.thread_time() - worked)
            gaps.append(time.monotonic() - began - 0.001 - (queued() - waited))

    async def main() -> None:
        watching = asyncio.create_task(watch())
        report = await impl.aio.scan(HOST, "-")
        watching.cancel()
        assert sum(report.counts.values()) == 65535

    gc.disable()  # a collection stops whatever thread it happens in
    try:
        run(main())
    finally:
        gc.enable()
    late = [gap for gap in gaps if gap >= 0.01]
    assert longest < 0.01
    assert len(gaps) >= 20 and len(late) <= len(gaps) / 20, (len(gaps), sorted(late))


def test_hundreds_of_questions_at_once_leave_the_loop_free(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        with impl.EchoServer() as server, refusing() as shut:
            threads = threading.active_count()
            endpoints = [server.address, ("127.0.0.1", shut)] * 150
            asked = [impl.aio.check_host(*endpoint) for endpoint in endpoints]
            answers = await asyncio.gather(*asked)
            assert answers == [True, False] * 150
            assert threading.active_count() == threads

    run(main())


# --- binding to an engine ------------------------------------------------------------------------------------------


def test_aio_is_bound_to_each_engine(impl: ModuleType) -> None:
    import oxisock.aio

    assert impl.aio.impl == impl.impl and impl.aio is oxisock.aio.bind(impl.impl)
    assert pickle.loads(pickle.dumps(impl.aio)) is impl.aio
    assert repr(impl.aio) == f"<oxisock.aio, {impl.impl}>"
    assert oxisock.aio.impl == oxisock.impl and oxisock.aio.scan == oxisock.aio.bind(oxisock.impl).scan
    assert all(hasattr(oxisock.aio, name) for name in oxisock.aio.__all__)
    assert all(hasattr(impl.aio, name) for name in oxisock.aio.__all__ if name not in ("bind", "Aio"))
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = impl.nonsense


def test_asyncio_is_imported_only_when_asked_for() -> None:

    code = (
        "import sys, oxisock, oxisock.pure, oxisock.native; assert 'asyncio' not in sys.modules;"
        "import oxisock.aio; assert 'asyncio' in sys.modules; print(oxisock.aio.impl)"
    )
    done = python(code)
    assert (done.stdout.strip(), done.stderr) == (oxisock.impl, "")


def test_a_state_is_what_it_is_in_the_blocking_world(impl: ModuleType, run: Run) -> None:
    with refusing() as shut:
        result = run(impl.aio.scan_port("127.0.0.1", shut))
        assert (result.state, result.reason) == (PortState.CLOSED, "conn-refused")
        with pytest.raises(TimeoutError) as caught:
            run(impl.aio.wait_for_port("127.0.0.1", shut, 0.05))
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert caught.value.errno == errno.ETIMEDOUT
