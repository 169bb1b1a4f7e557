"""Shows a load test: live figures on a terminal, and the report at the end."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

from ..load.report import pace, words
from ..text import milliseconds, plural
from .output import is_terminal, paint
from .progress import moving, rewrite, rich_display
from .tables import aligned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..engines.load import LoadRun
    from ..load.report import Figures, LoadReport

_EVERY = 0.2  # seconds between two updates of the figures
_WRONG_DATAGRAM = "answers to nothing that was sent: what they were for is lost"
_LIVE = ("p50", "p90", "p99", "p99.9", "max")


def watch(name: str, duration: float) -> AbstractContextManager[Callable[[LoadRun], object]]:
    """Return a context manager that shows a load on stderr a few times a second, if stderr is a terminal."""
    line = _seldom(lambda figures, rate: rewrite(_line(name, duration, figures, rate)))
    return moving(lambda load: None, lambda: _rich(name, duration), line)


def _seldom(show: Callable[[Figures, float], None]) -> Callable[[LoadRun], object]:
    """Return a function that shows the figures at intervals, with the answers per second since the last time."""
    last, answered = 0.0, 0

    def look(load: LoadRun) -> None:
        nonlocal last, answered
        now = time.monotonic()
        if now - last < _EVERY:
            return
        figures = cast("Figures", load.figures())
        show(figures, (figures["answered"] - answered) / (now - last) if last else 0.0)
        last, answered = now, figures["answered"]

    return look


def _line(name: str, duration: float, figures: Figures, rate: float) -> str:
    if not figures["begun"]:
        return f"{name}  connecting: {figures['opened']:,} open"
    line = f"{name}  {_stage(figures, duration)}  {rate:,.0f}/s"
    if figures["latency"]:
        line += "  " + "  ".join(f"{label} {milliseconds(figures['latency'][label])}" for label in _LIVE) + " ms"
    return line + "".join(f"  {count:,} {label}" for label, count in _troubles(figures))


def _stage(figures: Figures, duration: float) -> str:
    """Return how far the sending is, or how many answers are missing at the end."""
    if figures["sending"] < duration or not figures["pending"]:
        return f"{figures['sending']:.1f} of {duration:g} s"
    return f"all sent, {figures['pending']:,} answers to come"


def _troubles(figures: Figures) -> list[tuple[str, int]]:
    """Return the kinds of failures so far, each with its number."""
    found = [(label, figures[label]) for label in ("lost", "wrong", "duplicates", "late", "unsent")]
    found.append(("errors", sum(figures["errors"].values()) + sum(figures["local_errors"].values())))
    return [(label, count) for label, count in found if count]


@contextmanager
def _rich(name: str, duration: float) -> Iterator[Callable[[LoadRun], object]]:
    from rich.console import Group
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    def drawn(figures: Figures, rate: float) -> Group:
        head = Table.grid(padding=(0, 2))
        if not figures["begun"]:
            head.add_row(Text(name, style="bold"), Text(f"connecting: {figures['opened']:,} open"))
            return Group(head)
        head.add_row(
            Text(name, style="bold"),
            ProgressBar(total=duration, completed=min(figures["sending"], duration), width=30),
            Text(_stage(figures, duration)),
            Text(f"{rate:,.0f}/s", style="cyan"),
            Text(f"{figures['answered']:,} answered", style="green"),
        )
        parts: list[Any] = [head]
        if figures["latency"]:
            times = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
            for label in ("ms", *_LIVE):
                times.add_column(label, justify="right" if label != "ms" else "left", min_width=9, style="bold")
            times.add_row("", *(milliseconds(figures["latency"][label]) for label in _LIVE))
            parts.append(times)
        troubles = _troubles(figures)
        if troubles:
            parts.append(Text("  ".join(f"{count:,} {label}" for label, count in troubles), style="red"))
        return Group(*parts)

    with Live(auto_refresh=False, **rich_display()) as live:
        yield _seldom(lambda figures, rate: live.update(drawn(figures, rate), refresh=True))


# --- the report ----------------------------------------------------------------------------------------------------


def shown(report: LoadReport, stream: IO[str]) -> str:
    """Return the report: for people if the stream is a terminal, else lines of name, tab and value."""
    if not is_terminal(stream):
        return "".join(f"{name}\t{value}\n" for name, value in report.lines())
    figures, options = report.figures, report.options
    return "".join(
        (
            paint(_title(report), "bold", stream) + "\n\n",
            aligned(_counts(report), right=(1,)),
            "\n",
            _latencies(figures["latency"], stream),
            _histogram(report),
            "".join(f"{line}\n" for line in _schedule(figures, options)),
            f"The load itself used {report.busy:.0%} of a core.\n",
        )
    )


def _title(report: LoadReport) -> str:
    options, udp = report.options, report.target["protocol"] == "udp"
    kind = "socket" if udp else "connection"
    ways = plural(report.figures["opened"], kind)
    if report.figures["opened"] < options["connections"]:
        ways += f" of {options['connections']:,}"
    return f"{report.target['name']}: {ways}, {pace(options)}, {options['size']:,} bytes each"


def _counts(report: LoadReport) -> list[tuple[str, str, str]]:
    figures, udp = report.figures, report.target["protocol"] == "udp"
    megabytes = figures["bytes_received"] / figures["elapsed"] / 1e6 if figures["elapsed"] else 0.0
    rows = [
        ("sent", f"{figures['sent']:,}", f"in {figures['elapsed']:.2f} s"),
        ("answered", f"{figures['answered']:,}", f"{report.rate:,.0f}/s, {megabytes:,.1f} MB/s"),
        ("lost", f"{figures['lost']:,}", "no answer came in time" if figures["lost"] else ""),
        (
            "wrong",
            f"{figures['wrong']:,}",
            (_WRONG_DATAGRAM if udp else "another answer came") if figures["wrong"] else "",
        ),
    ]
    notes = {"late": "came after they counted as lost", "duplicates": "came once more", "pending": "on their way"}
    counts = report.counts
    rows += [(label, f"{counts[label]:,}", note) for label, note in notes.items() if counts[label]]
    if figures["unsent"]:
        rows.append(("unsent", f"{figures['unsent']:,}", "were due and could not be sent in time"))
    rows += [(name, f"{count:,}", words(name)) for name, count in report.errors.items()]
    rows += [(name, f"{count:,}", f"this machine: {words(name)}") for name, count in report.local_errors.items()]
    return rows


def _latencies(times: dict[str, float] | None, stream: IO[str]) -> str:
    if times is None:
        return "no answer, no latency\n"
    heading, row = aligned([[*times], [milliseconds(times[name]) for name in times]], right=range(9)).splitlines()
    return f"latency, ms  {paint(heading, 'dim', stream)}\n             {row}\n"


def _histogram(report: LoadReport) -> str:
    """Draw the number of answers in each span of latency, from the first span that has any to the last."""
    spans = [*report.histogram]
    if sum(count > 0 for _, count in spans) < 2:
        return ""
    most = max(count for _, count in spans)
    rows = [("ms", "answers"), *((f"to {milliseconds(end)}", f"{count:,}") for end, count in spans)]
    left = aligned(rows, right=(0, 1)).splitlines()
    room = max(8, min(50, shutil.get_terminal_size().columns - max(map(len, left)) - 3))
    bars = ("", *("#" * max(count > 0, round(count / most * room)) for _, count in spans))
    return "\n" + "".join(f"{line}  {bar}".rstrip() + "\n" for line, bar in zip(left, bars, strict=True)) + "\n"


def _schedule(figures: Figures, options: dict[str, Any]) -> Iterator[str]:
    """Yield sentences: from which moment latencies count, and how well the load kept its schedule."""
    lag = figures["lag"]
    if options["rate"] and lag:
        late = [milliseconds(lag[name]) for name in ("p50", "p99", "max")]
        yield (
            "Latencies count from when each message was meant to be sent; the load itself was "
            "{} ms late at p50, {} at p99, {} at most.".format(*late)
        )
