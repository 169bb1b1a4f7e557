"""The faces bound to the native engine: Rust, written to be fast."""

from __future__ import annotations

from . import servers as _servers
from .engines import Impl as _Impl
from .servers import Faults

try:
    from . import _native
except ImportError as error:
    raise ImportError(
        f"the native engine of oxisock cannot be loaded ({error}); OXISOCK_IMPL=pure selects the pure one"
    ) from error

impl: _Impl = "native"


# --- TCP servers ---------------------------------------------------------------------------------------------------


class EchoServer(_servers.EchoServer):
    __doc__ = _servers.EchoServer.__doc__
    impl = "native"
    _engine = _native


class MessageServer(_servers.MessageServer):
    __doc__ = _servers.MessageServer.__doc__
    impl = "native"
    _engine = _native


__all__ = [
    "impl",
    # TCP servers
    "EchoServer",
    "Faults",
    "MessageServer",
]
