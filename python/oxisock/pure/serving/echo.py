"""The pure echo server: what comes in goes out again."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

from .reactor import Link, Reactor, Service
from .reactor_run import ReactorRun

if TYPE_CHECKING:
    from ...engines.serving import FaultPlan, ServerPlan


class Echo(Service):
    """The service: every byte is a message of its own and its own answer."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Send it back, unless a planned fault swallows it."""
        link.machine.active(now)
        if not link.machine.swallow():
            reactor.send(link, data, now)

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """The rest goes out, then the connection ends."""
        link.machine.ended(now)

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """Nothing waits for room."""

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """Nothing to forget."""


class EchoRun(ReactorRun):
    """An echo server under way: a loop and a thread for each worker; the first accepts for all."""

    def __init__(self, listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> None:
        first = socket.socket(fileno=listener)
        reactors = [Reactor(first if n == 0 else None, plan, Echo(), faults) for n in range(workers)]
        for reactor in reactors:
            reactor.group = reactors
        super().__init__(reactors)
        self._threads = [
            threading.Thread(target=_run, args=(reactor,), name=f"oxisock-echo-{n}", daemon=True)
            for n, reactor in enumerate(reactors)
        ]
        for thread in self._threads:
            thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether it has ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)


def _run(reactor: Reactor) -> None:
    while reactor.turn():
        pass


def start_echo(listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> EchoRun:
    """Begin to echo on the listening descriptor ``listener``, which is taken over."""
    return EchoRun(listener, plan, workers, faults)
