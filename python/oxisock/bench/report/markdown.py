"""The page of a benchmark for documentation, in Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import text
from .figures import machine, rounds, versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .document import Document, ScenarioResult

_INTRODUCTION = """\
# Benchmarks

<!-- Written by `oxisock bench --markdown`: do not change it by hand. -->

This page compares the two engines with each other and with other programs. `oxisock bench` does the same on your
machine, in less than three minutes:

```
oxisock bench
```

**How it is measured.** In each round, all contenders run one after the other, so other work of the machine affects all
of them. A ratio is the median of the ratios of the rounds; the range in brackets is their minimum and maximum. Every
answer is checked: after a wrong one there is no ratio, and the command exits with 1. Rates are medians. "CPU" is
processor time for each operation. Server and load are separate processes. All servers have the same load generator,
which is native.
"""

_REPRODUCE = """\
## On your machine

```
pip install "oxisock[bench]"              # matplotlib for the chart, rich for the progress bar
oxisock bench                             # everything, in less than three minutes
oxisock bench --quick                     # a part of it, in less than 20 seconds
oxisock bench --only scan,echo --details  # some groups, with all contenders
oxisock bench --json run.json --plot chart.svg --html page.html
oxisock bench --from run.json --html page.html   # the pages again, without measuring
```

nmap and uvloop are compared if they are installed.

## The JSON

`--json` writes `{"schema": 1, "environment": {...}, "scenarios": [...]}`. A scenario has

| key | what it holds |
|---|---|
| `group`, `name` | its group, for `--only`, and its name |
| `unit`, `operations`, `rounds` | what is counted ("messages"), how many in one run, how many runs |
| `pure`, `native` | operations a second, the median of the rounds; null after a wrong answer |
| `ratio`, `ratio_range` | native's rate to pure's: median, least and most of the rounds; null after a wrong answer |
| `cpu_us` | `pure` and `native`: microseconds of processor time for an operation; null if unknown |
| `others` | by name: `rate`, `cpu_us`, and `ratio` and `ratio_range`, to pure as well |
| `wrong` | by contender: what was wrong with its answer |
| `seconds` | by contender: the seconds of each round |
| `latency_ms` | if measured, by contender: half of the answers came within the first, 99 % within the second |
| `notes` | what the contenders are |

`environment` has versions, machine, date (UTC) and `elapsed` seconds, and whether the run was `quick` or
`interrupted`. It also has the `load_average` at `start` and `end`, the share of processor time that other programs
used (`others`), and the share that the hypervisor kept (`steal`).
"""

_GROUPS = {
    "scan": "Scanning this machine",
    "echo": "TCP echo servers",
    "udp": "UDP servers",
    "framing": "Framing",
    "message": "TCP servers with a Python handler",
    "tls": "The same over TLS",
    "chat": "Chat",
}


def page(document: Document, chart: str | None = None, links: Mapping[str, str] | None = None) -> str:
    """Write the page; ``chart`` is where the picture stands, ``links`` are further pages, by title."""
    environment, scenarios = document["environment"], document["scenarios"]
    parts = [
        _INTRODUCTION,
        _paragraph(
            f"**Where.** {machine(environment)}. {versions(environment)}. {environment['date']}, {rounds(scenarios)}, "
            f"{environment['elapsed']:.0f} s in all; {_load(document)}."
        ),
        *(f"> **{_cell(line)}**\n" for line in text.warnings(document)),
    ]
    if chart:
        parts.append(f"![Speed-up of native over pure Python, by scenario]({chart})\n")
    parts.append(_table([text.HEADING, *map(text.row, scenarios)], text.RIGHT))
    if links:
        parts.append("More: " + ", ".join(f"[{title}]({link})" for title, link in links.items()) + ".\n")
    for group, title in _GROUPS.items():
        if members := [scenario for scenario in scenarios if scenario["group"] == group]:
            parts.append(f"## {title}\n")
            parts += [_paragraph(" ".join(members[0]["notes"]))]
            parts += [_details(scenario) for scenario in members]
    parts.append(_REPRODUCE)
    return "\n".join(parts)


def _load(document: Document) -> str:
    load, others = document["environment"]["load_average"], document["environment"]["others"]
    told = f"load average {load['start']} at the start" if load["start"] is not None else "load average unknown"
    return told + ("" if others is None else f", other programs used {others:.0%} of the processors")


def _details(scenario: ScenarioResult) -> str:
    rows = text.details(scenario)
    heading = f"### {scenario['name']}\n\n{scenario['operations']:,} {scenario['unit']} a run.\n\n"
    return heading + _table(rows, range(1, len(rows[0])))


def _table(rows: Sequence[Sequence[str]], right: Sequence[int]) -> str:
    heading, *body = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    rule = "|" + "|".join("--:" if number in right else "---" for number in range(len(rows[0]))) + "|"
    return "\n".join([heading, rule, *body]) + "\n"


def _cell(text: str) -> str:
    """Keep what a contender said from being markup, and a figure on one line with its unit."""
    words = " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
    return re.sub(r"(?<=\d) (?=(?:[kMG]|ns|µs|ms|s)\b)", "\N{NO-BREAK SPACE}", words)


def _paragraph(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n"
