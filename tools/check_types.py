"""Type checkers over everything that users read or run: the package, the examples, and the Python of every page.

``python tools/check_types.py`` runs mypy (strict, for Linux, macOS and Windows) and pyright, and ends with 1 where one
of them finds something. Functions on pages need no annotations: readers have enough to read.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.pages import ROOT, Block, blocks, pages

PLATFORMS = ("linux", "darwin", "win32")


def program(block: Block) -> str:
    """Give the code of a block, of a session without what it printed."""
    if block.kind != "doctest":
        return block.text
    return "".join(line[4:] + "\n" for line in block.text.splitlines() if line.startswith((">>>", "...")))


def write_out(folder: Path) -> dict[str, str]:
    """Write every block as a module of its own, a page's sessions as one; give what to call the modules."""
    names: dict[str, str] = {}
    for page in pages():
        where = page.relative_to(ROOT)
        stem = re.sub(r"\W", "_", str(where.with_suffix("")))
        session = ""
        for block in blocks(page, "python"):
            if block.kind == "doctest":
                session += program(block)
            else:
                names[f"{stem}_{block.line}.py"] = f"{where}:{block.line}"
                (folder / f"{stem}_{block.line}.py").write_text(block.text)
        if session:
            names[f"{stem}_session.py"] = str(where)
            (folder / f"{stem}_session.py").write_text(session)
    return names


def main() -> int:
    """Run the checkers; give the exit code."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = write_out(folder)
        # A session shows what an expression is.
        (folder / "pyrightconfig.json").write_text('{"pythonVersion": "3.11", "reportUnusedExpression": "none"}')
        mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml")]
        runs = [
            [*mypy, "--platform", platform, "--cache-dir", str(ROOT / ".mypy_cache" / platform), str(ROOT / "python")]
            for platform in PLATFORMS
        ]
        runs += [
            [*mypy, str(ROOT / "examples")],
            [*mypy, "--allow-untyped-defs", "--allow-incomplete-defs", "--allow-untyped-calls", str(folder)],
            [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(ROOT)],
            [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--project", str(folder)],
        ]
        failed = False
        for run in runs:
            done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=environment)
            said = done.stdout + done.stderr
            for module, where in names.items():
                said = said.replace(module, where)
            failed = failed or done.returncode != 0
            print(" ".join(run[2:4]), said, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
