"""Scan ports, frame messages, run TCP, UDP and chat servers: one face, two engines.

``oxisock.NAME`` is bound to the engine that the environment variable ``OXISOCK_IMPL`` selects ("native" unless it says
"pure"); ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same thing bound to one engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines import selected as _selected
from .errors import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame, ScanInterrupted
from .framing import Codec, Decoder
from .report import PortChange, ReportDiff, ScanReport
from .request import Requests as _Requests
from .scan import Scanner as _Scanner
from .scan_run import Scan
from .servers import Faults
from .services import service_name
from .specs import parse_ports, parse_targets
from .targets import Targets
from .threaded import ThreadConnection
from .types import (
    Datagram,
    Peer,
    PortResult,
    PortState,
    ProbeEvent,
    Progress,
    ScanStats,
    ServerStats,
    SkippedFrame,
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

from . import presets

impl = _bound.impl

_scanner: _Scanner = _bound._scanner
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port

Delimiter = _bound.Delimiter
Fixed = _bound.Fixed
LengthPrefix = _bound.LengthPrefix
Lines = _bound.Lines
MultiprocessingPrefix = _bound.MultiprocessingPrefix
Netstring = _bound.Netstring
OctetCounted = _bound.OctetCounted
Varint = _bound.Varint
FramedSocket = _bound.FramedSocket
connect = FramedSocket.connect

EchoServer = _bound.EchoServer
MessageServer = _bound.MessageServer
ThreadedServer = _bound.ThreadedServer
_requests: _Requests = _bound._requests
tcp_request = _requests.tcp_request

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
    # framing
    "LengthPrefix",
    "Varint",
    "Netstring",
    "Fixed",
    "Delimiter",
    "Lines",
    "OctetCounted",
    "MultiprocessingPrefix",
    "Codec",
    "Decoder",
    "FrameCorrupt",
    "FrameError",
    "FrameTooLong",
    "IncompleteFrame",
    "FramedSocket",
    "SkippedFrame",
    "connect",
    "presets",
    # TCP servers
    "EchoServer",
    "Faults",
    "MessageServer",
    "ThreadConnection",
    "ThreadedServer",
    "tcp_request",
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
