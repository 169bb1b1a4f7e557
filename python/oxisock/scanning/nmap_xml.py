"""Scan reports in nmap's XML format, which many tools read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ..sockets.addresses import reads_as_address
from ..text import escape
from ..types import PortResult, PortState
from ..version import VERSION
from .asked import checked_ports
from .formats import banner_text
from .specs import chosen_ports, format_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .report import ScanReport

_STATES: dict[str, str] = {
    PortState.OPEN: "open",
    PortState.CLOSED: "closed",
    PortState.FILTERED: "filtered",
    PortState.ERROR: "unknown",  # nmap has no state for a fault of its own machine
}
_UNREACHABLE = frozenset({"host-unreachable", "net-unreachable", "proto-unreachable"})


def to_nmap_xml(report: ScanReport) -> str:
    """Return the report in nmap's XML."""
    return "\n".join(_lines(report)) + "\n"


def _tag(element: str, end: str = "/", /, **attributes: object) -> str:
    """Return a tag whose attribute values are safe: XML 1.0 cannot hold most control characters, even escaped."""
    from xml.sax.saxutils import quoteattr

    values = {key: text if (text := str(value)).isprintable() else escape(text) for key, value in attributes.items()}
    return f"<{element}{''.join(f' {key}={quoteattr(text)}' for key, text in values.items())}{end}>"


def _lines(report: ScanReport) -> Iterator[str]:
    start = report.started or 0.0
    end = min(start + report.elapsed, sys.float_info.max)
    hosts = report.hosts
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield "<!DOCTYPE nmaprun>"
    yield _tag(
        "nmaprun", "", scanner="oxisock", args="oxisock scan", start=int(start),
        startstr=_date(start), version=VERSION, xmloutputversion="1.05",
    )  # fmt: skip
    # The ports that were asked, so that readers can tell "closed" from "not asked".
    services = report.ports or ""
    if not services and report.results:
        services = format_ports(chosen_ports({result.port for result in report.results}))
    asked = len(checked_ports(services, "ports")) if services else 0
    yield _tag("scaninfo", type="connect", protocol="tcp", numservices=asked, services=services)
    yield _tag("verbose", level=0)
    yield _tag("debugging", level=0)
    for name in report.unresolved:
        yield _tag("target", specification=name, status="skipped", reason="invalid")
    # The counts belong to the whole scan, so the ports that were not kept are known only for a single address.
    dropped = _dropped(report) if report.addresses == 1 else {}
    if report.addresses == 1 and not hosts and (only := _only_address(report)):
        hosts = {only: []}
    total = len(hosts) if report.addresses is None else report.addresses
    up = down = 0
    for address, results in hosts.items():
        state, reason = _host_state(results, dropped)
        up += state == "up"
        down += state == "down"
        yield _tag("host", "", starttime=int(start), endtime=int(end))
        yield _tag("status", state=state, reason=reason, reason_ttl=0)
        yield _tag("address", addr=address, addrtype="ipv6" if ":" in address else "ipv4")
        yield "<hostnames>"
        names = report.names.get(address) or [result.host for result in results[:1]]
        for name in names:
            if name != address:
                yield _tag("hostname", name=name, type="user")
        yield "</hostnames>"
        yield "<ports>"
        for port_state, count in dropped.items():
            yield _tag("extraports", "", state=_STATES[port_state], count=count) + "</extraports>"
        for result in results:
            yield from _port(result)
        yield "</ports>"
        yield "</host>"
    if report.stats.hosts:
        up, down = report.stats.hosts_up, report.stats.hosts_unreachable
    yield "<runstats>"
    summary = f"oxisock done; {total} IP addresses ({up} hosts up) scanned in {report.elapsed:.2f} seconds"
    finished = {"time": int(end), "timestr": _date(end), "summary": summary}
    finished |= {"elapsed": f"{report.elapsed:.2f}"}
    if report.partial:
        finished |= {"exit": "error", "errormsg": "the scan ended before every port was decided"}
    else:
        finished |= {"exit": "success"}
    yield _tag("finished", **finished)
    yield _tag("hosts", up=up, down=down, total=total)
    yield "</runstats>"
    yield "</nmaprun>"


def _dropped(report: ScanReport) -> dict[str, int]:
    """Return the number of ports in each state that were not kept."""
    left = dict(report.counts)
    for result in report.results:
        left[result.state] -= 1
    return {state: count for state, count in left.items() if count > 0}


def _date(seconds: float) -> str:
    """Return a date as nmap writes it; "unknown" for a time that the system cannot represent."""
    import time

    try:
        return time.asctime(time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "unknown"


def _only_address(report: ScanReport) -> str | None:
    """Return the address of a report that has only one, even if no result was kept; None if it is not known."""
    candidates = [*report.names, *(report.targets or ())]
    return next((text for text in candidates if reads_as_address(text) and "/" not in text), None)


def _host_state(results: list[PortResult], dropped: dict[str, int]) -> tuple[str, str]:
    """Return nmap's state of a host and the reason: up if it answered, down if it is unreachable.

    ``dropped`` has the numbers of ports that were not kept, by state.
    """
    if dropped.get(PortState.CLOSED):
        return "up", "conn-refused"
    for result in results:
        if result.state in (PortState.OPEN, PortState.CLOSED):
            return "up", result.reason
    if not results:
        return "unknown", "no-response"
    if all(result.reason in _UNREACHABLE for result in results):
        return "down", results[0].reason
    return "unknown", results[0].reason


def _port(result: PortResult) -> Iterator[str]:
    yield _tag("port", "", protocol="tcp", portid=result.port)
    yield _tag("state", state=_STATES[result.state], reason=result.reason, reason_ttl=0)
    if result.service is not None:
        yield _tag("service", name=result.service, method="table", conf=3)
    if result.banner is not None:
        yield _tag("script", id="banner", output=banner_text(result.banner))
    yield "</port>"
