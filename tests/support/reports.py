"""Reports made by hand, and two of the same hosts at two times."""

from __future__ import annotations

from oxisock import PortResult, PortState, ScanReport, ScanStats

HOST = "127.0.0.1"


def made(*results: tuple[int, PortState], partial: bool = False, banner: bytes | None = None) -> ScanReport:
    found = [
        PortResult(HOST, HOST, port, state, "syn-ack" if state == "open" else "conn-refused", 0.001, None, banner)
        for port, state in results
    ]
    counts = {state: sum(result.state is state for result in found) for state in PortState}
    return ScanReport(results=found, counts=counts, stats=ScanStats(), partial=partial)


OPEN, CLOSED, FILTERED, ERROR = PortState
OLD = made((22, OPEN), (80, OPEN), (443, CLOSED), (8080, CLOSED), banner=b"a")
NEW = made((22, OPEN), (80, CLOSED), (443, OPEN), (8080, FILTERED), banner=b"a")
