"""Reports what happens to the connections of a TCP server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, runtime_checkable

from ..types import Peer

if TYPE_CHECKING:
    from ..engines.serving import Notice
    from .limits import StreamServer

_ENDS: Final = (
    "",
    "done",
    "it was silent for too long",
    "it did not read its answers",
    "the connection was lost",
    "cut",
    "reset on purpose",
    "it began without a good PROXY header",
    "not let in",
)
"""Why a connection ended, by the number that machines use."""


@runtime_checkable
class Watchable(Protocol):
    """A started server whose engine notices what happens to connections."""

    def notices(self) -> tuple[list[Notice], int]:
        """Return what happened since the last call, and how much was lost."""
        ...


class ConnectionEvent(NamedTuple):
    """An event of a connection.

    Attributes:
        when: the time in seconds since 1970.
        peer: where the connection comes from.
        kind: "opened", "received" or "closed".
        size: how many bytes were received; else 0.
        reason: why it was closed; else "".
    """

    when: float
    peer: Peer
    kind: str
    size: int
    reason: str


def take_events(server: StreamServer) -> tuple[list[ConnectionEvent], int]:
    """Return what happened since the last call, and how many events were lost; the first call begins to watch.

    At most 10,000 events wait to be taken; the oldest are lost then. A ``ThreadedServer`` has none: its handlers know.
    """
    running = server._running
    if not isinstance(running, Watchable):
        return [], 0
    notices, lost = running.notices()
    return [_event(notice) for notice in notices], lost


def _event(notice: Notice) -> ConnectionEvent:
    when, host, port, kind, number = notice
    size, reason = (0, _ENDS[number]) if kind == "closed" else (number, "")
    return ConnectionEvent(when / 1e9, Peer(host, port), kind, size, reason)
