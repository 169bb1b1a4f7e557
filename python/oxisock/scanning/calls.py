"""The scanning functions, bound to one engine: they resolve, plan, start the engine, and follow it to the end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Unpack

from .. import arguments
from ..arguments import spelled_out
from ..engines.binding import Functions
from ..sockets.calls import carry_out
from ..sockets.resolving import checked_host, host_addresses
from ..types import PortResult, Progress, ScanStats
from .options import ScanKeywords, ScanOptions
from .plan import make_job
from .questions import LookUp, Outcomes, Questions
from .report import ScanInterrupted, ScanReport
from .running import Scan
from .services import port_span

if TYPE_CHECKING:
    from collections.abc import Callable

    from .questions import Step
    from .specs import PortSpec, TargetSpec

_PROGRESS_INTERVAL = 0.1  # seconds between two calls of on_progress, at least
_SLICE = 0.05
_SHORT_SLICE = 0.01  # if there are several scans


class Scanner(Functions):
    """The scanning functions, bound to one engine."""

    def check_host(self, host: str, port: int, timeout: float | None = 2.0) -> bool:
        """Return whether a TCP connection to a port succeeds.

        ``host`` is a name or an address. All addresses of a name are tried at the same time. ``timeout`` is the limit
        for the whole call in seconds, name look-up included; None: no limit. Returns False if the connection is
        refused or times out, or if the host is unreachable or its name has no address.

        Raises ValueError if the port is not 1 to 65535, or the host is neither a name nor an address. Raises OSError
        for a fault of this machine (no free descriptors, no permission), because that says nothing about the port.
        """
        return carry_out(Questions(self._engine.scanning).check_host(host, port, timeout), _wait_for)

    def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Probe one port of one host and return the result.

        ``host`` is a name or an address. ``timeout`` is the limit for the whole call in seconds, name look-up included;
        None: no limit. After half of it, a silent port gets a second probe. A late answer to the first one counts.

        Raises ValueError for a bad host or port, ``socket.gaierror`` if the name has no address, and TimeoutError if
        the look-up takes too long.
        """
        return carry_out(Questions(self._engine.scanning).scan_port(host, port, timeout), _wait_for)

    def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Return the open ports of one host from ``start`` to ``end``, both included, as a sorted list.

        ``workers`` is the most probes in flight; the default follows the free descriptors, up to 4,096. ``timeout`` is
        the longest wait of one probe in seconds; None: as long as the system waits.

        Raises ValueError for a bad host or range, and ``socket.gaierror`` if the name has no address.
        """
        ports = port_span(start, end)
        workers = None if workers is None else arguments.count(workers, "workers")
        report = self.scan(checked_host(host), ports, timeout=timeout, concurrency=workers)
        return [result.port for result in report.open]

    @spelled_out(ScanOptions)
    def scan(
        self,
        targets: TargetSpec,
        ports: PortSpec = "1-1024",
        *,
        on_result: Callable[[PortResult], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **options: Unpack[ScanKeywords],
    ) -> ScanReport:
        """Scan ports and return the report.

        Arguments:
            targets: names, addresses, networks, ranges and files, as ``parse_targets`` reads them.
            ports: as ``parse_ports`` reads them, such as "22,80,1000-2000,top:100,!25".
            exclude: targets to leave out, in the same notation.
            exclude_ports: ports to leave out, in the same notation.
            timeout: the longest wait of one probe, in seconds; None: as long as the system waits.
            retries: the least number of repeats for a port that does not answer.
            adaptive: adapt the wait to the round trip of each host (as nmap does), and repeat more often if probes
                get lost. If False, use ``timeout`` and ``retries`` as they are.
            concurrency: the most probes in flight; the default follows the free descriptors, from 8 to 4,096.
            rate: the most probes in any second; None: no limit.
            threads: the number of threads that share the work; the default follows the processors and the size of the
                scan. The pure engine always uses one.
            order: "random" (hosts and ports mixed, the ports most likely to answer first) or "sequential".
            seed: the seed of the random order, 0 to 2**64 - 1. The report has it.
            shard: scan one of several disjoint parts: "2/4" is the second of four. All parts need the same ``seed``.
            family: 4 or 6: use only addresses of that IP version for names.
            resolve_all: scan all addresses of a name, not only the first.
            banner: read the first bytes that an open port sends, up to 256, for one second (True) or for this number
                of seconds.
            keep: the states to keep in the report and to pass to ``on_result``.
            trace: record every probe and answer, for ``report.why``.
            max_time: the limit for the whole scan in seconds, look-ups included. After it, the report is partial.
            executor: scan in the tasks of this executor: an object with ``submit(fn, *args)`` that returns a
                ``concurrent.futures.Future``, such as a process pool, ``dask.distributed.Client.get_executor()`` or
                ``mpi4py.futures.MPIPoolExecutor``. The workers need the same version of oxisock. You shut the executor
                down. ``rate`` and ``concurrency`` are totals for all tasks. ``report.sources`` lists the workers.
                Ports that no worker could ask have the state "error" and the reason "worker-lost: NAME".
            tasks: the number of tasks submitted at a time. The default is twice the number of workers, 8 if the
                executor does not tell, and with ``rate`` the number of workers.
            checkpoint: the path of a file that records every finished part. Call ``scan`` again with the same
                arguments to continue: it asks only the parts that are missing. A file of another scan is a ValueError.
            skip_silent: if there are several hosts, ask only the first ports of a host that sends nothing back.
            on_result: called with each PortResult as it is found.
            on_progress: called with a Progress, at most ten times a second and once at the end.

        Callbacks run on the calling thread. An exception in a callback ends the scan within 100 ms, and has the partial
        report as ``.report``. Ctrl-C does the same and raises ScanInterrupted.

        Raises ValueError or TypeError for a bad argument, and names the part at fault. Raises ``socket.gaierror`` if no
        target resolves, or if an excluded name does not (that error is a ValueError, too). Nothing is scanned then.
        """
        check_callbacks(on_result, on_progress)
        run = None
        try:
            job = make_job(targets, ports, ScanOptions.of("scan", options))
            with Scan(self._engine, job) as run:
                _follow(run, on_result, on_progress)
                return run.report()
        except KeyboardInterrupt:
            raise ScanInterrupted(run.report() if run else _nothing()) from None
        except BaseException as error:
            if run:
                error.report = run.report()  # type: ignore[attr-defined]
            raise

    @spelled_out(ScanOptions)
    def scan_iter(
        self,
        targets: TargetSpec,
        ports: PortSpec = "1-1024",
        **options: Unpack[ScanKeywords],
    ) -> Scan:
        """Begin a scan and return an iterator over its results, which come as they are found.

        Arguments and errors are those of ``scan``. The Scan is also a context manager. The scan ends if you leave the
        ``with`` block, call ``cancel()`` or ``close()``, or drop the Scan.
        """
        return Scan(self._engine, make_job(targets, ports, ScanOptions.of("scan_iter", options)))

    def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and return how many seconds that took.

        All addresses of ``host`` are tried for at most ``timeout`` seconds (None: for ever). After they fail, the next
        try begins ``interval`` seconds later. If nothing answers, the next try begins after one second (or
        ``interval``, if that is longer), and a late answer still counts. Each try looks the name up again. A fault of
        this machine counts as a failed try.

        Raises TimeoutError when the time is over, with the last error as its cause, and ValueError for a bad host or
        port.
        """
        return carry_out(Questions(self._engine.scanning).wait_for_port(host, port, timeout, interval), _wait_for)


