"""``oxisock diff``: what changed between two scans?"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from ..scanning.showing import change_rows, changes
from ..text import plural
from . import EXIT_NO, EXIT_OK, UsageError
from .arguments import examples
from .output import format_by_name, message, output
from .streams import read_input
from .tables import table

if TYPE_CHECKING:
    from ..scanning.report import ReportDiff, ScanReport

_COLOURS = {"opened": "green", "closed": "red", "changed": "yellow"}


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "diff",
        help="compare two scans",
        description="Compare two reports that scan wrote with --format json or ndjson. The exit code is 1 if a "
        "port differs, else 0. Ports that only one of them asked are not compared. In a pipe, the columns are "
        "CHANGE, HOST, PORT, STATE BEFORE, STATE NOW and SERVICE, with tabs between them; - means unknown.",
        **examples("oxisock diff old.json new.json", "oxisock scan localhost --format json | oxisock diff old.json -"),
    )
    parser.set_defaults(run=run)
    parser.add_argument("old", metavar="OLD", help="the older report, - for stdin")
    parser.add_argument("new", metavar="NEW", help="the newer report, - for stdin")
    parser.add_argument("--format", choices=("table", "plain", "json"), help="default: table on a terminal, else plain")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE")


def run(args: argparse.Namespace) -> int:
    """Read both reports, and print the differences."""
    if args.old == args.new == "-":
        raise UsageError("only one of the reports can come from stdin")
    form = args.format or format_by_name(args.output, {".txt": "plain", ".tsv": "plain", ".json": "json"})
    old, new = (read_report(path) for path in (args.old, args.new))
    for path, report in ((args.old, old), (args.new, new)):
        if report.partial:
            message(f"{path} is partial: ports that it does not mention are not compared")
    difference, reasons = old.diff(new), Counter[tuple[str, str]]()
    there = {(result.address, result.port) for result in old}
    for result, why in old.left_out(new):
        # The reason belongs to the report that does not have the port.
        reasons[args.new if (result.address, result.port) in there else args.old, why] += 1
    for (path, why), count in reasons.items():
        if why != "is partial":
            message(f"{plural(count, 'open port')} of the other report not compared: {path} {why}")
    with output(args.output, utf8=form == "json") as stream:
        if form == "json":
            stream.write(_json(difference) + "\n")
        elif form == "plain":
            stream.write("".join("\t".join(row) + "\n" for row in changes(difference, old, new)))
        else:
            stream.write(difference_table(old, new, stream))
    return EXIT_NO if difference else EXIT_OK


def read_report(path: str) -> ScanReport:
    """Read a report in either format. JSON is one object; NDJSON has an object with a type on each line."""
    import json

    from ..scanning.report import ScanReport

    text = read_input(path)
    try:
        first = json.loads(text.lstrip().split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        first = None  # JSON over several lines, or no report at all
    try:
        if isinstance(first, dict) and "type" in first:
            return ScanReport.from_ndjson(text)
        return ScanReport.from_json(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None


def difference_table(old: ScanReport, new: ScanReport, stream: IO[str]) -> str:
    """Return a table of the differences, or a sentence if there are none."""
    found = change_rows(old, new)
    if not found:
        return "no difference\n"
    return table(found, stream, right=(2,), fold=(1,), colour=lambda row: _COLOURS[row[0]])


def _json(difference: ReportDiff) -> str:
    import json

    document = {
        "opened": [result.to_dict() for result in difference.opened],
        "closed": [result.to_dict() for result in difference.closed],
        "changed": [{"before": old.to_dict(), "after": new.to_dict()} for old, new in difference.changed],
    }
    return json.dumps(document, indent=2)
