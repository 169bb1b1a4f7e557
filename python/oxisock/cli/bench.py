"""``oxisock bench``: how fast, compared with what, and is the answer right?"""

from __future__ import annotations

import argparse
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import EXIT_NO, EXIT_OK, UsageError, raise_descriptor_limit
from .arguments import examples
from .output import aligned, is_terminal, message, paint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="compare the engines with other ways of doing the same",
        description="Time the engines and other ways of doing the same, in interleaved rounds, and check every answer. "
        "The exit code is 1 where an answer was wrong.",
        **examples("oxisock bench --only scan --rounds 1"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("--only", action="append", default=[], metavar="GROUP", help="run these scenarios only")
    parser.add_argument("--rounds", type=_rounds, default=5, metavar="N", help="runs of each contender (default: 5)")


def _rounds(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of at least 1")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Run the scenarios, one table for each."""
    from .. import bench

    try:
        scenarios = bench.load(args.only)
    except ValueError as error:
        raise UsageError(str(error)) from None
    raise_descriptor_limit()
    code = EXIT_OK
    for scenario in scenarios:
        with _status() as tell:
            outcome = bench.run(scenario, args.rounds, tell)
        title = f"{scenario.name}: {scenario.amount:,} {scenario.unit}, {args.rounds} rounds"
        print(paint(title, "bold", sys.stdout))
        print(aligned(bench.table(outcome), right=range(1, 7)))
        for line in (*bench.ratios(outcome), *scenario.notes):
            print(line)
        print(flush=True)
        for line in outcome.wrong:
            message(f"wrong answer: {line}")
            code = EXIT_NO
    return code


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """Say on a terminal what runs now, on one line that is gone in the end."""
    wanted = is_terminal(sys.stderr)

    def tell(text: str) -> None:
        if wanted:
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()

    try:
        yield tell
    finally:
        tell("")
