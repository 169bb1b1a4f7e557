"""Scan ports, frame messages, run TCP, UDP and chat servers: one face, two engines.

``oxisock.NAME`` is bound to the engine that the environment variable ``OXISOCK_IMPL`` selects ("native" unless it says
"pure"); ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same thing bound to one engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .scan import Scanner as _Scanner
from .selection import check as _check
from .selection import selected as _selected

impl = _selected()
_check(impl)

# Bound at once, because the function would otherwise hide behind the module of its name.
_scanner: _Scanner = _Scanner.of(impl)
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
    # chat
    "ChatClient",
    "ChatError",
    "ChatEvent",
    "ChatMember",
    "ChatServer",
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

if TYPE_CHECKING:
    # Type checkers see the pure engine, so no stub of the public face can drift.
    from . import native as native
    from . import presets
    from . import pure as _bound
    from . import pure as pure
    from .chat import ChatEvent, ChatMember
    from .errors import ChatError, FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame, ScanInterrupted
    from .framing import Codec, Decoder
    from .report import PortChange, ReportDiff, ScanReport
    from .scan_run import Scan
    from .servers import Faults
    from .services import service_name
    from .specs import parse_ports, parse_targets
    from .targets import Targets
    from .thread_connection import ThreadConnection
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
    tcp_request = _bound._requests.tcp_request

    UdpEchoServer = _bound.UdpEchoServer
    UdpServer = _bound.UdpServer

    ChatClient = _bound.ChatClient
    ChatServer = _bound.ChatServer
else:
    # Everything else is loaded when the first of it is asked for, which keeps `import oxisock` light.
    _MODULES = ("aio", "native", "presets", "pure", "testing")

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"oxisock.{name}")
        if name not in __all__:
            raise AttributeError(f"module 'oxisock' has no attribute {name!r}")
        bound = vars(import_module(f"oxisock.{impl}"))
        globals().update({each: bound[each] for each in __all__ if each in bound and each not in _MODULES})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
