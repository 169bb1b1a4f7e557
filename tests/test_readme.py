"""The README tells the truth: its Python runs, its commands are taken, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.S | re.M)
PYTHON = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [
    line
    for language, block in BLOCKS
    if not language and not block.startswith("$")  # that shows what is printed
    for line in block.splitlines()
    if line.startswith("oxisock ") and "localhost:" not in line and " serve " not in line
]


@pytest.mark.parametrize("code", PYTHON, ids=range(len(PYTHON)))
def test_the_python_runs(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_taken(command: str, tmp_path: Path) -> None:
    words = shlex.split(re.sub(r"\s+#.*", "", command))[1:]
    done = subprocess.run(
        [sys.executable, "-m", "oxisock", *words], capture_output=True, text=True, timeout=100, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_the_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / link).exists(), link
