"""Tables that fit a terminal: long cells wrap, and nothing is left out."""

from __future__ import annotations

import re
import shutil
import unicodedata
from typing import IO, TYPE_CHECKING

from .output import is_terminal, paint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_GAP = 2  # columns between two cells
_LEAST = 16  # columns: the least width of a folded cell
_INDENT = 4  # columns before a line below its row


def table(
    rows: Sequence[Sequence[str]],
    stream: IO[str],
    *,
    right: Collection[int] = (),
    fold: Collection[int] = (),
    colour: Callable[[Sequence[str]], str] | None = None,
    only: int | None = None,
    grouped: bool = False,
) -> str:
    """Return rows, the heading first, as a table that fits the stream. If it is no terminal, each row is one line.

    The columns ``right`` are flush right. On a narrow terminal, the last column and the columns ``fold`` are folded. If
    that is not enough, the last columns go below the others. ``colour`` returns the colour of a row, or of its cell
    ``only``. With ``grouped``, a terminal shows equal first cells once, and above the rows if there is no room beside.
    """
    width = shutil.get_terminal_size().columns if is_terminal(stream) else None
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    above = grouped and width is not None and _total(widths) > width
    widths, beside = _fitted(widths[above:], width, {number - above for number in fold})
    lines: list[str] = []
    before = ""
    for index, row in enumerate(rows):
        style = "bold" if index == 0 else colour(row) if colour else ""
        whole = style if index == 0 or only is None else ""
        cells = list(row)
        if above:
            if index and row[0] != before:
                lines += wrapped(row[0], width or 0)
            del cells[0]
        elif grouped and width is not None and index and row[0] == before:
            cells[0] = ""
        before = row[0]
        parts = [wrapped(cell, room) for cell, room in zip(cells[:beside], widths, strict=False)]
        for level in range(max(map(len, parts))):
            pieces = [
                _padded(part[level] if level < len(part) else "", room, number in right)
                for number, (part, room) in enumerate(zip(parts, widths, strict=False), above)
            ]
            if style and not whole and only is not None:
                pieces[only - above] = paint(pieces[only - above], style, stream)
            line = "  ".join(pieces).rstrip()
            lines.append(paint(line, whole, stream) if whole else line)
        below = cells[beside:]
        while below and below[-1] in ("", "-"):  # only at the end: the others keep their places
            below.pop()
        rest = "  ".join(below)
        if rest:
            lines += (
                " " * _INDENT + (paint(part, whole, stream) if whole else part)
                for part in wrapped(rest, (width or 0) - _INDENT)
            )
    return "".join(f"{line}\n" for line in lines)


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> str:
    """Return rows with aligned columns, one on each line. The columns ``right`` are flush right."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            _padded(cell, width, number in right) for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        + "\n"
        for row in rows
    )


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of at most ``width`` columns. It cuts between words, and inside long words."""
    lines = [""]
    for word in re.split(r"(?<=\S)(?= +\S)", text):  # each word with the blanks before it
        if columns(lines[-1]) + columns(word) <= width:
            lines[-1] += word
        else:
            parts = _folded(word.lstrip(), width)
            lines = [*lines, *parts] if lines[-1] else parts
    return lines


def columns(text: str) -> int:
    """Return the number of columns that a text takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(letter: str) -> int:
    return 0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _fitted(widths: list[int], width: int | None, fold: Collection[int]) -> tuple[list[int], int]:
    """Return the widths of the columns, and how many columns are beside each other."""
    last = len(widths) - 1
    if width is None:
        return widths, len(widths)
    for number in (last, *sorted(fold)):
        over = _total(widths) - width
        if over > 0:
            widths[number] = max(min(_LEAST, widths[number]), widths[number] - over)
    beside = len(widths)
    while beside > 1 and _total(widths[:beside]) > width:
        beside -= 1
    return widths, beside


def _folded(text: str, width: int) -> list[str]:
    """Return a text in parts of at most ``width`` columns."""
    parts, room = [""], width
    for letter in text:
        if (need := _columns(letter)) > room and parts[-1]:
            parts.append("")
            room = width
        parts[-1] += letter
        room -= need
    return parts


def _padded(text: str, width: int, right: bool) -> str:
    blank = " " * (width - columns(text))
    return blank + text if right else text + blank
