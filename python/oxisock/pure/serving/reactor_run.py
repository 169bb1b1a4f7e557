"""What every TCP server under way offers, whatever it serves: its end, its counters, and what a fork is to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...types import ServerStats
    from .reactor import Reactor


class ReactorRun:
    """A TCP server under way on some reactors, of which the first accepts for all."""

    def __init__(self, reactors: Sequence[Reactor]) -> None:
        self._reactors = reactors

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""
        for reactor in self._reactors:
            reactor.begin_stop(drain)

    def outcome(self) -> tuple[int, int]:
        """Give the connections drained and aborted by the stop."""
        return self._reactors[0].outcome()

    def counters(self) -> ServerStats:
        """Give the counters."""
        return self._reactors[0].counters()

    def forked(self) -> None:
        """From now on, shut sockets down before closing them: a forked child holds duplicates."""
        for reactor in self._reactors:
            reactor.forked()

    def abandon(self) -> None:
        """Close what this forked child inherited."""
        for reactor in self._reactors:
            reactor.abandon()
