"""``oxisock load``: how much does a server bear, how fast does it answer, and are the answers right?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import arguments
from ..types import Peer
from . import EXIT_NO, EXIT_OK, UsageError, failed_at, raise_descriptor_limit
from .arguments import checked, count, endpoint, examples, positive_duration
from .output import is_terminal, message

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._native import LoadRun
    from ..framing.codecs import StreamCodec
    from ..load.plan import LoadPlan
    from ..load.report import LoadReport

_SLICE = 0.05  # seconds between two looks at Ctrl-C; a signal ends a slice by itself, too
_SECOND = 1_000_000_000
_MOST_CONNECTIONS, _MOST_DEPTH, _MOST_SIZE = 100_000, 100_000, 16 << 20
_LEAST_DATAGRAM, _MOST_DATAGRAM = 8, 65_507
_RATE = checked(float, arguments.number, 0.001, 1e7, "messages a second, from 0.001 to 10,000,000")
_TIME = checked(positive_duration, arguments.number, 0, 86_400, "a day at most")
_BUSY = 0.9  # of a core: the load is no more at leisure


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from ..framing.specs import CODEC_HELP
    from ..load.plan import EXPECTATIONS

    parser = subparsers.add_parser(
        "load",
        help="put load on a server, check its answers, tell its latencies",
        description="Send messages over many connections, check every answer, and tell how long answers took. Without "
        "--rate a message follows its answer (a closed loop); with it, messages are sent at that rate whatever the "
        "server does, and latencies count from when each was meant to be sent. The exit code is 1 where an answer was "
        "lost or wrong, a connection failed, or the rate was not kept.",
        **examples(
            "oxisock load 127.0.0.1:7000",
            "oxisock load 127.0.0.1:7000 --codec lines --expect upper --rate 5000 --duration 30s",
            "oxisock load --udp 127.0.0.1:7000 --prefix 'ACK: ' --json",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoint", type=endpoint, metavar="HOST:PORT", help="the server")
    parser.add_argument("--udp", action="store_true", help="send datagrams; connections are sockets")
    parser.add_argument(
        "-c", "--connections", type=count(1, _MOST_CONNECTIONS), default=50, metavar="N", help="how many (default: 50)"
    )
    parser.add_argument(
        "--depth",
        type=count(1, _MOST_DEPTH),
        metavar="N",
        help="most messages in flight on each connection (default: 1; 64 where there is a --rate)",
    )
    parser.add_argument(
        "-s", "--size", type=count(1, _MOST_SIZE), metavar="BYTES", help="bytes of each message (default: 64)"
    )
    parser.add_argument("-r", "--rate", type=_RATE, metavar="N", help="messages a second, of all connections together")
    parser.add_argument(
        "-d", "--duration", type=_TIME, default=10.0, metavar="TIME", help="how long to send (default: 10s)"
    )
    parser.add_argument(
        "--timeout",
        type=_TIME,
        metavar="TIME",
        help="a connection that is silent for so long has failed (default: 5s); a datagram not answered by then is "
        "lost (default: 1s)",
    )
    parser.add_argument(
        "--codec",
        metavar="CODEC",
        help="send frames, not bytes: " + CODEC_HELP.replace("%", "%%"),
    )
    parser.add_argument(
        "--expect",
        choices=EXPECTATIONS,
        default=EXPECTATIONS[0],
        help='the right answer: the message (the default); "Echo: " and the message in capitals, as "oxisock serve '
        'upper" gives it; or, with --codec, any frame',
    )
    parser.add_argument("--prefix", metavar="TEXT", help="what stands before the message in a right answer")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask, wherever the server is")


def run(args: argparse.Namespace) -> int:
    """Look who is to be loaded, ask where that is another machine, load, and tell."""
    from ..sockets.listening import is_loopback
    from ..sockets.resolving import host_addresses
    from .load_view import shown

    job = _job(args)
    try:
        addresses = host_addresses(args.endpoint.host, timeout=10.0)
    except OSError as error:
        return failed_at(args.endpoint, error)
    if not args.yes and not all(map(is_loopback, addresses)) and not _may(job):
        message("nothing was sent")
        return EXIT_NO
    raise_descriptor_limit()
    first, *others = addresses
    report, interrupted = _load(job, first)
    # Where nobody is at all, another address of the name may be the right one.
    while others and _nobody(report) and not interrupted:
        report, interrupted = _load(job, others.pop(0))
    if args.json:
        json.dump(report.document(), sys.stdout, indent=2)
        print()
    if _nobody(report) and not interrupted:
        message(f"{job.name}: {_why(report)}")
        return EXIT_NO
    if not args.json:
        sys.stdout.write(shown(report, sys.stdout))
    _comment(report)
    if interrupted:
        message(f"interrupted after {report.figures['elapsed']:.1f} s: this is a part of the answer")
        return int(args.exit_code())
    return EXIT_OK if report.good else EXIT_NO


def _load(job: _Job, address: str) -> tuple[LoadReport, bool]:
    """Load one address to the end, or until Ctrl-C, which the second value tells."""
    import time

    from ..load.report import LoadReport
    from .load_view import watch

    try:
        load = job.start(str(Peer(_numeric_zone(address), job.target["port"])))
    except ValueError as error:
        raise UsageError(str(error)) from None
    interrupted, cpu = False, time.thread_time()
    try:
        with watch(job.name, job.options["duration"]) as show:
            while load.step(_SLICE):
                show(load)
    except KeyboardInterrupt:
        interrupted = True  # what there is by now is a report, too
    try:
        cpu, figures = time.thread_time() - cpu, load.figures()
        complete = not interrupted and figures["alive"] > 0
        return LoadReport({**job.target, "address": address}, job.options, figures, complete, cpu), interrupted
    finally:
        load.close()


# --- what was asked for --------------------------------------------------------------------------------------------


class _Job(NamedTuple):
    """A load to be: the target and the options as the report has them, and what starts it at an address."""

    target: dict[str, Any]
    options: dict[str, Any]
    start: Callable[[str], LoadRun]

    @property
    def name(self) -> str:
        name: str = self.target["name"]
        return name


def _job(args: argparse.Namespace) -> _Job:
    """Read the options; UsageError where they do not go together."""
    from ..load.plan import LoadPlan

    if args.udp and args.codec:
        raise UsageError("--codec cuts a stream into messages, and a datagram is one: leave --codec or --udp out")
    if args.expect == "any" and not args.codec:
        raise UsageError("--expect any needs --codec: without it nobody knows where an answer ends")
    codec = _codec(args.codec) if args.codec else None
    options = {
        "connections": args.connections,
        "depth": args.depth or (64 if args.rate else 1),
        "size": args.size or getattr(codec, "size", 64),
        "rate": args.rate,
        "duration": args.duration,
        "timeout": args.timeout or (1.0 if args.udp else 5.0),
        "codec": args.codec,
        "expect": args.expect,
        "prefix": args.prefix if args.prefix is not None else "Echo: " if args.expect == "upper" else "",
    }
    plan = LoadPlan(
        options["connections"],
        options["depth"],
        None if args.rate is None else round(args.rate * 1000),
        round(options["duration"] * _SECOND),
        round(options["timeout"] * _SECOND),
    )
    host, port = args.endpoint
    target = {
        "name": str(args.endpoint),
        "host": host,
        "address": None,
        "port": port,
        "protocol": "udp" if args.udp else "tcp",
    }
    return _Job(target, options, _datagrams(plan, options) if args.udp else _stream(plan, options, codec))


def _codec(spec: str) -> StreamCodec:
    import oxisock.native

    from ..framing.specs import parse_codec

    try:
        return parse_codec(spec, oxisock.native)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _stream(plan: LoadPlan, options: dict[str, Any], codec: StreamCodec | None) -> Callable[[str], LoadRun]:
    from .. import _native
    from ..engines.binding import engine
    from ..framing.bound import BoundCodec
    from ..load.plan import messages

    try:
        requests, replies = messages(options["size"], codec, options["expect"], _bytes(options["prefix"]))
    except ValueError as error:
        raise UsageError(str(error)) from None
    framer: Any = codec and BoundCodec(codec, engine("native").framing).framer
    return lambda address: _native.start_tcp_load(address, plan, requests, replies, framer)


def _datagrams(plan: LoadPlan, options: dict[str, Any]) -> Callable[[str], LoadRun]:
    from .. import _native
    from ..load.plan import text

    size, prefix, upper = options["size"], _bytes(options["prefix"]), options["expect"] == "upper"
    if not _LEAST_DATAGRAM <= size <= _MOST_DATAGRAM:
        raise UsageError(f"--size {size}: a datagram has from {_LEAST_DATAGRAM} (its number) to {_MOST_DATAGRAM} bytes")
    return lambda address: _native.start_udp_load(address, plan, size, text(size), prefix, upper)


def _bytes(prefix: str) -> bytes:
    return prefix.encode("utf-8", "surrogateescape")


def _numeric_zone(address: str) -> str:
    """Write the zone of an address as a number."""
    import socket

    host, percent, zone = address.partition("%")
    if not percent or zone.isdigit():
        return address
    return f"{host}%{socket.if_nametoindex(zone)}"


def _may(job: _Job) -> bool:
    """Ask whether another machine is to be loaded; where nobody can answer, that is wrong usage."""
    if not (sys.stdin.isatty() and is_terminal(sys.stderr)):
        raise UsageError(f"{job.name} is not on this machine's loopback: say --yes if it may be loaded")
    rate, count = job.options["rate"], job.options["connections"]
    pace = f"{rate:,g} messages a second" if rate else "as fast as it answers"
    ways = "1 connection" if count == 1 else f"{count:,} connections"
    question = f"Load {job.name} over {ways}, {pace}, for {job.options['duration']:g} s? It must be yours to load."
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# --- what came of it -----------------------------------------------------------------------------------------------


def _nobody(report: LoadReport) -> bool:
    """Whether no connection could be opened, or no datagram arrived anywhere."""
    figures = report.figures
    if figures["opened"] == 0:
        return True
    udp = report.target["protocol"] == "udp"
    return udp and figures["alive"] == 0 and figures["answered"] == 0 and bool(figures["errors"])


def _why(report: LoadReport) -> str:
    """Say in one line why nothing could be sent to anybody."""
    from ..load.report import words

    udp = report.target["protocol"] == "udp"
    done = "nobody receives there" if udp else "no connection could be opened"
    why = "; ".join(words(name) for name in report.errors)
    if report.local_errors:
        local = "; ".join(words(name) for name in report.local_errors)
        why += "; " * bool(why) + f"this machine is at fault: {local}"
    return f"{done}: {why}"


def _comment(report: LoadReport) -> None:
    """Tell on stderr what is no figure but must be known."""
    from ..load.report import milliseconds, words

    figures = report.figures
    if figures["alive"] == 0:
        message(f"the load ended early, after {figures['elapsed']:.1f} s: no connection is left")
    for name, often in report.local_errors.items():
        message(f"this machine is at fault, not the server: {words(name)} ({often:,} times)")
    if not report.kept_rate:
        message(
            f"the rate was not kept: {figures['unsent']:,} messages were due and never sent, because every connection "
            f"had its {report.options['depth']:,} in flight or was lost"
            + "; the load itself used its core to the full, and may be the limit"
            * (report.busy >= _BUSY)
        )
    lag = figures["lag"]
    # As late as a tenth of what is measured is too late to be overlooked.
    if lag and figures["latency"] and lag["p99"] >= max(0.001, figures["latency"]["p99"] / 10):
        message(
            f"warning: the load generator ran late (p99 {milliseconds(lag['p99'])} ms, max "
            f"{milliseconds(lag['max'])} ms); latencies include this"
        )
