"""Tells running servers about a fork: their threads exist in the parent only, and their sockets in both processes."""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, NoReturn, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Forkable(Protocol):
    """What must be told of a fork."""

    def forked(self) -> None:
        """Note that this is the parent of a fork. From now on, shut sockets down before closing them."""

    def abandon(self) -> None:
        """Close the listening descriptors and do nothing else, because this forked child has no server threads."""


live: weakref.WeakSet[Forkable] = weakref.WeakSet()
"""The running servers of this process."""

# What a forked child inherited is kept, because ending it properly needs threads that the child does not have.
_inherited: list[Forkable] = []


def end_child(tell: Callable[[int], object]) -> NoReturn:
    """End this process, a forked child in which a server's handler has returned. Call ``tell`` with its number before.

    The thread that called the handler is the child's copy of a server thread. It would go on to serve the parent's
    connections.
    """
    try:
        tell(os.getpid())
    finally:
        os._exit(0)


def _after_fork_in_parent() -> None:
    for each in list(live):
        each.forked()


def _after_fork_in_child() -> None:
    _inherited.extend(live)
    live.clear()
    for each in _inherited:
        each.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
