"""``oxisock completion``: what the Tab key knows, read off the parser itself."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, NamedTuple

from . import EXIT_OK
from .arguments import examples
from .streams import need_stdout


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "completion",
        help="print the completion script of a shell",
        description="Print a script that lets a shell complete the commands and options of oxisock. Put it where your "
        'shell looks for such scripts, or for bash alone: eval "$(oxisock completion bash)"',
        **examples("oxisock completion bash", "oxisock completion zsh", "oxisock completion fish"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("shell", choices=sorted(_WRITERS), help="which shell")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    need_stdout()
    from . import build_parser

    sys.stdout.write(_WRITERS[args.shell](_read(build_parser())))
    return EXIT_OK


class _Option(NamedTuple):
    """An option: its spellings, its help, whether a value follows, which values there are, whether it names a file."""

    flags: tuple[str, ...]
    help: str
    takes_value: bool
    choices: tuple[str, ...]
    file: bool


class _Command(NamedTuple):
    """A command: its options, and the words that can stand where it takes arguments."""

    name: str
    help: str
    options: list[_Option]
    words: list[str]


def _read(parser: argparse.ArgumentParser) -> list[_Command]:
    """Read the commands off the parser; argparse keeps what it was told in members with an underscore."""
    subparsers = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    commands = []
    for name, subparser in subparsers.choices.items():
        options: list[_Option] = []
        words: list[str] = []
        for action in subparser._actions:
            choices = tuple(map(str, action.choices or ()))
            if action.option_strings:
                file = action.metavar == "FILE"
                flags = tuple(action.option_strings)
                options.append(_Option(flags, _first_line(action.help), action.nargs != 0, choices, file))
            else:
                words += choices
        commands.append(_Command(name, helps.get(name, ""), options, words))
    return commands


def _first_line(text: str | None) -> str:
    return (text or "").split("\n")[0].replace("%%", "%")


def _bash(commands: list[_Command]) -> str:
    values, words = [], []
    for command in commands:
        for option in command.options:
            if option.takes_value:
                pattern = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
                # Nothing to offer: `-o default` completes file names, which is as good as anything.
                offer = (
                    f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current")); ' if option.choices else ""
                )
                values.append(f"        {pattern}) {offer}return ;;")
        flags = " ".join([flag for option in command.options for flag in option.flags] + command.words)
        words.append(f'        {command.name}) words="{flags}" ;;')
    names = " ".join(command.name for command in commands)
    lines = [
        "# bash completion for oxisock",
        "_oxisock() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} words=",
        "    COMPREPLY=()",
        "    if ((COMP_CWORD == 1)); then",
        f'        COMPREPLY=($(compgen -W "{names} --help --version" -- "$current"))',
        "        return",
        "    fi",
        '    case "${COMP_WORDS[1]} $previous" in',
        *values,
        "    esac",
        '    case "${COMP_WORDS[1]}" in',
        *words,
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$current"))',
        "}",
        "complete -o default -F _oxisock oxisock",
    ]
    return "\n".join(lines) + "\n"


def _zsh(commands: list[_Command]) -> str:
    lines = ["#compdef oxisock", "", "_oxisock() {", "    local -a commands", "    commands=("]
    lines += [f"        {shlex.quote(f'{command.name}:{command.help}')}" for command in commands]
    lines += [
        "    )",
        "    if ((CURRENT == 2)); then",
        "        _describe -t commands 'oxisock command' commands",
        "        return",
        "    fi",
        "    local name=$words[2]",
        "    shift words",
        "    ((CURRENT--))",
        "    case $name in",
    ]
    for command in commands:
        lines.append(f"    {command.name})")
        rest = f"*:argument:({' '.join(command.words)})" if command.words else "*:argument:_files"
        specs = [_zsh_option(flag, option) for option in command.options for flag in option.flags]
        lines.append("        _arguments \\\n            " + " \\\n            ".join([*specs, shlex.quote(rest)]))
        lines.append("        ;;")
    lines += ["    esac", "}", "", 'if [ "$funcstack[1]" = "_oxisock" ]; then', '    _oxisock "$@"', "else"]
    lines += ["    compdef _oxisock oxisock", "fi"]
    return "\n".join(lines) + "\n"


def _zsh_option(flag: str, option: _Option) -> str:
    escaped = "".join(f"\\{letter}" if letter in "[]:\\" else letter for letter in option.help)
    value = ""
    if option.takes_value:
        value = (
            f":value:({' '.join(option.choices)})" if option.choices else ":file:_files" if option.file else ":value: "
        )
    return shlex.quote(f"*{flag}[{escaped}]{value}")


def _fish(commands: list[_Command]) -> str:
    lines = ["# fish completion for oxisock", "complete -c oxisock -n __fish_use_subcommand -f"]
    lines += [
        f"complete -c oxisock -n __fish_use_subcommand -f -a {command.name} -d {_fish_quote(command.help)}"
        for command in commands
    ]
    for command in commands:
        start = f"complete -c oxisock -n '__fish_seen_subcommand_from {command.name}'"
        for option in command.options:
            spelled = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
            line = " ".join([start, *spelled, "-d", _fish_quote(option.help)])
            if option.takes_value:
                line += " -r" if option.file else " -x"
            if option.choices:
                line += f" -a {_fish_quote(' '.join(option.choices))}"
            lines.append(line)
        if command.words:
            lines.append(f"{start} -f -a {_fish_quote(' '.join(command.words))}")
    return "\n".join(lines) + "\n"


def _fish_quote(text: str) -> str:
    quoted = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{quoted}'"


_WRITERS = {"bash": _bash, "fish": _fish, "zsh": _zsh}
