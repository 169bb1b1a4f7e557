"""Writes the completion scripts that `oxisock completion` prints: shtab makes them from the parser of the command.

`python tools/completions.py` writes them; a test compares them with the parser.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import shtab

ROOT = Path(__file__).resolve().parent.parent


def render(shell: str) -> str:
    """Give the script for a shell."""
    from oxisock.cli import build_parser

    parser = build_parser()
    _prepare(parser)
    return shtab.complete(parser, shell).rstrip("\n") + "\n"


def _prepare(parser: argparse.ArgumentParser) -> None:
    """Say what the parser does not: the values of options that take more than those, which files, and short helps."""
    offers = _offers()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help for choice in action._choices_actions}
            for name, command in action.choices.items():
                command.description = helps[name]
                _prepare(command)
        elif action.metavar in ("FILE", "OLD", "NEW"):
            action.complete = shtab.FILE
        elif action.choices is None:
            action.choices = offers.get(f"{parser.prog.split()[-1]} {action.dest}", offers.get(action.dest))


def _offers() -> dict[str, list[str]]:
    """Give what some values may be, by the name of the argument, or by command and name."""
    from oxisock.bench import GROUPS
    from oxisock.cli.source import parts
    from oxisock.framing.specs import CODEC_NAMES
    from oxisock.types import PortState

    return {
        "codec": list(CODEC_NAMES),
        "send codec": ["lines", "length:4", "netstring", "none"],
        "source name": list(parts()),
        "keep": list(PortState),
        "only": list(GROUPS),
        "host": ["127.0.0.1", "0.0.0.0", "localhost"],
    }


if __name__ == "__main__":
    from oxisock.cli.completion import SHELLS, path

    for shell in SHELLS:
        path(shell).write_text(render(shell), encoding="utf-8")
        sys.stdout.write(f"{path(shell).relative_to(ROOT)}\n")
