"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from typing import ClassVar

from .. import chat as _chat
from .. import chat_client as _chat_client
from .. import framed_socket as _framed_socket
from .. import framing as _framing
from .. import request as _request
from .. import servers as _servers
from .. import threaded as _threaded
from .. import udp as _udp
from .. import well_known as _well_known
from ..chat import ChatEvent, ChatMember
from ..engines.framing import FramingModule as _FramingModule
from ..errors import ChatError, FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame, ScanInterrupted
from ..framing import Codec, Decoder
from ..report import PortChange, ReportDiff, ScanReport
from ..scan import Scanner as _Scanner
from ..scan_run import Scan
from ..selection import Impl as _Impl
from ..servers import Faults
from ..services import service_name
from ..specs import parse_ports, parse_targets
from ..targets import Targets
from ..thread_connection import ThreadConnection
from ..types import (
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
from ..udp import udp_request
from . import chat as _chat_engine
from . import framing as _framing_engine
from . import scan as _scan_engine  # noqa: F401  # before the function of that name: imported later, it would hide it
from . import servers as _servers_engine
from . import udp as _udp_engine

impl: _Impl = "pure"

_scanner: _Scanner = _Scanner.of(impl)
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port

# --- asyncio -------------------------------------------------------------------------------------------------------


def __getattr__(name: str) -> object:
    """Give ``aio``: imported only when asked for, because it imports asyncio."""
    if name != "aio":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..aio import bind

    return bind(impl)


# --- framing -------------------------------------------------------------------------------------------------------


class _Framing(_framing.Bound):
    impl: ClassVar[_Impl] = impl
    _engine: ClassVar[_FramingModule] = _framing_engine


class LengthPrefix(_Framing, _framing.LengthPrefix):
    __doc__ = _framing.LengthPrefix.__doc__


class Varint(_Framing, _framing.Varint):
    __doc__ = _framing.Varint.__doc__


class Netstring(_Framing, _framing.Netstring):
    __doc__ = _framing.Netstring.__doc__


class Fixed(_Framing, _framing.Fixed):
    __doc__ = _framing.Fixed.__doc__


class Delimiter(_Framing, _framing.Delimiter):
    __doc__ = _framing.Delimiter.__doc__


class Lines(_Framing, _framing.Lines):
    __doc__ = _framing.Lines.__doc__


class OctetCounted(_Framing, _framing.OctetCounted):
    __doc__ = _framing.OctetCounted.__doc__


class MultiprocessingPrefix(_Framing, _framing.MultiprocessingPrefix):
    __doc__ = _framing.MultiprocessingPrefix.__doc__


class FramedSocket(_Framing, _framed_socket.FramedSocket):
    __doc__ = _framed_socket.FramedSocket.__doc__


connect = FramedSocket.connect
presets: _well_known.Presets = _well_known.Presets(LengthPrefix, Delimiter, OctetCounted, MultiprocessingPrefix)

# --- TCP servers ---------------------------------------------------------------------------------------------------


class EchoServer(_servers.EchoServer):
    __doc__ = _servers.EchoServer.__doc__
    impl = "pure"
    _engine = _servers_engine


class MessageServer(_servers.MessageServer):
    __doc__ = _servers.MessageServer.__doc__
    impl = "pure"
    _engine = _servers_engine
    _framing = _framing_engine


class ThreadedServer(_threaded.ThreadedServer):
    __doc__ = _threaded.ThreadedServer.__doc__
    impl = "pure"


_requests: _request.Requests = _request.Requests(FramedSocket)
tcp_request = _requests.tcp_request

# --- UDP -----------------------------------------------------------------------------------------------------------


class UdpServer(_udp.UdpServer):
    __doc__ = _udp.UdpServer.__doc__
    impl = "pure"
    _engine = _udp_engine


class UdpEchoServer(_udp.UdpEchoServer):
    __doc__ = _udp.UdpEchoServer.__doc__
    impl = "pure"
    _engine = _udp_engine


# --- chat ----------------------------------------------------------------------------------------------------------


class ChatServer(_chat.ChatServer):
    __doc__ = _chat.ChatServer.__doc__
    impl = "pure"
    _chat = _chat_engine


class ChatClient(_chat_client.ChatClient):
    __doc__ = _chat_client.ChatClient.__doc__
    impl = "pure"
    _connect = FramedSocket.connect
    _lines = Lines


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
    # UDP
    "UdpEchoServer",
    "UdpServer",
    "udp_request",
]
