"""Reads lists from files, one entry on each line, and returns each line with its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator

BLANKS = " \t\n\r\v\f"
"""The blanks. str.strip would remove all blanks of Unicode."""


def lines_of(path: str) -> Iterator[tuple[str, str]]:
    """Yield FILE:LINE and the text of every line that is not empty, without comments after ``#``.

    The path ``-`` is standard input. Lines end with LF or CR LF, and a byte order mark at the beginning is ignored.
    Raises OSError if the file cannot be read, and ValueError for a line that is not UTF-8.
    """
    if path == "-":
        if sys.stdin is None:
            raise ValueError("@-: there is no standard input")
        yield from _texts("standard input", sys.stdin.buffer)
        return
    with open(path, "rb") as file:
        yield from _texts(path, file)


def _texts(name: str, lines: Iterator[bytes]) -> Iterator[tuple[str, str]]:
    for number, raw in enumerate(lines, 1):
        where = f"{name}:{number}"
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"{where}: expected text in UTF-8 ({error.reason})") from None
        line = line.partition("#")[0].rstrip(BLANKS)
        if line:
            yield where, line
