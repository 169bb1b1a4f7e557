"""Scans that end early: when their time is over, at Ctrl-C, or before they begin because they must not."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from oxisock import ScanInterrupted, ScanReport
from oxisock.engines.scanning import OutcomeTuple
from oxisock.scanning.calls import Scanner
from support.addresses import HOST
from support.commands import listening
from support.coroutines import Run

SLOW = {"rate": 50.0}  # a scan that would take twenty minutes


def assert_early(report: ScanReport) -> None:
    assert report.partial
    assert 0 < sum(report.counts.values()) < 65535
    assert report.counts["closed"] + report.counts["open"] == len(report)


def test_max_time_ends_a_scan_with_what_is_known(impl: ModuleType, run: Run) -> None:
    keep = ("open", "closed")
    assert_early(impl.scan(HOST, "-", keep=keep, max_time=0.5, **SLOW))
    with impl.scan_iter(HOST, "-", keep=keep, max_time=0.5, **SLOW) as scan:
        found = list(scan)
    assert_early(scan.report())
    assert len(found) == len(scan.report())
    assert_early(run(impl.aio.scan(HOST, "-", keep=keep, max_time=0.5, **SLOW)))
    whole = impl.scan("127.0.0.1", "1-100", max_time=100.0)
    assert not whole.partial


def test_max_time_holds_while_callbacks_are_slow(impl: ModuleType) -> None:
    # The native engine goes on asking while a callback runs.
    def slow(_: object) -> None:
        time.sleep(0.02)

    report = impl.scan(HOST, "-", keep=("open", "closed"), max_time=0.3, rate=1000.0, on_result=slow)
    assert report.partial
    assert report.stats.probes < 10_000  # 300, or more where the machine is busy
    with impl.scan_iter(HOST, "-", keep=("open", "closed"), max_time=0.3, rate=1000.0) as scan:
        for _ in scan:
            time.sleep(0.02)
    assert scan.report().stats.probes < 10_000


def test_a_run_that_fails_after_its_last_result_has_a_report(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with impl.scan_iter("127.0.0.1", "1-20", keep=("open", "closed")) as scan:
        assert next(scan)
        run = scan._run

        class Failing:
            def __getattr__(self, name: str) -> Any:
                return getattr(run, name)

            def done(self) -> bool:
                if run.done():
                    monkeypatch.undo()
                    raise RuntimeError("a thread has failed")
                return False

        monkeypatch.setattr(scan, "_run", Failing())
        with pytest.raises(RuntimeError, match="a thread has failed") as failed:
            for _ in scan:
                pass
        assert sum(failed.value.report.counts.values()) == 20  # type: ignore[attr-defined]


def test_max_time_counts_look_ups(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()

    def stuck(*_: object, **__: object) -> list[Any]:
        let_go.wait(60)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", stuck)
    try:
        report = impl.scan("127.0.0.1,slow.example", "1-5", max_time=0.3)
        assert list(report.unresolved) == ["slow.example"]
        with pytest.raises(socket.gaierror, match=r"within 0\.\d+ s"):
            impl.scan("slow.example", 1, max_time=0.3)
    finally:
        let_go.set()


@pytest.mark.parametrize("bad", [0, -1, float("nan"), "1"])
def test_max_time_is_a_time(impl: ModuleType, bad: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="max_time"):
        impl.scan("127.0.0.1", 1, max_time=bad)


class Pressing:
    """An engine's scan at which Ctrl-C is pressed while it gives its first results."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._pressed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        outcomes: Sequence[OutcomeTuple] = self._run.wait(timeout)
        if outcomes and not self._pressed:
            self._pressed = True
            os.kill(os.getpid(), signal.SIGINT)
        return outcomes


@pytest.mark.skipif(os.name == "nt", reason="signals are sent as POSIX has them")
def test_ctrl_c_loses_no_result_that_was_counted(impl: ModuleType) -> None:
    module = impl.scan.__self__._engine.scanning
    engine: Any = SimpleNamespace(scanning=SimpleNamespace(start_scan=lambda plan: Pressing(module.start_scan(plan))))
    with listening(3) as ports:
        with pytest.raises(ScanInterrupted) as caught:
            Scanner(engine).scan("127.0.0.1", ports, rate=5.0)
        assert len(caught.value.report.open) == caught.value.report.counts["open"] >= 1
        with pytest.raises(ScanInterrupted) as caught:
            list(Scanner(engine).scan_iter("127.0.0.1", ports, rate=5.0))
        assert len(caught.value.report.open) == caught.value.report.counts["open"] >= 1


class Failing(Pressing):
    """An engine's scan that fails once, with results at hand."""

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        if not self._pressed and self._run.tally()[0]:
            self._pressed = True
            raise OSError(errno.EIO, "the loop cannot go on")
        outcomes: Sequence[OutcomeTuple] = self._run.wait(timeout)
        return outcomes


def test_an_error_ends_a_scan_that_is_gone_through(impl: ModuleType) -> None:
    module = impl.scan.__self__._engine.scanning
    engine: Any = SimpleNamespace(scanning=SimpleNamespace(start_scan=lambda plan: Failing(module.start_scan(plan))))
    with listening(2) as ports, Scanner(engine).scan_iter("127.0.0.1", ports, rate=1.0, keep="open") as scan:
        with pytest.raises(OSError, match="cannot go on") as caught:
            list(scan)
        assert caught.value.report.partial  # type: ignore[attr-defined]
        assert len(list(scan)) <= 1
        assert len(scan.report().open) == scan.report().counts["open"] == 1


@pytest.mark.parametrize("kind", [socket.gaierror, ValueError])
def test_what_must_not_be_asked_is_known_or_nothing_is(impl: ModuleType, kind: type[Exception], run: Run) -> None:
    with pytest.raises(kind, match=r"exclude: 'do-not-touch\.invalid' does not resolve"):
        impl.scan("127.0.0.1", 1, exclude="do-not-touch.invalid")
    with pytest.raises(kind, match=r"exclude: 'do-not-touch\.invalid' does not resolve"):
        run(impl.aio.scan("127.0.0.1", 1, exclude=["127.0.0.2", "do-not-touch.invalid"]))
