"""The pure reactor: one ``selectors`` loop that accepts, reads and writes, and lets connection machines decide.

A service (echo, messages, chat) decides what to do with the bytes. The loop is level-triggered. The selector watches
only what each machine wants, so a connection that must wait costs nothing.
"""

from __future__ import annotations

import selectors
import threading
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ...engines.serving import NEVER
from ...sockets import selecting
from ...sockets.accepting import WatchedDoor
from ...sockets.closing import NO_SIGNAL, Lingering, reset_on_close, shut_down, still_sending
from ...sockets.waking import Bell
from ..timers import Timers
from .connection import BROKEN, CUT, DONE, IDLE, LOST, OPEN, REFUSED, RESET, STALLED
from .journal import Journal
from .newcomers import Newcomers

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from ...engines.serving import FaultPlan, ServerPlan
    from ...types import Peer
    from .service import Link, Service

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_READ_FIRST = 1_000_000  # nanoseconds until the timer of a connection with unread input is checked again


class Reactor:
    """The loop. One thread at a time may ``turn`` it; any thread may call everything else."""

    def __init__(
        self, listener: socket.socket | None, plan: ServerPlan, service: Service, faults: FaultPlan | None = None
    ) -> None:
        self.lock = threading.RLock()  # held by whoever touches links; never held during a wait
        self.links: dict[int, Link] = {}
        self.ended = threading.Event()
        self.newcomers = Newcomers(self, plan, service, faults)
        self.closed = self.messages = self.bytes_in = self.bytes_out = 0
        self.handler_errors = self.frame_errors = self.handshake_errors = self.timeouts = 0
        self.drained = 0
        self.stopped = 0  # connections that the stop must bring to an end
        self.group: Sequence[Reactor] = (self,)  # the reactors that share the listener of the first
        self._plan = plan
        self._service = service
        self._hung_up = listener is None
        self.lingering = Lingering()
        self.journal = Journal()
        self._timers = Timers()
        self._sleeping_until = NEVER
        self._read_until = NEVER
        self._heard = 0  # input from before this time is handled at the end of the turn
        self._stop_at: int | None = None
        self.draining = False
        with ExitStack() as undo:
            if listener is not None:
                undo.callback(listener.close)
            # Without this buffer, every read would ask the system for memory of a whole chunk and give it back, which
            # takes longer than the read. (glibc maps pages for such large blocks, until one of them is freed.)
            self._buffer = memoryview(bytearray(service.chunk))
            self._selector = undo.enter_context(selecting.Selector())
            self._bell = Bell()
            undo.callback(self._bell.close)
            self._selector.register(self._bell.heard, _READ)
            # The door stays, because of its counter, when nobody can come in any more.
            self.door = None if listener is None else WatchedDoor(listener, plan, self._selector)
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
        self.newcomers.adopted.append((token, sock, peer))
        self.wake()

    def count_errors(self, handler: int, frame: int) -> None:
        """Add to the counters of errors."""
        with self.lock:
            self.handler_errors += handler
            self.frame_errors += frame

    def forked(self) -> None:
        """From now on, shut sockets down before closing them, because a forked child holds duplicates."""
        self._shut_first = True

    def abandon(self) -> None:
        """Close what this forked child inherited; the parent keeps its own descriptors."""
        for link in self.links.values():
            link.sock.close()
        if self.door is not None:
            self.door.abandon()

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Turn until the end."""
        while self.turn():
            pass

    def turn(self, wait: bool = True) -> bool:
        """Handle what happened, after waiting for it if ``wait`` is true. Returns False when the reactor has ended.

        An exception ends this reactor, and the others of its group.
        """
        try:
            return self._turn(wait)
        except BaseException:
            self.break_off()
            raise

    def break_off(self) -> None:
        """End this loop because it cannot go on, and close everything."""
        with self.lock:
            for link in self.links.values():
                link.sock.close()
            self.closed += len(self.links) + len(self.newcomers.adopted)
            self.links.clear()
            while self.newcomers.adopted:
                self.newcomers.adopted.popleft()[1].close()
            self.draining = True
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
            # Newcomers come after open connections, with a time limit of their own, so that they do not delay members.
            self._service.before_newcomers(self, now, self._heard)
            if knocked and self.door is not None:
                self.newcomers.accept(self.door, now)
            while self.newcomers.adopted:
                self.newcomers.open(*self.newcomers.adopted.popleft(), now)
            if lingered := len(self.lingering):
                self.lingering.look_after(now)
                if len(self.lingering) < lingered:
                    self._made_room()
            # Timers are checked after the input, and against the time before the wait. So a delay of this loop, or a
            # pause of the whole process, does not count as the peer's silence.
            self._expire(self._heard, now)
            self._service.turned(self, now, self._heard)
        return True

    def send(self, link: Link, data: bytes, now: int) -> None:
        """Write ``data`` as far as the socket takes it, and keep the rest."""
        if link.machine.closed == OPEN:
            link.machine.queue(len(data), now)
            self.flush(link, now, data)

    def queue(self, link: Link, data: bytes, now: int) -> None:
        """Add ``data`` to the waiting bytes."""
        link.machine.queue(len(data), now)
        self._keep(link, data, now)

    def _keep(self, link: Link, data: bytes, now: int) -> None:
        """Keep bytes to write. If there is no memory for them, this ends the connection."""
        try:
            link.out += data
        except MemoryError:
            self.exhausted(link, now)

    def exhausted(self, link: Link, now: int) -> None:
        """Cut a connection for which there is no memory."""
        link.machine.abort(CUT, now)
        self.handler_errors += 1

    def flush(self, link: Link, now: int, data: bytes = b"") -> None:
        """Write the waiting bytes, then ``data``, which the machine has counted, as far as machine and socket allow."""
        if out := link.out:
            if data:
                self._keep(link, data, now)
            with memoryview(out) as waiting:
                sent = self._write(link, waiting, now)
            del out[:sent]
        elif data:  # most answers are sent without a copy
            sent = self._write(link, data, now)
            if sent < len(data):
                self._keep(link, data[sent:], now)
        if link.held and not link.machine.paused and link.machine.closed == OPEN:
            self._service.relieved(self, link, now)

    def _write(self, link: Link, data: bytes | memoryview, now: int) -> int:
        """Write as far as machine and socket allow, and return how much that was."""
        machine = link.machine
        written = 0
        while size := machine.allowance():
            try:
                sent = link.sock.send(data if size == len(data) else data[written : written + size], NO_SIGNAL)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                machine.abort(LOST, now)
                break
            written += sent
            self.bytes_out += sent
            machine.wrote(sent, now)
            if sent < size:
                break
        return written

    def read_no_more(self) -> None:
        """Leave the rest of the ready input to the next turn."""
        self._read_until = 0

    def room_for_answers(self, link: Link) -> int:
        """Return how many bytes of answers ``link`` may still queue."""
        return self._plan.max_buffered - link.machine.queued

    def settle(self, link: Link, now: int) -> None:
        """Do what the machine of ``link`` wants after an event: close, watch, set a timer."""
        machine = link.machine
        if machine.closed != OPEN:
            self._close(link, now)
            return
        if machine.parts():
            self._service.parting(self, link, now)
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
            except OSError:  # the system cannot watch more sockets; only this connection ends
                link.events = 0
                machine.abort(LOST, now)
                self._close(link, now)
                return
        deadline = machine.deadline()
        if deadline < link.armed:
            link.armed = deadline
            self._timers.set(deadline, link.token)
            self._timers.tidy(len(self.links), self._waits_for)
            if deadline < self._sleeping_until:
                self.wake()

    def _prepare(self) -> float | None:
        """Begin or end a stop, listen if there is room, and return the seconds to wait; None at the end."""
        with self.lock:
            now = time.monotonic_ns()
            if self._stop_at is not None:
                if not self.draining:
                    self.stopped = len(self.links)
                    self.draining = True
                    self._hang_up()
                    self._service.stopping(self, now)
                    for link in list(self.links.values()):
                        link.machine.finish(now)
                        self.settle(link, now)
                if now >= self._stop_at:
                    for link in list(self.links.values()):
                        link.machine.abort(CUT, now)
                        self.settle(link, now)
                # The first reactor stops accepting before the others may end, so no connection goes to a loop that has
                # ended.
                over = self.group[0]._hung_up and not self.newcomers.adopted and not self.links
                if over and (not self.lingering or now >= self._stop_at):
                    self._end()
                    return None
            wait_until = min(self._timers.next(), self._stop_at or NEVER)
            wait_until = min(wait_until, self._service.deadline(), self.lingering.due())
            if self.door is not None and not self._hung_up:
                self.door.listen(self.newcomers.room() > 0, now)
                if self.door.again > now:
                    wait_until = min(wait_until, self.door.again)
            self._sleeping_until = wait_until
            self._heard = now
            # An hour at most, because the system does not take every number of seconds.
            return min(3600.0, max(0, wait_until - now) / 1e9)

    def _serve(self, link: Link, events: int, now: int) -> None:
        machine = link.machine
        if events & _WRITE:
            self.flush(link, now)
        if events & _READ and (room := machine.room()):
            link.behind = time.monotonic_ns() >= self._read_until
            if not link.behind:
                try:
                    self._receive(link, min(room, self._service.chunk), now)
                except MemoryError:
                    self.exhausted(link, now)
        self.settle(link, now)

    def _receive(self, link: Link, size: int, now: int) -> None:
        try:
            count = link.sock.recv_into(self._buffer, size)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            link.machine.abort(LOST, now)
            return
        data = bytes(self._buffer[:count])
        if link.header is not None:
            data = self.newcomers.introduce(link, link.header, data, now)
            if not data:
                return
        if data:
            self.bytes_in += len(data)
            if self.journal.watched:
                self.journal.note(link.peer, "received", len(data))
            self._service.received(self, link, data, now)
        else:
            self._service.ended(self, link, now)

    def _expire(self, heard: int, now: int) -> None:
        """Check the timers that were due before ``heard``."""
        timers = self._timers
        while timer := timers.take(heard):
            _, token = timer
            if not self._waits_for(*timer):
                continue
            link = self.links[token]
            if link.behind and link.machine.room():
                # Its input was not read yet.
                link.armed = now + _READ_FIRST
                timers.set(link.armed, token)
                continue
            link.armed = NEVER
            if link.machine.deadline() <= heard:
                link.machine.tick(now)
            self.flush(link, now)
            self.settle(link, now)

    def _close(self, link: Link, now: int) -> None:
        """Count the end of a connection, then close it, so that whoever sees the end finds it counted."""
        if self.links.pop(link.token, None) is None:
            return
        reason = link.machine.closed
        self.timeouts += reason in (IDLE, STALLED)
        self.frame_errors += reason == BROKEN
        # The header must come first, and after it the handshake.
        self.handshake_errors += reason == LOST and link.header is None and link.machine.expecting
        if self.draining:
            self.drained += reason == DONE
        if reason == REFUSED:
            self.newcomers.withdrawn += 1
        else:
            self.closed += 1
        if link.events:
            self._selector.unregister(link.sock)
        if reason in (STALLED, CUT, RESET):
            reset_on_close(link.sock)
        elif self._shut_first:
            shut_down(link.sock)
        if reason == REFUSED or (reason == DONE and not link.machine.eof and still_sending(link.sock, 0)):
            self.lingering.add(link.sock, now)
        else:
            link.sock.close()
        if link.header is None:
            self.journal.note(link.peer, "closed", reason)
            if (door := self.group[0].door) is not None:
                door.left(link.peer)
            self._service.closed(self, link, now)
        elif reason == BROKEN:
            self.journal.note(link.peer, "closed", reason)
        self._made_room()

    def _made_room(self) -> None:
        first = self.group[0]
        if not (first.door and first.door.listening) and first._sleeping_until:
            first.wake()  # there is room to accept again, or the loop may end

    def _waits_for(self, due: int, token: int) -> bool:
        """Return whether this is still the earliest timer of an open connection."""
        link = self.links.get(token)
        return link is not None and link.armed == due

    def _hang_up(self) -> None:
        if self.door is None:
            return
        self.door.close(self._shut_first)
        self._hung_up = True
        for reactor in self.group[1:]:
            reactor.wake()

    def _end(self) -> None:
        self.lingering.close()
        self._selector.close()
        self._bell.close()
        self._service.over()
        self.ended.set()
