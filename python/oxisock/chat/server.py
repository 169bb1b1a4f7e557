"""The chat server of both engines: every member sees every line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from os import urandom
from socket import gethostname, socketpair
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias
from weakref import ref

from .. import arguments, hooks
from ..engines.chat import HubPlan
from ..serving import log as server_log
from ..serving.lifecycle import EngineRunning
from ..serving.limits import LimitKeywords, StreamServer
from ..sockets.forks import end_child
from ..sockets.latch import Latch
from ..types import Peer
from .lines import ChatEvent

if TYPE_CHECKING:
    import socket

    from ..engines.chat import ChatReactor
    from ..types import ServerStats
    from .backplane.redis import Driver, RedisBackplane

# Connections beyond the members, for clients that are being closed.
_PARTING = 256
_PATIENCE = 5.0  # seconds to wait for threads that are told to end
_GOODBYE = 0.05  # seconds, for a node to leave the log of a shared room
_LOOK = 0.5  # seconds between two looks of a thread that waits for events


EventHandler: TypeAlias = Callable[[ChatEvent], None]
"""``on_event(event)`` gets each ChatEvent. It is a plain function, and its result is ignored."""


class ChatMember(NamedTuple):
    """A member of a chat.

    Attributes:
        nick: the nick of this member.
        peer: the address that the connection comes from.
        joined_at: the time of joining, in seconds since 1970.
        queued: the number of bytes that wait to be sent to this member.
        skipped: the number of lines dropped because the member's queue was full.
        node: in a room on many servers, the server of this member as HOST:PORT (the name of its host and the port it
            listens on); otherwise "". For members on other servers, ``queued`` and ``skipped`` are 0.
    """

    nick: str
    peer: Peer
    joined_at: float
    queued: int
    skipped: int
    node: str = ""


class ChatServer(StreamServer):
    """A chat room: everybody sees every line, in the same order. The lines are text, so ``nc`` is a client."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        name: str = "oxisock",
        max_clients: int = 1000,
        max_line: int = 4096,
        history: int = 0,
        queue_limit: int = 256 << 10,
        slow_policy: Literal["disconnect", "drop"] = "disconnect",
        rate: float | None = 10.0,
        burst: int = 20,
        idle_timeout: float | None = 600.0,
        echo: bool = True,
        on_event: EventHandler | None = None,
        backplane: RedisBackplane | None = None,
        backlog: int = 1024,
        max_per_address: int | None = None,
        proxies: Iterable[str] = (),
        reuse_port: bool = False,
        keepalive: bool = False,
        dual_stack: bool = False,
    ) -> None:
        """Create a chat server. It begins to listen on ``start`` or ``with``.

        Arguments:
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            name: the name of the server, in the welcome.
            max_clients: the most clients. The server turns others away.
            max_line: the longest line in bytes. The server drops longer lines.
            history: the number of past lines shown to new clients, up to half of ``queue_limit``.
            queue_limit: the most bytes that may wait for a client that does not read.
            slow_policy: what to do when a client's queue is full: close it ("disconnect"), or skip lines and tell it
                how many ("drop").
            rate: the most lines per second from one client, on average; None: no limit. Without a limit, a client that
                floods fills the queues of clients that read slowly. The same rate limits how often clients of one
                address (IPv6: one /64) join again within a minute of leaving; the server turns others away with
                ``! slow down``.
            burst: the number of lines that a client may send at once, and of clients of one address that may join and
                leave at once.
            idle_timeout: seconds without a line after which a client is closed; None: never.
            echo: whether a client gets its own messages.
            on_event: called with each ChatEvent, one at a time, on a thread of its own. Exceptions in it are logged. If
                more than 65,536 events wait for it, further events are lost, and that is logged.
            backplane: the shared room, if several servers have one room (``RedisBackplane``); None: a room of its own.
                Every server of a shared room shows all lines in the same order. ``on_event`` gets the events of all
                servers, but private lines only if sender or receiver is connected to this one.
            backlog: as for EchoServer.
            max_per_address: as for EchoServer.
            proxies: as for EchoServer.
            reuse_port: as for EchoServer.
            keepalive: as for EchoServer.
            dual_stack: as for EchoServer.

        Raises ValueError or TypeError for a bad argument. ``start`` raises the errors of binding.
        """
        # The hub decides which client is slow or idle, so the connections have no such limits.
        limits: LimitKeywords = {
            "backlog": backlog,
            "max_connections": min(arguments.count(max_clients, "max_clients") + _PARTING, arguments.MOST),
            "max_per_address": max_per_address,
            "proxies": proxies,
            "idle_timeout": None,
            "write_timeout": None,
            "max_buffered": arguments.MOST,
            "reuse_port": reuse_port,
            "keepalive": keepalive,
            "dual_stack": dual_stack,
        }
        super().__init__(host, port, sock, limits)
        if not arguments.text(name, "name", "printable text").strip() or not name.isprintable():
            arguments.refuse(ValueError, "name", name, "printable text")
        self._on_event = None if on_event is None else hooks.Lent(arguments.function(on_event, "on_event"))
        self._plan = HubPlan(
            name=name,
            max_clients=max_clients,
            max_line=arguments.size(max_line, "max_line", highest=arguments.MOST),
            history=arguments.count(history, "history", 0),
            queue_limit=arguments.size(queue_limit, "queue_limit", highest=arguments.MOST),
            drop=arguments.choice(slow_policy, "slow_policy", ("disconnect", "drop")) == "drop",
            interval=arguments.rate(rate, "rate", "lines"),
            burst=arguments.count(burst, "burst"),
            idle_timeout=arguments.nanoseconds(idle_timeout, "idle_timeout"),
            echo=arguments.flag(echo, "echo"),
            events=on_event is not None,
            shared=backplane is not None,
        )
        if backplane is not None:
            from .backplane.redis import RedisBackplane

            arguments.instance(backplane, "backplane", RedisBackplane, "a RedisBackplane")
        self._backplane = backplane

    def members(self) -> list[ChatMember]:
        """Return the members in order of joining; none before ``start`` and after ``stop``."""
        running = self._chat_running()
        return [] if running is None else running.members()

    def broadcast(self, text: str) -> None:
        """Send ``text`` to everybody, as ``* TEXT``. Each line of ``text`` is a line of the chat, except blank ones.

        Raises RuntimeError before ``start``.
        """
        running = self._chat_running()
        if running is None:
            raise RuntimeError(f"{self._kind} has no members before start()")
        for line in _text("text", text).split("\n"):
            if line.strip():
                running.reactor.broadcast(line)

    def kick(self, nick: str, reason: str = "") -> bool:
        """Close the connection of the member ``nick`` (in any case), and tell everybody the ``reason``.

        Returns False if there is no such member.
        """
        running = self._chat_running()
        nick, reason = _text("nick", nick), _text("reason", reason)
        return running is not None and running.reactor.kick(nick, reason)

    def _launch(self) -> tuple[_ChatRunning, Peer]:
        listener, address = self._listen()
        lent = None if self._on_event is None else ref(self._on_event)
        start = partial(self._engine.chat.start_chat, server=self._limits.plan(), plan=self._plan)
        if self._backplane is None:
            return _ChatRunning(start(listener.detach()), lent), address
        from .backplane.redis import drive

        mine, bell = socketpair()
        try:
            for end in (mine, bell):
                end.setblocking(False)
            reactor = start(listener.detach(), bell=bell.detach())
        except BaseException:
            mine.close()
            bell.close()
            raise
        name = f"{gethostname()}:{address.port}#{urandom(4).hex()}"
        driver = drive(self._backplane, name, self._plan.history, reactor, mine)
        return _ChatRunning(reactor, lent, driver), address

    def _chat_running(self) -> _ChatRunning | None:
        self._check_process()
        running = self._running
        assert running is None or isinstance(running, _ChatRunning)
        return running


