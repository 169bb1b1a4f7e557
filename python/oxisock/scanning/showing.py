"""Scan reports for people: rows of plain text, the changes between two reports, and a summary in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..text import escape, milliseconds, plural
from ..types import PortState
from .formats import banner_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..types import PortResult
    from .report import ReportDiff, ScanReport

CHANGES = ("CHANGE", "HOST", "PORT", "BEFORE", "NOW", "SERVICE")
"""The heading of ``changes``."""


def host_of(result: PortResult) -> str:
    """Return the host as it was given, with its address if that differs."""
    return escape(result.host if result.host == result.address else f"{result.host} ({result.address})")


def service_of(result: PortResult) -> str:
    """Return the service; ``-`` for none."""
    return escape(result.service) if result.service else "-"


def _banner(banner: bytes | None) -> str:
    return "-" if banner is None else banner_text(banner.rstrip(b"\r\n"))


def rows(report: ScanReport, banner: bool) -> list[list[str]]:
    """Return a heading and the results as rows. REASON is included if a port is not open, BANNER on request."""
    reasons = any(not result.is_open for result in report)
    heading = ["HOST", "PORT", "STATE", "SERVICE", "RTT ms"]
    heading += ["REASON"] * reasons + ["BANNER"] * banner
    found = [heading]
    suspicious = set(report.suspicious)
    for address in suspicious:
        number = sum(result.address == address and result.is_open for result in report)
        found.append(
            [address, f"{number:,} ports", "open", "all alike: a proxy or tarpit?", "-", *["-"] * (len(heading) - 5)]
        )
    for result in report:
        if result.is_open and result.address in suspicious:
            continue
        row = [host_of(result), str(result.port), result.state, service_of(result), milliseconds(result.rtt)]
        row += [escape(result.reason)] * reasons
        if banner:
            row.append(_banner(result.banner))
        found.append(row)
    return found


def changes(difference: ReportDiff, old: ScanReport, new: ScanReport) -> list[tuple[str, ...]]:
    """Return a row for every difference: CHANGE, HOST, PORT, STATE BEFORE, STATE NOW, SERVICE."""
    before, after = ({(r.address, r.port): str(r.state) for r in report} for report in (old, new))
    news: list[tuple[str, PortResult]] = [("opened", result) for result in difference.opened]
    news += [("closed", result) for result in difference.closed]
    found: list[tuple[str, ...]] = []
    for change, result in news:
        key = (result.address, result.port)
        states = (before.get(key, "-"), after.get(key, "-"))
        found.append((change, escape(result.host), str(result.port), *states, service_of(result)))
    for one, two in difference.changed:
        # With equal states, the banners differ.
        same = one.state is two.state
        was, now = ("old banner", "new banner") if same else (str(one.state), str(two.state))
        found.append(("changed", escape(two.host), str(two.port), was, now, service_of(two)))
    return found


def change_rows(old: ScanReport, new: ScanReport) -> list[tuple[str, ...]]:
    """Return a heading and a row for every difference, with BANNER if there are any; nothing without differences."""
    difference = old.diff(new)
    news = [(result.banner, result.banner) for result in (*difference.opened, *difference.closed)]
    banners = [*news, *((one.banner, two.banner) for one, two in difference.changed)]
    found = changes(difference, old, new)
    if not any(map(any, banners)):
        return [CHANGES, *found] if found else []
    told = (_banner(was) if was == now else f"{_banner(was)} -> {_banner(now)}" for was, now in banners)
    return [(*CHANGES, "BANNER"), *((*row, text) for row, text in zip(found, told, strict=True))]


def host_changes(old: ScanReport, new: ScanReport) -> list[str]:
    """Return sentences about the hosts with a first open port, and those that have none any more."""
    difference = old.diff(new)
    before, after = ({result.address for result in report.open} for report in (old, new))
    opened = dict.fromkeys(host_of(result) for result in difference.opened if result.address not in before)
    closed = dict.fromkeys(host_of(result) for result in difference.closed if result.address not in after)
    told = []
    for words, hosts in ("First open ports on", [*opened]), ("No open ports any more on", [*closed]):
        if hosts:
            more = f" and {plural(len(hosts) - _MOST_TOLD, 'more host')}" * (len(hosts) > _MOST_TOLD)
            told.append(f"{words} {', '.join(hosts[:_MOST_TOLD])}{more}.")
    return told


def nothing(report: ScanReport) -> str:
    """Return a sentence about a report that has no rows to show."""
    from .specs import parse_ports

    words = "No open ports" if not report.counts[PortState.OPEN] else "No ports to show"
    if report.ports is None:
        return f"{words}."
    more = "; -p - scans all 65,535" if len(parse_ports(report.ports)) < 65535 else ""
    return f"{words}. Scanned {report.ports}{more}."


def summary(report: ScanReport) -> str:
    """Return a summary in one line."""
    decided = sum(report.counts.values())
    ports = plural(decided, "port")
    if report.addresses is not None and report.addresses != 1:
        ports += f" of {report.addresses:,} addresses"
    counts = ", ".join(f"{count:,} {state}" for state, count in report.counts.items() if count) or "nothing decided"
    stats = report.stats
    cost = plural(stats.probes, "probe")
    if stats.drops:
        cost += f", {stats.drops:,} lost on the way"
    hosts = {"up": stats.hosts_up, "unreachable": stats.hosts_unreachable, "silent": stats.hosts_silent}
    words = ", ".join(f"{count:,} {word}" for word, count in hosts.items() if count) if stats.hosts > 1 else ""
    if stats.unasked:
        words += f"{'; ' * bool(words)}{plural(stats.unasked, 'port')} not asked, because their hosts do not answer"
    label = "; hosts: " * (stats.hosts > 1 and bool(words))
    return f"{ports} in {report.elapsed:.2f} s ({cost}): {counts}{label}{words}"


def remarks(report: ScanReport) -> Iterator[str]:
    """Yield sentences that a reader must know to judge the results."""
    from .asked import number_of

    for name, reason in report.unresolved.items():
        yield f"{escape(name)} does not resolve: {escape(reason)}"
    for address in report.suspicious:
        yield f"{address}: nearly all of its ports are open: most likely, a proxy, a tarpit or a firewall answers"
    told = 0
    for part in report.not_asked[:_MOST_TOLD]:
        count = number_of([part])
        told += count
        yield f"{escape(part.addresses)}: {plural(count, 'port')} could not be asked: {escape(part.reason)}"
    if (rest := report.counts[PortState.ERROR] - told) > 0:
        more = "more " * (told > 0)
        yield f"{plural(rest, f'{more}port')} could not be asked because of faults of this machine"
    if report.partial:
        decided = plural(sum(report.counts.values()), "port")
        yield f"the scan ended early, after {decided}: the result is incomplete"


_MOST_TOLD = 5  # the most sentences about ports that could not be asked, and the most hosts in a sentence


def rich_table(report: ScanReport) -> Any:
    """Return the results as a table of rich, which must be installed."""
    from rich.table import Table
    from rich.text import Text

    heading, *body = rows(report, any(result.banner is not None for result in report))
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), caption_justify="left")
    shown.caption = Text(summary(report) if body else f"{nothing(report)}\n{summary(report)}")
    for name in heading:
        # Ports and states are never cut.
        whole = name in ("PORT", "STATE", "SERVICE", "RTT ms")
        shown.add_column(name, justify="right" if name in ("PORT", "RTT ms") else "left", overflow="fold")
        if whole:
            number = heading.index(name)
            shown.columns[-1].min_width = max(len(row[number]) for row in [heading, *body])
    for row in body:
        # Text, not str, so that bytes of a server are not read as markup.
        shown.add_row(*(Text(cell, style=_STYLES.get(cell, "") if at == 2 else "") for at, cell in enumerate(row)))
    return shown


_STYLES = {"open": "green", "closed": "red", "filtered": "yellow", "error": "red"}
