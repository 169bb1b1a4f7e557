"""``oxisock scan``: which ports are open?"""

from __future__ import annotations

import argparse
import re
import socket
import sys
from contextlib import nullcontext, suppress
from typing import IO, TYPE_CHECKING, Any

from ..arguments import did_you_mean
from ..scanning.options import ScanOptions
from ..sockets.interrupts import held_back
from ..types import Peer, PortState
from . import EXIT_INTERRUPTED, EXIT_NO, EXIT_OK, UsageError, complain, describe, executors, raise_descriptor_limit
from .arguments import add_impl, endpoint, examples, face, positive_duration, url_parts
from .diff import read_report
from .output import coloured, format_by_name, is_terminal, message, output
from .progress import progress_bar
from .streams import need_stdout

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scanning.report import ScanReport
    from ..types import PortResult

_HOST_PORT = re.compile(r"(?:[^\s,:@/\[\]]+|\[[^\s,\[\]]+\]):[\w-]+")
FORMATS = ("table", "plain", "json", "ndjson", "csv", "xml", "html")
_SUFFIXES = {
    ".txt": "plain", ".tsv": "plain", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv",
    ".xml": "xml",
    ".html": "html",
    ".htm": "html",
}  # fmt: skip


def _states(text: str) -> tuple[str, ...]:
    """Read states of ports, separated by commas."""
    states = tuple(part.strip() for part in text.split(","))
    for state in states:
        if state not in list(PortState):
            hint = did_you_mean(state, map(str, PortState))
            raise argparse.ArgumentTypeError(f"{state!r} is no state: there are {', '.join(PortState)}{hint}")
    return states


