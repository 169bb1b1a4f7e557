"""What a load test needs from an engine: a load on a TCP or a UDP server, run in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class LoadRun(Protocol):
    """A load under way."""

    def step(self, seconds: float) -> bool:
        """Go on for about ``seconds``, or until a signal comes. Returns False at the end."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """Return the figures so far, as ``load.report.Figures`` has them."""
        ...

    def histogram(self, spans: int) -> list[tuple[float, int]]:
        """Return the latencies in ``spans`` spans: the upper bound of each in seconds, and its number of latencies."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class LoadModule(Protocol):
    """The part of an engine that loads servers; ``plan`` is a ``load.plan.LoadPlan``."""

    def start_tcp_load(
        self, address: str, plan: Any, requests: list[bytes], replies: list[bytes] | None, framer: Any
    ) -> LoadRun:
        """Prepare a load on a TCP server. Requests are given as they are in the stream, with the right replies."""
        ...

    def start_udp_load(self, address: str, plan: Any, size: int, text: bytes, prefix: bytes, upper: bool) -> LoadRun:
        """Prepare a load on a UDP server. The right answer is ``prefix`` and the datagram, or its capitals."""
        ...
