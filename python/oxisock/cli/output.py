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
    """Return whether the stream is a terminal that people look at."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def coloured(stream: IO[str]) -> bool:
    """Return whether the stream has colours: it is a terminal or FORCE_COLOR is set, and NO_COLOR is not set."""
    return (is_terminal(stream) or bool(os.environ.get("FORCE_COLOR"))) and not os.environ.get("NO_COLOR")


def paint(text: str, colour: str, stream: IO[str]) -> str:
    """Return a text in a colour, if the stream has colours."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(stream) else text


def message(text: str) -> None:
    """Write a message that is not part of the answer to stderr."""
    print(folded(f"oxisock: {text}", sys.stderr), file=sys.stderr, flush=True)


def folded(text: str, stream: IO[str]) -> str:
    """Return the text folded between words to the width of a terminal; unchanged for another stream."""
    width = shutil.get_terminal_size().columns if is_terminal(stream) else len(text)
    if len(text) <= width:
        return text
    import textwrap

    # A long word, such as a path, stays whole, so that it can be copied.
    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)


def have_rich() -> bool:
    """Return whether rich, from the extra ``oxisock[cli]``, is installed."""
    from importlib.util import find_spec

    return find_spec("rich") is not None


def plain_line(result: PortResult, banner: bool) -> str:
    """Return HOST, PORT, STATE, SERVICE and RTT_MS separated by tabs, and BANNER on request; ``-`` for none."""
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
    """Return the format that the suffix of a file names; "plain" without a suffix.

    For stdout it is "table" on a terminal, else "plain". Raises UsageError if the suffix names no format.
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
    """Check that ``output`` can write a file, before work that takes long. Raises OSError if it cannot."""
    if path == "-" or _in_place(path):
        return
    handle, temporary = _temporary(path)
    os.close(handle)
    os.unlink(temporary)


@contextmanager
def output(path: str | None, binary: bool = False, utf8: bool = False) -> Iterator[IO[Any]]:
    """Yield the stream for an answer: stdout, or a file that appears under its name when it is complete.

    If an exception ends the block, an old file of that name stays as it was. A path that is not a regular file (a pipe,
    /dev/null) is written in place. The stream accepts text, or bytes with ``binary``. Files are UTF-8, and so is stdout
    with ``utf8``.
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
    """Return whether the path exists and is not a regular file. Raises OSError for a directory, and for no path."""
    if not path:
        raise FileNotFoundError(errno.ENOENT, "the name of the output file is empty")
    try:
        # Not the real path: /dev/stdout may be a pipe, and the real path of a pipe names no file.
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
        # Only a part of the name, because names have a greatest length.
        return tempfile.mkstemp(prefix=f".{os.path.basename(target)[:40]}.", dir=os.path.dirname(target))
    except OSError as error:
        # The error names the path of the user, not the temporary one.
        raise OSError(error.errno, error.strerror, path) from None


def _mode(target: str) -> int:
    """Return the permissions for the file: those of the old file, or the default for a new one."""
    try:
        return os.stat(target).st_mode & 0o777
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
