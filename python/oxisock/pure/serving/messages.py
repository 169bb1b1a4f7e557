"""The pure message loop: hands input to the thread that turns it, and sends that thread's answers."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from ...engines.serving import FINISH, HELD, NEVER
from .connection import IDLE
from .reactor import Reactor
from .reactors import Reactors
from .service import Link, Service

if TYPE_CHECKING:
    from ...engines.framing import Framer
    from ...engines.serving import Item, Reply, ServerPlan


_BATCH = 1 << 20  # bytes of one turn; after that, handlers run, and the next turn reads the rest


class Messages(Service):
    """The service: collects input, one Item of each connection at a time. The thread that turns does the framing."""

    def __init__(self, plan: ServerPlan) -> None:
        self._plan = plan
        self.ready: list[Item] = []
        self.weight = 0  # the bytes in it
        self.gone: list[tuple[int, int]] = []  # tokens, and what their sockets took

    def opened(self, reactor: Reactor, link: Link, now: int) -> None:
        """With TLS, require a handshake, and ask for last bytes at the end."""
        if self._plan.secure:
            link.machine.require_by(min(now + self._plan.handshake_timeout, NEVER), now, IDLE)
            link.machine.owe_farewell(now)

    def parting(self, reactor: Reactor, link: Link, now: int) -> None:
        """Ask for the last bytes."""
        self.ready.append((link.token, link.peer, b"", reactor.room_for_answers(link), None))

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Hand the bytes over. Nothing more is read from this connection until they are answered."""
        room = reactor.room_for_answers(link)
        link.machine.deliver(now)
        self.ready.append((link.token, link.peer, data, room, None))
        self.weight += len(data)
        if self.weight >= _BATCH:
            reactor.read_no_more()

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """Hand the end over, because the bytes before it may be a message."""
        room = reactor.room_for_answers(link)
        link.machine.deliver(now)
        link.machine.ended(now)
        self.ready.append((link.token, link.peer, None, room, None))

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """Ask for the answers for which there was no room."""
        link.held = False
        self.ready.append((link.token, link.peer, b"", reactor.room_for_answers(link), None))

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """Note the closed connection, so that the thread that turns forgets it too."""
        self.gone.append((link.token, link.machine.written))

    def deadline(self) -> int:
        """Do not wait if there is news: input, or a closed connection that the thread that turns is to forget."""
        return 0 if self.ready or self.gone else NEVER


class MessageReactor(Reactors):
    """The reactor with the message service, as the threads of a server use it."""

    framed = False

    def __init__(self, listener: int, plan: ServerPlan) -> None:
        self._service = Messages(plan)
        self._reactor = Reactor(socket.socket(fileno=listener), plan, self._service)
        super().__init__([self._reactor])

    def turn(self, replies: list[Reply], wait: bool = True) -> list[Item] | None:
        """Send ``replies``, and wait for input if ``wait`` is true. Returns None when the server has ended."""
        service, reactor = self._service, self._reactor
        if replies:
            self._send(replies)
        # Turn even if input waits already, so that other connections have their turn before the rest of earlier input.
        on = reactor.turn(wait)
        # Closed connections are news too, because their state is to be forgotten.
        while on and wait and not (service.ready or service.gone):
            on = reactor.turn()
        if not (on or service.ready):
            return None
        with reactor.lock:
            ready, service.ready = service.ready, []
            service.weight = 0
        return ready

    def begun(self, token: int) -> None:
        """Note that the handshake of a connection is done."""
        with self._reactor.lock:
            if (link := self._reactor.links.get(token)) is not None:
                link.machine.begin(time.monotonic_ns())

    def submit(self, replies: list[Reply]) -> None:
        """Send ``replies`` while another thread turns."""
        self._send(replies)
        if self._service.ready:
            self._reactor.wake()

    def _send(self, replies: list[Reply]) -> None:
        reactor = self._reactor
        with reactor.lock:
            now = time.monotonic_ns()
            for token, output, messages, action in replies:
                reactor.messages += messages
                link = reactor.links.get(token)
                if link is None:
                    self._service.gone.append((token, 0))  # again: the answer may have left state to forget
                    continue
                machine = link.machine
                machine.queue(len(output), now)
                if action == HELD:
                    machine.active(now)
                    link.held = True
                else:
                    if action == FINISH:
                        machine.finish(now)
                    machine.answered(messages, now)
                reactor.flush(link, now, output)
                reactor.settle(link, now)

    def written(self, token: int) -> int | None:
        """Return how many bytes the socket of a connection took; None if it has closed."""
        with self._reactor.lock:
            link = self._reactor.links.get(token)
            return None if link is None else link.machine.written

    def take_closed(self) -> list[tuple[int, int]]:
        """Return the tokens of the connections that closed since the last call, and the bytes their sockets took."""
        with self._reactor.lock:
            gone, self._service.gone = self._service.gone, []
        return gone

    def count_errors(self, handler: int, frame: int) -> None:
        """Add to the counters of errors."""
        self._reactor.count_errors(handler, frame)


def message_reactor(listener: int, plan: ServerPlan, framer: Framer | None) -> MessageReactor:
    """Make the loop of a message server on the listening descriptor ``listener``, and take it over."""
    return MessageReactor(listener, plan)
