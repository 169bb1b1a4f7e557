"""``oxisock serve chat``: a chat that ``nc`` and ``oxisock chat`` can join."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import UsageError, raise_descriptor_limit
from .arguments import count, examples, face, positive_duration
from .serve_events import Events

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..chat.lines import ChatEvent
    from ..serving.lifecycle import Server


def add(
    kinds: Any,
    add_common: Callable[[argparse.ArgumentParser], None],
    serve: Callable[[Server, argparse.Namespace, Events], int],
) -> None:
    """Add the command to ``oxisock serve``. It shares the arguments and the function that serves."""
    parser = kinds.add_parser(
        "chat",
        help="TCP: a chat room",
        description="Chat server: every line goes to everybody. Join it with oxisock chat or nc.",
        **examples(
            "oxisock serve chat --port 7000 --name den --history 20",
            "oxisock chat 127.0.0.1:7000 --nick ann",
            "nc 127.0.0.1 7000",
            "oxisock serve chat --port 7000 --backplane redis://127.0.0.1:6379/0 --room den",
        ),
    )
    add_common(parser)
    parser.add_argument("--name", default="oxisock", help="name of the server in the welcome (default: oxisock)")
    parser.add_argument(
        "--max-clients", type=count(0), default=1000, metavar="N", help="most clients at a time (default: 1000)"
    )
    parser.add_argument("--max-line", type=count(0), default=4096, metavar="BYTES", help="longest line (default: 4096)")
    parser.add_argument(
        "--history", type=count(0), default=0, metavar="N", help="past lines shown to new clients (default: 0)"
    )
    parser.add_argument(
        "--queue-limit",
        type=count(0),
        default=256 << 10,
        metavar="BYTES",
        help="most bytes queued for a client that does not read (default: 262144)",
    )
    parser.add_argument(
        "--slow-policy",
        choices=("disconnect", "drop"),
        default="disconnect",
        help="what to do when the queue of a client is full (default: disconnect)",
    )
    parser.add_argument(
        "--rate", type=_rate, default=10.0, metavar="N", help="lines a second of one client, or none (default: 10)"
    )
    parser.add_argument(
        "--burst", type=count(0), default=20, metavar="N", help="lines that a client may send at once (default: 20)"
    )
    parser.add_argument(
        "--idle-timeout",
        type=_timeout,
        default=600.0,
        metavar="TIME",
        help="close clients that are silent for this long, or none (default: 600s)",
    )
    parser.add_argument("--no-echo", action="store_true", help="do not send a client its own messages")
    parser.add_argument(
        "--backplane",
        metavar="URL",
        help="share the room with others, through this Redis (needs oxisock[redis])",
    )
    parser.add_argument("--room", metavar="NAME", help="which room of that Redis (default: main)")
    parser.set_defaults(run=lambda args: _run(args, serve))


def _run(args: argparse.Namespace, serve: Callable[[Server, argparse.Namespace, Events], int]) -> int:
    raise_descriptor_limit()
    events = Events()
    peers: dict[str, object] = {}

    def say(event: ChatEvent) -> None:
        nick = event.nick
        if nick not in peers:
            peers.update((member.nick, member.peer) for member in server.members())
        events.say(peers.get(nick, "-"), _words(event))
        if event.kind == "leave":
            peers.pop(nick, None)
        elif event.kind == "nick" and nick in peers:
            peers[event.text] = peers.pop(nick)

    if args.room is not None and args.backplane is None:
        raise UsageError("--room is for --backplane")
    try:
        backplane = None
        if args.backplane is not None:
            from ..chat.backplane.redis import RedisBackplane

            backplane = RedisBackplane(args.backplane, room="main" if args.room is None else args.room)
        server = face(args.impl).ChatServer(
            args.host,
            args.port,
            name=args.name,
            max_clients=args.max_clients,
            max_line=args.max_line,
            history=args.history,
            queue_limit=args.queue_limit,
            slow_policy=args.slow_policy,
            rate=args.rate,
            burst=args.burst,
            idle_timeout=args.idle_timeout,
            echo=not args.no_echo,
            on_event=say if args.verbose else None,
            backplane=backplane,
            reuse_port=args.reuse_port,
        )
    except (ValueError, ModuleNotFoundError) as error:
        raise UsageError(str(error)) from None
    return serve(server, args, events)


def _words(event: ChatEvent) -> str:
    kind, nick, text = event
    # The text of a private message is not shown.
    said = {
        "join": "joined",
        "leave": f"left ({text})",
        "nick": f"is now {text}",
        "private": "said something in private",
    }
    return f"{nick} {said[kind]}" if kind in said else f"[{nick}] {text}"


def _rate(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of lines a second, or none") from None


def _timeout(text: str) -> float | None:
    return None if text == "none" else positive_duration(text)
