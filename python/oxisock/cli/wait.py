"""``oxisock wait``: waits until ports are open."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..types import Peer
from . import EXIT_NO, EXIT_OK, UsageError, describe, descriptors_raised
from .arguments import add_endpoints, add_impl, add_time, endpoints, examples, questions
from .output import message, paint

_TOGETHER = 0.25  # seconds; ports that open within them are printed in the order of the arguments


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "wait",
        help="wait until ports are open",
        description="Wait until each of the ports has been open. The exit code is 0, or 1 if the time runs out. "
        "With -- COMMAND, run COMMAND when all have been open; the exit code is then that of COMMAND.",
        **examples(
            "oxisock wait localhost:5432 --timeout 1m",
            "oxisock wait localhost:22 [::1]:22 --interval 500ms",
            "oxisock wait localhost:5432 --timeout 1m -- echo the database is up",
        ),
    )
    parser.set_defaults(run=run, then=[])
    parser.takes_command = True
    add_endpoints(parser, "what to wait for")
    add_time(parser, "--timeout", 30.0, "longest wait for all")
    add_time(parser, "--interval", 0.1, "time between two tries")
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Wait for all endpoints at the same time, and print each one when it is open."""
    import asyncio

    peers = endpoints(args)
    if args.then and not args.then[0]:
        raise UsageError("the command after -- is empty")
    with descriptors_raised():
        code = asyncio.run(_wait(peers, args))
    return _become(args.then) if code == EXIT_OK and args.then else code


def _become(command: list[str]) -> int:
    """Run the command in place of this process; as a child process on Windows."""
    import os
    import signal

    sys.stdout.flush()
    if sys.platform == "win32":
        import subprocess

        return subprocess.call(command)
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and so would the command
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        raise UsageError(f"{command[0]}: {describe(error)}") from None


async def _wait(peers: list[Peer], args: argparse.Namespace) -> int:
    import asyncio

    from ..aio.questions import answer

    asked = questions(args.impl)
    waits = [asyncio.create_task(answer(asked.wait_for_port(*peer, args.timeout, args.interval))) for peer in peers]
    code = EXIT_OK
    told: set[asyncio.Task[float]] = set()
    while len(told) < len(waits):
        pending = set(waits) - told
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(pending, timeout=_TOGETHER)
        for peer, wait in zip(peers, waits, strict=True):
            if wait in told or not wait.done():
                continue
            told.add(wait)
            try:
                wait.result()
            except TimeoutError as error:
                last = f": {describe(error.__cause__)}" if isinstance(error.__cause__, OSError) else ""
                message(f"{peer} did not open within {args.timeout:g} s{last}")
                code = EXIT_NO
            else:
                print(peer, paint("open", "green", sys.stdout), flush=True)
    return code
