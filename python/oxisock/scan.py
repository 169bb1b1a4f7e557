"""Scanning ports: the functions that users call, bound to one engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

# `import oxisock` comes by here: what does the work is imported when it is called.
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .engines.scan import ScanModule
    from .report import ScanReport
    from .resolve import Family
    from .scan_run import Scan
    from .selection import Impl
    from .specs import PortSpec, TargetSpec
    from .types import PortResult, Progress

_ENGINES = {"pure": "oxisock.pure.scan", "native": "oxisock._native"}  # by name, so that a face imports no engine


class Scanner:
    """The scanning functions, bound to one engine."""

    _known: ClassVar[dict[Impl, Scanner]] = {}

    def __init__(self, impl: Impl) -> None:
        self._impl: Impl = impl

    @classmethod
    def of(cls, impl: Impl) -> Scanner:
        """Give the scanner of an engine: there is one of each, so that bound functions compare equal."""
        return cls._known.setdefault(impl, cls(impl))

    def __reduce__(self) -> tuple[Callable[[Impl], Scanner], tuple[Impl]]:
        return Scanner.of, (self._impl,)

    @property
    def _engine(self) -> ScanModule:
        import importlib

        engine: ScanModule = importlib.import_module(_ENGINES[self._impl])
        return engine

    def check_host(self, host: str, port: int, timeout: float | None = 2.0) -> bool:
        """Say whether a TCP connection to a port succeeds.

        Every address of ``host``, a name or a literal, is tried side by side. ``timeout`` is in seconds and bounds the
        whole call, the look-up of the name included; None is no limit. False stands for refused, timed out,
        unreachable and unresolvable.

        Raises ValueError for a port outside 1..65535, and OSError for a fault of this machine (out of descriptors, no
        permission), because that says nothing about the port.
        """
        from . import scan_calls

        return scan_calls.check_host(self._engine, host, port, timeout)

    def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Ask one port of one host, a name or a literal, and give all that was learned.

        ``timeout`` is in seconds and bounds the whole call, the look-up of the name included; a port that does not
        answer in half of it is asked once more. None is no limit.

        Raises ValueError for a bad host or port, ``socket.gaierror`` where the name has no address, TimeoutError where
        its look-up takes too long.
        """
        from . import scan_calls

        return scan_calls.scan_port(self._engine, host, port, timeout)

    def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Give the open ports of one host from ``start`` to ``end``, both included, sorted.

        ``workers`` is the most probes in flight (default: as many as descriptors allow, at most 4,096), ``timeout`` the
        longest that one of them waits, in seconds. Raises ValueError for a bad host or range, and ``socket.gaierror``
        where the name has no address.
        """
        from . import scan_calls

        return scan_calls.scan_host(self._engine, host, start, end, workers, timeout)

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
            exclude: targets that are left out, in the same notation.
            exclude_ports: ports that are left out, in the same notation.
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
        from . import scan_calls
        from .scan_plan import ScanOptions

        options = ScanOptions.among(locals())
        return scan_calls.scan(self._engine, targets, ports, exclude, exclude_ports, options, on_result, on_progress)

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
        from . import scan_calls
        from .scan_plan import ScanOptions

        options = ScanOptions.among(locals())
        return scan_calls.scan_iter(self._engine, targets, ports, exclude, exclude_ports, options)

    def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and give the seconds that it took.

        Every address of ``host`` is tried, again every ``interval`` seconds, for at most ``timeout`` seconds (None: for
        ever). A name that does not resolve yet is looked up again.

        Raises TimeoutError when the time is up, with the last error as its cause, and ValueError for a bad port.
        """
        from . import scan_calls

        return scan_calls.wait_for_port(self._engine, host, port, timeout, interval)
