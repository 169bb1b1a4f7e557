"""What the scanning functions do: resolve, plan, start an engine, and follow it to its end."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING

from .engines import OPEN
from .errors import ScanInterrupted
from .report import ScanReport
from .resolve import host_addresses
from .scan_plan import ScanJob, ScanOptions, make_job, seconds
from .scan_run import Scan, reason_text
from .services import port_number
from .types import ScanStats

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .engines import OutcomeTuple, ScanModule
    from .specs import PortSpec, TargetSpec
    from .types import PortResult, Progress

_PROGRESS_INTERVAL = 0.1  # seconds between two calls of on_progress, at least
_SLICE = 0.05
_TRY_SECONDS = 1.0  # how long wait_for_port gives one try
_LOCAL_ROUTES = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_ERRNO_OF = {
    "conn-refused": errno.ECONNREFUSED,
    "self-connect": errno.ECONNREFUSED,
    "no-response": errno.ETIMEDOUT,
    "host-unreachable": errno.EHOSTUNREACH,
    "net-unreachable": errno.ENETUNREACH,
    "proto-unreachable": errno.ENOPROTOOPT,
}


def check_host(engine: ScanModule, host: str, port: int, timeout: float | None) -> bool:
    """Say whether one of the host's addresses accepts a connection."""
    port_number(port)
    limit = seconds(timeout, "timeout")
    start = time.monotonic()
    try:
        addresses = host_addresses(_checked_host(host), timeout=limit)
    except (socket.gaierror, TimeoutError):
        return False
    fault = None
    for result in _ask(engine, addresses, port, limit - (time.monotonic() - start)):
        if result[2] == OPEN:
            return True
        if result[3] < 0 and -result[3] not in _LOCAL_ROUTES:
            fault = OSError(-result[3], os.strerror(-result[3]))
    if fault is not None:
        raise fault
    return False


def scan_port(engine: ScanModule, host: str, port: int, timeout: float | None) -> PortResult:
    """Ask one port of the host's first address."""
    port_number(port)
    limit = seconds(timeout, "timeout")
    start = time.monotonic()
    address = _first(host_addresses(_checked_host(host), timeout=limit))
    left = max(limit - (time.monotonic() - start), 0.001)
    options = ScanOptions(left / 2, adaptive=False, keep="open,closed,filtered,error")
    with _start(engine, make_job([address], port, (), (), options)) as scan:
        result = next(scan)
    return result._replace(host=host.strip())


def scan_host(
    engine: ScanModule, host: str, start: int, end: int, workers: int | None, timeout: float | None
) -> list[int]:
    """Give the open ports of one host."""
    if port_number(start) > port_number(end):
        raise ValueError(f"start={start} is above end={end}")
    options = ScanOptions(timeout, concurrency=workers)
    report = scan(engine, _checked_host(host), range(start, end + 1), (), (), options)
    return [result.port for result in report.open]


def wait_for_port(engine: ScanModule, host: str, port: int, timeout: float | None, interval: float) -> float:
    """Try again and again until one of the host's addresses accepts."""
    port_number(port)
    limit = None if timeout is None else seconds(timeout, "timeout")
    pause = seconds(interval, "interval")
    host = _checked_host(host)
    start = time.monotonic()
    while True:
        left = _TRY_SECONDS if limit is None else min(_TRY_SECONDS, limit - (time.monotonic() - start))
        error = _try(engine, host, port, max(left, 0.05))
        waited = time.monotonic() - start
        if error is None:
            return waited
        if limit is not None and waited + pause >= limit:
            time.sleep(max(0.0, limit - waited))
            raise TimeoutError(
                errno.ETIMEDOUT, f"{host}:{port} did not accept a connection within {limit:g} s ({error})"
            ) from error
        time.sleep(pause)


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


def _try(engine: ScanModule, host: str, port: int, timeout: float) -> OSError | None:
    """Try every address once; give the last error, or None where one accepted."""
    start = time.monotonic()
    try:
        addresses = host_addresses(host, timeout=timeout)
    except OSError as failure:
        return failure
    error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    for result in _ask(engine, addresses, port, timeout - (time.monotonic() - start)):
        if result[2] == OPEN:
            return None
        code = -result[3] if result[3] < 0 else _ERRNO_OF[reason_text(result[3])]
        error = OSError(code, os.strerror(code))
    return error


def _ask(engine: ScanModule, addresses: list[str], port: int, timeout: float) -> Iterator[OutcomeTuple]:
    """Ask one port of some addresses side by side, each twice if need be, and end with the first that is open."""
    options = ScanOptions(max(timeout, 0.001) / 2, adaptive=False, keep="open,closed,filtered,error")
    job = make_job(addresses, port, (), (), options)
    run = engine.start_scan(job.plan)
    try:
        while not run.done():
            yield from run.wait(_SLICE)
    finally:
        run.cancel()


def _start(engine: ScanModule, job: ScanJob) -> Scan:
    return Scan(engine.start_scan, job)


def _checked_host(host: str) -> str:
    """Give a host without the blanks around it; TypeError or ValueError where there is none."""
    if not isinstance(host, str):
        raise TypeError(f"host={host!r}: expected a name or an address as text")
    if not host.strip():
        raise ValueError(f"host={host!r}: expected a name or an address")
    return host.strip()


def _first(addresses: list[str]) -> str:
    """Give the first IPv4 address, or the first of all where there is none."""
    return next((address for address in addresses if ":" not in address), addresses[0])


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
