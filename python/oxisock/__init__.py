"""Scan ports, frame messages, run TCP, UDP and chat servers: one face, two engines.

``oxisock.NAME`` is bound to the engine that the environment variable ``OXISOCK_IMPL`` selects ("native" unless it says
"pure"); ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same thing bound to one engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines import selected as _selected
from .errors import ScanInterrupted
from .report import PortChange, ReportDiff, ScanReport
from .scan import Scanner as _Scanner
from .scan_run import Scan
from .services import service_name
from .specs import parse_ports, parse_targets
from .targets import Targets
from .types import (
    Datagram,
    Peer,
    PortResult,
    PortState,
    ProbeEvent,
    Progress,
    ScanStats,
    ServerStats,
    StopReport,
)
from .udp import udp_request

# Type checkers see the pure engine, so no stub of the public face can drift.
if TYPE_CHECKING or _selected() == "pure":
    from . import pure as _bound
    from .pure import UdpEchoServer, UdpServer
else:
    from . import native as _bound
    from .native import UdpEchoServer, UdpServer

impl = _bound.impl

_scanner: _Scanner = _bound._scanner
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "impl",
    # scanning
    "Scan",
    "ScanInterrupted",
    "check_host",
    "scan",
    "scan_host",
    "scan_iter",
    "scan_port",
    "wait_for_port",
    # targets, ports and services
    "Targets",
    "parse_ports",
    "parse_targets",
    "service_name",
    # UDP
    "UdpEchoServer",
    "UdpServer",
    "udp_request",
    # values
    "Datagram",
    "Peer",
    "PortResult",
    "PortState",
    "ProbeEvent",
    "Progress",
    "ScanStats",
    "ServerStats",
    "StopReport",
    # reports
    "PortChange",
    "ReportDiff",
    "ScanReport",
]
