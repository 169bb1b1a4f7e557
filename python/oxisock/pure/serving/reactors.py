"""The reactors of a TCP server, whatever it serves: their end, their counters, and what a fork is to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...sockets.latch import Latch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...types import ServerStats
    from .reactor import Reactor


_PATIENCE = 5.0  # seconds, with threads that have been told to end


class Reactors:
    """All of a server, of which the first accepts for all."""

    def __init__(self, reactors: Sequence[Reactor]) -> None:
        self._reactors = reactors
        self._latch = Latch()

    def _start(self, name: str) -> None:
        """Turn each on a thread of its own."""
        try:
            for number, reactor in enumerate(self._reactors):
                self._latch.spawn(name.format(number), reactor.run)
        except BaseException:
            # Where a thread cannot be had, those that could end again.
            for reactor in self._reactors[len(self._latch) :]:
                reactor.break_off()
            self._latch.join(_PATIENCE)
            raise

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether it has ended. How a loop failed is told once, as an error."""
        return self._latch.wait(timeout)

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
