"""The scanning functions, bound to one engine: resolve, plan, start the engine, and follow it to its end."""

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
_SHORT_SLICE = 0.01  # where several scans are to be looked at


class Scanner(Functions):
    """The scanning functions, bound to one engine."""

    def check_host(self, host: str, port: int, timeout: float | None = 2.0) -> bool:
        """Return whether a TCP connection to a port succeeds.

        Every address of ``host``, a name or a literal, is tried side by side. ``timeout`` is in seconds and bounds the
        whole call, including the look-up of the name; None is no limit. The result is False if the connection is
        refused, times out, or the host is unreachable or unresolvable.

        Raises ValueError for a port outside 1..65535 or a host that is neither name nor address, and OSError for a
        fault of this machine (out of descriptors, no permission), because that says nothing about the port.
        """
        return carry_out(Questions(self._engine.scanning).check_host(host, port, timeout), _wait_for)

    def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Probe one port of one host, a name or a literal, and return the result.

        ``timeout`` is in seconds and bounds the whole call, the look-up of the name included; a port that does not
        answer in half of it is asked once more, and an answer to the first question still counts. None is no limit.

        Raises ValueError for a bad host or port, ``socket.gaierror`` if the name has no address, TimeoutError where
        its look-up takes too long.
        """
        return carry_out(Questions(self._engine.scanning).scan_port(host, port, timeout), _wait_for)

    def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Return the sorted open ports of one host from ``start`` to ``end``, both included.

        ``workers`` is the most probes in flight (default: as many as descriptors allow, at most 4,096), ``timeout`` the
        longest that one of them waits, in seconds. Raises ValueError for a bad host or range, and ``socket.gaierror``
        where the name has no address.
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
            shard: "2/4" is the second of four disjoint parts that together are the whole; needs one seed for all.
            family: 4 or 6 takes only addresses of that version for names.
            resolve_all: take all addresses of a name, not only the first.
            banner: read up to 256 bytes of what an open port says first, for a second, or for so many seconds.
            keep: the states whose results are kept in the report and given to ``on_result``.
            trace: record every probe and answer, for ``report.why``.
            max_time: the longest that all of it takes, in seconds, look-ups included; then the report is partial.
            executor: scan in its tasks instead of here: any object with ``submit(fn, *args)`` that gives a
                ``concurrent.futures.Future``, such as a process pool, ``dask.distributed.Client.get_executor()`` or
                ``mpi4py.futures.MPIPoolExecutor``. Its workers need this version of oxisock. It is not shut down.
                ``rate`` and ``concurrency`` are totals of all tasks. ``report.sources`` says who asked what, and
                ports that no worker could ask are "error", reason "worker-lost: NAME".
            tasks: how many tasks are out at a time (default: twice the workers that the executor knows of, else 8;
                with ``rate`` as many as there are workers).
            checkpoint: the path of a file in which every finished part is written down. The same call goes on from
                there and asks only what was under way. A file of another scan is a ValueError.
            skip_silent: where there are several hosts, ask only the first ports of one from which nothing comes.
            on_result: called with each PortResult as it is found.
            on_progress: called with a Progress at most ten times a second, and once at the end.

        Callbacks run on the calling thread. An exception in one, and Ctrl-C, end the scan within 100 ms: the exception
        carries the partial report as ``.report``, and Ctrl-C is raised as ScanInterrupted, which has it too.

        Raises ValueError or TypeError for a bad argument, saying which part of it is at fault, and ``socket.gaierror``
        where no target resolves, or where an excluded name does not (it is a ValueError, too): nothing is asked then.
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
        """Begin a scan and return its results one by one, as they are found.

        The arguments, and what is raised for bad ones, are those of ``scan``. The Scan is an iterator and a context
        manager; leaving ``with``, ``cancel()``, ``close()`` or dropping it ends the scan.
        """
        return Scan(self._engine, make_job(targets, ports, ScanOptions.of("scan_iter", options)))

    def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and return the seconds that it took.

        Every address of ``host`` is tried, again ``interval`` seconds after they have failed, for at most ``timeout``
        seconds (None: for ever). Where nothing answers, they are asked anew after a second, or ``interval`` if that is
        longer, and an answer to what was asked before still counts. A name is looked up anew each time, and a fault of
        this machine is a try that failed.

        Raises TimeoutError when the time is up, with the last error as its cause; ValueError for a bad host or port.
        """
        return carry_out(Questions(self._engine.scanning).wait_for_port(host, port, timeout, interval), _wait_for)


def _wait_for(step: Step) -> object:
    if isinstance(step, LookUp):
        return host_addresses(step.host, timeout=step.timeout)
    if isinstance(step, Outcomes):
        # Each has its turn; the latest, which is the likeliest to have news, is waited for.
        *earlier, latest = step.runs
        found = [run.wait(0) for run in earlier]
        moment = _SHORT_SLICE if earlier else _SLICE
        return [*found, latest.wait(0 if any(found) else min(moment, max(step.timeout, 0)))]
    time.sleep(step.seconds)
    return None


def check_callbacks(on_result: object, on_progress: object) -> None:
    """Raise TypeError for a callback that is none."""
    for name, callback in (("on_result", on_result), ("on_progress", on_progress)):
        if callback is not None:
            arguments.function(callback, name)


def _nothing() -> ScanReport:
    """Return the report of a scan that was interrupted before it began."""
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
