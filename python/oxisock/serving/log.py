"""What the servers tell the log of one peer; ``logging`` is imported when there is something to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

    from ..types import Peer


def log() -> logging.Logger:
    """Give the log of the servers."""
    import logging

    return logging.getLogger("oxisock")


def handler_failed(peer: Peer, error: BaseException) -> None:
    """A handler raised, or gave what it must not."""
    log().error("the handler failed for %s", peer, exc_info=error)


def framing_broken(peer: Peer, error: BaseException) -> None:
    """What came in is no message of the server's codec."""
    log().warning("%s broke the framing: %s", peer, str(error))


def timed_out(peer: Peer) -> None:
    """The peer said nothing, or took nothing, for too long."""
    log().info("%s timed out", peer)


def lost(peer: Peer, error: BaseException) -> None:
    """The network broke the connection, or a stop."""
    log().info("lost %s: %s", peer, str(error))