def _wait_for(step: Step) -> object:
    if isinstance(step, LookUp):
        return host_addresses(step.host, timeout=step.timeout)
    if isinstance(step, Outcomes):
        # Look at all scans, and wait for the latest, which is the most likely to have news.
        *earlier, latest = step.runs
        found = [run.wait(0) for run in earlier]
        moment = _SHORT_SLICE if earlier else _SLICE
        return [*found, latest.wait(0 if any(found) else min(moment, max(step.timeout, 0)))]
    time.sleep(step.seconds)
    return None


def check_callbacks(on_result: object, on_progress: object) -> None:
    """Raise TypeError for a callback that cannot be called."""
    for name, callback in (("on_result", on_result), ("on_progress", on_progress)):
        if callback is not None:
            arguments.function(callback, name)


def _nothing() -> ScanReport:
    """Return the report of a scan that was interrupted before it began."""
    return ScanReport(results=(), counts={}, stats=ScanStats(), partial=True)


def _follow(
    scan: Scan, on_result: Callable[[PortResult], object] | None, on_progress: Callable[[Progress], object] | None
) -> None:
    """Let the scan run to its end, and call the callbacks on this thread."""
    next_call = time.monotonic() + _PROGRESS_INTERVAL
    while (results := scan.advance(_SLICE)) is not None:
        if on_result:
            for result in results:
                scan.keep_time()
                on_result(result)
        if on_progress and time.monotonic() >= next_call:
            on_progress(scan.progress())
            next_call = time.monotonic() + _PROGRESS_INTERVAL
    if on_progress:
        on_progress(scan.progress())
