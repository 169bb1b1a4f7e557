"""The page of a benchmark for a browser: one file that loads nothing, for phones and for dark rooms."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ... import webpage
from . import text
from .comparison import COLOURS, KINDS, TITLE, axis, bars, kinds
from .figures import WRONG, digits, machine, rounds, versions, written

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .comparison import Axis, Bar
    from .document import Document, ScenarioResult

_STYLE = """
:root { --native: NATIVE; --ceiling: #1b1f24 }
@media (prefers-color-scheme: dark) { :root { --native: #3d9bd6; --ceiling: #e6edf3 } }
tbody th { font-weight: 500; position: sticky; left: 0; background: var(--paper) }
td.wide { white-space: normal; min-width: 11rem; color: var(--faint) }
figure { margin: 1rem 0; background: var(--card); border-radius: .5rem; padding: .8rem }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 0 0 .6rem; padding: 0;
  font-size: .875rem }
.legend li { display: flex; align-items: center; gap: .4rem }
.legend .mark { position: static; transform: none }
.row { display: grid; grid-template-columns: 17rem 1fr 3.6rem; align-items: center; column-gap: .7rem;
  font-size: .875rem }
.row.first { margin-top: .7rem }
.row b { text-align: right; font-variant-numeric: tabular-nums }
.track { position: relative; height: 1.5rem;
  background: linear-gradient(var(--line), var(--line)) left center / 100% 1px no-repeat }
.one, .tick { position: absolute; top: 0; bottom: 0; width: 1px; background: var(--line) }
.one { width: 2px; margin-left: -1px; background: var(--ink) }
.bar { position: absolute; top: .3rem; bottom: .3rem; background: var(--native); border-radius: 1px }
.range { position: absolute; top: calc(50% - 1px); height: 2px; background: var(--ink) }
.mark { position: absolute; top: 50%; width: .75rem; height: .75rem; transform: translate(-50%, -50%);
  border: 1.5px solid var(--card) }
.native { background: var(--native); width: 1.2rem; border: 0 }
.ceiling { background: var(--ceiling); width: .25rem; height: 1.3rem; border-width: 0 1px }
.asyncio { background: ASYNCIO; border-radius: 50% }
.uvloop { background: UVLOOP; transform: translate(-50%, -50%) rotate(45deg); width: .65rem; height: .65rem }
.legend .uvloop { transform: rotate(45deg) }
.nmap { background: NMAP }
.other { background: OTHER; border: 0; clip-path: polygon(50% 0, 100% 100%, 0 100%) }
.row .wrong { color: NMAP; font-size: .75rem; line-height: 1 }
.axis .track { background: none; height: 1.2rem; color: var(--faint) }
.axis .track span { position: absolute; transform: translateX(-50%) }
@media (max-width: 45rem) { .row { grid-template-columns: 1fr 3.6rem } .row .name { grid-column: 1 / 3;
  margin-top: .5rem }
  .axis .name { display: none } tbody th { white-space: normal; min-width: 9rem } body, figure { padding: .7rem } }
"""


def page(document: Document) -> str:
    """Write the page."""
    environment, scenarios = document["environment"], document["scenarios"]
    style = _STYLE.replace("NATIVE", COLOURS["native"])
    for kind in ("asyncio", "uvloop", "nmap", "other"):
        style = style.replace(kind.upper(), COLOURS[kind])
    parts = [
        "<h1>oxisock: native against pure Python</h1>\n",
        f'<p class="faint">{escape(machine(environment))}; {escape(environment["date"])}; {rounds(scenarios)}</p>\n',
        webpage.warnings(text.warnings(document)),
        _chart(document) if scenarios else "",
        "<h2>All scenarios</h2>\n",
        _table([text.HEADING, *map(text.row, scenarios)], text.RIGHT),
        "".join(f'<p class="faint">{escape(line)}.</p>\n' for line in text.LEGEND),
        "<h2>Every contender</h2>\n",
        *map(_details, scenarios),
        "<h2>Where it ran</h2>\n",
        _environment(document),
        "<h2>On your machine</h2>\n<pre>pip install oxisock\noxisock bench --html benchmarks.html\n"
        "oxisock bench --quick      # a part of it, in less than 20 seconds</pre>\n",
        '<p class="faint">Contenders run in turn within each round, and every answer is checked: one that is wrong '
        "suppresses its ratio.</p>\n",
    ]
    return webpage.page(f"oxisock: benchmarks of {environment['date']}", "".join(parts), style)


def _chart(document: Document) -> str:
    shown = bars(document)
    scale = axis(shown)
    legend = "".join(f'<li><i class="mark {kind}"></i>{escape(KINDS[kind])}</li>' for kind in kinds(shown))
    firsts = [before is None or before.group != bar.group for bar, before in zip(shown, [None, *shown], strict=False)]
    ticks = "".join(f'<span style="left:{_percent(scale, tick)}">{tick:g}×</span>' for tick in scale.ticks)
    return (
        f'<figure>\n<ul class="legend">{legend}</ul>\n'
        + "".join(_row(bar, first, scale) for bar, first in zip(shown, firsts, strict=True))
        + f'<div class="row axis" aria-hidden="true"><span class="name"></span><div class="track">{ticks}</div></div>\n'
        + f"<figcaption>{escape(TITLE)}, on a logarithmic axis: pure is 1×. Bars are native's median, the line in them "
        "its range over the rounds.</figcaption>\n</figure>\n"
    )


def _row(bar: Bar, first: bool, scale: Axis) -> str:
    inside = "".join(f'<i class="tick" style="left:{_percent(scale, tick)}"></i>' for tick in scale.ticks)
    told = f'<b class="wrong">{WRONG}</b>'
    if bar.ratio is not None:
        ends = [scale.place(value) * 100 for value in sorted((1.0, bar.ratio.median))]
        span = [scale.place(end) * 100 for end in bar.ratio[1:]]
        told = f"<b>{digits(bar.ratio.median)}×</b>"
        inside += (
            f'<i class="bar" style="left:{ends[0]:.2f}%;width:{ends[1] - ends[0]:.2f}%" '
            f'title="native: {written(*bar.ratio)}"></i>'
            f'<i class="range" style="left:{span[0]:.2f}%;width:{span[1] - span[0]:.2f}%"></i>'
        )
    inside += f'<i class="one" style="left:{_percent(scale, 1.0)}"></i>'
    inside += "".join(
        f'<i class="mark {mark.kind}" style="left:{_percent(scale, mark.times)}" '
        f'title="{escape(mark.name)}: {digits(mark.times)}"></i>'
        for mark in bar.marks
    )
    return (
        f'<div class="row{" first" if first else ""}"><span class="name">{escape(bar.name)}</span>'
        f'<div class="track">{inside}</div>{told}</div>\n'
    )


def _percent(scale: Axis, times: float) -> str:
    return f"{scale.place(times) * 100:.2f}%"


def _details(scenario: ScenarioResult) -> str:
    rows = text.details(scenario)
    notes = "".join(f'<p class="faint">{escape(note)}</p>\n' for note in scenario["notes"])
    return (
        f"<details><summary>{escape(scenario['name'])} · {scenario['operations']:,} {escape(scenario['unit'])} a run"
        f"</summary>\n{_table(rows, range(1, len(rows[0])))}{notes}</details>\n"
    )


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    def cell(number: int, text: str) -> str:
        if number <= max(right):
            return webpage.cell(text, *["right"] * (number in right), tag="td" if number else 'th scope="row"')
        # Lines break between the others, not between a name and its figure.
        return webpage.cell(", ".join(each.replace(" ", "\N{NO-BREAK SPACE}") for each in text.split(", ")), "wide")

    heading, *body = rows
    head = [webpage.cell(name, *["right"] * (number in right), tag="th") for number, name in enumerate(heading)]
    return webpage.table(head, (map(cell, range(len(row)), row) for row in body))


def _environment(document: Document) -> str:
    environment = document["environment"]
    load = environment["load_average"]
    facts = {
        "Versions": versions(environment),
        "Machine": machine(environment),
        "Date": f"{environment['date']} (UTC), {environment['elapsed']:.0f} s",
        "Load average": f"{_known(load['start'])} at the start, {_known(load['end'])} at the end",
        "Other programs": "unknown"
        if environment["others"] is None
        else f"{environment['others']:.1%} of the processors",
        "Hypervisor": "unknown"
        if environment["steal"] is None
        else f"kept {environment['steal']:.1%} of the processors",
    }
    return webpage.facts(facts)


def _known(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
