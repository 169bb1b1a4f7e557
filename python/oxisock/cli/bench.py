"""``oxisock bench``: how fast is native on this machine, compared with pure and other programs?"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

from . import EXIT_NO, EXIT_OK, UsageError, raise_descriptor_limit
from .arguments import count, examples
from .output import check_output, is_terminal, message, output, paint
from .progress import work_bar
from .tables import aligned, wrapped

if TYPE_CHECKING:
    from ..bench import Scenario
    from ..bench.report.document import Document
    from ..bench.running import Measured

_FILES = ("json", "plot", "html", "markdown")
_BESIDE = {
    "scans across a network": "benchmarks-network.md",
    "one chat room on many nodes": "benchmarks-nodes.md",
    "scans of a simulated /8": "scale.md",
}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="compare the speed of both engines, asyncio, uvloop and nmap",
        description="Time native and pure side by side, in interleaved rounds, beside nmap, asyncio and "
        "uvloop if they are installed, and check every answer. It takes less than three "
        "minutes. The exit code is 1 if an answer was wrong.",
        **examples(
            "oxisock bench --quick",
            "oxisock bench --only scan,echo --details",
            "oxisock bench --json run.json --plot chart.svg --html page.html",
            "oxisock bench --from run.json --html page.html",
        ),
    )
    parser.set_defaults(run=run)
    parser.add_argument("--quick", action="store_true", help="a part of the scenarios, in less than 20 seconds")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GROUP,...",
        help="only these groups: scan, echo, udp, framing, message, tls, chat",
    )
    parser.add_argument(
        "--rounds", type=count(), metavar="N", help="runs of each contender (default: what time allows)"
    )
    parser.add_argument("--details", action="store_true", help="a table of all contenders for each scenario, too")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON; - is stdout, instead of the table")
    parser.add_argument("--plot", metavar="FILE", help="draw them as .svg or .png (needs oxisock[bench])")
    parser.add_argument("--html", metavar="FILE", help="write them as a page for a browser")
    parser.add_argument("--markdown", metavar="FILE", help="write them as a page of documentation")
    parser.add_argument("--from", dest="source", metavar="FILE", help="do not measure; read the JSON of an earlier run")


def run(args: argparse.Namespace) -> int:
    """Measure, show the table, and write the files of the options."""
    scenarios = [] if args.source else _scenarios(args)
    _check_files(args)
    document, code = (_read(args), EXIT_OK) if args.source else _measure(args, scenarios)
    if document is None:
        message("interrupted before the first scenario was complete")
        return code
    try:
        _write_files(document, args)
    finally:
        # The measurement took minutes. Show it even if the disk is full.
        if "-" not in [getattr(args, name) for name in _FILES]:
            _show(document, args.details)
        _comment(document, scenarios)
    if any(scenario["wrong"] for scenario in document["scenarios"]) and code == EXIT_OK:
        return EXIT_NO
    return code


def _scenarios(args: argparse.Namespace) -> list[Scenario]:
    from .. import bench

    try:
        return bench.load([name.strip() for names in args.only for name in names.split(",")], args.quick)
    except ValueError as error:
        raise UsageError(str(error)) from None


def _check_files(args: argparse.Namespace) -> None:
    """Check that all files can be written, before anything is timed."""
    from importlib.util import find_spec

    from ..bench.report.chart import SUFFIXES

    if args.source and (args.quick or args.only or args.rounds):
        raise UsageError("--from takes a run that is over: --quick, --only and --rounds do not go with it")
    paths = [path for name in _FILES if (path := getattr(args, name))]
    if paths.count("-") > 1:
        raise UsageError("only one file can be stdout (-)")
    if args.plot and not args.plot.lower().endswith(SUFFIXES):
        raise UsageError(f"--plot {args.plot}: expected a name that ends with {' or '.join(SUFFIXES)}")
    if args.plot and find_spec("matplotlib") is None:
        raise UsageError('--plot needs matplotlib: pip install "oxisock[bench]" (--html draws without it)')
    for path in paths:
        check_output(path)


def _read(args: argparse.Namespace) -> Document:
    from ..bench.report import document

    try:
        with open(args.source, encoding="utf-8") as stream:
            return document.read(stream.read())
    except ValueError as error:
        raise UsageError(f"{args.source}: {error}") from None


def _measure(args: argparse.Namespace, scenarios: list[Scenario]) -> tuple[Document | None, int]:
    """Run the scenarios. Return the complete results (None if there are none) and the exit code."""
    from ..bench import running
    from ..bench.report.document import document
    from ..bench.report.environment import Watch

    raise_descriptor_limit()
    pace = running.QUICK if args.quick else running.FULL
    if args.rounds:
        pace = running.Pace(args.rounds, args.rounds, pace.seconds)
    measured: list[Measured] = []
    watch, code = Watch(), EXIT_OK
    try:
        with work_bar() as progress:
            measured.extend(running.run_all(scenarios, pace, progress))
    except KeyboardInterrupt:
        code = args.exit_code()
    if not measured:
        return None, code
    return document(measured, watch.environment(quick=args.quick, interrupted=code != EXIT_OK)), code


def _show(document: Document, details: bool) -> None:
    """Print the table, as wide as the terminal allows."""
    from ..bench.report import text

    width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None

    def show(line: str, style: str) -> None:
        for part in wrapped(line, width) if width else [line]:
            print(paint(part, style, sys.stdout) if style else part)

    for line, style in _layout([text.HEADING, *map(text.row, document["scenarios"])], width):
        show(line, style)
    print()
    for line in (*text.LEGEND, *text.facts(document)):
        show(line, "dim")
    for scenario in document["scenarios"] if details else ():
        print()
        show(f"{scenario['name']}: {scenario['operations']:,} {scenario['unit']} a run", "bold")
        print(_details(text.details(scenario), width), end="")
    sys.stdout.flush()


def _layout(rows: list[tuple[str, ...]], width: int | None) -> list[tuple[str, str]]:
    """Return the lines of the table, each with its style. On a narrow terminal, the others are below the engines.

    On an even narrower terminal, the cost of an operation is only in the details, and names are above their figures.
    """
    from ..bench.report.text import RIGHT

    lines = aligned(rows, RIGHT).splitlines()
    if width is None or max(map(len, lines)) <= width:
        return [(line, "" if at else "bold") for at, line in enumerate(lines)]
    lines = aligned([row[:-1] for row in rows], RIGHT).splitlines()
    if max(map(len, lines)) > width:
        lines = aligned([(row[0], *row[2:5]) for row in rows], range(1, 4)).splitlines()
    named = max(map(len, lines)) <= width
    if not named:
        lines = [f"  {line}" for line in aligned([row[2:5] for row in rows], range(3)).splitlines()]
    found = [(lines[0], "bold")]
    for line, row in zip(lines[1:], rows[1:], strict=True):
        found += [(line, "")] if named else [(row[0], "cyan"), (line, "")]
        if row[-1] != "-":
            whole = row[-1].replace(" ", "\xa0").replace(",\xa0", ", ")  # a name and its figure stay together
            found += ((f"    {part}".replace("\xa0", " "), "dim") for part in wrapped(whole, width - 4))
    return found


def _details(rows: list[tuple[str, ...]], width: int | None) -> str:
    """Return all contenders of a scenario. A narrow terminal gets no extremes, then ratios only, then no ranges."""
    candidates = [
        rows,
        [(*row[:2], *row[4:]) for row in rows],
        [(*row[:2], row[5]) for row in rows],
        [(*row[:2], row[5].partition(" (")[0]) for row in rows],
    ]
    tables = [aligned(candidate, range(1, len(candidate[0]))) for candidate in candidates]
    return next((each for each in tables if width is None or max(map(len, each.splitlines())) <= width), tables[-1])


def _comment(document: Document, scenarios: list[Scenario]) -> None:
    """Write to stderr what a reader must know to judge the figures."""
    from .. import bench
    from ..bench.report import text

    for line in text.warnings(document):
        if line == text.QUICK and scenarios:
            groups = {scenario.group for scenario in scenarios}
            every = len(bench.load([group for group in bench.GROUPS if group in groups]))
            line = f"{line[:-1]}; without --quick there are {every} rather than {len(scenarios)}, and more rounds."
        message(line[0].lower() + line[1:].rstrip("."))


def _write_files(document: Document, args: argparse.Namespace) -> None:
    from ..bench.report import chart, html, markdown
    from ..bench.report import document as documents

    if args.json:
        _write(args.json, documents.write(document))
    if args.plot:
        _write(args.plot, chart.picture(document, os.path.splitext(args.plot.lower())[1]))
    if args.html:
        _write(args.html, html.page(document))
    if args.markdown:
        folder = os.path.dirname(os.path.realpath(args.markdown))
        plot = os.path.relpath(os.path.realpath(args.plot), folder).replace(os.sep, "/") if args.plot else None
        beside = {title: name for title, name in _BESIDE.items() if os.path.exists(os.path.join(folder, name))}
        _write(args.markdown, markdown.page(document, plot, beside))


def _write(path: str, content: str | bytes) -> None:
    with output(path, binary=isinstance(content, bytes)) as stream:
        stream.write(content)
    if path != "-" and is_terminal(sys.stderr):
        message(f"written to {path}")
