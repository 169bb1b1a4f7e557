"""Scan ports, frame messages, run TCP, UDP and chat servers: one face, two engines.

``oxisock.NAME`` is bound to the engine that the environment variable ``OXISOCK_IMPL`` selects ("native" unless it says
"pure"); ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same thing bound to one engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines import selected as _selected
from .services import service_name
from .specs import parse_ports, parse_targets
from .targets import Targets
from .types import Datagram, Peer, PortResult, PortState, Progress, ScanStats, ServerStats, StopReport

# Type checkers see the pure engine, so no stub of the public face can drift.
if TYPE_CHECKING or _selected() == "pure":
    from .pure import UdpEchoServer, UdpServer, impl, udp_request
else:
    from .native import UdpEchoServer, UdpServer, impl, udp_request

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "impl",
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
    "Progress",
    "ScanStats",
    "ServerStats",
    "StopReport",
]
