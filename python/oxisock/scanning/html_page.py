"""Scan reports for browsers: a page that loads nothing, and the table for notebooks."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..text import plural
from ..types import PortState
from ..webpage import TILES, cell, page, table, tiles, warnings
from .showing import change_rows, host_changes, host_of, nothing, remarks, rows, summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..types import PortResult
    from .report import ScanReport

_STYLE = (
    TILES
    + """
.open, .opened { color: var(--good) } .closed, .error { color: var(--bad) }
.filtered, .changed { color: var(--middling) }
td { vertical-align: top }
td.last { white-space: normal; min-width: 12rem }
td.last div { max-height: 7.5rem; overflow-y: auto }
.hosts { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: .5rem }
.hosts li { display: grid; grid-template-columns: minmax(9rem, 18rem) 1fr; gap: .3rem 1rem; padding: .45rem .7rem }
.hosts li + li { border-top: 1px solid var(--line) }
.hosts a { color: inherit }
.chips { display: flex; flex-wrap: wrap; align-items: flex-start; gap: .3rem }
.chips i { font-style: normal; font-size: .8rem; border: 1px solid currentColor;
  border-radius: .8rem; padding: 0 .55rem }
@media (max-width: 40rem) {
  .hosts li { grid-template-columns: 1fr }
  thead, td.none { display: none }
  tr { display: flex; flex-wrap: wrap; gap: .1rem .8rem; padding: .45rem .7rem }
  tr + tr { border-top: 1px solid var(--line) }
  td { border: 0; padding: 0; white-space: normal }
  td.last { flex-basis: 100%; min-width: 0 }
  td[data-name]::before { content: attr(data-name) " "; color: var(--faint) }
}
"""
)
_MOST_CHIPS = 40  # the most ports of a host in the overview
_MOST_UNFOLDED = 20  # if there are more hosts, their tables are closed at first
_MOST_IN_NOTEBOOK = 200  # rows
_RIGHT = ("PORT", "RTT ms")
_NAMED = {"BEFORE": "was", "NOW": "now", "RTT ms": "RTT ms"}  # shown in each row if the heading has no room


def to_html(report: ScanReport, old: ScanReport | None) -> str:
    """Return the page, with the changes since ``old`` if you pass a report."""
    asked = ", ".join(report.targets or ()) or plural(report.addresses or 0, "address")[:200]
    if len(asked) > 120:
        asked = asked[:120] + " ..."
    counts = {state: f"{count:,}" for state, count in report.counts.items() if count or state == PortState.OPEN}
    hosts = {"hosts up": f"{report.stats.hosts_up:,}"} if report.stats.hosts > 1 else {}
    parts = [
        f"<h1>Scan of {escape(asked)}</h1>\n",
        f'<p class="faint">{escape(_when(report))}{escape(summary(report))}</p>\n',
        tiles({**counts, **hosts, "seconds": f"{report.elapsed:.2f}"}),
        warnings(remarks(report)),
        _changes(report, old) if old is not None else "",
        _glance(report),
        *_hosts(report),
        '<p class="faint">Written by oxisock. Times are round trips in milliseconds.</p>\n',
    ]
    return page(f"Scan of {asked}", "".join(parts), _STYLE)


def _when(report: ScanReport) -> str:
    import time

    if report.started is None:
        return ""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC, ", time.gmtime(report.started))
    except (OverflowError, ValueError, OSError):  # a time outside the calendar
        return ""


def _changes(report: ScanReport, old: ScanReport) -> str:
    found = change_rows(old, report)
    when = _when(old).rstrip(", ")
    heading = f"<h2>What changed since {escape(when or 'the older report')}</h2>\n"
    if left := len(old.left_out(report)):
        words = f"{plural(left, 'open port')} of one report not compared: the other one says nothing of them."
        heading += f'<p class="faint">{words}</p>\n'
    if not found:
        return heading + "<p>Nothing changed.</p>\n"
    hosts = "".join(f"<p>{escape(line)}</p>\n" for line in host_changes(old, report))
    return heading + hosts + _table(found, first=True)


def _glance(report: ScanReport) -> str:
    """Return the overview: every host with its ports, in the colours of their states."""
    if not report.results:
        return f"<p>{escape(nothing(report))}</p>\n"
    lines = []
    for number, results in enumerate(report.hosts.values(), 1):
        chips = "".join(_chip(result) for result in results[:_MOST_CHIPS])
        if len(results) > _MOST_CHIPS:
            chips += f"<span>and {len(results) - _MOST_CHIPS:,} more</span>"
        name = escape(host_of(results[0]))
        lines.append(f'<li><a href="#h{number}">{name}</a><div class="chips">{chips}</div></li>\n')
    return f'<h2>At a glance</h2>\n<ul class="hosts">\n{"".join(lines)}</ul>\n<h2>Hosts</h2>\n'


def _chip(result: PortResult) -> str:
    from .showing import service_of

    service = service_of(result)
    words = f"{result.port} {service}" if service != "-" else str(result.port)
    return f'<i class="{result.state}" title="{result.state}">{escape(words)}</i>'


def _hosts(report: ScanReport) -> list[str]:
    """Return the table of every host."""
    heading, *body = rows(report, any(result.banner is not None for result in report))
    by_host: dict[str, list[list[str]]] = {}
    for row in body:
        by_host.setdefault(row[0], []).append(row[1:])
    unfolded = " open" * (len(by_host) <= _MOST_UNFOLDED)
    names = {host_of(results[0]): number for number, results in enumerate(report.hosts.values(), 1)}
    return [
        f'<details id="h{names.get(host, 0)}"{unfolded}>'
        f"<summary>{escape(host)} · {plural(len(found), 'port')}</summary>\n{_table([heading[1:], *found])}</details>\n"
        for host, found in by_host.items()
    ]


_STATES = frozenset({*map(str, PortState), "opened", "closed", "changed"})


def _table(lines: Sequence[Sequence[str]], first: bool = False) -> str:
    """Return a table; the first line is the heading. States are coloured, and with ``first`` the first cells, too."""
    heading, *body = lines

    def shown(number: int, text: str) -> str:
        name = heading[number]
        kinds = ["right"] * (name in _RIGHT) + ["none"] * (text == "-")
        if text in _STATES and (name in ("STATE", "BEFORE", "NOW") or (first and number == 0)):
            kinds.append(text)
        if name == "BANNER":  # a long banner scrolls in its own box
            return f'<td class="{" ".join([*kinds, "last"])}"><div>{escape(text)}</div></td>'
        return cell(text, *kinds, tag=f'td data-name="{_NAMED[name]}"' if name in _NAMED else "td")

    head = [cell(name, *["right"] * (name in _RIGHT), tag="th") for name in heading]
    return table(head, (map(shown, range(len(row)), row) for row in body))


def for_notebook(report: ScanReport) -> str:
    """Return a table and the summary for a notebook, in the style of the notebook."""
    found = rows(report, any(result.banner is not None for result in report))
    shown = _table(found[: _MOST_IN_NOTEBOOK + 1]) if len(found) > 1 else f"<p>{escape(nothing(report))}</p>\n"
    if len(found) - 1 > _MOST_IN_NOTEBOOK:
        shown += f"<p>and {len(found) - 1 - _MOST_IN_NOTEBOOK:,} more</p>\n"
    notes = "".join(f"<p>{escape(line)}</p>\n" for line in remarks(report))
    return f"{shown}<p>{escape(summary(report))}</p>\n{notes}"
