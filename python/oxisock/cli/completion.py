"""``oxisock completion``: prints the completion script of a shell.

The scripts are in ``completions``, so every install has them. ``tools/completions.py`` writes them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from . import EXIT_OK
from .arguments import examples
from .streams import need_stdout

SHELLS = ("bash", "fish", "zsh")


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that lets a shell complete the commands, options and values of oxisock. For the "
        "current session of bash: source <(oxisock completion bash)",
        **examples(
            "oxisock completion bash > oxisock.bash",
            "oxisock completion zsh > _oxisock",
            "oxisock completion fish > oxisock.fish",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=SHELLS, help="which shell")


def path(shell: str) -> Path:
    """Return the file that has the script of a shell."""
    return Path(__file__).parent / "completions" / f"oxisock.{shell}"


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    need_stdout()
    sys.stdout.write(path(args.shell).read_text("utf-8"))
    return EXIT_OK
