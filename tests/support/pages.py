"""The blocks of the README and of the documentation, and a way to run them as a reader would.

``python tests/support/pages.py PAGE...`` runs the Python of pages in the order in which it stands, and tells of every
block that does not do what it says: a page's examples with ``>>>`` share their names, every other block is a program of
its own.
"""

from __future__ import annotations

import contextlib
import doctest
import gc
import io
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS, EXAMPLES = ROOT / "docs", ROOT / "examples"
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, the line on which its text begins, and the text."""

    language: str
    line: int
    text: str

    @property
    def kind(self) -> str:
        """How it is run: "doctest", "pytest", "server" (until it is told to stop) or "program"."""
        if self.text.startswith(">>>"):
            return "doctest"
        if re.search(r"^(async )?def test_", self.text, re.MULTILINE):
            return "pytest"
        return "server" if "serve_forever(" in self.text else "program"


def pages() -> list[Path]:
    """Give the README and every page of the documentation; nothing where only the tests are."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))] if DOCS.exists() else []


def blocks(page: Path, language: str) -> list[Block]:
    """Give a page's blocks in a language, in order."""
    text = page.read_text()
    return [
        Block(found[1], text.count("\n", 0, found.start(2)) + 1, found[2])
        for found in FENCE.finditer(text)
        if found[1] == language
    ]


def promised(code: str) -> list[str]:
    """Give what the comments behind ``print`` say that is printed."""
    return re.findall(r"print\(.*\)  # (.*)$", code, re.MULTILINE)


def check_output(code: str, printed: str) -> None:
    """Raise AssertionError unless what a block says it prints is what it printed, in that order."""
    expected = promised(code)
    found = [line for line in printed.splitlines() if line in expected]
    assert found == expected, f"expected {expected} in what was printed:\n{printed}"


def run(page: Path) -> list[str]:
    """Run what is neither pytest's nor a server's; give what went wrong."""
    wrong: list[str] = []
    examples: list[doctest.Example] = []
    for block in blocks(page, "python"):
        if block.kind == "doctest":
            found = doctest.DocTestParser().get_examples(block.text)
            for example in found:
                example.lineno += block.line - 1
            examples += found
        elif block.kind == "program":
            wrong += run_program(page, block)
    said: list[str] = []
    test = doctest.DocTest(examples, {}, page.name, str(page), 0, None)
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.append)
    return [*wrong, *said]


def run_program(page: Path, block: Block) -> list[str]:
    """Run a block as a program of its own; give what went wrong, warnings of what it left open among it."""
    printed, complaints = io.StringIO(), io.StringIO()
    # Keeps the lines of the page in a traceback.
    code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complaints):
        try:
            exec(code, {"__name__": "__main__"})
            gc.collect()
            check_output(block.text, printed.getvalue())
        except BaseException:
            traceback.print_exc()
    return [f"{page}:{block.line}\n{complaints.getvalue()}"] if complaints.getvalue() else []


if __name__ == "__main__":
    sys.exit("\n".join(complaint for page in sys.argv[1:] for complaint in run(Path(page))) or 0)
