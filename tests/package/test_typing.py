"""Typical use passes the type checkers: ``typing_use.py`` under mypy and pyright."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import ROOT

USE = Path(__file__).parent / "typing_use.py"


def check(*command: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=115, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy(tmp_path: Path) -> None:
    check("mypy", "--strict", "--cache-dir", str(tmp_path), str(USE), folder=ROOT)


def test_pyright(tmp_path: Path) -> None:
    if importlib.util.find_spec("pyright") is None or shutil.which("node") is None:
        pytest.skip("pyright is not installed, or node is not")
    # From elsewhere: the rules are pyright's own, not this project's.
    (tmp_path / "typing_use.py").write_text(USE.read_text())
    check("pyright", "--pythonpath", sys.executable, "typing_use.py", folder=tmp_path)
