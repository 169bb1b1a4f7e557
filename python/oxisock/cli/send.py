"""``oxisock send``: one message, one reply."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from ..text import escape
from . import EXIT_OK, UsageError, failed_at, tls
from .arguments import add_impl, add_time, endpoint, examples, face
from .output import is_terminal
from .streams import need_stdout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "send",
        help="send messages and print the replies",
        description="Send each TEXT, or each line of the standard input, as a message, and print its reply. The exit "
        "code is 1 if a reply does not come.",
        **examples(
            "oxisock send 127.0.0.1:7000 hello",
            "oxisock send --udp 127.0.0.1:7000 hello --timeout 500ms",
            "printf 'one\\ntwo\\n' | oxisock send 127.0.0.1:7000 --codec length:4",
            "oxisock send --tls --ca cert.pem localhost:7000 hello",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoint", type=endpoint, metavar="HOST:PORT", help="where to")
    parser.add_argument(
        "text", nargs="*", default=[], metavar="TEXT", help="the messages (default: lines of the standard input)"
    )
    parser.add_argument("--udp", action="store_true", help="a datagram for each message")
    parser.add_argument(
        "--codec",
        default="lines",
        metavar="CODEC",
        help="how messages are framed: lines (default), length:WIDTH, netstring, or none: one connection per "
        "message; the reply is all bytes until the server closes",
    )
    add_time(parser, "--timeout", 5.0, "longest wait for each reply")
    add_impl(parser)
    tls.add_client_options(parser)


def run(args: argparse.Namespace) -> int:
    """Send the messages one after the other."""
    need_stdout()
    secure = tls.of_client(args)
    if args.udp and secure:
        raise UsageError("--tls is for connections, and --udp makes none")
    engine = face(args.impl)
    codec = None if args.udp else _codec(engine, args.codec)
    host, port = args.endpoint
    messages = [text.encode("utf-8", "surrogateescape") for text in args.text] if args.text else _lines()
    try:
        if args.udp:
            _print(messages, lambda payload: engine.udp_request(host, port, payload, timeout=args.timeout))
        elif codec is None:
            _print(messages, lambda payload: engine.tcp_request(host, port, payload, timeout=args.timeout, **secure))
        else:
            with engine.connect(host, port, codec, timeout=args.timeout, **secure) as framed:

                def ask(payload: bytes) -> bytes:
                    framed.settimeout(args.timeout)
                    deadline = time.monotonic() + args.timeout
                    framed.send(payload)
                    framed.settimeout(max(deadline - time.monotonic(), 0.0))
                    reply: bytes | None = framed.recv()
                    if reply is None:
                        raise ConnectionError("the connection was closed without a reply")
                    return reply

                _print(messages, ask)
    except (OSError, EOFError, ValueError) as error:
        return failed_at(args.endpoint, error)
    return EXIT_OK


def _codec(engine: Any, name: str) -> Any:
    kind, colon, width = name.partition(":")
    if name == "none":
        return None
    if name == "lines":
        # A reply without an end of line is a reply, too.
        return engine.Lines(eof_frame=True)
    if name == "netstring":
        return engine.Netstring()
    if kind == "length" and (not colon or (len(width) == 1 and width in "12345678")):
        return engine.LengthPrefix(int(width or 4))
    raise UsageError(f"codec {name!r}: expected lines, length:WIDTH (1 to 8 bytes), netstring or none")


def _lines() -> Iterator[bytes]:
    for line in sys.stdin.buffer:
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def _print(messages: Iterable[bytes], ask: Callable[[bytes], bytes]) -> None:
    for payload in messages:
        reply = ask(payload)
        if is_terminal(sys.stdout):
            # Line breaks stay. All other control characters are escaped.
            lines = reply.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n")
            print("\n".join(escape(line.removesuffix("\r")) for line in lines), flush=True)
        else:
            sys.stdout.buffer.write(reply if reply.endswith(b"\n") else reply + b"\n")
            sys.stdout.buffer.flush()