class _ChatRunning(EngineRunning):
    """An engine's chat reactor and the thread that calls ``on_event``, adapted to the lifecycle."""

    def __init__(
        self, reactor: ChatReactor, lent: ref[hooks.Lent[EventHandler]] | None, driver: Driver | None = None
    ) -> None:
        super().__init__(reactor)
        self.reactor = reactor
        self._driver = driver
        self._epoch = time.time_ns() - reactor.now()
        self._lent = lent
        self._handling = False
        self._handler_errors = 0
        self._abandoned = False  # this is the copy in a forked child
        self._teller = Latch(partial(_end_without_events, reactor))
        try:
            if lent is not None:
                self._teller.spawn("oxisock-chat-events", self._tell)
            if driver is not None:
                driver.start()
        except BaseException:
            reactor.begin_stop(0)
            self.wait(_PATIENCE)
            raise

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether everything has ended."""
        deadline = time.monotonic() + timeout
        if not (super().wait(timeout) and self._teller.join(max(0.0, deadline - time.monotonic()))):
            return False
        driver = self._driver
        if driver is not None:
            # The node leaves the room. If Redis does not answer, do not wait: the lease will end.
            driver.join(min(max(0.0, deadline - time.monotonic()), _GOODBYE))
            if driver.handling:
                return driver.join(max(0.0, deadline - time.monotonic()))
        return True

    def failure(self) -> BaseException | None:
        """Return the error that ended the server; None after a stop."""
        return super().failure() or self._teller.failure or (None if self._driver is None else self._driver.failure())

    def outcome(self) -> tuple[int, int, int]:
        """Return the connections drained and aborted by the stop, and how many calls of hooks still run."""
        drained, aborted, _ = super().outcome()
        return drained, aborted, self._handling + (self._driver is not None and self._driver.handling)

    def stats(self) -> ServerStats:
        """Return the counters."""
        errors = self._handler_errors + (0 if self._driver is None else self._driver.handler_errors)
        return super().stats()._replace(handler_errors=errors)

    def inside(self) -> bool:
        """Return whether the calling thread is in ``on_event`` or ``on_notice``."""
        return self._teller.inside() or (self._driver is not None and self._driver.inside())

    def abandon(self) -> None:
        """Give up this copy in a forked child."""
        self._abandoned = True
        super().abandon()

    def members(self) -> list[ChatMember]:
        """Return the members in order of joining."""
        if self._driver is not None:
            return [
                ChatMember(nick, _peer(where), when / 1e3, queued, skipped, node.partition("#")[0])
                for nick, where, when, queued, skipped, node in self.reactor.residents()
            ]
        return [
            ChatMember(nick, Peer(host, port), (self._epoch + joined) / 1e9, queued, skipped)
            for nick, host, port, joined, queued, skipped in self.reactor.members()
        ]

    def _tell(self) -> None:
        assert self._lent is not None
        while (taken := self.reactor.events(_LOOK)) is not None:
            events, lost = taken
            lent = self._lent()
            if lent is None:  # the server was dropped, and is stopping
                continue
            if lost:
                server_log.events_lost(lost)
            for fields in events:
                self._handling = True
                event = ChatEvent(*fields)
                try:
                    result: object = lent.function(event)
                    hooks.check_ran("on_event", result)
                except BaseException as error:
                    if not self._abandoned:
                        self._handler_errors += 1
                        server_log.event_failed(event, error)
                if self._abandoned:
                    end_child(server_log.child_returned)
                self._handling = False
            del lent


def _end_without_events(reactor: ChatReactor, error: BaseException) -> None:
    """Log the error of the thread for events, and stop the server."""
    server_log.thread_failed(error)
    reactor.begin_stop(0)


def _peer(where: str) -> Peer:
    host, _, port = where.rpartition(" ")
    return Peer(host, int(port) if port.isdigit() else 0)


def _text(name: str, text: str) -> str:
    return arguments.text(text, name).encode("utf-8", "replace").decode()  # no lone surrogates
