"""Writes docs/cli.md from the parser of the command, so that the page says what the command does.

`python tools/cli_reference.py` writes the page; a test compares it with the parser.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cli.md"

HEAD = """\
# The command line

<!-- Written by tools/cli_reference.py from the parser itself: `make docs` brings it up to date. -->

`oxisock` and `python -m oxisock` are the same command. `oxisock COMMAND --help` prints the same text;
`oxisock completion` installs tab completion.

| exit code | means |
|---|---|
| 0 | success |
| 1 | a negative answer: not all ports open, the time ran out, reports or engines differ, no reply or a wrong one |
| 2 | wrong usage, or an input that cannot be used; one line on stderr says why |
| 130 | Ctrl-C; the output so far is complete and valid |
| 143, 129 | SIGTERM and SIGHUP; the output so far is complete and valid |
| 141 | the reader of the output has gone, for example `head` |

A server drains after Ctrl-C and SIGTERM, and exits with 0. SIGHUP ends it at once.

Options may stand anywhere among the arguments. After `--`, nothing is an option. If you use an option of nmap or nc
(`-Pn`, `-sV`, `-zv`), a message says what to use instead.

Results go to stdout, progress and messages to stderr. On a terminal, results are tables in colour. In a pipe, they are
plain lines, whose format does not change:

| command | plain lines |
|---|---|
| `scan` | HOST, PORT, STATE, SERVICE and RTT_MS, and BANNER with `--banner`, with tabs between them; `-` means none |
| `check`, `wait` | HOST:PORT, a blank and the state; for `check`, that may be `error` or `unresolved`, too |

If `scan` finds nothing and its output goes to a pipe, it says so on stderr, provided that is a terminal. `NO_COLOR=1`
switches colours off, `FORCE_COLOR=1` on. `-o FILE` takes the format from the suffix of the file.

A *TIME* is a number with a unit, such as `500ms`, `2s` or `1m`. Without a unit, it is in seconds.

A *CODEC* is the name of a codec and its arguments, with colons between them: `length:2:little`,
`lines:eof_frame:max_frame=80`, `delimiter:\\r\\n`. A colon in a delimiter is `\\x3a`. `send` knows only `lines`,
`length:WIDTH`, `netstring` and `none`.
"""


def render() -> str:
    """Give the page."""
    from oxisock.cli import build_parser

    parts = [HEAD]
    for parser in _commands(build_parser()):
        words = parser.prog.split()
        parts.append(f"{'#' * len(words)} {' '.join(words[1:])}\n")
        parts.append(f"```text\n{_usage(parser)}\n```\n")
        if parser.description:
            parts.append(f"{_escaped(parser.description)}\n")
        for group in parser._action_groups:
            parts += _table(group)
        if parser.epilog and "examples:" in parser.epilog:
            examples = parser.epilog.split("examples:")[1]
            lines = [line.strip() for line in examples.splitlines() if line.startswith("  ")]
            parts.append("```sh\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give the parsers of all commands, each before the commands in it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield command
                yield from _commands(command)


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [parser.prog]
    if any(action.option_strings and action.dest != "help" for action in parser._actions):
        words.append("[OPTIONS]")
    for action in parser._actions:
        if not action.option_strings:
            name = _value(action)
            words.append({"+": f"{name} [{name} ...]", "*": f"[{name} ...]", "?": f"[{name}]"}.get(action.nargs, name))
    return " ".join(words)


def _table(group: argparse._ArgumentGroup) -> list[str]:
    rows = [_row(action) for action in group._group_actions if action.dest != "help"]
    title = "arguments" if group.title == "positional arguments" else group.title
    return [f"| {title} | |\n|---|---|\n" + "\n".join(rows) + "\n"] if rows else []


def _row(action: argparse.Action) -> str:
    if isinstance(action, argparse._SubParsersAction):
        return "\n".join(f"| `{choice.dest}` | {_escaped(choice.help or '')} |" for choice in action._choices_actions)
    value = _value(action) if action.nargs != 0 else ""
    if action.option_strings:
        names = ", ".join(f"`{name}`" for name in action.option_strings) + (f" *{_escaped(value)}*" if value else "")
    else:
        names = f"`{value}`"
    return f"| {names} | {_escaped((action.help or '') % _defaults(action))} |"


def _defaults(action: argparse.Action) -> dict[str, object]:
    return {"default": action.default, "prog": "oxisock", "choices": action.choices}


def _value(action: argparse.Action) -> str:
    if action.metavar is not None:
        return action.metavar if isinstance(action.metavar, str) else " ".join(action.metavar)
    if action.choices is not None:
        *others, last = map(str, action.choices)
        return f"{', '.join(others)} or {last}" if others else last
    return action.dest.upper()


def _escaped(text: str) -> str:
    """Give text as Markdown that shows it as it is; options in it become code."""
    text = re.sub(r"([|*_<>\[\]\\])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--?[a-z][a-z-]*)(?![\w-])", r"`\1`", text)


if __name__ == "__main__":
    PAGE.write_text(render())
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}\n")
