"""Scanning ports: the functions that users call, bound to one engine."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from .engines import OPEN, Impl, OutcomeTuple, ScanModule
from .errors import ScanInterrupted
from .report import ScanReport
from .resolve import Family, host_addresses
from .scan_plan import ScanJob, ScanOptions, make_job, seconds
from .scan_run import Scan, reason_text
from .services import port_number
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


class Stopped(Exception):
    """A call was told to stop; only those who set the event ever see it."""


class Scanner:
    """The scanning functions, bound to one engine."""

    def __init__(self, impl: Impl, engine: ScanModule, stop: threading.Event | None = None) -> None:
        self._impl = impl
        self._engine = engine
        self._stop = stop

    def until(self, stop: threading.Event) -> Scanner:
        """Give a scanner whose calls end with Stopped within a twentieth of a second once ``stop`` is set."""
        return Scanner(self._impl, self._engine, stop)

    def __reduce__(self) -> tuple[Callable[[Impl], Scanner], tuple[Impl]]:
        return _scanner_of, (self._impl,)

    def check_host(self, host: str, port: int, timeout: float | None = 2.0) -> bool:
        """Say whether a TCP connection to a port succeeds.

        Every address of ``host``, a name or a literal, is tried side by side. ``timeout`` is in seconds and bounds the
        whole call, the look-up of the name included; None is no limit. False stands for refused, timed out,
        unreachable and unresolvable.

        Raises ValueError for a port outside 1..65535, and OSError for a fault of this machine (out of descriptors, no
        permission), because that says nothing about the port.
        """
        port_number(port)
        limit = seconds(timeout, "timeout")
        start = time.monotonic()
        try:
            addresses = host_addresses(_checked_host(host), timeout=limit, cancelled=self._stopped)
        except (socket.gaierror, TimeoutError):
            return False
        fault = None
        for result in self._ask(addresses, port, limit - (time.monotonic() - start)):
            if result[2] == OPEN:
                return True
            if result[3] < 0 and -result[3] not in _LOCAL_ROUTES:
                fault = OSError(-result[3], os.strerror(-result[3]))
        if fault is not None:
            raise fault
        return False

    def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Ask one port of one host, a name or a literal, and give all that was learned.

        ``timeout`` is in seconds and bounds the whole call, the look-up of the name included; a port that does not
        answer in half of it is asked once more. None is no limit.

        Raises ValueError for a bad host or port, ``socket.gaierror`` where the name has no address, TimeoutError where
        its look-up takes too long.
        """
        port_number(port)
        limit = seconds(timeout, "timeout")
        start = time.monotonic()
        address = _first(host_addresses(_checked_host(host), timeout=limit, cancelled=self._stopped))
        left = max(limit - (time.monotonic() - start), 0.001)
        options = ScanOptions(left / 2, adaptive=False, keep="open,closed,filtered,error")
        with self._start(make_job([address], port, (), (), options)) as scan:
            while scan.advance(_SLICE) == []:
                self._check()
            result = next(scan)
        return result._replace(host=host.strip())

    def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Give the open ports of one host from ``start`` to ``end``, both included, sorted.

        ``workers`` is the most probes in flight (default: as many as descriptors allow, at most 4,096), ``timeout`` the
        longest that one of them waits, in seconds. Raises ValueError for a bad host or range, and ``socket.gaierror``
        where the name has no address.
        """
        if port_number(start) > port_number(end):
            raise ValueError(f"start={start} is above end={end}")
        report = self.scan([_checked_host(host)], range(start, end + 1), timeout=timeout, concurrency=workers)
        return [result.port for result in report.open]

    def scan(
        self,
        targets: TargetSpec,
        ports: PortSpec = "1-1024",
        *,
        exclude: TargetSpec = (),
        exclude_ports: PortSpec = (),
        timeout: float | None = 1.0,
        retries: int = 1,
        adaptive: bool = True,
        concurrency: int | None = None,
        rate: float | None = None,
        threads: int | None = None,
        order: str = "random",
        seed: int | None = None,
        shard: str | None = None,
        family: Family = None,
        resolve_all: bool = False,
        banner: bool | float = False,
        keep: str | Iterable[str] = ("open",),
        trace: bool = False,
        on_result: Callable[[PortResult], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
    ) -> ScanReport:
        """Scan ports and give the report.

        Arguments:
            targets: names, addresses, networks, ranges, files: what ``parse_targets`` reads.
            ports: what ``parse_ports`` reads, such as "22,80,1000-2000,top:100,!25".
            exclude, exclude_ports: what is left out, in the same notations.
            timeout: the longest that a probe waits, in seconds.
            retries: the least number of times that an unanswered port is asked again.
            adaptive: follow the round trip of each host (after nmap's estimator), and ask more often where loss is
                seen; else ``timeout`` and ``retries`` are taken as they stand.
            concurrency: the most probes in flight (default: by the descriptors left, from 8 to 4,096).
            rate: the most probes in any second.
            threads: how many threads share the work (default: the processors, where that is worth it); the pure
                engine always has one.
            order: "random" (hosts and ports interleaved, the ports most likely to answer first) or "sequential".
            seed: chooses the random order; it is in the report. 0 to 2**64 - 1.
            shard: "2/4" is the second of four disjoint parts that together are the whole; give all of them one seed.
            family: 4 or 6 takes only addresses of that version for names.
            resolve_all: take all addresses of a name, not only the first.
            banner: read up to 256 bytes of what an open port says first, for a second, or for so many seconds.
            keep: the states whose results are kept in the report and given to ``on_result``.
            trace: record every probe and answer, for ``report.why``.
            on_result: called with each PortResult as it is found.
            on_progress: called with a Progress at most ten times a second, and once at the end.

        Callbacks run on the calling thread. An exception in one, and Ctrl-C, end the scan within 100 ms: the exception
        carries the partial report as ``.report``, and Ctrl-C is raised as ScanInterrupted, which has it too.

        Raises ValueError or TypeError for a bad argument, saying which part of it is at fault, and ``socket.gaierror``
        where no target resolves.
        """
        options = ScanOptions(
            timeout,
            retries,
            adaptive,
            concurrency,
            rate,
            threads,
            order,
            seed,
            shard,
            family,
            resolve_all,
            banner,
            keep,
            trace,
        )
        with self._start(make_job(targets, ports, exclude, exclude_ports, options, cancelled=self._stopped)) as scan:
            try:
                _follow(scan, on_result, on_progress)
            except KeyboardInterrupt:
                scan.close()
                raise ScanInterrupted(scan.report()) from None
            except BaseException as error:
                scan.close()
                error.report = scan.report()  # type: ignore[attr-defined]
                raise
            return scan.report()

    def scan_iter(
        self,
        targets: TargetSpec,
        ports: PortSpec = "1-1024",
        *,
        exclude: TargetSpec = (),
        exclude_ports: PortSpec = (),
        timeout: float | None = 1.0,
        retries: int = 1,
        adaptive: bool = True,
        concurrency: int | None = None,
        rate: float | None = None,
        threads: int | None = None,
        order: str = "random",
        seed: int | None = None,
        shard: str | None = None,
        family: Family = None,
        resolve_all: bool = False,
        banner: bool | float = False,
        keep: str | Iterable[str] = ("open",),
        trace: bool = False,
    ) -> Scan:
        """Begin a scan and give its results one by one, as they are found.

        The arguments, and what is raised for bad ones, are those of ``scan``. The Scan is an iterator and a context
        manager; leaving ``with``, ``cancel()``, ``close()`` or dropping it ends the scan.
        """
        options = ScanOptions(
            timeout,
            retries,
            adaptive,
            concurrency,
            rate,
            threads,
            order,
            seed,
            shard,
            family,
            resolve_all,
            banner,
            keep,
            trace,
        )
        return self._start(make_job(targets, ports, exclude, exclude_ports, options, cancelled=self._stopped))

    def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and give the seconds that it took.

        Every address of ``host`` is tried, again every ``interval`` seconds, for at most ``timeout`` seconds (None: for
        ever). A name that does not resolve yet is looked up again.

        Raises TimeoutError when the time is up, with the last error as its cause, and ValueError for a bad port.
        """
        port_number(port)
        limit = None if timeout is None else seconds(timeout, "timeout")
        pause = seconds(interval, "interval")
        host = _checked_host(host)
        start = time.monotonic()
        while True:
            left = _TRY_SECONDS if limit is None else min(_TRY_SECONDS, limit - (time.monotonic() - start))
            error = self._try(host, port, max(left, 0.05))
            waited = time.monotonic() - start
            if error is None:
                return waited
            if limit is not None and waited + pause >= limit:
                self._pause(max(0.0, limit - waited))
                raise TimeoutError(
                    errno.ETIMEDOUT, f"{host}:{port} did not accept a connection within {limit:g} s ({error})"
                ) from error
            self._pause(pause)

    def _try(self, host: str, port: int, timeout: float) -> OSError | None:
        """Try every address once; give the last error, or None where one accepted."""
        start = time.monotonic()
        try:
            addresses = host_addresses(host, timeout=timeout, cancelled=self._stopped)
        except OSError as failure:
            return failure
        error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        for result in self._ask(addresses, port, timeout - (time.monotonic() - start)):
            if result[2] == OPEN:
                return None
            code = -result[3] if result[3] < 0 else _ERRNO_OF[reason_text(result[3])]
            error = OSError(code, os.strerror(code))
        return error

    def _ask(self, addresses: list[str], port: int, timeout: float) -> Iterator[OutcomeTuple]:
        """Ask one port of some addresses side by side, each twice if need be, and end with the first that is open."""
        options = ScanOptions(max(timeout, 0.001) / 2, adaptive=False, keep="open,closed,filtered,error")
        job = make_job(addresses, port, (), (), options)
        run = self._engine.start_scan(job.plan)
        try:
            while not run.done():
                self._check()
                yield from run.wait(_SLICE)
        finally:
            run.cancel()

    def _stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _check(self) -> None:
        if self._stopped():
            raise Stopped

    def _pause(self, duration: float) -> None:
        if self._stop is None:
            time.sleep(duration)
        else:
            self._stop.wait(duration)
            self._check()

    def _start(self, job: ScanJob) -> Scan:
        return Scan(self._engine.start_scan, job)


def _scanner_of(impl: Impl) -> Scanner:
    """Give the scanner of an engine: bound functions are pickled as its name."""
    # By name, so that the faces import no engine.
    scanner: Scanner = importlib.import_module(f"oxisock.{impl}")._scanner
    return scanner


def _checked_host(host: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"host={host!r}: expected a name or an address as text")
    if not host.strip():
        raise ValueError(f"host={host!r}: expected a name or an address")
    return host.strip()


def _first(addresses: list[str]) -> str:
    return next((address for address in addresses if ":" not in address), addresses[0])


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
