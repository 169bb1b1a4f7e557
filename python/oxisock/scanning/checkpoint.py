"""A file of finished shards and their results, so that the same scan can continue after a crash."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ..arguments import shown
from ..engines.scanning import Tally
from ..types import ScanSource

if TYPE_CHECKING:
    from ..engines.scanning import OutcomeTuple
    from .report import ScanReport

_VERSION = 2
_LOCKED = (1 << 31) - 2  # the byte that is locked on Windows; positions of locks have 31 bits there


class Header(NamedTuple):
    """The first line: the scan, and how it is cut into shards."""

    plan: str  # digest
    seed: int
    probes: int  # of a shard
    shards: int


class Done(NamedTuple):
    """A line: a finished shard with all its outcomes."""

    shard: int
    tally: Tally
    outcomes: list[OutcomeTuple]
    source: ScanSource


class NotWritten(OSError):
    """A checkpoint cannot be written, for example on a full disk. It has a ``report`` if the scan had begun."""

    report: ScanReport


class Checkpoint:
    """The file, open for appending. ``header`` and ``done`` are its contents at the start."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open or create the file.

        Raises OSError if that fails (BlockingIOError if another scan writes to it), and ValueError with file and line
        if it is not a checkpoint.
        """
        self.path = os.fspath(path)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise ValueError(f"checkpoint={self.path!r}: expected the path of a file, or of none yet")
            self._lock()
            self.header, self.done, self.torn = self._read()
        except BaseException:
            self.close()
            raise

    def begin(self, header: Header) -> None:
        """Write the header of a new file. Raises ValueError if the file belongs to another scan."""
        if self.header is None:
            self._write({"oxisock_checkpoint": _VERSION, **header._asdict()})
            self.header = header
        elif header != self.header:
            raise ValueError(
                f"checkpoint {self.path!r} belongs to another scan: expected the targets, ports, excludes, keep,"
                " banner, order, seed and shard that it was begun with"
            )

    def add(self, done: Done) -> None:
        """Record a finished shard. Raises NotWritten if that fails; the file is then unchanged."""
        outcomes = [
            (*outcome[:5], None if outcome[5] is None else base64.b64encode(outcome[5]).decode())
            for outcome in done.outcomes
        ]
        self._write({"shard": done.shard, "tally": done.tally, "outcomes": outcomes, "source": done.source})

    def close(self) -> None:
        """Close the file. You can call it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, value: dict[str, Any]) -> None:
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        rest = memoryview(json.dumps(value, separators=(",", ":")).encode() + b"\n")
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            os.ftruncate(self._descriptor, end)  # remove the incomplete line
            raise NotWritten(error.errno, f"cannot write to checkpoint {self.path!r}: {error.strerror}") from error

    def _lock(self) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                # A locked byte cannot be read on Windows, so lock a byte that is never written.
                os.lseek(self._descriptor, _LOCKED, os.SEEK_SET)
                msvcrt.locking(self._descriptor, msvcrt.LK_NBLCK, 1)
                os.lseek(self._descriptor, 0, os.SEEK_SET)
            else:
                import fcntl

                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if sys.platform != "win32" and not isinstance(error, BlockingIOError):
                raise
            raise BlockingIOError(error.errno, f"checkpoint {self.path!r} is in use by another scan") from None

    def _read(self) -> tuple[Header | None, dict[int, Done], bool]:
        header, done, good = None, dict[int, Done](), 0
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    raise self._strange(
                        number, f"expected JSON, not {shown(line[:-1].decode(errors='replace'))}"
                    ) from None
                try:
                    if header is None:
                        header = _header(value)
                    else:
                        item = _done(value, header)
                        done[item.shard] = item
                except (ValueError, TypeError, KeyError) as error:
                    raise self._strange(
                        number, f"expected {error}" if isinstance(error, KeyError) else str(error)
                    ) from None
                good += len(line)
        torn = good < os.fstat(self._descriptor).st_size
        if torn and header is None:
            raise self._strange(1, "expected a checkpoint of oxisock")
        if torn:
            os.ftruncate(self._descriptor, good)
        return header, done, torn

    def _strange(self, number: int, why: str) -> ValueError:
        return ValueError(f"{self.path}:{number}: no line of a checkpoint: {why}")


def _header(value: dict[str, Any]) -> Header:
    if not isinstance(value, dict) or "oxisock_checkpoint" not in value:
        raise ValueError("expected a checkpoint of oxisock")
    if value["oxisock_checkpoint"] != _VERSION:
        raise ValueError(f"it has version {shown(value['oxisock_checkpoint'])}: expected version {_VERSION}")
    header = Header(*(value[name] for name in Header._fields))
    if not isinstance(header.plan, str) or any(type(number) is not int or number < 0 for number in header[1:]):
        raise ValueError("its header has other values than expected")
    return header


def _done(value: dict[str, Any], header: Header) -> Done:
    shard = value["shard"]
    if type(shard) is not int or not 0 <= shard < header.shards:
        raise ValueError(f"shard {shard!r}: expected 0 to {header.shards - 1}")
    outcomes: list[OutcomeTuple] = [
        (*outcome[:5], None if outcome[5] is None else base64.b64decode(outcome[5])) for outcome in value["outcomes"]
    ]
    return Done(shard, Tally(*value["tally"]), outcomes, ScanSource(*value["source"]))
