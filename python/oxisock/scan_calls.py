"""What the scanning functions do: resolve, plan, start an engine, and follow it to its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from .errors import ScanInterrupted
from .report import ScanReport
from .resolve import host_addresses
from .scan_plan import ScanJob, ScanOptions, make_job
from .scan_run import Scan
from .scan_steps import LookUp, Outcomes, Questions, checked_host
from .services import port_number
from .types import ScanStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from .engines.scan import ScanModule
    from .scan_steps import Step, Steps
    from .specs import PortSpec, TargetSpec
    from .types import PortResult, Progress

_PROGRESS_INTERVAL = 0.1  # seconds between two calls of on_progress, at least
_SLICE = 0.05

T = TypeVar("T")


def check_host(engine: ScanModule, host: str, port: int, timeout: float | None) -> bool:
    """Say whether one of the host's addresses accepts a connection."""
    return _answer(Questions(engine.start_scan).check_host(host, port, timeout))


def scan_port(engine: ScanModule, host: str, port: int, timeout: float | None) -> PortResult:
    """Ask one port of the host's first address."""
    return _answer(Questions(engine.start_scan).scan_port(host, port, timeout))


def scan_host(
    engine: ScanModule, host: str, start: int, end: int, workers: int | None, timeout: float | None
) -> list[int]:
    """Give the open ports of one host."""
    if port_number(start) > port_number(end):
        raise ValueError(f"start={start} is above end={end}")
    options = ScanOptions(timeout, concurrency=workers)
    report = scan(engine, checked_host(host), range(start, end + 1), (), (), options)
    return [result.port for result in report.open]


def wait_for_port(engine: ScanModule, host: str, port: int, timeout: float | None, interval: float) -> float:
    """Try again and again until one of the host's addresses accepts."""
    return _answer(Questions(engine.start_scan).wait_for_port(host, port, timeout, interval))


def scan(
    engine: ScanModule,
    targets: TargetSpec,
    ports: PortSpec,
    exclude: TargetSpec,
    exclude_ports: PortSpec,
    options: ScanOptions,
    on_result: Callable[[PortResult], object] | None = None,
    on_progress: Callable[[Progress], object] | None = None,
) -> ScanReport:
    """Run a scan to its end; whatever ends it early carries the report."""
    run = None
    try:
        with _start(engine, make_job(targets, ports, exclude, exclude_ports, options)) as run:
            _follow(run, on_result, on_progress)
            return run.report()
    except KeyboardInterrupt:
        raise ScanInterrupted(run.report() if run else _nothing()) from None
    except BaseException as error:
        if run:
            error.report = run.report()  # type: ignore[attr-defined]
        raise


def scan_iter(
    engine: ScanModule,
    targets: TargetSpec,
    ports: PortSpec,
    exclude: TargetSpec,
    exclude_ports: PortSpec,
    options: ScanOptions,
) -> Scan:
    """Begin a scan."""
    return _start(engine, make_job(targets, ports, exclude, exclude_ports, options))


def _answer(steps: Steps[T]) -> T:
    """Answer a question, waiting for one step after the other."""
    try:
        step = next(steps)
        while True:
            try:
                came = _wait_for(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        found: T = end.value
        return found


def _wait_for(step: Step) -> object:
    if isinstance(step, LookUp):
        return host_addresses(step.host, timeout=step.timeout)
    if isinstance(step, Outcomes):
        return step.run.wait(_SLICE)
    time.sleep(step.seconds)
    return None


def _start(engine: ScanModule, job: ScanJob) -> Scan:
    return Scan(engine.start_scan, job)


def _nothing() -> ScanReport:
    """Give the report of a scan that was interrupted before it began."""
    return ScanReport(results=(), counts={}, stats=ScanStats(), partial=True)


def _follow(
    scan: Scan, on_result: Callable[[PortResult], object] | None, on_progress: Callable[[Progress], object] | None
) -> None:
    """Let the scan run to its end, calling back from this thread."""
    next_call = time.monotonic() + _PROGRESS_INTERVAL
    while (results := scan.advance(_SLICE)) is not None:
        if on_result:
            for result in results:
                on_result(result)
        if on_progress and time.monotonic() >= next_call:
            on_progress(scan.progress())
            next_call = time.monotonic() + _PROGRESS_INTERVAL
    if on_progress:
        on_progress(scan.progress())
