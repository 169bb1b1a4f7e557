"""How far a scan or a benchmark is, told on stderr while somebody looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .output import have_rich, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..bench.running import Step
    from ..types import Progress


@contextmanager
def progress_bar(label: str, wanted: bool = True) -> Iterator[Callable[[Progress], None] | None]:
    """Give a callback for ``on_progress``, or None where nobody looks: a bar with rich, a line that rewrites itself."""
    if not wanted or not is_terminal(sys.stderr):
        yield None
    elif have_rich():
        with _rich_bar(label) as callback:
            yield callback
    else:
        try:
            yield lambda progress: _rewrite(
                f"{label}{progress.done - progress.unasked:,} of {progress.total - progress.unasked:,} ports, "
                f"{progress.open:,} open"
            )
        finally:
            _rewrite("")


@contextmanager
def work_bar() -> Iterator[Callable[[Step], None]]:
    """Give a callback for the progress of a benchmark, which draws only when it is called: drawing takes time, too."""
    if not is_terminal(sys.stderr):
        yield lambda step: None
    elif have_rich():
        with _rich_work_bar() as callback:
            yield callback
    else:
        try:
            yield lambda step: _rewrite(f"{step.done:3.0%}  {_describe(step)}")
        finally:
            _rewrite("")


def _describe(step: Step) -> str:
    return f"{step.scenario} · round {step.round} of {step.rounds} · {step.contender}"


def _rewrite(text: str) -> None:
    """Show one line in place of the one before; a longer one than the terminal is wide could not be taken back."""
    import shutil

    with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
        sys.stderr.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        sys.stderr.flush()


@contextmanager
def _rich_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}{task.fields[counts]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("[green]{task.fields[found]}"),
        TimeRemainingColumn(compact=True),
    )
    # Not redirecting stdout: what is printed there is the answer.
    bar = Bar(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False)
    bar.start()
    try:
        task = bar.add_task(label, total=None, counts="", speed="", found="")

        def show(progress: Progress) -> None:
            # What is decided without being asked takes no time: the time left is that of the rest.
            asked, total = progress.done - progress.unasked, progress.total - progress.unasked
            bar.update(
                task,
                completed=asked,
                total=total,
                counts=f"{asked:,}/{total:,} ports",
                speed=f"{progress.rate:,.0f}/s",
                found=f"{progress.open:,} open",
            )

        yield show
    finally:
        with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
            bar.stop()


@contextmanager
def _rich_work_bar() -> Iterator[Callable[[Step], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    console = Console(stderr=True)
    with Bar(
        *columns, console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as bar:
        task = bar.add_task("", total=1.0)

        def show(step: Step) -> None:
            bar.update(task, completed=step.done, description=_describe(step))
            bar.refresh()

        yield show
