"""``oxisock source``: the pure engine's code of a part, to read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import EXIT_OK, UsageError
from .arguments import examples
from .streams import need_stdout


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "source",
        help="print the pure engine's code of a part",
        description="Print the pure engine's code of a part: plain Python, written to be read. Without a name, "
        "say which parts there are.",
        **examples("oxisock source reactor", "oxisock source connection | less"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a part, such as reactor, scanning or framing")


def run(args: argparse.Namespace) -> int:
    """Print one module, or the first sentence of each."""
    need_stdout()
    from .. import pure

    # A folder goes by its own name: what it begins with says what is in which file.
    files = sorted(Path(pure.__file__).parent.glob("*/*.py"))
    parts = {(path.parent.name if path.stem == "__init__" else path.stem): path for path in files}
    if args.name is None:
        for name, path in parts.items():
            print(f"{name}\t{_first_sentence(path)}")
        return EXIT_OK
    wanted = args.name.removesuffix(".py")
    if wanted not in parts:
        raise UsageError(f"there is no part called {args.name!r}: there are {', '.join(parts)}")
    sys.stdout.write(parts[wanted].read_text("utf-8"))
    return EXIT_OK


def _first_sentence(path: Path) -> str:
    import ast

    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
