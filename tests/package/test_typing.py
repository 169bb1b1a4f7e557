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
FILES = USE, MISUSE = "typing_use.py", "typing_misuse.py"


def run(*command: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, timeout=115, cwd=folder)
    return done.stdout + done.stderr


def mypy(folder: Path) -> str:
    return run("mypy", "--strict", "--cache-dir", str(folder), *(str(HERE / name) for name in FILES), folder=ROOT)


def pyright(folder: Path) -> str:
    if importlib.util.find_spec("pyright") is None or shutil.which("node") is None:
        pytest.skip("pyright is not installed, or node is not")
    # From elsewhere: the rules are pyright's own, not this project's.
    for name in FILES:
        (folder / name).write_text((HERE / name).read_text())
    return run("pyright", "--pythonpath", sys.executable, *FILES, folder=folder)


@pytest.mark.parametrize("check", [mypy, pyright])
def test_typical_use_passes_and_typical_mistakes_are_errors(check: Callable[[Path], str], tmp_path: Path) -> None:
    told = check(tmp_path)
    lines = (HERE / MISUSE).read_text().splitlines()
    marked = {(MISUSE, number) for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    found = {(name, int(number)) for name, number in re.findall(r"(\w+\.py):(\d+):.*\berror\b", told)}
    assert len(marked) > 30
    assert found == marked, told
