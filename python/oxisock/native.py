"""The faces bound to the native engine: Rust, written to be fast."""

from __future__ import annotations

from .engines import Impl as _Impl
from .services import service_name
from .specs import parse_ports, parse_targets
from .targets import Targets

try:
    from . import _native  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"the native engine of oxisock cannot be loaded ({error}); OXISOCK_IMPL=pure selects the pure one"
    ) from error

impl: _Impl = "native"

__all__ = [
    "impl",
    # targets, ports and services
    "Targets",
    "parse_ports",
    "parse_targets",
    "service_name",
]
