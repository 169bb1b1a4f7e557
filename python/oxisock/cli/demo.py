"""``oxisock demo``: scans all TCP ports of this machine and runs a few servers, with both engines."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..text import milliseconds
from . import EXIT_NO, EXIT_OK, raise_descriptor_limit
from .demo_chat import conversation
from .output import folded, paint
from .progress import progress_bar
from .tables import table

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scanning.report import ScanReport
    from ..types import Peer

_HOST = "127.0.0.1"
_ROUNDS = 200


def add_parser(subparsers: Any) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="scan this machine and serve, with both engines",
        description="Run servers of both engines, scan every TCP port of this machine with the native engine, "
        "then with the pure one, compare, and talk to the servers.",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a few servers, scan all ports with both engines, and print what the scans found."""
    import oxisock.native
    import oxisock.pure

    raise_descriptor_limit()
    out = sys.stdout
    with ExitStack() as stack:
        faces = (oxisock.native, oxisock.pure)
        echoes = {face.impl: stack.enter_context(face.EchoServer(_HOST)) for face in faces}
        uppers = {face.impl: stack.enter_context(face.MessageServer(_upper, _HOST)) for face in faces}
        ours = {server.address.port for server in (*echoes.values(), *uppers.values())}
        _say(f"oxisock {oxisock.__version__}: every TCP port of {_HOST}, by both engines", "bold")
        _say(f"The demo runs {len(ours)} servers of its own, so that there is something to find.")
        print(flush=True)
        reports = {}
        for face in faces:
            with progress_bar(f"{face.impl:6}  ") as on_progress:
                report = face.scan(_HOST, "1-65535", on_progress=on_progress)
            reports[face.impl] = report
            _say(_timing(face.impl, report))
        print()
        rows = [["PORT", "SERVICE", "RTT ms", ""]]
        for result in reports["native"].open:
            whose = "opened by this demo" if result.port in ours else ""
            rows.append([str(result.port), result.service or "-", milliseconds(result.rtt), whose])
        print(table(rows, out, right=(0, 2)))
        native, pure = reports["native"], reports["pure"]
        print(f"native is {pure.elapsed / native.elapsed:.1f} times as fast as pure.")
        disputed = {result.port for result in native.open} ^ {result.port for result in pure.open}
        # Other programs may open and close ports. Both engines ask again for ports that only one of them saw.
        differing = [port for port in sorted(disputed) if _state(oxisock.native, port) != _state(oxisock.pure, port)]
        if missed := ours - {result.port for result in native.open + pure.open}:
            differing += sorted(missed)
        if differing:
            _say(f"The engines do not agree on {differing}.", "red")
            return EXIT_NO
        _say("The engines agree on every port.", "green")
        if disputed:
            ports = ", ".join(map(str, sorted(disputed)))
            _say(f"({ports} opened or closed between the two scans; asked again, both say the same.)")
        print()
        rows = [["SERVER", "ENGINE", "SENT", "CAME BACK", "ROUND TRIP ms"]]
        for face in faces:
            for name, server in (("echo", echoes[face.impl]), ("upper", uppers[face.impl])):
                rows.append([name, face.impl, *_lines(face, server.address)])
            with face.UdpEchoServer(_HOST, prefix=b"ACK: ") as server:
                rows.append(["udp", face.impl, *_datagrams(face, server.address)])
        print(table(rows, out, right=(4,)))
        for face in faces:
            conversation(face)
    return EXIT_OK


def _say(text: str, colour: str = "") -> None:
    text = folded(text, sys.stdout)
    print(paint(text, colour, sys.stdout) if colour else text, flush=True)


def _upper(message: bytes, peer: Peer) -> bytes:
    return message.upper()


def _round_trips(ask: Callable[[bytes], bytes]) -> tuple[str, str, str]:
    """Ask the same many times. Return the payload, the last answer and the median time in ms."""
    import statistics
    import time

    payload, answer, times = b"hello", b"", []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        answer = ask(payload)
        times.append(time.perf_counter() - began)
    return payload.decode(), answer.decode(), milliseconds(statistics.median(times))


def _lines(face: Any, address: Peer) -> tuple[str, str, str]:
    """Send lines over one connection."""
    with face.connect(*address, face.Lines()) as framed:

        def ask(line: bytes) -> bytes:
            framed.send(line)
            answer: bytes = framed.recv()
            return answer

        return _round_trips(ask)


def _datagrams(face: Any, address: Peer) -> tuple[str, str, str]:
    """Send datagrams, each from a new socket."""
    return _round_trips(lambda payload: face.udp_request(*address, payload, retries=2))


def _timing(name: str, report: ScanReport) -> str:
    done = sum(report.counts.values())
    return (
        f"{name:6}  {done:,} ports in {report.elapsed:6.2f} s  {report.stats.rate:10,.0f} ports/s  "
        f"{report.counts['open']:,} open"
    )


def _state(face: Any, port: int) -> str:
    state: str = face.scan_port(_HOST, port).state
    return state
