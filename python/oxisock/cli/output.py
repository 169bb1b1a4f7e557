"""The output of the command: colours, plain lines, messages, and files that are written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
import sys
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from ..scanning.formats import banner_text
from ..scanning.showing import service_of
from ..text import escape, milliseconds
from ..types import PortResult, PortState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "cyan": 36, "bold": 1, "dim": 2}
STATE_COLOURS = {PortState.OPEN: "green", PortState.CLOSED: "red", PortState.FILTERED: "yellow", PortState.ERROR: "red"}


def is_terminal(stream: IO[str]) -> bool:
    """Whether somebody looks at the stream."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(stream: IO[str]) -> bool:
    """Whether the stream is to have colours: a terminal, or FORCE_COLOR, and nobody said NO_COLOR."""
    return (is_terminal(stream) or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str, stream: IO[str]) -> str:
    """Colour a text for a stream that has colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(stream) else text


def message(text: str) -> None:
    """Tell the user something that is not the answer."""
    print(folded(f"oxisock: {text}", sys.stderr), file=sys.stderr, flush=True)


def folded(text: str, stream: IO[str]) -> str:
    """Give a text whose lines end between words on a terminal; elsewhere it stays as it is."""
    width = shutil.get_terminal_size().columns if is_terminal(stream) else len(text)
    if len(text) <= width:
        return text
    import textwrap

    # A long word, such as a path, is left whole: it is copied as one.
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)


def have_rich() -> bool:
    """Whether the extra ``oxisock[cli]`` is installed."""
    from importlib.util import find_spec

    return find_spec("rich") is not None


def plain_line(result: PortResult, banner: bool) -> str:
    """Give HOST, PORT, STATE, SERVICE and RTT_MS between tabs, ``-`` for none; BANNER too where it was asked for."""
    fields = [
        escape(result.host),
        str(result.port),
        result.state,
        service_of(result),
        milliseconds(result.rtt),
    ]
    if banner:
        fields.append(banner_text(result.banner) if result.banner else "-")
    return "\t".join(fields)


def format_by_name(path: str | None, suffixes: Mapping[str, str]) -> str:
    """Give the format of an answer by the suffix of its file; plain for no suffix, for stdout what suits who reads it.

    Raises UsageError for a suffix that names no format.
    """
    if path is None or path == "-":
        return "table" if sys.stdout.isatty() else "plain"
    suffix = os.path.splitext(path)[1].lower()
    if suffix in suffixes:
        return suffixes[suffix]
    if suffix:
        from . import UsageError

        raise UsageError(f"-o {path}: {suffix!r} names no format: expected {', '.join(suffixes)}, or say --format")
    return "plain"


def check_output(path: str) -> None:
    """Find out whether ``output`` could write a file now, for what takes long to have; raises OSError."""
    if path == "-" or _in_place(path):
        return
    handle, temporary = _temporary(path)
    os.close(handle)
    os.unlink(temporary)


@contextmanager
def output(path: str | None, binary: bool = False, utf8: bool = False) -> Iterator[IO[Any]]:
    """Give the stream for an answer: stdout, or a file that appears under its name when all of it is written.

    Until then, and for ever where an exception ends the writing, a file of that name stays as it was. What is not a
    regular file (a pipe, /dev/null) is written in place. The stream takes text, or with ``binary`` bytes. Files are
    UTF-8, and so is stdout with ``utf8``.
    """
    how: dict[str, Any] = {"mode": "wb"} if binary else {"mode": "w", "encoding": "utf-8", "newline": ""}
    if path is None or path == "-":
        if utf8 and isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout.buffer if binary else sys.stdout
        return
    if _in_place(path):
        with open(path, **how) as stream:
            yield stream
        return
    target = os.path.realpath(path)
    handle, temporary = _temporary(path)
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


def _in_place(path: str) -> bool:
    """Whether there is something of that name that is no regular file; raises OSError for a directory."""
    try:
        # Not the real path: that of a pipe, such as /dev/stdout may be, names no file.
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    return not stat.S_ISREG(mode)


def _temporary(path: str) -> tuple[int, str]:
    import tempfile

    target = os.path.realpath(path)
    try:
        # A part of the name, for there is a limit to its length.
        return tempfile.mkstemp(prefix=f".{os.path.basename(target)[:40]}.", dir=os.path.dirname(target))
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
