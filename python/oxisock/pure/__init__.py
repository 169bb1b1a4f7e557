"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from ..engines import Impl as _Impl
from ..services import service_name
from ..specs import parse_ports, parse_targets
from ..targets import Targets

impl: _Impl = "pure"

__all__ = [
    "impl",
    # targets, ports and services
    "Targets",
    "parse_ports",
    "parse_targets",
    "service_name",
]
