"""The code blocks of pages of the documentation, run as a reader would run them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from commands import environment

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[str]:
    path = DOCS / page
    return BLOCK.findall(path.read_text()) if path.exists() else []


def of(page: str) -> list[object]:
    return [pytest.param(code, id=f"{page}-{number}") for number, code in enumerate(blocks(page), 1)]


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
@pytest.mark.parametrize("code", [*of("asyncio.md"), *of("testing.md")])
def test_block(impl: ModuleType, code: str, tmp_path: Path) -> None:
    words = [sys.executable, "-X", "dev"]
    if "def test_" in code:
        words += ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    path = tmp_path / "test_block.py"
    path.write_text(code)
    done = subprocess.run(
        [*words, path],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(OXISOCK_IMPL=impl.impl),
        cwd=tmp_path,
    )
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    # What a block says it prints at the end of a line is what it prints.
    promised = re.findall(r"print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert [line for line in done.stdout.splitlines() if line in promised] == promised, done.stdout


def test_there_are_blocks() -> None:
    if not DOCS.exists():
        pytest.skip("the documentation is not here")
    assert len(blocks("asyncio.md")) >= 4 and len(blocks("testing.md")) >= 2
