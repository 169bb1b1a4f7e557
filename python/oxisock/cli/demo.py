"""``oxisock demo``: every TCP port of this machine, by both engines, side by side."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from . import EXIT_NO, EXIT_OK, raise_descriptor_limit
from .output import milliseconds, paint, table
from .progress import progress_bar

if TYPE_CHECKING:
    from ..report import ScanReport

_HOST = "127.0.0.1"
_LISTENERS = 3


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="scan this machine with both engines",
        description="Scan every TCP port of this machine with the native engine, then with the pure one, and compare.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Open a few ports, scan all of them twice, and tell what came of it."""
    import socket

    import oxisock.native
    import oxisock.pure

    raise_descriptor_limit()
    out = sys.stdout
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((_HOST, 0))) for _ in range(_LISTENERS)]
        ours = {server.getsockname()[1] for server in servers}
        print(paint(f"oxisock {oxisock.__version__}: every TCP port of {_HOST}, by both engines", "bold", out))
        print(f"The demo listens on {_LISTENERS} ports of its own, so that there is something to find.\n", flush=True)
        reports = {}
        for face in (oxisock.native, oxisock.pure):
            with progress_bar(f"{face.impl:6}  ") as on_progress:
                report = face.scan(_HOST, "1-65535", on_progress=on_progress)
            reports[face.impl] = report
            print(_timing(face.impl, report), flush=True)
        print()
        rows = [["PORT", "SERVICE", "RTT ms", ""]]
        for result in reports["native"].open:
            whose = "opened by this demo" if result.port in ours else ""
            rows.append([str(result.port), result.service or "-", milliseconds(result.rtt), whose])
        print(table(rows, out, right=(0, 2)))
        native, pure = reports["native"], reports["pure"]
        print(f"native is {pure.elapsed / native.elapsed:.1f} times as fast as pure.")
        disputed = {result.port for result in native.open} ^ {result.port for result in pure.open}
        # Other programs come and go: what only one engine saw is asked again by both, now.
        differing = [port for port in sorted(disputed) if _state(oxisock.native, port) != _state(oxisock.pure, port)]
        if missed := ours - {result.port for result in native.open + pure.open}:
            differing += sorted(missed)
        if differing:
            print(paint(f"The engines do not agree on {differing}.", "red", out))
            return EXIT_NO
        print(paint("The engines agree on every port.", "green", out))
        if disputed:
            print(f"({sorted(disputed)} opened or closed between the two scans; asked again, both say the same.)")
    return EXIT_OK


def _timing(name: str, report: ScanReport) -> str:
    done = sum(report.counts.values())
    return (
        f"{name:6}  {done:,} ports in {report.elapsed:6.2f} s  {report.stats.rate:10,.0f} ports/s  "
        f"{report.counts['open']:,} open"  # type: ignore[index]
    )


def _state(face: Any, port: int) -> str:
    state: str = face.scan_port(_HOST, port).state
    return state
