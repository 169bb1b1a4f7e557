"""The pure echo server: it sends back what it receives."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .reactor import Reactor
from .reactors import Reactors
from .service import Link, Service

if TYPE_CHECKING:
    from ...engines.serving import FaultPlan, ServerPlan


class Echo(Service):
    """The service: every byte is a message and its own answer."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Send the bytes back, unless a planned fault drops them."""
        link.machine.active(now)
        if not link.machine.swallow():
            reactor.send(link, data, now)


class EchoReactors(Reactors):
    """Reactors that echo: one, with a thread, for each worker. The first one accepts for all."""

    def __init__(self, listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> None:
        first: socket.socket | None = socket.socket(fileno=listener)
        reactors: list[Reactor] = []
        try:
            for _ in range(workers):
                # If the reactor cannot be made, it closes the listener.
                reactors.append(Reactor(first, plan, Echo(), faults))
                first = None
        except BaseException:
            for reactor in reactors:
                reactor.break_off()
            raise
        for reactor in reactors:
            reactor.group = reactors
        super().__init__(reactors)
        self._start("oxisock-echo-{}")


def start_echo(listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> EchoReactors:
    """Begin to echo on the listening descriptor ``listener``, and take it over."""
    return EchoReactors(listener, plan, workers, faults)
