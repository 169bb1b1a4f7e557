"""``oxisock source``: prints the code of a part of the pure engine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..arguments import did_you_mean
from . import EXIT_OK, UsageError
from .arguments import examples
from .output import is_terminal, paint
from .streams import need_stdout


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "source",
        help="print the code of a part of the pure engine",
        description="Print the code of a part of the pure engine: plain Python, written to be read. Without a name, "
        "list the parts.",
        **examples("oxisock source reactor", "oxisock source connection | less"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a part, such as reactor, scanning or framing")


def run(args: argparse.Namespace) -> int:
    """Print one module, or the first sentence of every module."""
    need_stdout()
    found = parts()
    if args.name is None:
        sys.stdout.write(_listing([(name, _first_sentence(path)) for name, path in found.items()]))
        return EXIT_OK
    wanted = args.name.removesuffix(".py")
    if wanted not in found:
        hint = did_you_mean(wanted, found)
        raise UsageError(f"there is no part called {args.name!r}: there are {', '.join(found)}{hint}")
    sys.stdout.write(found[wanted].read_text("utf-8"))
    return EXIT_OK


def parts() -> dict[str, Path]:
    """Return the files of the engine by name. If two files have the same name, it begins with their folders."""
    from .. import pure

    files = sorted(Path(pure.__file__).parent.glob("*/**/*.py"))
    # The __init__ of a folder has the name of the folder. It says what is in which file.
    named = [(path.parent if path.stem == "__init__" else path.with_suffix("")) for path in files]
    names = [path.name for path in named]
    return {
        path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}": file
        for path, file in zip(named, files, strict=True)
    }


def _listing(parts: list[tuple[str, str]]) -> str:
    """Return names and sentences: in columns that fit for a terminal, else separated by tabs."""
    if not is_terminal(sys.stdout):
        return "".join(f"{name}\t{sentence}\n" for name, sentence in parts)
    import shutil
    import textwrap

    width, beside = shutil.get_terminal_size().columns, max(len(name) for name, _ in parts) + 2
    lines = []
    for name, sentence in parts:
        first, *rest = textwrap.wrap(sentence, max(width - beside, 20))
        lines += [f"{paint(name, 'bold', sys.stdout)}{' ' * (beside - len(name))}{first}"]
        lines += [" " * beside + line for line in rest]
    return "".join(f"{line}\n" for line in lines)


def _first_sentence(path: Path) -> str:
    import ast

    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").splitlines()[0]
