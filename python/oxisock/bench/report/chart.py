"""The chart of a benchmark as a picture, SVG or PNG, made by matplotlib (the extra ``oxisock[bench]``)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .comparison import COLOURS, KINDS, TITLE, axis, bars, kinds
from .environment import noise
from .figures import WRONG, digits, machine, rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .comparison import Axis, Bar
    from .document import Document

SUFFIXES = (".svg", ".png")
_MARKERS = {"ceiling": "|", "asyncio": "o", "uvloop": "D", "nmap": "s", "other": "^"}
_INK, _FAINT, _PAPER, _GRID = "#1b1f24", "#57606a", "#ffffff", "#d8dee4"
# In an SVG these colours are others where the reader, or the page around it, is dark.
_DARK = "".join(
    f'@media (prefers-color-scheme: dark){{[style*="{what}: {light}"]{{{what}: {dark} !important}}}}'
    for light, dark in ((_INK, "#e6edf3"), (_FAINT, "#9da7b3"), (_PAPER, "#161b22"), (_GRID, "#30363d"))
    for what in ("fill", "stroke")
)
# A picture is the same for the same figures: no date, no random ids. Text stays text, which is small and sharp.
_SETTINGS: Any = {"svg.hashsalt": "oxisock", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9.5}
_WIDTH, _ROW, _GAP = 9.6, 0.27, 0.45  # inches; in rows
_LEFT, _RIGHT, _EDGE = 0.32, 0.875, 0.985  # where the axes begin and end, and the text beside them ends
_TOLD = (_EDGE - _LEFT) / (_RIGHT - _LEFT)


def picture(document: Document, suffix: str) -> bytes:
    """Draw the chart; ``suffix`` is one of ``SUFFIXES``. Raises ModuleNotFoundError without matplotlib."""
    import matplotlib
    from matplotlib.figure import Figure

    shown = bars(document)
    with matplotlib.rc_context(_SETTINGS):
        places = _places(shown)
        height = (max(places, default=0) + 1.2) * _ROW + 1.55
        figure = Figure(figsize=(_WIDTH, height), facecolor=_PAPER)
        # Margins are inches, whatever the height.
        box = figure.add_axes((_LEFT, 0.72 / height, _RIGHT - _LEFT, 1 - 1.55 / height))
        _draw(box, shown, places, axis(shown))
        _frame(figure, document, height, kinds(shown))
        target = io.BytesIO()
        if suffix == ".svg":
            figure.savefig(target, format="svg", metadata={"Date": None, "Title": TITLE}, facecolor=_PAPER)
            return target.getvalue().replace(b"</style>", _DARK.encode() + b"</style>", 1)
        figure.savefig(target, format="png", metadata={"Software": None}, dpi=200, facecolor=_PAPER)
    return target.getvalue()


def _places(shown: Sequence[Bar]) -> list[float]:
    """Return the row of each bar, with a gap between groups."""
    places: list[float] = []
    for bar, before in zip(shown, [None, *shown], strict=False):
        if before is None:
            places.append(0.0)
        else:
            places.append(places[-1] + 1 + (_GAP if bar.group != before.group else 0))
    return places


def _draw(box: Any, shown: Sequence[Bar], places: Sequence[float], scale: Axis) -> None:
    for bar, place in zip(shown, places, strict=True):
        told, style = WRONG, {"color": COLOURS["nmap"], "fontsize": 9}
        if bar.ratio is not None:
            told, style = f"{digits(bar.ratio.median)}×", {"color": _INK, "weight": "bold"}
            middle, low, high = bar.ratio
            box.barh(place, middle - 1, left=1, height=0.62, color=COLOURS["native"], alpha=0.85, lw=0)
            box.plot([low, high], [place, place], color=_INK, lw=1.1, solid_capstyle="butt", zorder=3)
        for mark in bar.marks:
            box.plot(mark.times, place, zorder=4, **_marker(mark.kind))
        box.text(_TOLD, place, told, transform=box.get_yaxis_transform(), ha="right", va="center", **style)
    box.set_xscale("log")
    box.set_xlim(scale.low, scale.high)
    box.set_xticks(scale.ticks, [f"{tick:g}×" for tick in scale.ticks])
    box.minorticks_off()
    box.set_yticks(places, [bar.name for bar in shown])
    box.set_ylim(max(places, default=0) + 0.7, -0.7)
    box.axvline(1, color=_INK, lw=1.2, zorder=2)
    box.grid(axis="x", color=_GRID, lw=0.7)
    box.set_axisbelow(True)
    box.tick_params(length=0, colors=_INK)
    for side in box.spines.values():
        side.set_visible(False)


def _marker(kind: str) -> dict[str, Any]:
    """Return how a kind of contender is marked: the ceiling by a stroke, all others by something with a rim."""
    stroke = kind == "ceiling"
    return {
        "marker": _MARKERS[kind],
        "ms": 11 if stroke else 6.5,
        "mew": 2.2 if stroke else 0.9,
        "mfc": COLOURS[kind],
        "mec": _INK if stroke else _PAPER,
        "ls": "none",
    }


def _frame(figure: Any, document: Document, height: float, present: Sequence[str]) -> None:
    """Write what stands around the axes: title, legend, and where the figures come from."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    def at(inches: float) -> float:
        return inches / height

    figure.text(0.015, 1 - at(0.3), TITLE, fontsize=14, weight="bold", color=_INK)
    figure.text(_EDGE, 1 - at(0.3), "native ÷ pure", ha="right", fontsize=10, weight="bold", color=_INK)
    handles: list[Any] = [Patch(color=COLOURS["native"], alpha=0.85, lw=0)]
    handles += [Line2D([], [], **_marker(kind)) for kind in present[1:]]
    legend = figure.legend(
        handles, [KINDS[kind] for kind in present], loc="upper left", bbox_to_anchor=(0.005, 1 - at(0.36)), ncols=7,
        frameon=False, fontsize=9.5, handletextpad=0.5, columnspacing=1.5, handlelength=1.2, labelcolor=_INK,
    )  # fmt: skip
    legend.set_in_layout(False)
    environment = document["environment"]
    how = "oxisock bench --quick" if environment["quick"] else "oxisock bench"
    figure.text(
        0.015, at(0.27),
        f"Bars: native, median of {rounds(document['scenarios'])}; lines: their range; pure is 1×. Logarithmic axis; "
        "every answer checked.",
        fontsize=8.5, color=_FAINT,
    )  # fmt: skip
    busy = "; the machine was busy" if noise(environment) else ""
    figure.text(
        0.015, at(0.1), f"{machine(environment)}; {environment['date']}{busy}. On yours: {how}",
        fontsize=8.5, color=_FAINT,
    )  # fmt: skip
