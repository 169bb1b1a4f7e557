"""The pure reactor: one ``selectors`` loop that accepts, reads and writes, and lets connection machines decide.

A *service* (echo, messages, chat) says what becomes of the bytes. The loop is level-triggered and keeps in the
selector just what each machine wants, so a connection that must wait costs nothing.
"""

from __future__ import annotations

import heapq
import selectors
import threading
import time
from collections import deque
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Protocol

from ...engines.serving import NEVER, FaultPlan, ServerPlan
from ...sockets.accepting import WatchedDoor
from ...sockets.closing import NO_SIGNAL, Lingering, reset_on_close, shut_down, still_sending
from ...sockets.listening import prepare
from ...sockets.proxies import ProxyHeader
from ...sockets.waking import Bell
from ...types import ServerStats
from .connection import BROKEN, CUT, DONE, IDLE, LOST, OPEN, REFUSED, RESET, STALLED, Connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ...types import Peer

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CHUNK = 1 << 18  # of one read
_ACCEPTS = 256  # in one turn, so that a storm of connects does not starve those who are connected
_READ_FIRST = 1_000_000  # nanoseconds, before a connection with input that waits to be read is judged again
_KEPT_TIMERS = 64  # that nobody waits for any more, beside as many as there are connections


class Link:
    """One accepted connection: its socket, its machine, and the bytes that wait to be written."""

    __slots__ = ("armed", "behind", "events", "header", "held", "machine", "out", "peer", "sock", "token")

    def __init__(self, token: int, sock: socket.socket, peer: Peer, machine: Connection) -> None:
        self.token = token
        self.sock = sock
        self.peer = peer
        self.machine = machine
        self.out = bytearray()
        self.events = 0  # what the selector watches for
        self.armed = NEVER  # the earliest timer set
        self.behind = False  # whether input waits for the next turn
        self.held = False  # whether a service waits for room
        self.header: ProxyHeader | None = None  # what a proxy is yet to say


class Service(Protocol):
    """What becomes of the bytes: called by the loop, never at the same time twice."""

    chunk: int = _CHUNK
    """At most so many bytes of one read."""
    patience: int = NEVER
    """For so long, in nanoseconds, connections are read in one turn; the others' turn is the next one."""

    newcomers: int = _ACCEPTS
    """At most so many are let in in one turn."""

    def received(self, reactor: Reactor, link: Link, data: bytes, now: int) -> None:
        """Bytes came in."""

    def ended(self, reactor: Reactor, link: Link, now: int) -> None:
        """The peer will send no more."""

    def relieved(self, reactor: Reactor, link: Link, now: int) -> None:
        """There is room to write again for a link that is ``held``."""

    def closed(self, reactor: Reactor, link: Link, now: int) -> None:
        """The connection is gone."""

    def opened(self, reactor: Reactor, link: Link, now: int) -> None:
        """Somebody has come."""
        return

    def refusal(self, peer: Peer, now: int) -> bytes | None:
        """Give what to say to a newcomer who cannot be taken in, if so."""
        return None

    def before_newcomers(self, reactor: Reactor, now: int, heard: int) -> None:
        """Who is in has had a turn to be read of what came in before ``heard``; newcomers are let in next."""
        return

    def turned(self, reactor: Reactor, now: int, heard: int) -> None:
        """All that was ready has been dealt with; what came in before ``heard`` was among it, so timers go by that."""
        return

    def stopping(self, reactor: Reactor, now: int) -> None:
        """A stop has begun: the connections will be told to finish."""
        return

    def deadline(self) -> int:
        """Give the time at which ``turned`` is to be called at the latest."""
        return NEVER

    def over(self) -> None:
        """The loop has ended, in whichever way."""
        return


