"""``oxisock load``: how many messages can a server handle, how fast, and are the answers right?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from .. import arguments
from ..text import milliseconds, plural
from . import EXIT_NO, EXIT_OK, UsageError, failed_at, raise_descriptor_limit
from .arguments import checked, count, endpoint, examples, positive_duration
from .output import check_output, is_terminal, message, output
from .streams import need_stdout

if TYPE_CHECKING:
    from ..load.calls import Job
    from ..load.report import LoadReport

_BUSY = 0.9  # of a core; from here on, the load itself may be the limit


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    from ..framing.specs import CODEC_HELP
    from ..load.calls import LEAST_RATE, MOST_CONNECTIONS, MOST_DEPTH, MOST_RATE, MOST_SECONDS, MOST_SIZE
    from ..load.plan import EXPECTATIONS

    rate = checked(float, arguments.number, LEAST_RATE, MOST_RATE, "messages a second, from 0.001 to 10,000,000")
    time = checked(positive_duration, arguments.number, 0, MOST_SECONDS, "a day at most")

    parser = subparsers.add_parser(
        "load",
        help="load-test a server: check every answer, measure latencies",
        description="Send messages over many connections, check every answer, and measure how long answers take. "
        "Without --rate, the next message follows the answer to the last one (a closed loop). With it, messages are "
        "sent at that rate whatever the server does, and latencies count from the time at which each was due. The exit "
        "code is 1 if an answer was lost or wrong, a connection failed, or the rate was not kept.",
        **examples(
            "oxisock load 127.0.0.1:7000",
            "oxisock load 127.0.0.1:7000 --codec lines --expect upper --rate 5000 --duration 30s",
            "oxisock load 127.0.0.1:7000 --duration 5s --max-p99 20ms --min-rate 1000     # for CI",
            "oxisock load --udp 127.0.0.1:7000 --prefix 'ACK: ' --json",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("endpoint", type=endpoint, metavar="HOST:PORT", help="the server")
    parser.add_argument("--udp", action="store_true", help="send datagrams; connections are sockets")
    parser.add_argument(
        "-c", "--connections", type=count(1, MOST_CONNECTIONS), default=50, metavar="N", help="how many (default: 50)"
    )
    parser.add_argument(
        "--depth",
        type=count(1, MOST_DEPTH),
        metavar="N",
        help="most messages in flight on each connection (default: 1; 64 with --rate)",
    )
    parser.add_argument(
        "-s", "--size", type=count(1, MOST_SIZE), metavar="BYTES", help="bytes of each message (default: 64)"
    )
    parser.add_argument("-r", "--rate", type=rate, metavar="N", help="messages a second, of all connections together")
    parser.add_argument(
        "-d", "--duration", type=time, default=10.0, metavar="TIME", help="how long to send (default: 10s)"
    )
    parser.add_argument(
        "--timeout",
        type=time,
        metavar="TIME",
        help="time after which a silent connection has failed (default: 5s), or a datagram without an answer is lost "
        "(default: 1s)",
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
    parser.add_argument("--prefix", metavar="TEXT", help="text before the message in a correct answer")
    parser.add_argument("--max-p99", type=time, metavar="TIME", help="exit code 1 if p99 is longer, such as 5ms")
    parser.add_argument("--min-rate", type=rate, metavar="N", help="exit code 1 if fewer answers a second come")
    parser.add_argument("--html", metavar="FILE", help="write the report as a page for a browser, too")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask before loading another machine")


def run(args: argparse.Namespace) -> int:
    """Find the target, ask for confirmation if it is another machine, run the load, and show the result."""
    from ..load.calls import carry_out
    from ..load.report import why_nobody
    from ..sockets.listening import is_loopback
    from ..sockets.resolving import host_addresses
    from .load_view import shown, watch

    need_stdout()
    if args.html is not None:
        check_output(args.html)
    job = _job(args)
    try:
        addresses = host_addresses(args.endpoint.host, timeout=10.0)
    except OSError as error:
        return failed_at(args.endpoint, error)
    if not args.yes and not all(map(is_loopback, addresses)) and not _may(job):
        message("nothing was sent")
        return EXIT_NO
    raise_descriptor_limit()
    try:
        report, interrupt = carry_out(job, addresses, lambda: watch(job.name, job.options["duration"]))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if args.json:
        json.dump(report.document(), sys.stdout, indent=2)
        print()
    in_vain = report.nobody and interrupt is None
    if not (args.json or in_vain):
        sys.stdout.write(shown(report, sys.stdout))
    if args.html is not None:  # after the figures, which are not lost if there is no room on the disk
        from ..load.html_page import to_html

        with output(args.html) as stream:
            stream.write(to_html(report))
    if in_vain:
        message(f"{job.name}: {why_nobody(report)}")
        return EXIT_NO
    _comment(report)
    if interrupt is not None:
        message(f"interrupted after {report.figures['elapsed']:.1f} s: the result is incomplete")
        return int(args.exit_code())
    return EXIT_OK if report.good and _within(report, args) else EXIT_NO


def _within(report: LoadReport, args: argparse.Namespace) -> bool:
    """Return whether the result is within the limits of the options. Write a message for each limit it exceeds."""
    within = True
    if args.max_p99 is not None and (report.p99 is None or report.p99 > args.max_p99):
        took = "no answer came" if report.p99 is None else f"it is {milliseconds(report.p99)} ms"
        message(f"p99 is over --max-p99 {milliseconds(args.max_p99)} ms: {took}")
        within = False
    if args.min_rate is not None and report.rate < args.min_rate:
        message(f"the rate is under --min-rate {args.min_rate:,.12g}: {report.rate:,.1f} answers a second")
        within = False
    return within


def _job(args: argparse.Namespace) -> Job:
    """Read the options. Raises UsageError if they contradict each other."""
    from ..engines.binding import engine
    from ..load.calls import job

    try:
        return job(
            engine("native"), *args.endpoint, udp=args.udp, connections=args.connections, depth=args.depth,
            size=args.size, rate=args.rate, duration=args.duration, timeout=args.timeout, codec=args.codec,
            expect=args.expect, prefix=None if args.prefix is None else args.prefix.encode("utf-8", "surrogateescape"),
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(str(error)) from None


def _may(job: Job) -> bool:
    """Ask whether to load another machine. Raises UsageError if nobody can answer."""
    if not (sys.stdin.isatty() and is_terminal(sys.stderr)):
        raise UsageError(f"{job.name} is not on this machine's loopback: say --yes if it may be loaded")
    rate, count = job.options["rate"], job.options["connections"]
    pace = f"{rate:,g} messages a second" if rate else "as fast as it answers"
    how = f"over {plural(count, 'connection')}, {pace}, for {job.options['duration']:g} s"
    question = f"Load {job.name} {how}? It must be yours to load."
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


# --- the result ----------------------------------------------------------------------------------------------------


def _comment(report: LoadReport) -> None:
    """Write to stderr what a reader must know besides the figures."""
    from ..load.report import about_wrong, first_wrong, words

    figures = report.figures
    if figures["alive"] == 0:
        asked, sending = report.options["duration"], figures["sending"]
        if sending < asked:
            message(f"no connection was left after {sending:.1f} s of {asked:g} s")
        else:
            message(f"no connection was left in the end; the last one was given up after {figures['elapsed']:.1f} s")
    if wrong := first_wrong(report):
        message(about_wrong(wrong))
        if report.options["expect"] == "echo" and str(wrong["came"]).startswith("b'Echo: "):
            message("that looks like oxisock serve upper, for which there is --codec lines --expect upper")
        if report.options["expect"] == "upper" and report.options["prefix"]:
            message("--expect upper is what oxisock serve upper answers; without \"Echo: \" it is --prefix ''")
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
    # Warn of a lag of a tenth of the measured latency or more, because the latencies include it.
    if lag and figures["latency"] and lag["p99"] >= max(0.001, figures["latency"]["p99"] / 10):
        message(
            f"warning: the load generator ran late (p99 {milliseconds(lag['p99'])} ms, max "
            f"{milliseconds(lag['max'])} ms); latencies include this"
        )
