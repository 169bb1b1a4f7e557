"""What the charts show: how many times as fast as pure everybody is, on one logarithmic axis for all scenarios."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .document import Compared, Document

TITLE = "Speed-up over pure Python"
KINDS = {
    "native": "native",
    "ceiling": "ceiling: a raw system-call loop",
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "nmap": "nmap",
    "other": "other Python: loops, threads, streams",
}
"""The kinds of contenders that charts tell apart, and what their legends call them."""

COLOURS = {
    "native": "#0072b2",
    "ceiling": "#1b1f24",
    "asyncio": "#e69f00",
    "uvloop": "#009e73",
    "nmap": "#d55e00",
    "other": "#cc79a7",
}
"""The colours of Okabe and Ito, which people with any kind of colour vision tell apart."""

_WITH_VARIANTS = {"native", "ceiling"}
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Mark(NamedTuple):
    """A contender beside the engines: its kind, its name, and how many times as fast as pure it is."""

    kind: str
    name: str
    times: float


class Ratio(NamedTuple):
    """How many times as fast as pure native is: the median of the rounds, and the least and the most of them."""

    median: float
    low: float
    high: float


class Bar(NamedTuple):
    """A scenario: how native compares with pure, None where an answer was wrong, and how the others do."""

    group: str
    name: str
    ratio: Ratio | None
    marks: list[Mark]


class Axis(NamedTuple):
    """A logarithmic axis."""

    low: float
    high: float

    def place(self, times: float) -> float:
        """Return where a value stands, from 0 to 1."""
        return math.log(times / self.low) / math.log(self.high / self.low)

    @property
    def ticks(self) -> list[float]:
        """The values to write below it."""
        inside = [tick for tick in _TICKS if self.low <= tick <= self.high]
        # Where there are many, the powers of ten and what is next to 1 will do.
        return inside if len(inside) <= 8 else [tick for tick in inside if str(tick).strip("0.") != "2" or tick == 2]


def bars(document: Document) -> list[Bar]:
    """Return what there is to compare; variants of an engine ("native batch") are left to the tables."""
    return [
        Bar(
            scenario["group"],
            scenario["name"],
            _ratio(scenario),
            [
                Mark(name if name in KINDS else "other", name, other["ratio"])
                for name, other in scenario["others"].items()
                if other["ratio"] and name.split()[0] not in _WITH_VARIANTS - {name}
            ],
        )
        for scenario in document["scenarios"]
    ]


def _ratio(compared: Compared) -> Ratio | None:
    ratio, ends = compared["ratio"], compared["ratio_range"]
    return None if ratio is None or ends is None else Ratio(ratio, *ends)


def kinds(bars: Sequence[Bar]) -> list[str]:
    """Return the kinds that appear, in the order of a legend."""
    present = {mark.kind for bar in bars for mark in bar.marks} | {"native"}
    return [kind for kind in KINDS if kind in present]


def axis(bars: Sequence[Bar]) -> Axis:
    """Return the axis that holds everything, and 1 with room on both sides."""
    values = [mark.times for bar in bars for mark in bar.marks]
    values += [value for bar in bars if bar.ratio for value in bar.ratio[1:]]
    return Axis(min(0.7, *values) / 1.15, max(1.8, *values) * 1.15)