class Reactor:
    """The loop; ``turn`` it on one thread at a time, everything else may be called from any thread."""

    def __init__(
        self, listener: socket.socket | None, plan: ServerPlan, service: Service, faults: FaultPlan | None = None
    ) -> None:
        self.lock = threading.RLock()  # for whoever touches links; never held while waiting
        self.links: dict[int, Link] = {}
        self.ended = threading.Event()
        self.accepted = self.closed = self.rejected = 0
        self.withdrawn = 0  # of those accepted: by now it is known from whom they come, and that one is not let in
        self.messages = self.bytes_in = self.bytes_out = 0
        self.handler_errors = self.frame_errors = self.timeouts = 0
        self.drained = 0
        self.stopped = 0  # connections that the stop has to bring to an end
        self.group: Sequence[Reactor] = (self,)  # the reactors that share the listener of the first
        self._plan = plan
        self._service = service
        self._faults = faults
        self._hung_up = listener is None
        self._adopted: deque[tuple[int, socket.socket, Peer]] = deque()
        self._lingering = Lingering()
        self._timers: list[tuple[int, int]] = []
        self._sleeping_until = NEVER
        self._read_until = NEVER
        self._heard = 0  # what came in before is dealt with at the end of the turn
        self._stop_at: int | None = None
        self._draining = False
        with ExitStack() as undo:
            if listener is not None:
                undo.callback(listener.close)
            self._selector = undo.enter_context(selectors.DefaultSelector())
            self._bell = Bell()
            undo.callback(self._bell.close)
            self._selector.register(self._bell.heard, _READ)
            # The door stays, for its counter, when nobody can come in by it any more.
            self._door = None if listener is None else WatchedDoor(listener, plan, self._selector)
            undo.pop_all()
        self._shut_first = False

    # --- from any thread -----------------------------------------------------------------------------------------

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""
        stop_at = min(time.monotonic_ns() + drain, NEVER)
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)
        self.wake()

    def wake(self) -> None:
        """End the wait of the thread that turns."""
        self._bell.ring()

    def adopt(self, token: int, sock: socket.socket, peer: Peer) -> None:
        """Take over a connection that another reactor of the group accepted."""
        self._adopted.append((token, sock, peer))
        self.wake()

    def outcome(self) -> tuple[int, int]:
        """Give the connections drained and aborted by the stop."""
        # Who has not drained is cut; a busy loop may be behind with doing so, and even with beginning the stop.
        stopped = sum(r.stopped if r._draining else len(r.links) for r in self.group)
        drained = sum(r.drained for r in self.group)
        return drained, stopped - drained

    def counters(self) -> ServerStats:
        """Give the counters of the whole group."""
        closed = sum(r.closed for r in self.group)  # before accepted, so that active is never negative
        accepted = self.group[0].accepted - sum(r.withdrawn for r in self.group)
        door = self.group[0]._door
        return ServerStats(
            accepted=accepted,
            active=accepted - closed,
            closed=closed,
            shed=0 if door is None else door.shed,
            rejected=sum(r.rejected for r in self.group) + (0 if door is None else door.rejected),
            messages=sum(r.messages for r in self.group),
            bytes_in=sum(r.bytes_in for r in self.group),
            bytes_out=sum(r.bytes_out for r in self.group),
            handler_errors=sum(r.handler_errors for r in self.group),
            frame_errors=sum(r.frame_errors for r in self.group),
            timeouts=sum(r.timeouts for r in self.group),
        )

    def count_errors(self, handler: int, frame: int) -> None:
        """Add to the counters of errors."""
        with self.lock:
            self.handler_errors += handler
            self.frame_errors += frame

    def forked(self) -> None:
        """From now on, shut sockets down before closing them: a forked child holds duplicates."""
        self._shut_first = True

    def abandon(self) -> None:
        """Close what this forked child inherited; the parent goes on with its own descriptors."""
        for link in self.links.values():
            link.sock.close()
        if self._door is not None:
            self._door.abandon()

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Turn to the end."""
        while self.turn():
            pass

    def turn(self, wait: bool = True) -> bool:
        """Wait for something to happen, if so, and deal with it; False when the reactor has ended.

        What it raises has ended it, and the others of its group with it.
        """
        try:
            return self._turn(wait)
        except BaseException:
            self.break_off()
            raise

    def break_off(self) -> None:
        """End this loop, not by a stop but because it cannot go on; nothing is left of it."""
        with self.lock:
            for link in self.links.values():
                link.sock.close()
            self.closed += len(self.links) + len(self._adopted)
            self.links.clear()
            while self._adopted:
                self._adopted.popleft()[1].close()
            self._draining = True
            if not self._hung_up:
                self._hang_up()
            self._end()
        for reactor in self.group:
            reactor.begin_stop(0)

    def _turn(self, wait: bool) -> bool:
        timeout = self._prepare()
        if timeout is None:
            return False
        ready = self._selector.select(timeout if wait else 0)
        with self.lock:
            now = time.monotonic_ns()
            self._sleeping_until = 0
            self._read_until = now + self._service.patience
            knocked = False
            for key, events in ready:
                link = key.data
                if link is not None:
                    self._serve(link, events, now)
                elif key.fileobj is self._bell.heard:
                    self._bell.hush()
                else:
                    knocked = True
            # After those who are in, and by a clock of their own: comers do not keep members waiting.
            self._service.before_newcomers(self, now, self._heard)
            if knocked:
                self._accept(now)
            while self._adopted:
                self._open(*self._adopted.popleft(), now)
            if lingered := len(self._lingering):
                self._lingering.look_after(now)
                if len(self._lingering) < lingered:
                    self._made_room()
            # After what is ready, and by the time before it was asked for: lag of this loop, or a pause of the whole
            # process, is not the peer's silence.
            self._expire(self._heard, now)
            self._service.turned(self, now, self._heard)
        return True

    def send(self, link: Link, data: bytes, now: int) -> None:
        """Write ``data`` as far as the socket takes it, and keep the rest."""
        if link.machine.closed == OPEN:
            self.queue(link, data, now)
            self.flush(link, now)

    def queue(self, link: Link, data: bytes, now: int) -> None:
        """Add ``data`` to what waits; where there is no memory for it, that ends the connection."""
        link.machine.queue(len(data), now)
        try:
            link.out += data
        except MemoryError:
            self.exhausted(link, now)

    def exhausted(self, link: Link, now: int) -> None:
        """Cut a connection for which there is no memory."""
        link.machine.abort(CUT, now)
        self.handler_errors += 1

    def flush(self, link: Link, now: int) -> None:
        """Write what waits, as far as machine and socket allow."""
        machine = link.machine
        while size := machine.allowance():
            try:
                with memoryview(link.out) as out, out[:size] as part:
                    sent = link.sock.send(part, NO_SIGNAL)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                machine.abort(LOST, now)
                break
            del link.out[:sent]
            self.bytes_out += sent
            machine.wrote(sent, now)
            if sent < size:
                break
        if link.held and not machine.paused and machine.closed == OPEN:
            self._service.relieved(self, link, now)

    def read_no_more(self) -> None:
        """Leave what else is ready to the next turn."""
        self._read_until = 0

    def room_for_answers(self, link: Link) -> int:
        """Give how many bytes of answers ``link`` may still queue."""
        return self._plan.max_buffered - link.machine.queued

    def settle(self, link: Link, now: int) -> None:
        """Do what the machine of ``link`` wants after something happened: close, watch, set a timer."""
        machine = link.machine
        if machine.closed != OPEN:
            self._close(link, now)
            return
        events = (_READ if machine.room() else 0) | (_WRITE if machine.allowance() else 0)
        if events != link.events:
            try:
                if not link.events:
                    self._selector.register(link.sock, events, link)
                elif events:
                    self._selector.modify(link.sock, events, link)
                else:
                    self._selector.unregister(link.sock)
                link.events = events
            except OSError:  # the system watches too much already; this costs the connection, and nobody else
                link.events = 0
                machine.abort(LOST, now)
                self._close(link, now)
                return
        deadline = machine.deadline()
        if deadline < link.armed:
            link.armed = deadline
            heapq.heappush(self._timers, (deadline, link.token))
            if len(self._timers) > 2 * len(self.links) + _KEPT_TIMERS:
                self._forget_timers()
            if deadline < self._sleeping_until:
                self.wake()

    def _prepare(self) -> float | None:
        """Begin or end a stop, listen if there is room, and give the seconds to wait; None at the end."""
        with self.lock:
            now = time.monotonic_ns()
            if self._stop_at is not None:
                if not self._draining:
                    self.stopped = len(self.links)
                    self._draining = True
                    self._hang_up()
                    self._service.stopping(self, now)
                    for link in list(self.links.values()):
                        link.machine.finish(now)
                        self.settle(link, now)
                if now >= self._stop_at:
                    for link in list(self.links.values()):
                        link.machine.abort(CUT, now)
                        self.settle(link, now)
                # The first stops accepting before the others may go: nobody is handed to a loop that has ended.
                over = self.group[0]._hung_up and not self._adopted and not self.links
                if over and (not self._lingering or now >= self._stop_at):
                    self._end()
                    return None
            wait_until = min(self._timers[0][0] if self._timers else NEVER, self._stop_at or NEVER)
            wait_until = min(wait_until, self._service.deadline(), self._lingering.due())
            if self._door is not None and not self._hung_up:
                self._door.listen(self._room() > 0, now)
                if self._door.again > now:
                    wait_until = min(wait_until, self._door.again)
            self._sleeping_until = wait_until
            self._heard = now
            # At most an hour: the system does not take every number of seconds.
            return min(3600.0, max(0, wait_until - now) / 1e9)

    def _room(self) -> int:
        """Give how many more connections there may be; those whose last bytes are on their way count."""
        there = (
            self.accepted - sum(r.closed + r.withdrawn for r in self.group) + sum(len(r._lingering) for r in self.group)
        )
        return self._plan.max_connections - there

    def _accept(self, now: int) -> None:
        if self._door is None:
            return
        until = time.monotonic_ns() + self._service.patience
        enough = self.accepted + self._service.newcomers
        for sock, peer in self._door.newcomers(min(self._room(), _ACCEPTS), now, until):
            if not self._door.is_proxy(peer) and (words := self._service.refusal(peer, now)) is not None:
                self._door.left(peer)
                self._refuse(sock, words, now)
                continue
            token = self.accepted
            self.accepted += 1
            reactor = self.group[token % len(self.group)]
            if reactor is self:
                self._open(token, sock, peer, now)
            else:
                reactor.adopt(token, sock, peer)
            if self.accepted >= enough:
                return

    def _open(self, token: int, sock: socket.socket, peer: Peer, now: int) -> None:
        plan, faults = self._plan, self._faults
        prepare(sock, plan.nodelay, plan.keepalive)
        limits = (plan.idle_timeout, plan.write_timeout, plan.max_buffered)
        if faults is None:
            machine = Connection(now, *limits)
        else:
            machine = Connection(now, *limits, *faults[:4], faults.seed + token)
        link = Link(token, sock, peer, machine)
        self.links[token] = link
        door = self.group[0]._door
        if door is not None and door.is_proxy(peer):
            link.header = ProxyHeader()
            machine.require_by(min(now + plan.header_timeout, NEVER), now)
        else:
            self._service.opened(self, link, now)
        if self._draining:
            self.stopped += 1
            machine.finish(now)
        self.settle(link, now)

    def _refuse(self, sock: socket.socket, words: bytes, now: int) -> None:
        """Say something to a newcomer who is not taken in."""
        self.rejected += 1
        with suppress(OSError):  # few words, and a socket that is empty: they fit, or the newcomer has gone
            sock.send(words, NO_SIGNAL)
        self._lingering.add(sock, now)

    def _serve(self, link: Link, events: int, now: int) -> None:
        machine = link.machine
        if events & _WRITE:
            self.flush(link, now)
        if events & _READ and (room := machine.room()):
            link.behind = time.monotonic_ns() >= self._read_until
        else:
            room = 0
        if room and not link.behind:
            try:
                self._receive(link, min(room, self._service.chunk), now)
            except MemoryError:
                self.exhausted(link, now)
        self.settle(link, now)

    def _receive(self, link: Link, size: int, now: int) -> None:
        try:
            data = link.sock.recv(size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            link.machine.abort(LOST, now)
            return
        if link.header is not None:
            data = self._introduce(link, link.header, data, now)
            if not data:
                return
        if data:
            self.bytes_in += len(data)
            self._service.received(self, link, data, now)
        else:
            self._service.ended(self, link, now)

    def _introduce(self, link: Link, header: ProxyHeader, data: bytes, now: int) -> bytes:
        """Read what a proxy says of the connection; give what came after that."""
        machine, door = link.machine, self.group[0]._door
        try:
            end = header.feed(data) if data else 0
        except ValueError:
            end = 0
        if end < 0 or door is None:
            return b""
        if end == 0:
            machine.abort(BROKEN, now)
            return b""
        link.peer = header.source or link.peer
        if not door.admit(link.peer):
            machine.abort(REFUSED, now)
        elif (words := self._service.refusal(link.peer, now)) is not None:
            door.left(link.peer)
            self.rejected += 1
            with suppress(OSError):
                link.sock.send(words, NO_SIGNAL)
            machine.abort(REFUSED, now)
        else:
            link.header = None
            machine.begin(now)
            self._service.opened(self, link, now)
        return data[end:] if machine.room() else b""

    def _expire(self, heard: int, now: int) -> None:
        """Judge the timers that were due before ``heard``."""
        timers = self._timers
        while timers and timers[0][0] <= heard:
            due, token = heapq.heappop(timers)
            link = self.links.get(token)
            if link is None or link.armed != due:
                continue  # gone, or an earlier timer has taken its place
            if link.behind and link.machine.room():
                # It has said something that was not read yet.
                link.armed = now + _READ_FIRST
                heapq.heappush(timers, (link.armed, token))
                continue
            link.armed = NEVER
            if link.machine.deadline() <= heard:
                link.machine.tick(now)
            self.flush(link, now)
            self.settle(link, now)

    def _close(self, link: Link, now: int) -> None:
        """Count the end of a connection and then close it: whoever sees the end finds it counted."""
        if self.links.pop(link.token, None) is None:
            return
        reason = link.machine.closed
        self.timeouts += reason in (IDLE, STALLED)
        self.frame_errors += reason == BROKEN
        if self._draining:
            self.drained += reason == DONE
        if reason == REFUSED:
            self.withdrawn += 1
        else:
            self.closed += 1
        if link.events:
            self._selector.unregister(link.sock)
        if reason in (STALLED, CUT, RESET):
            reset_on_close(link.sock)
        elif self._shut_first:
            shut_down(link.sock)
        if reason == REFUSED or (reason == DONE and not link.machine.eof and still_sending(link.sock, 0)):
            self._lingering.add(link.sock, now)
        else:
            link.sock.close()
        if link.header is None:
            if (door := self.group[0]._door) is not None:
                door.left(link.peer)
            self._service.closed(self, link, now)
        self._made_room()

    def _made_room(self) -> None:
        first = self.group[0]
        if not (first._door and first._door.listening) and first._sleeping_until:
            first.wake()  # there is room to accept again, or an end to come to

    def _forget_timers(self) -> None:
        """Drop the timers of connections that are gone, and those that an earlier one has replaced."""
        links = self.links
        self._timers[:] = [(due, token) for due, token in self._timers if token in links and links[token].armed == due]
        heapq.heapify(self._timers)

    def _hang_up(self) -> None:
        if self._door is None:
            return
        self._door.close(self._shut_first)
        self._hung_up = True
        for reactor in self.group[1:]:
            reactor.wake()

    def _end(self) -> None:
        self._lingering.close()
        self._selector.close()
        self._bell.close()
        self._service.over()
        self.ended.set()
