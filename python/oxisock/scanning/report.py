"""The results of a scan: the report, the difference between two reports, and all output formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .. import arguments
from ..types import PortResult, PortState, ProbeEvent, ProbeTrail, ScanSource, ScanStats
from .asked import Asked, NotAsked, checked_ports, checked_target, number_of, usual
from .sorting import sort_keys, sort_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from os import PathLike


class PortChange(NamedTuple):
    """One port in an older and in a newer report.

    Attributes:
        before: the result in the older report.
        after: the result in the newer report.
    """

    before: PortResult
    after: PortResult

    @property
    def address(self) -> str:
        """The address, the same in both."""
        return self.after.address

    @property
    def port(self) -> int:
        """The port number, the same in both."""
        return self.after.port


class ReportDiff(NamedTuple):
    """The difference between an older and a newer report; false if there is none.

    Attributes:
        opened: the newer results of ports that are open now and were not open before.
        closed: the older results of ports that were open before and are not open now.
        changed: every other port whose state differs, or whose banner differs if both results have one.
    """

    opened: list[PortResult]
    closed: list[PortResult]
    changed: list[PortChange]

    def __bool__(self) -> bool:
        return bool(self.opened or self.closed or self.changed)


class ScanReport:
    """The results of a scan, and what the scan cost.

    Arguments (all by keyword):
        results: the kept results, in any order, each (address, port) once.
        counts: the number of ports in each PortState, kept or not; missing states count as 0.
        stats: the cost of the scan.
        unresolved: target names that did not resolve, with the message of the resolver.
        seed: the seed of the scan order, or None.
        partial: whether the scan ended before every port had a result.
        elapsed: the duration in seconds; default ``stats.elapsed``.
        started: the start time in seconds since 1970, or None if that is not known.
        addresses: the number of addresses scanned, or None if that is not known.
        trace: the events of all ports in order of time, or None if the scan recorded none.
        sources: the machines that scanned each part, if the scan had an executor or a checkpoint.
        targets: the targets: names, addresses, networks and ranges; None if that is not known.
        ports: the ports scanned on each target, such as "22,80-90", or None if that is not known.
        exclude: the targets that were left out: names and their addresses, too.
        names: by address, all spellings that you gave, if there is an unusual one.
        not_asked: the ports that this machine could not ask, and why, even if the state "error" was not kept.

    Two reports are equal if everything but their traces is equal. So
    ``ScanReport.from_json(report.to_json()) == report``.
    """

    def __init__(
        self,
        *,
        results: Iterable[PortResult],
        counts: Mapping[str, int] | Mapping[PortState, int],
        stats: ScanStats,
        unresolved: Mapping[str, str] | None = None,
        seed: int | None = None,
        partial: bool = False,
        elapsed: float | None = None,
        started: float | None = None,
        addresses: int | None = None,
        trace: Iterable[ProbeEvent] | None = None,
        sources: Iterable[ScanSource] = (),
        targets: Iterable[str] | None = None,
        ports: str | None = None,
        exclude: Iterable[str] = (),
        names: Mapping[str, Iterable[str]] | None = None,
        not_asked: Iterable[NotAsked] = (),
    ) -> None:
        found = arguments.every(results, "results", PortResult, "an iterable of PortResult")
        self.results: list[PortResult] = sort_results(found)
        arguments.having(counts, "counts", "a mapping of states to numbers", "get", "items")
        # The keys are str, as every PortState is, so that type checkers accept `counts["open"]`.
        self.counts: dict[str, int] = {state: counts.get(state, 0) for state in PortState}
        self.stats = arguments.instance(stats, "stats", ScanStats, "ScanStats")
        if unresolved is not None:
            arguments.having(unresolved, "unresolved", "a mapping of names to words", "keys", "items")
        self.unresolved: dict[str, str] = dict(unresolved or {})
        self.seed = None if seed is None else arguments.count(seed, "seed", -(1 << 64), (1 << 64) - 1)
        self.partial = arguments.flag(partial, "partial")
        self.elapsed: float = stats.elapsed if elapsed is None else arguments.duration(elapsed, "elapsed")
        self.started = None if started is None else arguments.duration(started, "started")
        self.addresses = None if addresses is None else arguments.count(addresses, "addresses", 0, 1 << 129)
        self.sources = arguments.every(sources, "sources", ScanSource, "an iterable of ScanSource")
        self.targets = None if targets is None else _checked_targets(targets, "targets")
        self.ports = None if ports is None else arguments.text(ports, "ports")
        if ports is not None:
            checked_ports(ports, "ports")
        self.exclude = _checked_targets(exclude, "exclude")
        if names is not None:
            arguments.having(names, "names", "a mapping of addresses to spellings", "keys", "items")
        self.names: dict[str, list[str]] = {
            address: arguments.every(texts, "names", str, "an iterable of text")
            for address, texts in (names or {}).items()
        }
        self.not_asked = arguments.every(not_asked, "not_asked", NotAsked, "an iterable of NotAsked")
        for part in self.not_asked:
            checked_target(part.addresses, "not_asked")
            checked_ports(part.ports, "not_asked")
        self._trace: list[ProbeEvent] | None = None
        if trace is not None:
            self._trace = arguments.every(trace, "trace", ProbeEvent, "an iterable of ProbeEvent")

    @property
    def open(self) -> list[PortResult]:
        """The results of open ports, sorted by address, then port."""
        return [result for result in self.results if result.state is PortState.OPEN]

    @property
    def hosts(self) -> dict[str, list[PortResult]]:
        """The results for each address that has any. Addresses and ports are sorted."""
        by_address: dict[str, list[PortResult]] = {}
        for result in self.results:
            by_address.setdefault(result.address, []).append(result)
        return by_address

    @property
    def suspicious(self) -> list[str]:
        """The addresses of which more than 500 asked ports, and nine of ten, are open.

        A proxy, a tarpit or a firewall answers there for hosts that may not exist.
        """
        counts: dict[str, int] = {}
        for result in self.open:
            counts[result.address] = counts.get(result.address, 0) + 1
        if self.addresses == 1 or self.ports is None:
            asked = sum(self.counts.values()) if self.addresses == 1 else 0
        else:
            asked = len(checked_ports(self.ports, "ports"))
        return [address for address, count in counts.items() if asked and count > 500 and count * 10 >= asked * 9]

    def __iter__(self) -> Iterator[PortResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __bool__(self) -> bool:
        """A report is always true; an empty one has ``len(report) == 0``."""
        return True

    def _facts(self) -> tuple[Any, ...]:
        """Return everything that makes two reports equal."""
        return (
            self.results, self.counts, self.stats, self.unresolved, self.seed, self.partial, self.elapsed, self.started,
            self.addresses, self.sources, self.targets, self.ports, self.exclude, self.names, self.not_asked,
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        return self._facts() == other._facts() if isinstance(other, ScanReport) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # its lists may change

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items() if count)
        partial = ", partial" if self.partial else ""
        return f"<ScanReport: {counts or 'no port decided'} in {self.elapsed:.3f} s{partial}>"

    @property
    def trace(self) -> list[ProbeEvent] | None:
        """Every probe and answer of the scan in order of time; None if it ran without ``trace=True``."""
        return self._trace

    def diff(self, other: ScanReport) -> ReportDiff:
        """Compare this report with ``other``, the newer one.

        A port without a result counts as not open, so it does not matter which other states the scans kept. There are
        exceptions: the port was not asked, its name did not resolve, this machine could not ask it, or the report is
        partial or did not keep open ports. Such ports are not compared, and ``left_out`` returns them. A change from or
        to "error" is in ``changed``, never in ``opened`` or ``closed``, because a local error says nothing about the
        port. Times and services are not compared.
        """
        return self._compare(other)[0]

    def left_out(self, other: ScanReport) -> list[tuple[PortResult, str]]:
        """Return the open ports, here or in ``other`` (the newer report), that ``diff`` does not compare, and why."""
        return self._compare(other)[1]

    def _compare(self, other: ScanReport) -> tuple[ReportDiff, list[tuple[PortResult, str]]]:
        arguments.instance(other, "other", ScanReport, "a ScanReport")
        before, after = ({(usual(r.address), r.port): r for r in report.results} for report in (self, other))
        silent_before, silent_after = self._silences(), other._silences()
        left_out = []
        opened, closed, changed = [], [], []
        for key in sort_keys(before.keys() | after.keys()):
            old, new = before.get(key), after.get(key)
            if old is None or new is None:
                found = old or new
                if found is None or not found.is_open:
                    continue
                why = silent_before(found) if old is None else silent_after(found)
                if why:
                    left_out.append((found, why))
                elif old is None:
                    opened.append(found)
                else:
                    closed.append(found)
            elif PortState.ERROR not in (old.state, new.state) and old.is_open != new.is_open:
                if new.is_open:
                    opened.append(new)
                else:
                    closed.append(old)
            elif old.state is not new.state or _banners_differ(old, new):
                changed.append(PortChange(old, new))
        return ReportDiff(opened, closed, changed), left_out

    def _silences(self) -> Callable[[PortResult], str]:
        """Return a function that says why a port without a result is unknown; an empty text: it was not open."""
        everywhere = ""
        if self.partial:
            everywhere = "is partial"
        elif self.counts[PortState.OPEN] != len(self.open):
            everywhere = "does not have all its open ports"
        elif self.counts[PortState.ERROR] > max(
            number_of(self.not_asked), sum(result.state is PortState.ERROR for result in self.results)
        ):
            everywhere = "does not say which ports could not be asked"
        asked = None
        if self.targets is not None and self.ports is not None:
            asked = Asked(self.targets, self.ports, self.exclude, self.names)
        failed = [Asked([part.addresses], part.ports, (), {}) for part in self.not_asked]

        def why(result: PortResult) -> str:
            if everywhere:
                return everywhere
            if result.host in self.unresolved:
                return "could not resolve its name"
            key = (result.address, result.port)
            if any(key in part for part in failed):
                return "could not ask it"
            return "" if asked is None or key in asked else "did not ask it"

        return why

    def why(self, address: str, port: int) -> ProbeTrail:
        """Return every probe of a port and every answer, in order of time; ``str()`` has one line for each.

        ``address`` is the address; for a port that has a result, you can use the target as you gave it. A port that was
        not asked has an empty list. Raises ValueError if the scan ran without ``trace=True``, or if the report comes
        from a file.
        """
        address, port = arguments.text(address, "address"), arguments.port(port)
        if self._trace is None:
            raise ValueError("this report has no trace of its probes: scan with trace=True to be able to ask why")
        addresses = {result.address for result in self.results if result.host == address} | {address}
        return ProbeTrail(event for event in self._trace if event.port == port and event.address in addresses)

    def to_json(self, path: str | PathLike[str] | None = None, *, indent: int | None = None) -> str:
        """Return the report as one JSON object: schema 1, the rtt in seconds, banners in base64.

        If you pass a ``path``, also write it to that file, in UTF-8. Raises OSError if that fails.
        """
        from . import formats as report_formats

        indent = None if indent is None else arguments.count(indent, "indent", 0, 80)
        return _written_to(path, report_formats.to_json(self, indent))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read a report that ``to_json`` wrote.

        Raises ValueError if the text is not JSON, is not a report, or has another schema; the message names the part
        at fault. Unknown members are ignored.
        """
        from . import reading as report_reading

        return cls(**report_reading.from_json(_written(text)))

    def to_ndjson(self, path: str | PathLike[str] | None = None) -> str:
        """Return one JSON object per line: results with ``"type": "result"``, then one with ``"type": "summary"``.

        If you pass a ``path``, also write it to that file. Raises OSError if that fails.
        """
        from . import formats as report_formats

        return _written_to(path, report_formats.to_ndjson(self))

    @classmethod
    def from_ndjson(cls, text: str | bytes) -> Self:
        """Read the output of ``to_ndjson`` or ``oxisock scan --format ndjson``; raises as ``from_json`` does.

        If the summary is missing, because the command was killed, the report is partial. The last line may then be
        incomplete.
        """
        from . import reading as report_reading

        return cls(**report_reading.from_ndjson(_written(text)))

    def to_csv(self, path: str | PathLike[str] | None = None) -> str:
        """Return the results as CSV. The header line has the names of PortResult; the rtt is in seconds.

        Banners are text. Backslash escapes stand for characters that are not printable, and for a first character that
        begins a formula in a spreadsheet. If you pass a ``path``, also write the CSV to that file. Raises OSError if
        that fails.
        """
        from . import formats as report_formats

        return _written_to(path, report_formats.to_csv(self))

    def to_nmap_xml(self, path: str | PathLike[str] | None = None) -> str:
        """Return the report in nmap's XML format, which many tools read.

        In a report of one host, ``extraports`` counts the states that were not kept. The state "error" becomes nmap's
        "unknown". A banner becomes the output of a script named "banner", escaped as in CSV. If you pass a ``path``,
        also write the XML to that file. Raises OSError if that fails.
        """
        from . import nmap_xml as report_nmap

        return _written_to(path, report_nmap.to_nmap_xml(self))

    def to_html(self, old: ScanReport | None = None, path: str | PathLike[str] | None = None) -> str:
        """Return the report as an HTML page. The page is one file and loads nothing.

        If you pass an ``old`` report of the same targets, the page shows what changed. If you pass a ``path``, also
        write the page to that file. Raises OSError if that fails.
        """
        from . import html_page

        old = None if old is None else arguments.instance(old, "old", ScanReport, "a ScanReport")
        return _written_to(path, html_page.to_html(self, old))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from . import html_page

        return html_page.for_notebook(self)

    def __rich__(self) -> Any:
        """Return what ``rich.print`` shows."""
        from . import showing

        return showing.rich_table(self)


def _written(text: str | bytes) -> str | bytes:
    return text if isinstance(text, bytes) else arguments.text(text, "text", "text, or text in UTF-8 as bytes")


def _written_to(path: str | PathLike[str] | None, text: str) -> str:
    """Return a text, after writing it to a file if there is a ``path``."""
    if path is not None:
        with open(arguments.path(path, "path", "the path of a file"), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    return text


def _checked_targets(texts: Iterable[str], name: str) -> list[str]:
    found = [texts] if isinstance(texts, str) else arguments.every(texts, name, str, "an iterable of text")
    return [checked_target(text, name) for text in found]


def _banners_differ(old: PortResult, new: PortResult) -> bool:
    """Return whether both have a banner and the banners differ. One of the scans may not have read banners."""
    return old.banner is not None and new.banner is not None and old.banner != new.banner


class ScanInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a scan; ``report`` is the partial report."""

    def __init__(self, report: ScanReport) -> None:
        super().__init__("the scan was interrupted")
        self.report = report
