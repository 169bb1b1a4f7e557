"""Whoever opens a folder is told what is in which of its files, where one looks first."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from oxisock.bench import GROUPS
from oxisock.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "python" / "oxisock"
FOLDERS = sorted(
    path.relative_to(ROOT)
    for tree, first in ((PYTHON, "__init__.py"), (ROOT / "src", "mod.rs"))
    for path in tree.rglob(first)
    if path.parent != PYTHON
)


def told(first: Path) -> str:
    """Give what stands at the head of a folder's first file."""
    text = (ROOT / first).read_text("utf-8")
    if first.suffix == ".py":
        return ast.get_docstring(ast.parse(text)) or ""
    return "".join(line for line in text.splitlines(keepends=True) if line.startswith("//!"))


@pytest.mark.parametrize("first", FOLDERS, ids=str)
def test_every_folder_names_its_files(first: Path) -> None:
    folder = (ROOT / first).parent
    names = {path.stem for path in folder.glob(f"*{first.suffix}") if path.name != first.name}
    names |= {path.parent.name for path in folder.glob(f"*/{first.name}")}
    # What is one of a list has its place there.
    names -= {"cli": {*COMMANDS}, "bench": {*GROUPS}}.get(folder.name, set())
    assert names - {*re.findall(r"`(\w+)[`:]", told(first))} == set()


def test_the_design_names_what_stands_beside_the_folders() -> None:
    design = (ROOT / "docs" / "design.md").read_text("utf-8")
    files = {path.name for path in PYTHON.glob("*.py") if not path.name.startswith("__")}
    assert files - {*re.findall(r"`(?:\w+/)*(\w+\.py)`", design)} == set()
