"""Where handlers run: Python threads that turn a message reactor and call the handler between two turns.

One thread *leads*: it turns the reactor and then handles what came in itself, because handing it to another thread
would cost half the speed. The others follow: when the leader has been in handlers for 10 ms, the next one takes over
the polling, and the old leader goes on with what is left. There is one thread more than ``dispatchers``, so that
someone can always poll, however long handlers take.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from itertools import repeat
from typing import TYPE_CHECKING, Any

from ..engines.serving import ANSWERED, FINISH, HELD
from ..types import ServerStats
from . import log as server_log
from .lifecycle import drain_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engines.framing import Framer
    from ..engines.serving import Item, MessageReactor, Reply
    from ..framing.codecs import Codec, StreamDecoder
    from ..types import Peer

_PATIENCE = 0.01  # of a follower with a leader in handlers
_FLUSH_AFTER = 0.001  # answers wait at most about this long for those that are made after them
_LATER = float("inf")
_ONLY_BYTES = frozenset([bytes])
_DOZE_AFTER = 20  # looks at an idle leader, before a follower sleeps until it is called


class UserFramer:
    """A user's own codec in the shape of an engine's framer."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def encode_many(self, payloads: list[bytes]) -> bytes:
        """Frame payloads one after the other."""
        return b"".join([self._codec.encode(payload) for payload in payloads])

    def decoder(self, skip: bool) -> StreamDecoder:
        """Begin a stream."""
        return self._codec.decoder()


class _Session:
    """What is remembered of one connection between two of its Items."""

    __slots__ = ("decoder", "error", "held")

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.held: list[bytes] = []  # messages that there was no room to answer
        self.error: Exception | None = None  # what comes after them


