"""The public names bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read.

The engine is in ``scanning``, ``framing``, ``serving``, ``udp`` and ``chat``; ``load`` says that this engine has no
load generator. Its machines share ``timers`` and ``splitmix``.
"""

from typing import TYPE_CHECKING

from ..chat import client as _client
from ..chat import server as _chat
from ..common import *  # noqa: F403
from ..engines.binding import engine as _of
from ..engines.selection import Impl as _Impl
from ..framing import codecs as _codecs
from ..framing import framed_socket as _framed_socket
from ..framing.well_known import Presets as _Presets
from ..load.calls import Loads as _Loads
from ..scanning.calls import Scanner as _Scanner
from ..serving import echo as _echo
from ..serving import messages as _messages
from ..serving import threaded as _threaded
from ..serving.requests import Requests as _Requests
from ..udp import servers as _udp

impl: _Impl = "pure"
_engine = _of(impl)


# --- scanning ------------------------------------------------------------------------------------------------------

_scanner = _Scanner.of(_engine)
check_host = _scanner.check_host
scan = _scanner.scan
scan_host = _scanner.scan_host
scan_iter = _scanner.scan_iter
scan_port = _scanner.scan_port
wait_for_port = _scanner.wait_for_port


# --- framing -------------------------------------------------------------------------------------------------------


class LengthPrefix(_codecs.LengthPrefix, engine=_engine): ...


class Varint(_codecs.Varint, engine=_engine): ...


class Netstring(_codecs.Netstring, engine=_engine): ...


class Fixed(_codecs.Fixed, engine=_engine): ...


class Delimiter(_codecs.Delimiter, engine=_engine): ...


class Lines(_codecs.Lines, engine=_engine): ...


class OctetCounted(_codecs.OctetCounted, engine=_engine): ...


class MultiprocessingPrefix(_codecs.MultiprocessingPrefix, engine=_engine): ...


class FramedSocket(_framed_socket.FramedSocket, engine=_engine): ...


connect = FramedSocket.connect
presets = _Presets.of(_engine)


# --- servers and clients -------------------------------------------------------------------------------------------


class EchoServer(_echo.EchoServer, engine=_engine): ...


class MessageServer(_messages.MessageServer, engine=_engine): ...


class ThreadedServer(_threaded.ThreadedServer, engine=_engine): ...


tcp_request = _Requests.of(_engine).tcp_request
load_test = _Loads.of(_engine).load_test


class UdpServer(_udp.UdpServer, engine=_engine): ...


class UdpEchoServer(_udp.UdpEchoServer, engine=_engine): ...


class ChatServer(_chat.ChatServer, engine=_engine): ...


class ChatClient(_client.ChatClient, engine=_engine): ...


if TYPE_CHECKING:
    # In truth, an object with the same names, bound to this engine.
    from .. import aio as aio
else:
    from .. import __all__ as _names

    __all__ = [name for name in _names if name != "__version__"]

    def __getattr__(name: str) -> object:
        """Return ``aio``. It is imported only when asked for, because it imports asyncio."""
        if name != "aio":
            import sys

            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        from ..aio.faces import bind

        return bind(impl)
