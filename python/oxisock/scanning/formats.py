"""Scan reports as JSON, NDJSON and CSV, and banners as text that is safe to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..text import escape
from ..types import PortResult

if TYPE_CHECKING:
    from .report import ScanReport

SCHEMA = 1
"""The version of the JSON and NDJSON formats. It changes only if readers of the old format would fail."""


def header(report: ScanReport) -> dict[str, Any]:
    """Return everything but the results as JSON-ready values."""
    return {
        "schema": SCHEMA,
        "partial": report.partial,
        "started": report.started,
        "elapsed": report.elapsed,
        "seed": report.seed,
        "addresses": report.addresses,
        "targets": report.targets,
        "ports": report.ports,
        "exclude": report.exclude,
        "names": report.names,
        "not_asked": [part._asdict() for part in report.not_asked],
        "suspicious": report.suspicious,
        "counts": {str(state): count for state, count in report.counts.items()},
        "stats": report.stats._asdict(),
        "unresolved": report.unresolved,
        "sources": [source._asdict() for source in report.sources],
    }


def to_json(report: ScanReport, indent: int | None) -> str:
    """Return the report as one JSON object."""
    import json

    return json.dumps(header(report) | {"results": [result.to_dict() for result in report.results]}, indent=indent)


def ndjson_result(result: PortResult) -> str:
    """Return one result as a line of NDJSON, without its end of line."""
    import json

    return json.dumps({"type": "result"} | result.to_dict())


def ndjson_summary(report: ScanReport) -> str:
    """Return the summary, which is the last line of NDJSON, without its end of line."""
    import json

    return json.dumps({"type": "summary"} | header(report))


def to_ndjson(report: ScanReport) -> str:
    """Return the report as lines of JSON, the summary last."""
    return "\n".join([*map(ndjson_result, report.results), ndjson_summary(report)]) + "\n"


def to_csv(report: ScanReport) -> str:
    """Return the results as CSV with a header line."""
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PortResult._fields)
    for result in report.results:
        texts = {name: _cell(value) for name in ("host", "reason", "service") if (value := getattr(result, name))}
        if result.banner is not None:
            texts["banner"] = _no_formula(banner_text(result.banner))
        writer.writerow((result._asdict() | texts).values())
    return text.getvalue()


def _cell(text: str) -> str:
    """Return a text as one line that is not a formula."""
    return _no_formula(text if text.isprintable() else escape(text))


def _no_formula(text: str) -> str:
    """Escape a first character that begins a formula in a spreadsheet."""
    return f"\\x{ord(text[0]):02x}{text[1:]}" if text.startswith(("=", "+", "-", "@")) else text


def banner_text(banner: bytes) -> str:
    """Return a banner as text that is safe on a terminal.

    The text is decoded as UTF-8. Characters that are not printable (control characters, changes of writing direction),
    bytes that are not UTF-8, and the backslash are escaped as in a Python string, so no information is lost.
    """
    return escape(banner.decode("utf-8", "surrogateescape"))
