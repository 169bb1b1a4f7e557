"""``oxisock check``: are these ports open, right now?"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from ..types import Peer, PortState
from . import EXIT_NO, EXIT_OK, describe, located, raise_descriptor_limit
from .arguments import add_endpoints, add_impl, add_time, endpoints, examples, questions
from .output import STATE_COLOURS, message, paint

_AT_ONCE = 512


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="say whether ports are open",
        description="Say whether ports are open. The exit code is 0 if all of them are open, else 1.",
        **examples(
            "oxisock check localhost:22",
            "oxisock check 127.0.0.1:http [::1]:443 --timeout 500ms",
            "oxisock check @services.txt",
        ),
    )
    parser.set_defaults(run=run)
    add_endpoints(parser, "what to check")
    add_time(parser, "--timeout", 2.0, "longest wait for each port")
    add_impl(parser)


def run(args: argparse.Namespace) -> int:
    """Check all endpoints at the same time, and print them in the order of the arguments."""
    import asyncio

    peers = endpoints(args)
    raise_descriptor_limit()
    return asyncio.run(_check(peers, args))


async def _check(peers: list[Peer], args: argparse.Namespace) -> int:
    import asyncio
    import socket

    from ..aio.questions import answer

    asked = questions(args.impl)
    # Each check takes some descriptors and, in the native engine, a thread.
    room = asyncio.Semaphore(_AT_ONCE)

    async def state(peer: Peer) -> tuple[str, str | None]:
        async with room:
            try:
                result = await answer(asked.ask_host(*peer, args.timeout))
            except (socket.gaierror, TimeoutError) as error:
                return "unresolved", describe(error)
            except OSError as error:
                return PortState.ERROR, describe(error)
        return result.state, result.reason if result.state is PortState.ERROR else None

    code = EXIT_OK
    checks = [asyncio.create_task(state(peer)) for peer in peers]
    for peer, check in zip(peers, checks, strict=True):
        word, fault = await check
        if fault:
            message(located(peer, fault))
        print(peer, paint(word, STATE_COLOURS.get(word, "red"), sys.stdout), flush=True)  # type: ignore[call-overload]
        code = code if word == PortState.OPEN else EXIT_NO
    return code
