"""Typical use passes the type checkers, and typical mistakes do not: mypy and pyright over two files."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.pages import ROOT

HERE = Path(__file__).parent
MARK = "# wrong"


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=115, cwd=folder)


def mypy(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run("mypy", "--strict", "--cache-dir", str(folder), str(HERE / name), folder=ROOT)


def pyright(name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    if importlib.util.find_spec("pyright") is None or shutil.which("node") is None:
        pytest.skip("pyright is not installed, or node is not")
    # From elsewhere: the rules are pyright's own, not this project's.
    (folder / name).write_text((HERE / name).read_text())
    return run("pyright", "--pythonpath", sys.executable, name, folder=folder)


@pytest.fixture(params=[mypy, pyright], ids=["mypy", "pyright"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    return lambda name: request.param(name, tmp_path)


def test_typical_use_passes(check: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = check("typing_use.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_typical_mistakes_are_errors(check: Callable[[str], subprocess.CompletedProcess[str]]) -> None:
    done = check("typing_misuse.py")
    lines = (HERE / "typing_misuse.py").read_text().splitlines()
    marked = {number for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    found = {int(number) for number in re.findall(r"typing_misuse\.py:(\d+):.*\berror\b", done.stdout)}
    assert len(marked) > 30
    assert found == marked, done.stdout + done.stderr
