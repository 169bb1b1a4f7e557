"""``oxisock serve``: runs a server for trying out clients."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .. import arguments
from . import EXIT_OK, raise_descriptor_limit, serve_chat, tls
from .arguments import add_impl, add_time, checked, count, duration, examples, face, whole
from .output import is_terminal, message
from .serve_events import Events

if TYPE_CHECKING:
    from ..serving.lifecycle import Server
    from ..types import Peer

_HINTS = {
    "echo": "oxisock send {} hello",
    "upper": "oxisock send {} hello",
    "udp": "oxisock send --udp {} hello",
    "chat": "oxisock chat {} --nick ann",
}


def add_parser(subparsers: Any) -> None:
    """Add the command, with a subcommand for each server."""
    parser = subparsers.add_parser(
        "serve",
        help="run a server to try clients on",
        description="Run a server. It runs until SIGTERM or Ctrl-C: the first signal finishes pending replies, "
        "a second one quits at once.",
        **examples(
            "oxisock serve upper --port 7000",
            "oxisock serve echo --workers 2 --impl native",
            "oxisock serve echo --cut 1 --delay 5ms     # does your client put its messages together again?",
        ),
    )
    kinds = parser.add_subparsers(title="servers", metavar="SERVER", dest="server", required=True)
    _add_echo(kinds)
    _add_upper(kinds)
    _add_udp(kinds)
    serve_chat.add(kinds, _add_common, _serve)


def _add_echo(kinds: Any) -> None:
    parser = kinds.add_parser(
        "echo",
        help="TCP: send back every byte",
        description="Echo server: it sends back every byte. --cut, --delay, --drop and --reset-after make it "
        "misbehave, to try a client.",
        **examples("oxisock serve echo --port 7000", "oxisock serve echo --cut 1 --delay 5ms"),
    )
    _add_common(parser)
    _add_limits(parser)
    parser.add_argument(
        "--workers", type=checked(whole, arguments.threads), default=1, metavar="N", help="threads (default: 1)"
    )
    parser.add_argument("--cut", type=count(), metavar="BYTES", help="write at most this many bytes at once")
    parser.add_argument("--delay", type=duration, default=0.0, metavar="TIME", help="wait before every write")
    parser.add_argument(
        "--reset-after", type=count(), metavar="BYTES", help="reset each connection after this many bytes"
    )
    parser.add_argument(
        "--drop",
        type=checked(float, arguments.chance),
        default=0.0,
        metavar="CHANCE",
        help="probability, 0 to 1, that what came in is not sent back",
    )
    parser.add_argument(
        "--seed", type=count(0, 2**64 - 1), default=0, metavar="N", help="random seed for --drop (default: 0)"
    )
    parser.set_defaults(run=_run_echo)


def _add_upper(kinds: Any) -> None:
    parser = kinds.add_parser(
        "upper",
        help="TCP: answer each line in capitals",
        description='Answer each line, decoded as UTF-8 and stripped, with "Echo: " and the line in capitals.',
        **examples(
            "oxisock serve upper --port 7000",
            "echo hello | nc -N 127.0.0.1 7000",
            "oxisock serve upper --port 7000 --tls-cert cert.pem --tls-key key.pem",
        ),
    )
    _add_common(parser)
    _add_limits(parser)
    tls.add_server_options(parser)
    parser.set_defaults(run=_run_upper)


def _add_udp(kinds: Any) -> None:
    parser = kinds.add_parser(
        "udp",
        help='UDP: answer each datagram with "ACK: " and the same',
        description='Answer each datagram with "ACK: " and the same.',
        **examples("oxisock serve udp --port 7000", "oxisock send --udp 127.0.0.1:7000 hello"),
    )
    _add_common(parser)
    parser.set_defaults(run=_run_udp)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", metavar="HOST", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", type=checked(whole, arguments.port, 0), default=0, help="port to listen on (default: any free one)"
    )
    parser.add_argument(
        "--reuse-port", action="store_true", help="let several processes listen on this port (SO_REUSEPORT)"
    )
    add_time(parser, "--drain", 5.0, "longest time for pending replies at the end", duration)
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="a line on stderr for each event: time, peer, what"
    )
    add_impl(parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-connections", type=count(), default=10_000, metavar="N", help="default: 10000")
    add_time(parser, "--idle-timeout", 300.0, "close connections that are silent for this long")


def _run_echo(args: argparse.Namespace) -> int:
    from ..serving.echo import Faults

    faults = Faults(args.cut, args.delay, args.reset_after, args.drop, args.seed)
    server = face(args.impl).EchoServer(
        args.host,
        args.port,
        workers=args.workers,
        faults=None if faults == Faults(seed=args.seed) else faults,
        **_limits(args),
    )
    return _serve(server, args, Events(bytes_too=True))


def _run_upper(args: argparse.Namespace) -> int:
    events = Events()

    def upper(line: bytes, peer: Peer) -> bytes:
        answer = b"Echo: " + line.decode("utf-8", "replace").strip().upper().encode()
        if args.verbose:
            events.say(peer, f"{line!r} -> {answer!r}")
        return answer

    server = face(args.impl).MessageServer(upper, args.host, args.port, ssl=tls.of_server(args), **_limits(args))
    return _serve(server, args, events)


def _run_udp(args: argparse.Namespace) -> int:
    engine = face(args.impl)
    events = Events()
    if args.verbose:

        def answer(datagram: Any) -> bytes:
            answer = b"ACK: " + bytes(datagram.data)
            events.say(datagram.peer, f"{datagram.data!r} -> {answer!r}")
            return answer

        server = engine.UdpServer(answer, args.host, args.port, reuse_port=args.reuse_port)
    else:
        server = engine.UdpEchoServer(args.host, args.port, prefix=b"ACK: ", reuse_port=args.reuse_port)
    return _serve(server, args, events)


def _limits(args: argparse.Namespace) -> dict[str, Any]:
    raise_descriptor_limit()
    return {
        "reuse_port": args.reuse_port,
        "max_connections": args.max_connections,
        "idle_timeout": args.idle_timeout,
    }


def _host(text: str) -> str:
    """Return what to listen on: a name, an address, or nothing for all addresses."""
    from ..sockets.resolving import checked_host

    try:
        return text and checked_host(text, "")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("=")) from None


def _serve(server: Server, args: argparse.Namespace, events: Events) -> int:
    """Serve until a signal, write the counters to stderr, and return the exit code."""
    import logging

    logging.basicConfig(
        level=logging.INFO if args.verbose else logging.WARNING, format="oxisock: %(message)s", stream=sys.stderr
    )

    def tell() -> None:
        if args.verbose:
            events.begin(server)  # before a client can know the port
        print(f"Listening on {server.address}", flush=True)
        if is_terminal(sys.stderr):
            message(f"try it: {_HINTS[args.server].format(server.address)}; Ctrl-C ends the server")

    report = server.serve_forever(args.drain, on_start=tell)
    events.end()
    stats = ", ".join(f"{name} {count}" for name, count in server.stats()._asdict().items() if count)
    message(f"stats: {stats or 'nothing happened'}; drained {report.drained}, aborted {report.aborted}")
    return EXIT_OK
