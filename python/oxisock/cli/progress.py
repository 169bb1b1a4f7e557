"""How far a scan is, told on stderr while somebody looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .output import have_rich, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
            yield lambda progress: _rewrite(label, progress)
        finally:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _rewrite(label: str, progress: Progress) -> None:
    sys.stderr.write(f"\r{label}{progress.done:,} of {progress.total:,} ports, {progress.open:,} open\x1b[K")
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
    with bar:
        task = bar.add_task(label, total=None, counts="", speed="", found="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.done,
                total=progress.total,
                counts=f"{progress.done:,}/{progress.total:,} ports",
                speed=f"{progress.rate:,.0f}/s",
                found=f"{progress.open:,} open",
            )

        yield show
