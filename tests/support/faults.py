"""A process in which system calls fail on demand, for the tests of what servers do then: faults.c, preloaded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def library(folder: Path) -> Path:
    """Build faults.c; skips the test where that cannot be done."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    built = folder / "faults.so"
    command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(built), str(HERE / "faults.c"), "-ldl"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode:
        pytest.skip(f"faults.c does not build here: {result.stderr[:200]}")
    return built


def run(faults: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run faults_inside.py to its end with the library preloaded."""
    more = {"LD_PRELOAD": str(faults), "MALLOC_ARENA_MAX": "1"}
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", str(HERE / "faults_inside.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | more,
    )
