"""Typical use passes the type checkers, typical mistakes do not, and the stub is true of the built module."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.pages import ROOT

HERE = Path(__file__).parent
MARK = "# wrong"
FILES = USE, MISUSE = "typing_use.py", "typing_misuse.py"


class Checker:
    """A program that has begun; what it says goes to a file."""

    def __init__(self, told: Path, *command: str, folder: Path = ROOT) -> None:
        self._told = told
        with told.open("w") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *command], stdout=file, stderr=subprocess.STDOUT, cwd=folder
            )

    def end(self) -> tuple[int, str]:
        """Wait for its end; give its exit code and all that it said."""
        return self._process.wait(115), self._told.read_text()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def mypy(folder: Path) -> Checker:
    command = ("mypy", "--strict", "--cache-dir", str(folder / "cache"))
    return Checker(folder / "mypy", *command, *(str(HERE / name) for name in FILES))


def pyright(folder: Path) -> Checker | None:
    if importlib.util.find_spec("pyright") is None or shutil.which("node") is None:
        return None
    # From elsewhere: the rules are pyright's own, not this project's.
    for name in FILES:
        (folder / name).write_text((HERE / name).read_text())
    return Checker(folder / "pyright", "pyright", "--pythonpath", sys.executable, *FILES, folder=folder)


def stubtest(folder: Path) -> Checker:
    return Checker(folder / "stubtest", "mypy.stubtest", "oxisock._native")


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Checker | None]]:
    """Begin with all of them at once: each takes ten seconds of one processor."""
    starts: list[Callable[[Path], Checker | None]] = [pyright, mypy, stubtest]
    begun = {start.__name__: start(tmp_path_factory.mktemp(start.__name__)) for start in starts}
    yield begun
    for checker in begun.values():
        if checker is not None:
            checker.kill()


@pytest.mark.parametrize("check", ["mypy", "pyright"])
def test_typical_use_passes_and_typical_mistakes_are_errors(begun: dict[str, Checker | None], check: str) -> None:
    checker = begun[check]
    if checker is None:
        pytest.skip("pyright is not installed, or node is not")
    _, told = checker.end()
    lines = (HERE / MISUSE).read_text().splitlines()
    marked = {(MISUSE, number) for number, line in enumerate(lines, 1) if line.endswith(MARK)}
    found = {(name, int(number)) for name, number in re.findall(r"(\w+\.py):(\d+):.*\berror\b", told)}
    assert len(marked) > 30
    assert found == marked, told


def test_the_stub_matches_the_built_module(begun: dict[str, Checker | None]) -> None:
    checker = begun["stubtest"]
    assert checker is not None
    code, told = checker.end()
    assert code == 0, told
