"""Says that there is no pure load generator: it would be the limit of what it measures."""

from __future__ import annotations

from typing import NoReturn

_WHY = (
    "the pure engine has no load generator, because one in Python would measure itself and not the server: "
    "use oxisock.native.load_test"
)


def start_tcp_load(*_: object) -> NoReturn:
    """Raise NotImplementedError."""
    raise NotImplementedError(_WHY)


def start_udp_load(*_: object) -> NoReturn:
    """Raise NotImplementedError."""
    raise NotImplementedError(_WHY)
