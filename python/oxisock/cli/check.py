"""``oxisock check``: are these ports open, right now?"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from ..types import Peer, PortState
from . import EXIT_INTERRUPTED, EXIT_NO, EXIT_OK, describe
from .arguments import add_impl, endpoint, examples, face, positive_duration
from .output import STATE_COLOURS, message, paint

_AT_ONCE = 32


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="say whether ports are open",
        description="Say whether ports are open. The exit code is 0 when all of them are, else 1.",
        **examples("oxisock check localhost:22", "oxisock check 127.0.0.1:http [::1]:443 --timeout 500ms"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoints", nargs="+", type=endpoint, metavar="HOST:PORT", help="what to check")
    parser.add_argument(
        "--timeout", type=positive_duration, default=2.0, metavar="TIME", help="longest wait for each (default: 2s)"
    )
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Check all endpoints side by side and print them in the order in which they were given."""
    from concurrent.futures import ThreadPoolExecutor

    oxisock = face(args.impl)
    code = EXIT_OK
    with ThreadPoolExecutor(min(_AT_ONCE, len(args.endpoints))) as pool:
        checks = [pool.submit(_state, oxisock, peer, args.timeout) for peer in args.endpoints]
        try:
            for peer, check in zip(args.endpoints, checks, strict=True):
                state, fault = check.result()
                if fault:
                    message(f"{peer}: {fault}")
                print(peer, paint(state, STATE_COLOURS.get(state, "red"), sys.stdout), flush=True)  # type: ignore[call-overload]
                code = code if state == PortState.OPEN else EXIT_NO
        except KeyboardInterrupt:
            # The pool would wait for every check that has begun.
            os._exit(EXIT_INTERRUPTED)
    return code


def _state(oxisock: Any, peer: Peer, timeout: float) -> tuple[str, str | None]:
    """Give the state of a port in a word, and what there is to say beyond it.

    ``check_host`` decides, because it tries every address of a name; why it said no, ``scan_port`` knows.
    """
    import socket

    try:
        if oxisock.check_host(*peer, timeout=timeout):
            return PortState.OPEN, None
        result = oxisock.scan_port(*peer, timeout=timeout)
    except socket.gaierror as error:
        return "unresolved", error.strerror
    except OSError as error:
        return PortState.ERROR, describe(error)
    # What opened between the two calls was not open when it was checked.
    state = PortState.CLOSED if result.is_open else result.state
    return state, result.reason if state is PortState.ERROR else None
