"""The standard streams of the command: complete output on every kind of stream, and replacements for closed ones."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from _typeshed import ReadableBuffer

closed = False
"""Whether the command was started without a standard output."""


class OutputLost(Exception):
    """The standard output could not be written. Not an OSError, which a command would blame on a socket or file."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"standard output: {error.strerror}")
        self.reader_gone = error.errno == errno.EPIPE


def prepare() -> None:
    """Prepare the standard streams for the command. Streams that a test has replaced are left alone.

    A closed stream becomes /dev/null. Otherwise the next file or socket would get its descriptor.
    """
    global closed
    if sys.stdin is None:
        sys.stdin = os.fdopen(_null(0, os.O_RDONLY), encoding="utf-8", closefd=False)
    if sys.stdout is None:
        closed = True
        sys.stdout = os.fdopen(_null(1, os.O_WRONLY), "w", encoding="utf-8", closefd=False)
    elif sys.stdout is sys.__stdout__:
        sys.stdout = _whole(sys.stdout, _Stdout)
    if sys.stderr is None:
        sys.stderr = os.fdopen(_null(2, os.O_WRONLY), "w", encoding="utf-8", closefd=False)
    elif sys.stderr is sys.__stderr__:
        sys.stderr = _whole(sys.stderr, _Stderr)


def need_stdout() -> None:
    """Raise UsageError if there is no standard output for the answer."""
    if closed:
        from . import UsageError

        raise UsageError("the standard output is closed, and the answer was to go there")


def read_input(path: str) -> bytes:
    """Read all of a file; - is the standard input."""
    if path == "-":
        return sys.stdin.buffer.read()
    with open(path, "rb") as file:
        return file.read()


def give_up() -> None:
    """Discard what is still buffered for the standard output. Otherwise it would fail again at the exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _null(number: int, flags: int) -> int:
    """Open /dev/null as the descriptor ``number``."""
    null = os.open(os.devnull, flags)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    return number


def _whole(stream: Any, kind: type[_Patient]) -> Any:
    if sys.platform == "win32":  # a console has neither short writes nor a non-blocking mode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream
    stream.flush()
    number, terminal = stream.fileno(), stream.isatty()
    buffered = io.BufferedWriter(kind(number))
    return io.TextIOWrapper(buffered, stream.encoding, "backslashreplace", line_buffering=terminal or number == 2)


class _Patient(io.RawIOBase):
    """A descriptor that writes all data, also after short writes and in non-blocking mode."""

    def __init__(self, number: int) -> None:
        self._number = number

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return os.isatty(self._number)

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        rest = memoryview(data).cast("B")
        length = len(rest)
        while rest:
            try:
                rest = rest[os.write(self._number, rest) :]
            except BlockingIOError:
                self._wait()
            except OSError as error:
                self._failed(error)
                break
        return length

    def _wait(self) -> None:
        if sys.platform != "win32":  # on Windows, these streams always block
            import select

            poll = select.poll()  # not select(), which accepts only small descriptors
            poll.register(self._number, select.POLLOUT)
            poll.poll()

    def _failed(self, error: OSError) -> None:
        raise NotImplementedError


class _Stdout(_Patient):
    """The stream of the answer. If it fails, the command fails."""

    def _failed(self, error: OSError) -> None:
        raise OutputLost(error)


class _Stderr(_Patient):
    """The stream of messages. Failures are ignored."""

    def _failed(self, error: OSError) -> None:
        pass
