"""Runs handlers: Python threads turn a message reactor, and call the handler between two turns.

One thread *leads*: it turns the reactor and then handles the input itself, because handing it to another thread would
halve the speed. The other threads follow. When the leader has been in handlers for 10 ms, the next thread takes over
the polling, and the old leader continues with the remaining work. There is one thread more than ``dispatchers``, so one
can always poll, however long handlers take.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from .. import arguments
from ..sockets.forks import end_child
from . import log as server_log
from .lifecycle import HandlerThreads

if TYPE_CHECKING:
    from ..engines.serving import Item, MessageReactor, Reply
    from .messages import Conversations

_PATIENCE = 0.01  # seconds that a follower waits while the leader is in handlers
_FLUSH_AFTER = 0.001  # seconds; answers wait at most about this long for those made after them
_LATER = float("inf")
_LAST_WAIT = 5.0  # seconds, for threads that have been told to end
_DOZE_AFTER = 20  # looks at an idle leader before a follower sleeps until it is called


class MessagesRunning(HandlerThreads):
    """A started message server: the reactor, the threads that turn it, and the calls of the handler."""

    def __init__(self, reactor: MessageReactor, conversations: Conversations, batch: bool, dispatchers: int) -> None:
        self._reactor = reactor
        self._framed = reactor.framed
        self._conversations = conversations
        self._batch = batch
        self._dispatchers = dispatchers
        self.stats = reactor.counters
        self.forked = reactor.forked
        self.notices = reactor.notices
        self._lock = threading.Lock()
        self._work: deque[Item] = deque()
        self._outbox: list[Reply] = []
        self._leader = 0  # the number of the thread that leads
        self._phase = 0  # odd while the leader is in handlers
        self._handling = 0  # threads in handlers
        self._sentinel = threading.Lock()  # held by the one follower that watches the leader
        self._alarm = threading.Event()
        self._dozing = False
        self._over = False
        self._abandoned = False  # whether this is a forked child's copy
        super().__init__()
        try:
            for number in range(dispatchers + 1):
                self._latch.spawn(f"oxisock-messages-{number}", partial(self._run, number))
        except BaseException:  # there are no more threads; those already started end again
            reactor.begin_stop(0)
            if not len(self._latch):
                self._turn_to_the_end()
            self._latch.join(_LAST_WAIT)
            raise

    # --- what the lifecycle asks ---------------------------------------------------------------------------------

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        self._reactor.begin_stop(arguments.nanoseconds(drain, "drain", zero=True))

    def outcome(self) -> tuple[int, int, int]:
        """Return the connections drained and aborted by the stop, and the handlers that still run."""
        return (*self._reactor.outcome(), self._handling)

    def abandon(self) -> None:
        """Note that this is the child of a fork."""
        self._abandoned = True
        self._conversations.abandon()
        self._reactor.abandon()

    # --- leading and following -----------------------------------------------------------------------------------

    def _run(self, me: int) -> None:
        try:
            while self._follow(me) and self._lead(me):
                pass
        except BaseException:
            # A thread that fails ends the server, because perhaps no other thread would poll.
            self._over = True
            self._alarm.set()
            self._reactor.begin_stop(0)
            if self._leader == me:
                self._turn_to_the_end()
            raise

    def _turn_to_the_end(self) -> None:
        """Let a stopped reactor end if no other thread turns it."""
        with suppress(Exception):  # the reactor may be what failed
            while self._reactor.turn([]) is not None:
                pass

    def _lead(self, me: int) -> bool:
        """Turn the reactor and handle its input until another thread has taken over. Returns False at the end."""
        reactor, work, lock, framed = self._reactor, self._work, self._lock, self._framed
        turn = reactor.turn
        while True:
            with lock:
                handle = bool(work) and self._handling < self._dispatchers
                if handle:
                    self._handling += 1
                    self._phase += 1
                    if self._dozing:
                        self._dozing = False
                        self._alarm.set()
                replies = None if handle else self._take_outbox()
            if replies is None:
                replies = self._handle_all(me)
                if replies is None:
                    return True
            items = turn(replies)
            if items is None:
                self._over = True
                self._alarm.set()
                return False
            work.extend(items)
            if not framed:
                self._conversations.forget(reactor.take_closed())

    def _follow(self, me: int) -> bool:
        """Wait until this thread leads. Returns False at the end."""
        if self._leader == me:
            return True
        with self._sentinel:
            seen, idle = -1, 0
            while not self._over:
                with self._lock:
                    phase = self._phase
                    if phase & 1 and phase == seen:
                        self._leader = me
                        self._phase += 1
                        return True
                    idle = idle + 1 if phase == seen else 0
                    seen = phase
                    self._dozing = not phase & 1 and idle >= _DOZE_AFTER
                    self._alarm.clear()
                    if self._over:
                        return False
                self._alarm.wait(None if self._dozing else _PATIENCE)
        return False

    def _take_outbox(self) -> list[Reply]:
        """Return the answers to send. The caller holds the lock."""
        outbox = self._outbox
        # Other threads may append meanwhile, so this keeps the same list.
        replies = outbox[:]
        del outbox[: len(replies)]
        return replies

    def _handle_all(self, me: int) -> list[Reply] | None:
        """Handle the waiting work, and return the answers to send; None if another thread has taken over the lead.

        In that case, this also handles the input that came meanwhile, and sends the answers.
        """
        work, outbox, conversations = self._work, self._outbox, self._conversations
        handler = conversations.handler()
        flush_at = time.monotonic() + _FLUSH_AFTER if len(work) > 1 else _LATER
        while True:
            if self._over:
                work.clear()
            else:
                # If user code raises here, in a hook or in an object it returned, only these connections end.
                if self._batch:
                    taken: list[Item] = []
                    try:
                        outbox.extend(conversations.answer_batch(work, taken, handler))
                    except BaseException as error:
                        outbox.extend([conversations.failed(item, error) for item in taken])
                else:
                    item = None
                    try:
                        item = work.popleft()
                        outbox.append(conversations.answer(item, handler))
                    except BaseException as error:
                        if item is not None:  # otherwise, other threads took the rest
                            outbox.append(conversations.failed(item, error))
                if self._abandoned:
                    end_child(server_log.child_returned)
            # If nothing is left to do, the next turn sends the answers anyway.
            if self._leader != me or (work and time.monotonic() > flush_at):
                with self._lock:
                    replies = self._take_outbox()
                if replies:
                    self._reactor.submit(replies)
                flush_at = time.monotonic() + _FLUSH_AFTER
            if not work:
                with self._lock:
                    if work:
                        continue
                    self._handling -= 1
                    # The lead can be lost only in handlers.
                    if self._leader != me:
                        return None
                    self._phase += 1
                    return self._take_outbox()