def _flag(group: str, words: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return group, {"help": words, **settings}


# The options of a scan, by name in ScanOptions, which has the defaults: the group in the help, and the text.
FLAGS = {
    "exclude": _flag("what", "leave these targets out", action="append", metavar="TARGET"),
    "exclude_ports": _flag("what", "leave these ports out", metavar="PORTS"),
    "shard": _flag("what", "scan the I-th of N disjoint parts; needs --seed", metavar="I/N"),
    "family": _flag("what", "the addresses of a name to use (default: IPv4 first)", type=int, choices=(4, 6)),
    "resolve_all": _flag("what", "scan every address of a name, not only the first", action="store_true"),
    "skip_silent": _flag(
        "what", "ask hosts of a network that say nothing only their first 16 ports", action="store_true"
    ),
    "banner": _flag("what", "read what open ports say first", action="store_true"),
    "timeout": _flag(
        "how", "longest wait for an answer, such as 500ms or 2s (default: 1s)", type=positive_duration, metavar="TIME"
    ),
    "max_time": _flag(
        "how",
        "end the scan after so long, with what is known then and exit code 1 (default: no limit)",
        type=positive_duration,
        metavar="TIME",
    ),
    "retries": _flag("how", "least repeats of an unanswered probe (default: 1)", type=int, metavar="N"),
    "adaptive": _flag(
        "how", "use --timeout and --retries as they are, and do not adapt to hosts", action="store_false"
    ),
    "concurrency": _flag("how", "most probes in flight (default: by open-file limit)", type=int, metavar="N"),
    "rate": _flag("how", "most probes a second (default: no limit)", type=float, metavar="N"),
    "threads": _flag("how", "threads of the native engine (default: by the work)", type=int, metavar="N"),
    "tasks": _flag("how", "most parts that are out at a time, with --processes or --dask", type=int, metavar="N"),
    "checkpoint": _flag("how", "save what is done to FILE, and go on from there when run again", metavar="FILE"),
    "order": _flag("how", "random or sequential (default: random)", choices=("random", "sequential")),
    "seed": _flag("how", "repeat the random order of the scan that had this seed", type=int, metavar="N"),
    "keep": _flag(
        "shown",
        "states of the ports to show, of open,closed,filtered,error (default: open)",
        type=_states,
        metavar="STATES",
    ),
    "trace": _flag("shown", "print every probe and answer on stderr", action="store_true"),
}
_ALTERNATIVES: dict[str, dict[str, dict[str, Any]]] = {
    "family": {
        "-4": {"const": 4, "help": "the same as --family 4"},
        "-6": {"const": 6, "help": "the same as --family 6"},
    },
    "keep": {"--all": {"const": tuple(PortState), "help": "show ports of every state"}},
}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "scan",
        help="find open ports",
        description="Find the open TCP ports of hosts. Targets are names, addresses, networks (10.0.0.0/24), ranges "
        "(10.0.0.1-20) and files with one target a line (@FILE). The exit code is 0 even if no port is open; it is 1 "
        "if no target resolves, if no port could be asked, if --max-time ended the scan, or if the checkpoint could "
        "not be written.",
        **examples(
            "oxisock scan localhost",
            "oxisock scan 127.0.0.1 -p 22,80,8000-9000,top:100",
            "oxisock scan 127.0.0.0/28 -p ssh,http --format ndjson",
            "oxisock scan 127.0.0.1 -p 1-2000 --all -o scan.json",
            "oxisock scan 127.0.0.1 -p 1-2000 --banner -o page.html --diff old.json",
            "oxisock scan 127.0.0.1 -p 1-2000 --impl both",
            "oxisock scan 127.0.0.1 -p 22 --why 127.0.0.1:22",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("targets", nargs="+", metavar="TARGET", help="what to scan")
    what = parser.add_argument_group("what is asked")
    what.add_argument(
        "-p",
        "--ports",
        default="1-1024",
        help="22,80,1000-2000,http,top:100,!25, or @FILE with such a list; - is all (default: 1-1024)",
    )
    how = parser.add_argument_group("how it is asked")
    shown = parser.add_argument_group("what is shown")
    groups = {"what": what, "how": how, "shown": shown}
    alternatives: dict[str, Any] = {}
    for name, (group, settings) in FLAGS.items():
        place = groups[group]
        if name in _ALTERNATIVES:
            place = alternatives[name] = groups[group].add_mutually_exclusive_group()
        default = [] if settings.get("action") == "append" else ScanOptions._field_defaults[name]
        word = f"--{'no-' * (settings.get('action') == 'store_false')}{name.replace('_', '-')}"
        place.add_argument(word, dest=name, default=default, **settings)
        for word, more in _ALTERNATIVES.get(name, {}).items():
            place.add_argument(word, dest=name, action="store_const", default=argparse.SUPPRESS, **more)
    executors.add_options(how)
    add_impl(how, "both")
    shown.add_argument(
        "--format", choices=FORMATS, help="default: by the suffix of -o; else table on a terminal and plain elsewhere"
    )
    shown.add_argument("--diff", metavar="OLD", help="for html and table: show also what changed since this report")
    shown.add_argument("-o", "--output", metavar="FILE", help="write to FILE, which is replaced when the scan is done")
    shown.add_argument("--why", type=endpoint, metavar="HOST:PORT", help="show every probe and answer of one port")


def run(args: argparse.Namespace) -> int:
    """Scan, and show the results."""
    form = args.format or format_by_name(args.output, _SUFFIXES)
    if args.output in (None, "-"):
        need_stdout()
    if args.diff is not None and form not in ("html", "table"):
        raise UsageError(f"--diff is for the formats html and table, not {form}; oxisock diff compares files")
    args.old = None if args.diff is None else read_report(args.diff)
    for target in args.targets:
        _explain_target(target)
    options = {name: getattr(args, name) for name in FLAGS}
    options |= {"ports": args.ports, "trace": bool(args.trace or args.why)}
    if args.impl == "both":
        if args.checkpoint is not None:
            raise UsageError("--checkpoint is for one scan, and --impl both makes two")
        # Both scans have the same targets, but standard input can be read only once.
        from ..scanning.specs import parse_ports, parse_targets

        try:
            args.targets, options["ports"] = parse_targets(args.targets), parse_ports(args.ports)
        except ValueError as error:
            raise UsageError(str(error)) from None
    raise_descriptor_limit()
    exit_code = args.exit_code
    with executors.executor(args) as options["executor"]:
        try:
            with output(args.output, utf8=form not in ("table", "plain")) as stream:
                report, code = _scan_and_stream(args, options, form, stream, exit_code)
                if form != "ndjson":
                    stream.write(_render(report, form, args, stream))
                stream.flush()
        except socket.gaierror as error:
            message(f"no target resolves: {error.strerror or error}")
            return EXIT_NO
        # After SIGHUP, the terminal may be gone.
        with suppress(OSError) if code >= EXIT_INTERRUPTED - 1 else nullcontext():
            _comment(report, form, args)
        if code == EXIT_OK and args.impl == "both":
            code = _compare(args, options, report, exit_code)
    return code


def _explain_target(text: str) -> None:
    """Raise UsageError for a target that is a number, a URL or HOST:PORT."""
    host, port, word = "", "", ""
    if text.isdigit():
        raise UsageError(f"target {text!r} is a number: write a port behind -p, as in -p {text}")
    if "://" in text:
        host, port, _ = url_parts(text)
        word = "a URL"
    elif _HOST_PORT.fullmatch(text):
        host, _, port = text.rpartition(":")
        word = "HOST:PORT"
    if word:
        raise UsageError(
            f"{text!r} is {word}, and a target has no port: write oxisock scan {host.strip('[]')} -p {port}"
        )


def _scan_and_stream(
    args: argparse.Namespace, options: dict[str, Any], form: str, stream: IO[str], exit_code: Callable[[], int]
) -> tuple[ScanReport, int]:
    """Scan with the engine of the options, and write NDJSON as results come. Return the report and the exit code."""
    from ..scanning.formats import ndjson_result, ndjson_summary

    written: set[tuple[str, int]] = set()

    def write(result: PortResult) -> None:
        with held_back():  # each line is written whole, and once
            stream.write(ndjson_result(result) + "\n")
            stream.flush()
            written.add((result.address, result.port))

    streaming = form == "ndjson"
    # No bar if lines stream to the same terminal.
    wanted = not (streaming and stream is sys.stdout and is_terminal(sys.stdout))
    impl = "native" if args.impl == "both" else args.impl
    report, code = _scan(args.targets, options, impl, wanted, exit_code, write if streaming else None)
    if streaming:
        for result in report:  # Ctrl-C may have come before a result was written
            if (result.address, result.port) not in written:
                write(result)
        stream.write(ndjson_summary(report) + "\n")
    return report, code


def _scan(
    targets: Any,
    options: dict[str, Any],
    impl: str | None,
    bar: bool,
    exit_code: Callable[[], int],
    on_result: Any = None,
) -> tuple[ScanReport, int]:
    """Scan with one engine. Return the report, which is partial after a signal, and the exit code."""
    from ..scanning.checkpoint import NotWritten
    from ..scanning.report import ScanInterrupted

    try:
        with progress_bar("", bar) as on_progress:
            report = face(impl).scan(targets, on_result=on_result, on_progress=on_progress, **options)
    except ScanInterrupted as interrupted:
        return interrupted.report, exit_code()
    except NotWritten as error:
        known: ScanReport | None = getattr(error, "report", None)
        if known is None:  # no port was asked
            raise
        complain(describe(error))
        return known, EXIT_NO
    except ValueError as error:
        # This includes an excluded name that does not resolve.
        raise UsageError(getattr(error, "strerror", None) or str(error)) from None
    nobody = report.counts[PortState.ERROR] == sum(report.counts.values())
    return report, EXIT_NO if report.partial or nobody else EXIT_OK


def _render(report: ScanReport, form: str, args: argparse.Namespace, stream: IO[str]) -> str:
    from . import output as shown

    if form == "table":
        return _table(report, args, stream)
    if form == "html":
        return report.to_html(args.old)
    if form == "plain":
        return "".join(shown.plain_line(result, args.banner) + "\n" for result in report)
    if form == "json":
        return report.to_json(indent=2) + "\n"
    return report.to_csv() if form == "csv" else report.to_nmap_xml()


def _table(report: ScanReport, args: argparse.Namespace, stream: IO[str]) -> str:
    """Return the results as a table, the changes since the old report, and a summary."""
    from ..scanning import showing
    from .diff import difference_table
    from .output import STATE_COLOURS, folded, paint
    from .tables import table

    text = folded(showing.nothing(report), stream) + "\n"
    if report.results:
        states = {str(state): name for state, name in STATE_COLOURS.items()}
        found = showing.rows(report, args.banner)
        text = table(found, stream, right=(1, 4), colour=lambda row: states[row[2]], only=2, grouped=True)
    if args.old is not None:
        text += "\n" + difference_table(args.old, report, stream) + "\n"
    return text + paint(folded(showing.summary(report), stream), "dim", stream) + "\n"


def _comment(report: ScanReport, form: str, args: argparse.Namespace) -> None:
    """Write to stderr what a user must know besides the results."""
    from ..scanning.showing import nothing, remarks, summary

    if is_terminal(sys.stderr):
        if args.output not in (None, "-"):
            message(f"{summary(report)}; written to {args.output}")
        elif form == "plain" and not report.results:
            message(nothing(report))  # otherwise the terminal would show nothing at all
    for remark in remarks(report):
        message(remark)
    if args.trace:
        for event in report.trace or ():
            print(f"{Peer(event.address, event.port)!s:24} {event}", file=sys.stderr)
    if args.why:
        _explain(report, args.why)


def _explain(report: ScanReport, asked: Peer) -> None:
    """Write every probe and answer of one port to stderr. The host may be spelled as in the targets."""
    from ..sockets.resolving import host_addresses

    trail = report.why(*asked)
    if not trail:
        # The report knows a port that was not kept only by its address.
        try:
            addresses = host_addresses(asked.host)
        except OSError:
            addresses = []
        trail = next((found for address in addresses if (found := report.why(address, asked.port))), trail)
    if not trail:
        message(f"{asked} was not asked")
        return
    print(f"why {asked}:\n{trail}", file=sys.stderr)


def _compare(
    args: argparse.Namespace, options: dict[str, Any], native: ScanReport, exit_code: Callable[[], int]
) -> int:
    """Scan again with the pure engine, compare the results on stderr, and return the exit code."""
    from ..scanning.showing import summary
    from .output import paint

    pure, code = _scan(args.targets, options, "pure", True, exit_code)
    if code != EXIT_OK:
        return code
    for name, report in (("native", native), ("pure", pure)):
        message(f"{name:6} {summary(report)}")
    states = [{(r.address, r.port): r.state for r in report} for report in (native, pure)]
    differing = [key for key in states[0] | states[1] if states[0].get(key) is not states[1].get(key)]
    if not differing:
        message(paint("the engines agree", "green", sys.stderr) if coloured(sys.stderr) else "the engines agree")
        return EXIT_OK
    for key in differing:
        here, there = (state.get(key, "not among the results") for state in states)
        message(f"{Peer(*key)}: native says {here}, pure says {there}")
    message("the engines do not agree")
    return EXIT_NO
