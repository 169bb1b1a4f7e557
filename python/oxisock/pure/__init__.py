"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from .. import udp as _udp
from ..engines import Impl as _Impl
from ..errors import ScanInterrupted
from ..scan import Scanner as _Scanner
from ..scan_run import Scan
from ..services import service_name
from ..specs import parse_ports, parse_targets
from ..targets import Targets
from ..udp import udp_request
from . import scan as _scan_engine
from . import udp as _udp_engine

impl: _Impl = "pure"

_scanner: _Scanner = _Scanner(impl, _scan_engine)
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port


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
]
