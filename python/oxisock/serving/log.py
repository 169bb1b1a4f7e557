"""The log messages of servers; ``logging`` is imported when a server starts."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from .. import hooks
from ..sockets.listening import is_loopback

if TYPE_CHECKING:
    import logging

    from ..types import Peer


def log() -> logging.Logger:
    """Return the log of the servers."""
    import logging

    return logging.getLogger("oxisock")


def handler_failed(peer: Peer, error: BaseException) -> None:
    """Log that a handler raised, or returned a wrong value."""
    _tell("error", "the handler failed for %s", peer, exc_info=error)


def framing_broken(peer: Peer, error: BaseException) -> None:
    """Log that the input is no message of the server's codec."""
    _tell("warning", "%s broke the framing: %s", peer, error)


def listens(kind: str, address: Peer) -> None:
    """Log that a server listens, as a warning if other machines can reach it."""
    # Import now what logging needs: later, there may be no free descriptor to read it with.
    import logging  # noqa: F401
    import traceback  # noqa: F401

    if not is_loopback(address.host):
        _tell("warning", "%s listens on %s, which other machines may reach", kind, address)


def timed_out(peer: Peer) -> None:
    """Log that the peer sent nothing, or took nothing, for too long."""
    _tell("info", "%s timed out", peer)


def lost(peer: Peer, error: BaseException) -> None:
    """Log that the network or a stop broke the connection."""
    _tell("info", "lost %s: %s", peer, error)


def reply_too_long(peer: Peer, size: int) -> None:
    """Log that a reply does not fit in a datagram."""
    _tell("error", "a reply of %d bytes to %s is longer than a datagram can be", size, peer)


def events_lost(count: int) -> None:
    """Log that events of a chat were lost, because on_event is too slow."""
    _tell("warning", "on_event is too slow: %d chat events were lost", count)


def backplane(notice: str) -> None:
    """Log what happens to a node of a shared room."""
    calm = notice.startswith(("in the room", "Redis is back"))
    _tell("info" if calm else "warning", "chat backplane: %s", notice)


def event_failed(event: object, error: BaseException) -> None:
    """Log that on_event raised."""
    _tell("error", "on_event failed at %r", event, exc_info=error)


def notice_failed(notice: str, error: BaseException) -> None:
    """Log that on_notice raised."""
    _tell("error", "on_notice failed at %r", notice, exc_info=error)


def thread_failed(error: BaseException) -> None:
    """Log that a thread failed, and that this ended its server."""
    _tell("critical", "a server ended because one of its threads failed", exc_info=error)


def child_returned(process: int) -> None:
    """Log that a handler has forked and returned in the child, which has none of the server's threads."""
    _tell("info", "a handler returned in process %d, which it had forked: that process ends", process)


def _tell(level: str, text: str, *details: object, exc_info: BaseException | None = None) -> None:
    """Log a message. If a log handler raises, nobody else is affected."""
    try:
        # Convert to text at once, so that a kept record keeps no other object alive.
        words = [_words(each) if isinstance(each, BaseException) else each for each in details]
        getattr(log(), level)(text, *words, exc_info=exc_info)
    except BaseException as error:
        if hooks.is_ctrl_c(error):
            raise
        with suppress(BaseException):
            import traceback

            traceback.print_exc()


def _words(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as failure:  # a user's exception may fail at this
        if hooks.is_ctrl_c(failure):
            raise
        return f"<{type(error).__name__}, which has no words>"
