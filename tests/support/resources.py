"""What this process holds: descriptors, threads, memory."""

from __future__ import annotations

import os
from pathlib import Path


def descriptors() -> set[str]:
    """Name the open descriptors of this process by number and target."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:  # the one that iterdir itself had open
            continue
    return found


def resident() -> int:
    """Give the bytes of memory that this process has resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def native_threads() -> int:
    """Count the threads of this process, those of Rust included."""
    return len(list(Path("/proc/self/task").iterdir()))
