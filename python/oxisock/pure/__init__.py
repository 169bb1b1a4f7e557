"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from .. import servers as _servers
from ..engines import Impl as _Impl
from ..servers import Faults
from . import servers as _servers_engine

impl: _Impl = "pure"


# --- TCP servers ---------------------------------------------------------------------------------------------------


class EchoServer(_servers.EchoServer):
    __doc__ = _servers.EchoServer.__doc__
    impl = "pure"
    _engine = _servers_engine


class MessageServer(_servers.MessageServer):
    __doc__ = _servers.MessageServer.__doc__
    impl = "pure"
    _engine = _servers_engine


__all__ = [
    "impl",
    # TCP servers
    "EchoServer",
    "Faults",
    "MessageServer",
]
