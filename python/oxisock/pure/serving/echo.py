"""The pure echo server: what comes in goes out again."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from .reactor import Reactor
from .reactors import Reactors
from .service import Link, Service

if TYPE_CHECKING:
    from ...engines.serving import FaultPlan, ServerPlan


class Echo(Service):
    """The service: every byte is a message of its own and its own answer."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Send it back, unless a planned fault swallows it."""
        link.machine.active(now)
        if not link.machine.swallow():
            reactor.send(link, data, now)


class EchoReactors(Reactors):
    """Reactors that echo: one, and a thread, for each worker; the first accepts for all."""

    def __init__(self, listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> None:
        first: socket.socket | None = socket.socket(fileno=listener)
        reactors: list[Reactor] = []
        try:
            for _ in range(workers):
                # It closes the listener where it cannot be made.
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
    """Begin to echo on the listening descriptor ``listener``, which is taken over."""
    return EchoReactors(listener, plan, workers, faults)
