"""A message reactor with TLS: the reactor below it moves encrypted bytes, and its user sees plain ones.

Both engines share it. The thread that turns also decrypts, so slow handlers do not delay handshakes. Handshakes have
only a share of each turn, so many handshakes do not delay open connections.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from ..engines.serving import ANSWERED, FINISH, HELD, NEVER
from ..sockets.tls import PIECE, Session
from . import log as server_log

if TYPE_CHECKING:
    from ssl import SSLContext

    from ..engines.serving import Item, MessageReactor, Reply
    from ..types import ServerStats

_SHARE = 0.005  # seconds of a turn for handshakes, and for the input of one connection
_LAST_WORDS = 30_000_000  # nanoseconds after the drain, to send close_notify


class SecuredReactor:
    """A MessageReactor with TLS. One thread at a time uses a connection's Session: that which turns or answers."""

    framed = False

    def __init__(self, reactor: MessageReactor, context: SSLContext, max_buffered: int) -> None:
        self._reactor = reactor
        self._context = context
        self._most = max_buffered  # bytes of answers that may wait on a connection
        self._sessions: dict[int, Session] = {}
        self._shaking: deque[Item] = deque()  # input of connections whose handshake is not done
        self._unopened: list[tuple[Item, bytes]] = []  # input that had to wait, and the plain bytes before it
        self._own: list[Reply] = []  # replies that are not a handler's
        self._failed = 0  # failed handshakes, without those that the reactor counts because the connection was lost
        self._bytes_in = 0  # plain bytes received
        self._bytes_out = 0  # plain bytes sent on connections that have closed
        self._gone: list[tuple[int, int]] = []  # connections that have closed and are not reported yet
        self._counting = threading.Lock()  # held while sent bytes are counted: no connection is removed then
        self._stopping = False
        self.outcome = reactor.outcome
        self.forked = reactor.forked
        self.notices = reactor.notices
        self.abandon = reactor.abandon
        self.begun = reactor.begun
        self.written = reactor.written
        self.count_errors = reactor.count_errors

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""
        self._stopping = True
        self._reactor.begin_stop(min(drain + _LAST_WORDS, NEVER))

    def counters(self) -> ServerStats:
        """Return the counters. As with other servers, bytes are plain bytes."""
        counters = self._reactor.counters()
        failed = counters.handshake_errors + self._failed
        with self._counting:
            self._look_who_closed()
            bytes_out = self._bytes_out
            for token, session in list(self._sessions.items()):
                if (written := self.written(token)) is not None:
                    session.counted = session.sent(written)
                bytes_out += session.counted
        return counters._replace(handshake_errors=failed, bytes_in=self._bytes_in, bytes_out=bytes_out)

    def turn(self, replies: list[Reply], wait: bool = True) -> list[Item] | None:
        """Send ``replies``, and wait for input if ``wait`` is true. Returns None when the server has ended."""
        wait = wait and not (self._shaking or self._unopened)
        found = self._reactor.turn([self._sealed(reply) for reply in replies], wait)
        if found is None:
            return None
        items: list[Item] = []
        unopened, self._unopened = self._unopened, []
        for item, said in unopened:
            if (session := self._sessions.get(item[0])) is not None:
                self._open(item, session, items, said)
        for item in found:
            session = self._sessions.get(item[0])
            if session is None or not session.begun:
                self._shaking.append(item)
                continue
            if item[3] > 0:  # otherwise more than the most may wait, and nobody knows how much more
                session.forget_sent(self._most - item[3])
            if item[2] == b"":
                self._ask(item, session, items)
            else:
                self._open(item, session, items)
        until = time.monotonic() + _SHARE
        while self._shaking:
            self._shake(self._shaking.popleft(), items)
            if time.monotonic() > until:
                break
        if self._own:
            own, self._own = self._own, []
            self._reactor.submit(own)
        return items

    def submit(self, replies: list[Reply]) -> None:
        """Send ``replies`` while another thread turns."""
        self._reactor.submit([self._sealed(reply) for reply in replies])

    def take_closed(self) -> list[tuple[int, int]]:
        """Return the tokens of the connections that closed since the last call, and the encrypted bytes each sent."""
        with self._counting:
            self._look_who_closed()
            gone, self._gone = self._gone, []
            for token, _ in gone:
                if (session := self._sessions.pop(token, None)) is not None:
                    self._bytes_out += session.counted
        return gone

    def _look_who_closed(self) -> None:
        """Count what was sent on connections that have closed, before anybody can see that they have."""
        gone = self._reactor.take_closed()
        for token, written in gone:
            if (session := self._sessions.get(token)) is not None:
                session.counted = max(session.counted, session.sent(written))
        self._gone += gone

    def _sealed(self, reply: Reply) -> Reply:
        """Return an answer in encrypted form. If that fails, its connection ends, and no other."""
        token, _, handled, action = reply
        session = self._sessions.get(token)
        if session is None:  # the connection has closed
            return token, b"", handled, action
        try:
            return self._encrypted(session, reply)
        except Exception as error:  # there is no memory; or the peer asks for a new handshake, with OpenSSL 1.1.1
            session.fail(error)
            session.held, session.told = False, True
            if session.peer is not None:
                server_log.lost(session.peer, error)
            return token, b"", handled, FINISH

    def _encrypted(self, session: Session, reply: Reply) -> Reply:
        token, output, handled, action = reply
        wire = session.sealed(output)
        session.held = action == HELD
        if action == ANSWERED and session.over and not session.told:
            return token, wire, handled, HELD  # the end is next: HELD makes the reactor ask whether there is more
        if action == FINISH or (action == ANSWERED and session.over):
            session.told = True  # the handler has given it up, and needs no more Items of it
            return token, wire + session.last_word(), handled, FINISH
        return token, wire, handled, action

    def _ask(self, item: Item, session: Session, items: list[Item]) -> None:
        """Handle an Item without input: there is room for held answers, or the connection is about to end."""
        if session.held:
            items.append(item)
        elif session.over and not session.told:
            self._tell_end(item, session, items)
        else:
            self._own.append(self._sealed((item[0], b"", 0, FINISH)))

    def _open(self, item: Item, session: Session, items: list[Item], said: bytes = b"") -> None:
        """Decrypt input. ``said`` holds the plain bytes of the input before it."""
        token, peer, data, room, _ = item
        if not isinstance(data, bytes):
            session.cut()
        elif len(data) <= PIECE:
            said += session.received(data)
        else:
            until = time.monotonic() + _SHARE
            for at in range(0, len(data), PIECE):
                if at and time.monotonic() > until:  # TLS can take long for a few bytes
                    self._unopened.append(((token, peer, data[at:], room, None), said))
                    return
                said += session.received(data[at : at + PIECE])
                if session.over:
                    break
        if said:
            self._bytes_in += len(said)
            items.append((token, peer, said, room, None))
        elif not session.over:
            self._own.append((token, session.unsent(), 0, ANSWERED))
        elif session.begun:
            self._tell_end(item, session, items)
        else:
            self._refuse(item, session.fault, session.unsent())

    def _tell_end(self, item: Item, session: Session, items: list[Item]) -> None:
        session.told = True
        items.append((item[0], item[1], None, item[3], session.fault))

    def _shake(self, item: Item, items: list[Item]) -> None:
        """Continue a handshake."""
        token, data = item[0], item[2]
        session = self._sessions.get(token)
        if data == b"":  # the server stops, or nothing came for too long
            self._own.append((token, b"", 0, FINISH))
            return
        if session is None:
            try:
                session = self._sessions[token] = Session(self._context)
                session.peer = item[1]
            except Exception as error:  # there is no memory, or the context was changed
                self._refuse(item, error, b"")
                return
        self._open(item, session, items)
        if session.begun:
            self._reactor.begun(token)

    def _refuse(self, item: Item, error: Exception | None, wire: bytes) -> None:
        if not self._stopping:
            self._failed += 1
            server_log.lost(item[1], error or ConnectionError("no TLS"))
        self._own.append((item[0], wire, 0, FINISH))
