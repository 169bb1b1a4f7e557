"""Both engines satisfy the Protocols, and the stub tells the truth about the built module."""

from __future__ import annotations

import subprocess
import sys


def test_the_stub_matches_the_built_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "oxisock._native"], capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
