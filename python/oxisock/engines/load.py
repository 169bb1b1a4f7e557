"""What a load test needs from an engine: a load on a TCP or a UDP server, turned in slices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class LoadRun(Protocol):
    """A load under way."""

    def step(self, seconds: float) -> bool:
        """Go on for about so many seconds, or until a signal comes; false is the end."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """Return the figures so far, those of ``load.report.Figures``."""
        ...

    def histogram(self, spans: int) -> list[tuple[float, int]]:
        """Return the latencies: seconds up to which each of so many spans goes, and how many lie in it."""
        ...

    def close(self) -> None:
        """Close every connection."""
        ...


class LoadModule(Protocol):
    """The part of an engine that loads servers; ``plan`` is a ``load.plan.LoadPlan``."""

    def start_tcp_load(
        self, address: str, plan: Any, requests: list[bytes], replies: list[bytes] | None, framer: Any
    ) -> LoadRun:
        """Prepare a load on a TCP server: requests as they stand in the stream, and the right replies."""
        ...

    def start_udp_load(self, address: str, plan: Any, size: int, text: bytes, prefix: bytes, upper: bool) -> LoadRun:
        """Prepare a load on a UDP server: datagrams, answered by ``prefix`` and the same, or capitals."""
        ...
