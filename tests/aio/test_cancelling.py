"""Work in coroutines ends with its task, and with the loop: scans, questions and requests."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from support.addresses import HOST
from support.commands import silent
from support.coroutines import Run, until
from support.resources import descriptors


def slow_calls(impl: ModuleType, deaf: Any, mute: int) -> dict[str, Callable[[], Any]]:
    async def iterate() -> None:
        async for _ in impl.aio.scan_iter(HOST, "-", rate=50):
            pass

    async def iterate_with() -> None:
        async with impl.aio.scan_iter(HOST, "-", rate=50) as scan:
            async for _ in scan:
                pass

    return {
        "scan": lambda: impl.aio.scan(HOST, "-", rate=50),
        "scan with a callback": lambda: impl.aio.scan(HOST, "-", rate=50, on_progress=lambda progress: None),
        "scan_iter": iterate,
        "scan_iter with": iterate_with,
        "scan_host": lambda: impl.aio.scan_host("127.0.0.1", mute, mute, timeout=None),
        "check_host": lambda: impl.aio.check_host("127.0.0.1", mute, timeout=None),
        "scan_port": lambda: impl.aio.scan_port("127.0.0.1", mute, timeout=None),
        "wait_for_port": lambda: impl.aio.wait_for_port("127.0.0.1", 1, timeout=None),
        "udp_request": lambda: impl.aio.udp_request(*deaf.getsockname(), b"x", timeout=None),
    }


@pytest.mark.parametrize(
    "what",
    [
        "scan",
        "scan with a callback",
        "scan_iter",
        "scan_iter with",
        "scan_host",
        "check_host",
        "scan_port",
        "wait_for_port",
        "udp_request",
    ],
)
def test_cancelling_a_task_ends_its_work(impl: ModuleType, run: Run, what: str) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf, silent() as mute:
            deaf.bind(("127.0.0.1", 0))
            for pause in (0.1, 0.0):
                before = descriptors()
                task = asyncio.create_task(slow_calls(impl, deaf, mute)[what]())
                await asyncio.sleep(pause)
                assert not task.done()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert descriptors() <= before

    run(main())


def test_cancelling_does_not_wait_for_a_resolver(impl: ModuleType, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def stuck(*arguments: Any, **options: Any) -> Any:
        if arguments[0] == "stuck.invalid":
            let_go.wait(30)
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return real(*arguments, **options)

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", stuck)

    async def main() -> None:
        for call in (
            impl.aio.scan("stuck.invalid", "80"),
            impl.aio.check_host("stuck.invalid", 80, timeout=None),
            impl.aio.tcp_request("stuck.invalid", 80, b"x", timeout=None),
            impl.aio.udp_request("stuck.invalid", 80, b"x", timeout=None),
        ):
            task = asyncio.create_task(call)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not let_go.is_set()
        with pytest.raises(TimeoutError):
            await impl.aio.open_framed("stuck.invalid", 80, timeout=0.05)

    try:
        run(main())
    finally:
        let_go.set()


def test_a_dropped_scan_ends(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        before = descriptors()
        scan = impl.aio.scan_iter(HOST, "-", keep="closed", rate=100)
        await anext(scan)
        del scan
        gc.collect()
        await until(lambda: descriptors() <= before)

    run(main())


def test_the_end_of_the_loop_is_the_end_of_the_scan(impl: ModuleType, run: Run) -> None:
    async def main() -> Any:
        scan = impl.aio.scan_iter(HOST, "-", keep="closed", rate=100)
        await anext(scan)
        return scan

    scan = run(main())
    assert scan.report().partial  # the leak watch sees the rest
