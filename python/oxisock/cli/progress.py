"""Shows the progress of a scan or a benchmark on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from .output import have_rich, is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.progress import ProgressColumn, Task

    from ..bench.running import Step
    from ..types import Progress

_Show = TypeVar("_Show")


@contextmanager
def moving(idle: _Show, rich: Callable[[], AbstractContextManager[_Show]], plain: _Show) -> Iterator[_Show]:
    """Yield a function that shows progress.

    It is ``idle`` if stderr is no terminal, that of ``rich`` if rich is installed, else ``plain``, which calls
    ``rewrite``.
    """
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
    """Show one line in place of the last one. The line is cut to the width of the terminal."""
    import shutil

    with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
        sys.stderr.write(f"\r{text[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        sys.stderr.flush()


def rich_display() -> dict[str, Any]:
    """Return the arguments for a display of rich on stderr. It vanishes at its end, and leaves stdout alone."""
    from rich.console import Console

    return {"console": Console(stderr=True), "transient": True, "redirect_stdout": False, "redirect_stderr": False}


def progress_bar(label: str, wanted: bool = True) -> AbstractContextManager[Callable[[Progress], None] | None]:
    """Yield a callback for ``on_progress`` that draws a bar of rich or rewrites a line; None without a terminal."""

    def line(progress: Progress) -> None:
        asked, found = _asked(progress)
        rewrite(f"{label}{asked}, {found}{_left(progress.left, ', ')}")

    return moving(None, lambda: _rich_bar(label), line) if wanted else nullcontext()


def work_bar() -> AbstractContextManager[Callable[[Step], None]]:
    """Yield a callback for the progress of a benchmark. It draws only when it is called, because drawing takes time."""

    def line(step: Step) -> None:
        rewrite(f"{step.done:3.0%}{_left(step.left, '  ')}  {_describe(step)}")

    return moving(lambda step: None, _rich_work_bar, line)


def _asked(progress: Progress) -> tuple[str, str]:
    return f"{progress.asked:,} of {progress.total - progress.unasked:,} ports", f"{progress.open:,} open"


def _describe(step: Step) -> str:
    return f"{step.scenario} · round {step.round} of {step.rounds} · {step.contender}"


def _left(seconds: float | None, before: str = "") -> str:
    """Return the time left as text; empty if it is not known."""
    if seconds is None:
        return ""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{before}{f'{hours}:{minutes:02}' if hours else minutes}:{seconds:02} left"


@contextmanager
def _rich_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    with _rich(label, ("counts",), ("speed", "found"), auto_refresh=True) as show:

        def tell(progress: Progress) -> None:
            asked, found = _asked(progress)
            show(progress.share, progress.left, counts=asked, speed=f"{progress.rate:,.0f}/s", found=found)

        yield tell


@contextmanager
def _rich_work_bar() -> Iterator[Callable[[Step], None]]:
    with _rich("", (), ("step",), auto_refresh=False) as show:
        yield lambda step: show(step.done, step.left, step=_describe(step))


@contextmanager
def _rich(label: str, before: Sequence[str], after: Sequence[str], auto_refresh: bool) -> Iterator[Callable[..., None]]:
    """Show a bar of rich between named texts; yield a function that sets the part done, the time left and the texts.

    A narrow terminal shows no bar, and the last text is cut.
    """
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar
    from rich.table import Column
    from rich.text import Text

    class Cut(TextColumn):
        def render(self, task: Task) -> Text:
            text = super().render(task)
            text.no_wrap, text.overflow = True, "ellipsis"
            return text

    def text(name: str) -> TextColumn:
        return TextColumn(
            f"{{task.fields[{name}]}}", {"left": "cyan", "found": "green"}.get(name, "none"), markup=False
        )

    options = rich_display()
    percent = TextColumn("{task.percentage:>3.0f}%")
    if options["console"].width < _NARROW:
        *whole, last = ("left", *after[-1:], *before)
        cut = Cut(f"{{task.fields[{last}]}}", markup=False, table_column=Column())
        columns: list[ProgressColumn] = [percent, *map(text, whole), cut]
    else:
        columns = [*map(text, (*["label"] * bool(label), *before)), BarColumn(), percent, *map(text, ("left", *after))]
    bar = Bar(*columns, auto_refresh=auto_refresh, **options)
    bar.start()
    try:
        texts: dict[str, Any] = dict.fromkeys(("left", *before, *after), "")
        task = bar.add_task("", total=None, label=label, **texts)

        def show(done: float, left: float | None, **texts: Any) -> None:
            bar.update(task, completed=done, total=1.0, left=_left(left), **texts)
            if not auto_refresh:
                bar.refresh()

        yield show
    finally:
        with suppress(OSError):  # the terminal may be gone, and the answer goes elsewhere
            bar.stop()


_NARROW = 60  # columns
