"""Scan ports, frame messages, run TCP, UDP and chat servers: one API, two engines.

``oxisock.NAME`` uses the engine that the environment variable ``OXISOCK_IMPL`` selects: "native" (the default) or
"pure". ``oxisock.pure.NAME`` and ``oxisock.native.NAME`` are the same API, and each always uses that engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines.selection import Impl as _Impl
from .engines.selection import check as _check
from .engines.selection import refuse as _refuse
from .engines.selection import selected as _selected
from .version import VERSION as __version__

try:
    impl: _Impl = _selected()
    _check(impl)
except ImportError as error:
    _refuse(error)

__all__ = [
    "__version__",
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
    "RedisBackplane",
    # UDP
    "UdpEchoServer",
    "UdpServer",
    "udp_request",
    # load
    "LoadReport",
    "load_test",
    # values
    "Datagram",
    "Peer",
    "PortResult",
    "PortState",
    "ProbeEvent",
    "Progress",
    "ScanSource",
    "ScanStats",
    "ServerStats",
    "StopReport",
    # reports
    "PortChange",
    "ReportDiff",
    "ScanReport",
]

if TYPE_CHECKING:
    # Type checkers see the native engine, which is the default.
    from .native import *  # noqa: F403

    # isort: split
    from . import aio as aio
    from . import native as native
    from . import presets as presets
    from . import pure as pure
    from . import testing as testing

    __all__ += ["aio", "native", "pure", "testing"]
else:
    # Every name is loaded when the first of them is asked for, which keeps `import oxisock` light.
    _MODULES = ("aio", "native", "presets", "pure", "testing")

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"oxisock.{name}")
        if name not in __all__:
            import sys

            # With these, Python says what may have been meant.
            raise AttributeError(f"module 'oxisock' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        bound = vars(import_module(f"oxisock.{impl}"))
        globals().update({each: bound[each] for each in __all__ if each in bound and each not in _MODULES})
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, *_MODULES})
