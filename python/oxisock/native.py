"""The faces bound to the native engine: Rust, written to be fast."""

from __future__ import annotations

from . import udp as _udp
from .engines import Impl as _Impl
from .errors import ScanInterrupted
from .scan import Scanner as _Scanner
from .scan_run import Scan
from .services import service_name
from .specs import parse_ports, parse_targets
from .targets import Targets
from .udp import udp_request

try:
    from . import _native
except ImportError as error:
    raise ImportError(
        f"the native engine of oxisock cannot be loaded ({error}); OXISOCK_IMPL=pure selects the pure one"
    ) from error

impl: _Impl = "native"

_scanner: _Scanner = _Scanner(impl, _native)
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port

# --- UDP -----------------------------------------------------------------------------------------------------------


class UdpServer(_udp.UdpServer):
    __doc__ = _udp.UdpServer.__doc__
    impl = "native"
    _engine = _native


class UdpEchoServer(_udp.UdpEchoServer):
    __doc__ = _udp.UdpEchoServer.__doc__
    impl = "native"
    _engine = _native


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
