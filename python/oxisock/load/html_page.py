"""The report of a load test as a page for a browser."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ..text import milliseconds
from ..webpage import TILES, facts, page, tiles, warnings
from .report import about_wrong, first_wrong, pace, words

if TYPE_CHECKING:
    from .report import LoadReport

_STYLE = (
    TILES
    + """
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: .25rem .7rem; align-items: center;
  font-size: .875rem; font-variant-numeric: tabular-nums }
.bars span { text-align: right }
.bars i { display: block; height: 1rem; background: #2f81f7; border-radius: 2px; min-width: 1px }
"""
)


def to_html(report: LoadReport) -> str:
    """Return the page."""
    figures, options = report.figures, report.options
    told = f"{figures['opened']:,} of {options['connections']:,} connections, {pace(options)}, "
    told += f"{options['size']:,} bytes each"
    if not report.complete:
        told += "; ended early"
    counts = {name: f"{count:,}" for name, count in report.counts.items()}
    most_asked = {name: counts[name] for name in ("answered", "lost", "wrong")}
    p99 = {} if report.p99 is None else {"p99, ms": milliseconds(report.p99)}
    title = f"Load test of {report.target['name']}"
    parts = [
        f"<h1>{escape(title)}</h1>\n",
        f'<p class="faint">{escape(told)}; {figures["elapsed"]:.2f} s</p>\n',
        tiles({"answers a second": f"{report.rate:,.0f}", **p99, **most_asked}),
        warnings(_remarks(report)),
        _histogram(report),
        _latencies(report),
        f"<h2>Counts</h2>\n{facts(counts)}",
        f'<p class="faint">Written by oxisock. The load itself used {report.busy:.0%} of a core.</p>\n',
    ]
    return page(title, "".join(parts), _STYLE)


def _remarks(report: LoadReport) -> list[str]:
    found = [f"{count:,} times: {words(name)}" for name, count in report.errors.items()]
    local = report.local_errors.items()
    found += [f"{count:,} times this machine was at fault: {words(name)}" for name, count in local]
    if wrong := first_wrong(report):
        found.append(f"T{about_wrong(wrong)[1:]}")
    if not report.kept_rate:
        found.append(f"The rate was not kept: {report.figures['unsent']:,} messages were due and never sent")
    return found


def _histogram(report: LoadReport) -> str:
    most = max((count for _, count in report.histogram), default=0)
    if not most:
        return ""
    rows = "".join(
        f"<span>to {milliseconds(end)} ms</span><div><i style='width:{count / most:.1%}'></i></div>"
        f"<span>{count:,}</span>\n"
        for end, count in report.histogram
    )
    return f'<h2>How long answers took</h2>\n<div class="bars">\n{rows}</div>\n'


def _latencies(report: LoadReport) -> str:
    times = report.figures["latency"]
    if not times:
        return ""
    since = ", from when each message was to be sent" if report.options["rate"] else ""
    return f"<h2>Latency, ms{since}</h2>\n" + tiles({name: milliseconds(time) for name, time in times.items()})
