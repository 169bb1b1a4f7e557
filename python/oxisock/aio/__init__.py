"""oxisock for asyncio and compatible event loops such as uvloop's; bound to the selected engine.

``oxisock.pure.aio`` and ``oxisock.native.aio`` are the same, each bound to one engine.

- ``faces``: the functions; ``connect``: connects and sends requests; ``questions``: answers questions about one port;
  ``scanning``: runs scans.
- ``stream``: a connection that carries frames; ``moving``: how its bytes come and go; ``protocol``: what the loop
  calls for it; ``tally``: what streams share; ``waking``: what a task waits on for a frame; ``secured``: TLS.
- ``server``: a server of streams, as the user holds it; ``running``: the started server; ``knocking``: tells it of
  new connections; ``connection``: one of its streams; ``driving``: resumes a handler when its frame arrives.
"""

from __future__ import annotations

from ..engines.selection import selected as _selected
from .faces import Aio, bind
from .scanning import AsyncScan
from .server import FramedServer
from .stream import FramedStream

_bound = bind(_selected())

impl = _bound.impl
check_host = _bound.check_host
open_framed = _bound.open_framed
scan = _bound.scan
scan_host = _bound.scan_host
scan_iter = _bound.scan_iter
scan_port = _bound.scan_port
start_server = _bound.start_server
tcp_request = _bound.tcp_request
udp_request = _bound.udp_request
wait_for_port = _bound.wait_for_port

__all__ = [
    "impl",
    "bind",
    "Aio",
    # scanning
    "AsyncScan",
    "check_host",
    "scan",
    "scan_host",
    "scan_iter",
    "scan_port",
    "wait_for_port",
    # framed streams and servers
    "FramedServer",
    "FramedStream",
    "open_framed",
    "start_server",
    # one question, one answer
    "tcp_request",
    "udp_request",
]
