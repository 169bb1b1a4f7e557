"""A server that misbehaves and an assertion about ports, to test clients and deployments."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Unpack

import oxisock

from .. import arguments
from ..scanning.specs import PortSpec, port_array
from ..serving.echo import FaultKeywords
from ..types import PortState


class FaultyServer(oxisock.EchoServer):
    """An echo server with faults. Call it to start another one with other faults; both stop together."""

    def __init__(self, **faults: Unpack[FaultKeywords]) -> None:
        """``faults`` are the fields of ``oxisock.Faults``."""
        super().__init__(faults=oxisock.Faults(**faults))
        self._others = ExitStack()

    def __call__(self, **faults: Unpack[FaultKeywords]) -> oxisock.EchoServer:
        """Start an echo server with these faults."""
        return self._others.enter_context(oxisock.EchoServer(faults=oxisock.Faults(**faults)))

    def stop(self, drain: float | None = 0.0) -> oxisock.StopReport:
        """Stop this server and all servers that it started."""
        self._others.close()
        return super().stop(drain)


def assert_ports(host: str, *, open: PortSpec = (), closed: PortSpec = (), timeout: float | None = 1.0) -> None:
    """Assert that some ports of a host are open, and others closed (they refuse connections).

    ``open`` and ``closed`` are ports as ``parse_ports`` reads them, such as ``443``, ``[22, 80]`` or ``"1-1024,!22"``.
    A silent port is neither open nor closed. ``timeout`` is the longest wait for each port in seconds.

    Raises AssertionError, which names every port in another state and how it answered.
    """
    expected = dict.fromkeys(_ports(open, "open"), PortState.OPEN)
    for port in _ports(closed, "closed"):
        if expected.setdefault(port, PortState.CLOSED) is PortState.OPEN:
            raise ValueError(f"port {port} cannot be both open and closed")
    if not expected:
        raise ValueError("expected some ports: open=... or closed=...")
    report = oxisock.scan([arguments.host(host)], expected, timeout=timeout, keep=list(PortState))
    wrong = [
        f"{result.port} is {result.state} ({result.reason}), expected {expected[result.port]}"
        for result in report
        if result.state != expected[result.port]
    ]
    if wrong:
        raise AssertionError(f"{host}: {len(wrong)} of {len(expected)} ports are not as expected: " + "; ".join(wrong))


def _ports(spec: PortSpec, name: str) -> list[int]:
    return [] if spec == () or spec == [] else port_array(spec, name=name).tolist()
