"""How far a scan or a benchmark is, told on stderr while somebody looks at it."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .output import have_rich, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from ..bench.running import Step
    from ..types import Progress

_Show = TypeVar("_Show")


@contextmanager
def moving(idle: _Show, rich: Callable[[], AbstractContextManager[_Show]], plain: _Show) -> Iterator[_Show]:
    """Give what shows how far something is: ``idle`` where nobody looks, else what ``rich`` gives where that is
    installed, else ``plain``, which calls ``rewrite``."""
    if not is_terminal(sys.stderr):
        yield idle
    elif have_rich():
        with rich() as show:
            yield show
    else:
        try:
            yield plain
        finally:
            rewrite("")


def rewrite(text: str) -> None:
    """Show one line in place of the one before; a longer one than the terminal is wide could not be taken back."""
    import shutil

    with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
        sys.stderr.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        sys.stderr.flush()


def rich_display() -> dict[str, Any]:
    """Give the arguments of what rich shows on stderr until it is over. Stdout is left alone: that is the answer."""
    from rich.console import Console

    return {"console": Console(stderr=True), "transient": True, "redirect_stdout": False, "redirect_stderr": False}


def progress_bar(label: str, wanted: bool = True) -> AbstractContextManager[Callable[[Progress], None] | None]:
    """Give a callback for ``on_progress``, or None where nobody looks: a bar with rich, a line that rewrites itself."""

    def line(progress: Progress) -> None:
        total = progress.total - progress.unasked
        left = f", {_clock(progress.left)} left" if progress.left else ""
        rewrite(f"{label}{progress.asked:,} of {total:,} ports, {progress.open:,} open{left}")

    return moving(None, lambda: _rich_bar(label), line) if wanted else nullcontext()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def work_bar() -> AbstractContextManager[Callable[[Step], None]]:
    """Give a callback for the progress of a benchmark, which draws only when it is called: drawing takes time, too."""
    return moving(lambda step: None, _rich_work_bar, lambda step: rewrite(f"{step.done:3.0%}  {_describe(step)}"))


def _describe(step: Step) -> str:
    return f"{step.scenario} · round {step.round} of {step.rounds} · {step.contender}"


@contextmanager
def _rich_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}{task.fields[counts]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[speed]}"),
        TextColumn("[green]{task.fields[found]}"),
        TextColumn("[cyan]{task.fields[left]}"),
    )
    bar = Bar(*columns, **rich_display())
    bar.start()
    try:
        task = bar.add_task(label, total=None, counts="", speed="", found="", left="")

        def show(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.share,
                total=1.0,
                counts=f"{progress.asked:,}/{progress.total - progress.unasked:,} ports",
                speed=f"{progress.rate:,.0f}/s",
                found=f"{progress.open:,} open",
                left="" if progress.left is None else _clock(progress.left),
            )

        yield show
    finally:
        with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
            bar.stop()


@contextmanager
def _rich_work_bar() -> Iterator[Callable[[Step], None]]:
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.description}", markup=False),
    )
    with Bar(*columns, auto_refresh=False, **rich_display()) as bar:
        task = bar.add_task("", total=1.0)

        def show(step: Step) -> None:
            bar.update(task, completed=step.done, description=_describe(step))
            bar.refresh()

        yield show
