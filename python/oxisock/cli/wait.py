"""``oxisock wait``: come back when these ports are open."""

from __future__ import annotations

import argparse
import time
from typing import Any

from . import EXIT_NO, EXIT_OK, describe
from .arguments import add_impl, endpoint, examples, face, positive_duration
from .output import message, paint

_LAST_LOOK = 0.05


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "wait",
        help="wait until ports are open",
        description="Wait until every one of the ports has been seen open. The exit code is 0 then, and 1 when the "
        "time ran out.",
        **examples("oxisock wait localhost:5432 --timeout 1m", "oxisock wait localhost:22 [::1]:22 --interval 500ms"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoints", nargs="+", type=endpoint, metavar="HOST:PORT", help="what to wait for")
    parser.add_argument(
        "--timeout", type=positive_duration, default=30.0, metavar="TIME", help="longest wait for all (default: 30s)"
    )
    parser.add_argument(
        "--interval", type=positive_duration, default=0.1, metavar="TIME", help="between two tries (default: 100ms)"
    )
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Wait for one endpoint after the other, under one deadline: all are open when the last has been seen open."""
    import sys

    oxisock = face(args.impl)
    deadline = time.monotonic() + args.timeout
    code = EXIT_OK
    for peer in args.endpoints:
        try:
            # Those after one that never opened are still looked at once.
            left = max(deadline - time.monotonic(), _LAST_LOOK)
            oxisock.wait_for_port(*peer, timeout=left, interval=args.interval)
        except TimeoutError as error:
            cause = error.__cause__
            last = f": {describe(cause)}" if isinstance(cause, OSError) else ""
            message(f"{peer} did not open within {args.timeout:g} s{last}")
            code = EXIT_NO
        else:
            print(peer, paint("open", "green", sys.stdout), flush=True)
    return code