class Dispatcher:
    """A message server under way: the reactor, the handler, and the threads between them."""

    def __init__(
        self,
        reactor: MessageReactor,
        framer: Framer | UserFramer,
        handler: Callable[..., Any],
        batch: bool,
        dispatchers: int,
    ) -> None:
        self._reactor = reactor
        self._framed = reactor.framed
        self._framer = framer
        self._encode = framer.encode_many
        self._handler = handler
        self._batch = batch
        self._dispatchers = dispatchers
        self._sessions: dict[int, _Session] = {}
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
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"oxisock-messages-{number}", daemon=True)
            for number in range(dispatchers + 1)
        ]
        self._names: frozenset[threading.Thread] = frozenset(self._threads)
        for thread in self._threads:
            thread.start()

    # --- what the lifecycle asks ---------------------------------------------------------------------------------

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        self._reactor.begin_stop(drain_nanoseconds(drain))

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether everything has ended."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def outcome(self) -> tuple[int, int, int]:
        """Give the connections drained and aborted by the stop, and the handlers that still run."""
        return (*self._reactor.outcome(), self._handling)

    def stats(self) -> ServerStats:
        """Give the counters."""
        return ServerStats(*self._reactor.counters())

    def inside(self) -> bool:
        """Say whether the calling thread is in a handler."""
        return threading.current_thread() in self._names

    def forked(self) -> None:
        """This is the parent of a fork."""
        self._reactor.forked()

    def abandon(self) -> None:
        """This is the child of a fork."""
        self._reactor.abandon()

    # --- leading and following -----------------------------------------------------------------------------------

    def _run(self, me: int) -> None:
        try:
            while self._follow(me) and self._lead(me):
                pass
        except BaseException:
            self._over = True  # nobody is left to poll
            self._alarm.set()
            raise

    def _lead(self, me: int) -> bool:
        """Turn the reactor and handle what comes in, until another thread has taken over; False at the end."""
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
                for token in reactor.take_closed():
                    self._sessions.pop(token, None)

    def _follow(self, me: int) -> bool:
        """Wait until this thread leads; False at the end."""
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
        """Give the answers to send; with the lock held."""
        outbox = self._outbox
        # Others may append meanwhile, so the list stays the same one.
        replies = outbox[:]
        del outbox[: len(replies)]
        return replies

    def _handle_all(self, me: int) -> list[Reply] | None:
        """Handle the work there is, and give the answers to send; None if another thread has taken over the lead.

        In that case what came in meanwhile is handled too, and the answers are sent.
        """
        work = self._work
        flush_at = time.monotonic() + _FLUSH_AFTER if len(work) > 1 else _LATER
        while True:
            try:
                if self._batch:
                    items = [work.popleft()]
                    while work:
                        items.append(work.popleft())
                else:
                    item = work.popleft()
            except IndexError:
                pass
            else:
                if self._over:
                    work.clear()
                elif self._batch:
                    self._answer_batch(items)
                else:
                    self._answer(item)
            # With nothing left to do the next turn sends the answers anyway.
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
                    # Only in handlers can the lead be lost.
                    if self._leader != me:
                        return None
                    self._phase += 1
                    return self._take_outbox()

    # --- calling handlers ----------------------------------------------------------------------------------------

    def _answer(self, item: Item) -> None:
        """Call the handler for each message of an Item, as long as there is room for answers."""
        token, peer, given, room, error = item
        if self._framed and isinstance(given, list) and token not in self._sessions:
            messages = given
        else:
            messages, error = self._messages(item)
        handler = self._handler
        payloads: list[bytes] = []
        counted = 0
        # Answers of at most an equal share each do not fill the room: only larger ones make it worth counting.
        share = room // (len(messages) or 1)
        rest = iter(messages)
        left: list[bytes] = []
        failure: BaseException | None = None
        try:
            for message in rest:
                payload = handler(message, peer)
                if type(payload) is not bytes:
                    if payload is None:
                        continue
                    if not isinstance(payload, bytes):
                        raise TypeError(f"a handler gives bytes or None, not {type(payload).__name__}")
                payloads.append(payload)
                if len(payload) > share:
                    room -= sum(map(len, payloads[counted:]))
                    if room <= 0:
                        left = list(rest)
                        break
                    counted = len(payloads)
                    share = room // len(messages)
        except BaseException as raised:
            failure, left = raised, list(rest)
        self._reply(token, peer, payloads, len(messages) - len(left), left, error, failure)

    def _answer_batch(self, items: list[Item]) -> None:
        """Call the handler once for the messages of all Items."""
        unpacked = [(item[0], item[1], *self._messages(item)) for item in items]
        pairs: list[tuple[bytes, Peer]] = []
        for _, peer, messages, _ in unpacked:
            pairs.extend(zip(messages, repeat(peer)))
        answers: list[Any] = []
        failure: BaseException | None = None
        if pairs:
            try:
                answers = self._handler(pairs)
                if not isinstance(answers, list) or len(answers) != len(pairs):
                    size = f"{len(answers)} items" if isinstance(answers, list) else type(answers).__name__
                    raise TypeError(f"a batch handler gives a list of {len(pairs)} items, not {size}")
            except BaseException as raised:
                failure, answers = raised, []
        start = 0
        for token, peer, messages, error in unpacked:
            payloads: list[bytes] = []
            wrong: BaseException | None = failure if messages else None
            part = answers[start : start + len(messages)]
            start += len(messages)
            if set(map(type, part)) <= _ONLY_BYTES:
                payloads = part
            else:
                for answer in part:
                    if isinstance(answer, bytes):
                        payloads.append(answer)
                    elif isinstance(answer, Exception):
                        wrong = answer
                        break
                    elif answer is not None:
                        wrong = TypeError(f"a handler gives bytes, None or an Exception, not {type(answer).__name__}")
                        break
            self._reply(token, peer, payloads, len(messages), [], error, wrong)

    def _messages(self, item: Item) -> tuple[list[bytes], Exception | None]:
        """Give the messages of an Item, and the error that comes after them."""
        token, _, given, _, error = item
        session = self._sessions.get(token)
        if self._framed:
            if given is None:  # it is gone
                self._sessions.pop(token, None)
                return [], None
            assert isinstance(given, list)
            if session is not None:  # what was held comes back now
                del self._sessions[token]
                return session.held, session.error
            return given, error
        if session is None:
            session = self._sessions[token] = _Session(self._framer.decoder(False))
        held, session.held = session.held, []
        error, session.error = session.error, None
        if held or given == b"":
            return held, error
        try:
            return (session.decoder.eof() if given is None else session.decoder.feed(given)), None
        except (ValueError, EOFError) as broken:
            return list(getattr(broken, "frames", ())), broken

    def _reply(
        self,
        token: int,
        peer: Peer,
        payloads: list[bytes],
        handled: int,
        left: list[bytes],
        error: Exception | None,
        failure: BaseException | None,
    ) -> None:
        """Put the answer to an Item into the outbox, and report what went wrong."""
        output = b""
        if payloads:
            try:
                output = self._encode(payloads)
            except Exception as raised:
                # An answer that the codec refuses is the handler's fault; those before it are good.
                output, failure = _encode_some(self._framer, payloads), failure or raised
        action = ANSWERED
        if failure is not None:
            action = FINISH
            self._reactor.count_errors(1, 0)
            server_log.handler_failed(peer, failure)
        elif left:
            action = HELD
            session = self._sessions.get(token)
            if session is None:
                session = self._sessions[token] = _Session(None)
            session.held, session.error = left, error
        elif error is not None:
            action = FINISH
            self._reactor.count_errors(0, 1)
            server_log.framing_broken(peer, error)
        self._outbox.append((token, output, handled, action))


def _encode_some(framer: Framer | UserFramer, payloads: list[bytes]) -> bytes:
    """Encode the payloads up to the first that the codec refuses."""
    parts: list[bytes] = []
    for payload in payloads:
        try:
            parts.append(framer.encode_many([payload]))
        except Exception:
            break
    return b"".join(parts)
