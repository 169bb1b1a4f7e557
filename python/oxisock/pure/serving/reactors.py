"""The reactors of a TCP server, for every service: their end, their counters, and forks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...sockets.latch import Latch
from ...types import ServerStats
from .journal import Journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...engines.serving import Notice
    from .reactor import Reactor


_PATIENCE = 5.0  # seconds to wait for threads that have been told to end


class Reactors:
    """All reactors of a server. The first one accepts for all."""

    def __init__(self, reactors: Sequence[Reactor]) -> None:
        self._reactors = reactors
        self._journal = Journal()
        for reactor in reactors:
            reactor.journal = self._journal
        self._latch = Latch()

    def _start(self, name: str) -> None:
        """Turn each reactor on a thread of its own."""
        try:
            for number, reactor in enumerate(self._reactors):
                self._latch.spawn(name.format(number), reactor.run)
        except BaseException:
            # If a thread cannot be started, those that were started end again.
            for reactor in self._reactors[len(self._latch) :]:
                reactor.break_off()
            self._latch.join(_PATIENCE)
            raise

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether all have ended. Raises the error of a failed loop, once."""
        return self._latch.wait(timeout)

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""
        for reactor in self._reactors:
            reactor.begin_stop(drain)

    def outcome(self) -> tuple[int, int]:
        """Return the connections drained and aborted by the stop."""
        # Connections that have not drained are cut. A busy loop may not have done that yet, or may not have begun the
        # stop.
        stopped = sum(r.stopped if r.draining else len(r.links) for r in self._reactors)
        drained = sum(r.drained for r in self._reactors)
        return drained, stopped - drained

    def counters(self) -> ServerStats:
        """Return the counters."""
        reactors, door = self._reactors, self._reactors[0].door
        closed = sum(r.closed for r in reactors)  # read before `accepted`, so that `active` is never negative
        accepted = sum(r.newcomers.accepted - r.newcomers.withdrawn for r in reactors)
        rejected = sum(r.newcomers.rejected for r in reactors)
        return ServerStats(
            accepted=accepted,
            active=accepted - closed,
            closed=closed,
            shed=0 if door is None else door.shed,
            rejected=rejected + (0 if door is None else door.rejected),
            messages=sum(r.messages for r in reactors),
            bytes_in=sum(r.bytes_in for r in reactors),
            bytes_out=sum(r.bytes_out for r in reactors),
            handler_errors=sum(r.handler_errors for r in reactors),
            frame_errors=sum(r.frame_errors for r in reactors),
            timeouts=sum(r.timeouts for r in reactors),
            handshake_errors=sum(r.handshake_errors for r in reactors),
        )

    def notices(self) -> tuple[list[Notice], int]:
        """Return what happened to connections since the last call, and how many notices were lost."""
        return self._journal.take()

    def forked(self) -> None:
        """From now on, shut sockets down before closing them, because a forked child holds duplicates."""
        for reactor in self._reactors:
            reactor.forked()

    def abandon(self) -> None:
        """Close what this forked child inherited."""
        for reactor in self._reactors:
            reactor.abandon()
