"""How the command shows things: colours, tables, plain lines, messages, and files that are there whole or not."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ..scanning.formats import banner_text
from ..text import escape
from ..types import PortResult, PortState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "bold": 1, "dim": 2}
STATE_COLOURS = {PortState.OPEN: "green", PortState.CLOSED: "red", PortState.FILTERED: "yellow", PortState.ERROR: "red"}


def is_terminal(stream: IO[str]) -> bool:
    """Whether somebody looks at the stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(stream: IO[str]) -> bool:
    """Whether the stream is to have colours: a terminal, and nobody said NO_COLOR."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str, stream: IO[str]) -> str:
    """Colour a text for a stream that has colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(stream) else text


def message(text: str) -> None:
    """Tell the user something that is not the answer."""
    print(f"oxisock: {text}", file=sys.stderr, flush=True)


def have_rich() -> bool:
    """Whether the extra ``oxisock[cli]`` is installed."""
    from importlib.util import find_spec

    return find_spec("rich") is not None


def milliseconds(seconds: float | None) -> str:
    """Write a round trip for people and for pipes."""
    return "-" if seconds is None else f"{seconds * 1000:.3f}"


def plain_line(result: PortResult, banner: bool) -> str:
    """Give HOST, PORT, STATE, SERVICE and RTT_MS between tabs, ``-`` for none; BANNER too where it was asked for."""
    fields = [escape(result.host), str(result.port), result.state, result.service or "-", milliseconds(result.rtt)]
    if banner:
        fields.append(banner_text(result.banner) if result.banner else "-")
    return "\t".join(fields)


def table(
    rows: Sequence[Sequence[str]], stream: IO[str], *, right: Sequence[int] = (), colour: int | None = None
) -> str:
    """Give rows, the heading first, as an aligned table; the columns ``right`` are flush right.

    On a terminal with rich it has its colours, the cells of the column ``colour`` those of the state they name.
    """
    return _rich_table(rows, right, colour) if coloured(stream) and have_rich() else aligned(rows, right)


def aligned(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Give rows with their columns aligned; the columns ``right`` are flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in rows
    )


def _rich_table(rows: Sequence[Sequence[str]], right: Sequence[int], colour: int | None) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    heading, *body = rows
    shown = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for number, name in enumerate(heading):
        shown.add_column(name, justify="right" if number in right else "left", no_wrap=number < len(heading) - 1)
    for row in body:
        style = STATE_COLOURS.get(row[colour], "") if colour is not None else ""  # type: ignore[call-overload]
        # Text, not str: what a server said is no markup.
        shown.add_row(*(Text(cell, style=style if number == colour else "") for number, cell in enumerate(row)))
    console = Console(force_terminal=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def check_output(path: str) -> None:
    """Find out whether ``output`` could write a file now, for what takes long to have; raises OSError."""
    import errno

    target = os.path.realpath(path)
    if path == "-" or (os.path.exists(target) and not os.path.isdir(target) and not os.path.isfile(target)):
        return
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    handle, temporary = _temporary(target, path)
    os.close(handle)
    os.unlink(temporary)


@contextmanager
def output(path: str | None, binary: bool = False) -> Iterator[IO[Any]]:
    """Give the stream for an answer: stdout, or a file that appears under its name when all of it is written.

    Until then, and for ever where an exception ends the writing, a file of that name stays as it was. What is not a
    regular file (a pipe, /dev/null) is written in place. The stream takes text, or with ``binary`` bytes.
    """
    how: dict[str, Any] = {"mode": "wb"} if binary else {"mode": "w", "encoding": "utf-8", "newline": ""}
    if path is None or path == "-":
        yield sys.stdout.buffer if binary else sys.stdout
        return
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, **how) as stream:
            yield stream
        return
    handle, temporary = _temporary(target, path)
    try:
        with open(handle, **how) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _temporary(target: str, path: str) -> tuple[int, str]:
    import tempfile

    try:
        return tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=os.path.dirname(target))
    except OSError as error:
        # The name that the user gave, not the one that we made up.
        raise OSError(error.errno, error.strerror, path) from None


def _mode(target: str) -> int:
    """Give the permissions a file is to have: those it had, or those that a new one gets."""
    try:
        return os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
