"""Parses the command line: options may stand anywhere, and errors suggest what you meant, also for nmap's options."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

from ..arguments import did_you_mean


class Habit:
    """An option of nmap or nc: its pattern, a sentence about it, and whether the command can ignore it."""

    def __init__(self, pattern: str, sentence: str, harmless: bool = False) -> None:
        self.pattern = re.compile(pattern)
        self.sentence = sentence
        self.harmless = harmless


_NC = (
    Habit("-v+", "what is done is said anyway", True),
    Habit("-w", "write --timeout TIME"),
    Habit("-[46]", "write the address, or a name of that family"),
)
_LOOK = (
    Habit("-(z|zv+|v+z)", "nothing but the port is looked at anyway", True),
    Habit("-Pn", "hosts are asked whether they answer a ping or not", True),
    *_NC,
)
HABITS = {
    "scan": (
        Habit("-Pn", "hosts are asked whether they answer a ping or not", True),
        Habit("--open", "open ports are what is shown (--all shows every state)", True),
        Habit("-sT", "every scan is one of TCP connections", True),
        Habit("-sS", "ports are asked by TCP connections, which needs no root", True),
        Habit("-n", "the names of addresses are not looked up anyway", True),
        Habit("-v+|-d+", "--trace shows every probe, --why HOST:PORT those of one port", True),
        Habit("-T[0-5]", "the pace follows the hosts; --rate and --concurrency limit it", True),
        Habit("-z|-zv+|-v+z", "nothing is sent to an open port anyway", True),
        Habit("-s[UYZ]", "only TCP ports are scanned"),
        Habit("-s[nL]|-sP", "hosts are not pinged: scan one of their ports, as in -p 22"),
        Habit("-s[VC]|-A", "--banner shows what open ports say first; versions are for nmap to find"),
        Habit("-O", "systems are for nmap to find"),
        Habit("-F", "write -p top:100"),
        Habit("--top-ports(=.*)?", "write -p top:N"),
        Habit("-oX", "write -o FILE.xml"),
        Habit("-o[NGAJ]", "write -o FILE, whose suffix names the format, or --format"),
        Habit("-iL", "write @FILE as a target"),
        Habit("-w", "write --timeout TIME"),
    ),
    "check": _LOOK,
    "wait": _LOOK,
    "send": (
        Habit("-u", "write --udp"),
        Habit("-N|-q", "write --codec none: the end of the message is sent, too"),
        *_NC,
    ),
    "chat": _NC,
    "serve": (Habit("-p", "write --port N"), Habit("-[lk]|-lk|-kl", "it listens anyway, and goes on to", True)),
}
"""The options of nmap and nc, by command."""


class Parser(argparse.ArgumentParser):
    """A parser that accepts options anywhere among the arguments. An error is one line that says what to do."""

    def error(self, message: str) -> NoReturn:
        from . import EXIT_USAGE, complain

        complain(f"{message} ({self.prog} --help says more)")
        sys.exit(EXIT_USAGE)

    takes_command = False
    """Whether the words after ``--`` are the command line of another program. They become ``args.then``."""
    kinds: Any = None
    """The argument that names a subcommand; None if there are no subcommands."""

    def add_subparsers(self, **options: Any) -> Any:
        """Add subcommands."""
        self.kinds = super().add_subparsers(**options)
        return self.kinds

    # pyright does not accept this as an override, because argparse declares overloads.
    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore
        """Parse the words. The words after the name of a subcommand are the arguments of that subcommand."""
        words: list[str] = sys.argv[1:] if args is None else list(args)
        kinds = self.kinds
        if kinds is None:
            return self._read(words, namespace or argparse.Namespace())
        if words[:1] == ["help"] and "help" not in kinds.choices:
            words = [*words[1:], "--help"]
        first = words[0] if words else ""
        # argparse itself does not accept options in the middle of a subcommand's arguments, so the subcommand parses.
        if first.startswith("-") and any(flag.startswith(first) for flag in self._option_string_actions):
            return super().parse_args([first])
        if not first:
            self.error(f"{kinds.metavar} is missing: expected one of {', '.join(kinds.choices)}")
        if first.startswith("-"):
            hint = did_you_mean(first, self._option_string_actions)
            self.error(f"no option {first!r} before the {kinds.metavar}: options of a command stand after it{hint}")
        try:
            self._check_value(kinds, first)
        except argparse.ArgumentError as error:
            self.error(str(error))
        namespace = namespace or argparse.Namespace()
        setattr(namespace, kinds.dest, first)
        return kinds.choices[first].parse_args(words[1:], namespace)

    def _read(self, words: list[str], namespace: argparse.Namespace) -> argparse.Namespace:
        words, rest = self._without_habits(self._join_negatives(words)), []
        if "--" in words:  # after it, no word is an option
            at = words.index("--")
            words, rest = words[:at], words[at:]
        if self.takes_command:
            namespace.then, rest = rest[1:], []
        namespace, unknown = self.parse_known_intermixed_args([*words, *rest], namespace)
        if unknown:
            word = unknown[0]
            hint = did_you_mean(word.partition("=")[0], self._option_string_actions) if word[:1] == "-" else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return namespace

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            hint = did_you_mean(str(value), map(str, action.choices or ()))
            raise argparse.ArgumentError(action, error.message + hint) from None

    def _without_habits(self, words: list[str]) -> list[str]:
        """Remove options of other programs that change nothing, with a message for each. Another one is an error."""
        from .output import message

        habits = next((HABITS[word] for word in self.prog.split()[1:2] if word in HABITS), ())
        kept: list[str] = []
        for word, is_value in self._values(words):
            habit = next((habit for habit in habits if habit.pattern.fullmatch(word)), None)
            if habit is None or is_value or word in self._option_string_actions:
                kept.append(word)
            elif habit.harmless:
                message(f"{word} changes nothing: {habit.sentence}")
            else:
                self.error(f"no option {word}: {habit.sentence}")
        return kept

    def _join_negatives(self, words: list[str]) -> list[str]:
        """Join ``-p -100`` (the ports up to 100) and ``--rate -5`` into one word each.

        Otherwise argparse takes the second word for an option, and reports that the first one has no value.
        """
        joined: list[str] = []
        for word, is_value in self._values(words):
            if is_value and word[:1] == "-" and word[1:2].isdigit() and joined[-1] in self._option_string_actions:
                joined[-1] += f"={word}" if joined[-1][:2] == "--" else word
            else:
                joined.append(word)
        return joined

    def _values(self, words: list[str]) -> Iterator[tuple[str, bool]]:
        """Yield each word, and whether it is the value of an option or comes after ``--``."""
        ended = False
        before = ""
        for word in words:
            ended = ended or word == "--"
            option = self._option_string_actions.get(before)
            is_value = option is not None and option.nargs is None
            yield word, ended or is_value
            before = "" if is_value else word
