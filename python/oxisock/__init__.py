"""Scan ports, frame messages, run TCP, UDP and chat servers: one face, two engines.

``oxisock.NAME`` is bound to the engine that the environment variable ``OXISOCK_IMPL`` selects ("native" unless it says
"pure"); ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same thing bound to one engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines import selected as _selected
from .report import PortChange, ReportDiff, ScanReport
from .types import Peer, PortResult, PortState, ProbeEvent, Progress, ScanStats

# Type checkers see the pure engine, so no stub of the public face can drift.
if TYPE_CHECKING or _selected() == "pure":
    from .pure import impl
else:
    from .native import impl

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "impl",
    # values
    "Peer",
    "PortResult",
    "PortState",
    "ProbeEvent",
    "Progress",
    "ScanStats",
    # reports
    "PortChange",
    "ReportDiff",
    "ScanReport",
]
