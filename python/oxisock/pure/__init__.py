"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from .. import udp as _udp
from ..engines import Impl as _Impl
from ..services import service_name
from ..specs import parse_ports, parse_targets
from ..targets import Targets
from ..udp import udp_request
from . import udp as _udp_engine

impl: _Impl = "pure"


# --- UDP -----------------------------------------------------------------------------------------------------------


class UdpServer(_udp.UdpServer):
    __doc__ = _udp.UdpServer.__doc__
    impl = "pure"
    _engine = _udp_engine


class UdpEchoServer(_udp.UdpEchoServer):
    __doc__ = _udp.UdpEchoServer.__doc__
    impl = "pure"
    _engine = _udp_engine


__all__ = [
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
]
