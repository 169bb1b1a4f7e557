"""The message server: its arguments, and the calls of its handler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice, repeat
from operator import length_hint
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, Unpack, overload
from weakref import ref

from .. import arguments, hooks
from ..arguments import spelled_out
from ..engines.serving import ANSWERED, FINISH, HELD
from ..framing.bound import BoundCodec, Inbox
from ..framing.codecs import Codec
from ..sockets import secure
from ..sockets.forks import end_child
from ..types import Answer, Peer
from . import log as server_log
from .limits import LimitKeywords, Limits, StreamServer
from .threads import MessagesRunning

if TYPE_CHECKING:
    import socket
    from collections import deque
    from ssl import SSLContext

    from ..engines.serving import Item, MessageReactor, Reply

MessageHandler: TypeAlias = Callable[[bytes, Peer], "bytes | None"]
"""``handler(message, peer)`` returns the answer as bytes, or None for no answer."""

BatchHandler: TypeAlias = Callable[[list[tuple[bytes, Peer]]], list[Answer]]
"""``handler([(message, peer), ...])`` returns a list of the same length, of bytes, None or an Exception."""

_ONLY_BYTES = frozenset([bytes])
_TURN = 32  # messages of one connection that are handled at least, before other connections have their turn
_SHARE = 0.0001  # seconds after which they have it; a turn of the reactor costs a tenth of that
_MOST = 128  # messages that are cut from the input before they are handled; they take about half of _SHARE
_BATCH = 4096  # messages that fill a batch, and that are cut for one
_NONE: Iterator[bytes] = iter(())

Held: TypeAlias = "tuple[Iterator[bytes], BaseException | None]"
"""Messages that were cut and not handled, and the fault that comes after them."""


class MessageServer(StreamServer):
    """A TCP server that calls a handler for every message and sends the answer that it returns."""

    @overload
    def __init__(
        self,
        handler: MessageHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        codec: Codec | None = None,
        batch: Literal[False] = False,
        dispatchers: int = 1,
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 5.0,
        **limits: Unpack[LimitKeywords],
    ) -> None: ...
    @overload
    def __init__(
        self,
        handler: BatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        codec: Codec | None = None,
        batch: Literal[True],
        dispatchers: int = 1,
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 5.0,
        **limits: Unpack[LimitKeywords],
    ) -> None: ...
    @spelled_out(Limits)
    def __init__(
        self,
        handler: MessageHandler | BatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        codec: Codec | None = None,
        batch: bool = False,
        dispatchers: int = 1,
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 5.0,
        **limits: Unpack[LimitKeywords],
    ) -> None:
        """Create a server. It begins to listen on ``start`` or ``with``.

        Arguments:
            handler: ``handler(message, peer)`` gets the message as bytes and its sender as ``(host, port)``. It returns
                the answer as bytes, or None for no answer.
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            codec: how messages are framed; None is ``Lines(eof_frame=True)``.
            batch: call ``handler([(message, peer), ...])`` with all messages that wait. It returns a list of the same
                length, of bytes, None or an Exception.
            dispatchers: the most calls at once. Those of one connection never overlap, and its answers keep their
                order.
            ssl: the context for a server with TLS; None: no TLS.
            handshake_timeout: the limit for a TLS handshake in seconds; None: no limit. The server cuts a handshake
                that takes longer and counts it in ``timeouts``. It counts one that fails in ``handshake_errors``. The
                handler is not called for either.
            **limits: those of EchoServer. ``idle_timeout`` counts from the last complete message.

        If a handler raises or returns another type, the server logs that with the peer, and closes the connection. If
        a batch handler raises or returns a list of the wrong length, the server closes all connections in the batch.

        Raises ValueError or TypeError for a bad argument. ``start`` raises the errors of binding.
        """
        super().__init__(host, port, sock, limits)
        self._handler = hooks.Lent(arguments.function(handler, "handler"))
        lines = self._engine.names.Lines(eof_frame=True) if codec is None else codec
        self._codec = BoundCodec(lines, self._engine.framing)
        self._batch = arguments.flag(batch, "batch")
        self._dispatchers = arguments.threads(dispatchers, "dispatchers")
        self._tls = secure.server_side(ssl)
        self._handshake_timeout = arguments.nanoseconds(handshake_timeout, "handshake_timeout")

    def _launch(self) -> tuple[MessagesRunning, Peer]:
        listener, address = self._listen()
        plan, make = self._limits.plan(), self._engine.serving.message_reactor
        reactor: MessageReactor
        if self._tls is None:
            reactor = make(listener.detach(), plan, self._codec.framer)
        else:
            from .secured import SecuredReactor  # this imports ssl

            plan = plan._replace(secure=True, handshake_timeout=self._handshake_timeout)
            reactor = SecuredReactor(make(listener.detach(), plan, None), self._tls, plan.max_buffered)
        conversations = Conversations(reactor, self._codec, ref(self._handler))
        return MessagesRunning(reactor, conversations, self._batch, self._dispatchers), address


class Conversations:
    """The state of the connections of a message server, and the calls of its handler.

    Any thread may call it, but never two at once for one connection.
    """

    def __init__(self, reactor: MessageReactor, codec: BoundCodec, lent: ref[hooks.Lent[Callable[..., Any]]]) -> None:
        self._reactor = reactor
        self._framed = reactor.framed
        self._codec = codec
        self._encode = codec.encode_many
        self._lent = lent
        self._inboxes: dict[int, Inbox] = {}  # unless the engine frames
        self._held: dict[int, Held] = {}  # messages for which there was no room or no time
        self._unread: dict[int, bytes] = {}  # bytes that were read and not cut into messages yet
        self._abandoned = False  # whether this is a forked child's copy

    def abandon(self) -> None:
        """Note that this is the child of a fork."""
        self._abandoned = True

    def handler(self) -> Callable[..., Any] | None:
        """Return the handler, to hold for a turn; None if the server has been dropped and is stopping."""
        lent = self._lent()
        return None if lent is None else lent.function

    def answer(self, item: Item, handler: Callable[..., Any] | None) -> Reply:
        """Call the handler for each message of an Item, while there is room for answers.

        Many messages are handled a few at a time. The rest waits until other connections have had their turn.
        """
        token, peer, given, room, _ = item
        if handler is None:
            return token, b"", 0, FINISH
        held = None if given and self._framed else self._held.pop(token, None)
        if held is not None and given is not None:
            rest, fault = held
        else:
            messages, fault = self._messages(item, _MOST)
            rest = iter(messages)
        payloads: list[bytes] = []
        counted = 0
        waiting = total = length_hint(rest)
        # Answers of at most an equal share each fit in the room. Only a larger one makes it necessary to count.
        share = room // (waiting or 1)
        failure: BaseException | None = None
        some: Iterator[bytes] = rest
        until = 0.0
        if waiting > _TURN:
            some, until = islice(rest, _TURN), time.monotonic() + _SHARE
        try:
            while True:
                for message in some:
                    payload = handler(message, peer)
                    if self._abandoned:
                        end_child(server_log.child_returned)
                    if type(payload) is not bytes:
                        if payload is None:
                            continue
                        if not isinstance(payload, bytes):
                            raise hooks.wrong("a handler returns bytes or None", payload)
                        payload = hooks.plain_bytes(payload)
                    payloads.append(payload)
                    if len(payload) > share:
                        room -= sum(map(len, payloads[counted:]))
                        if room <= 0:
                            break
                        counted = len(payloads)
                        share = room // total
                else:
                    waiting -= _TURN
                    if waiting <= 0:
                        break
                    if time.monotonic() <= until:
                        some = islice(rest, _TURN)
                        continue
                break
        except BaseException as raised:
            if self._abandoned:
                end_child(server_log.child_returned)
            failure = raised
        return self._reply(token, peer, payloads, total - length_hint(rest), rest, fault, failure)

    def answer_batch(self, work: deque[Item], taken: list[Item], handler: Callable[..., Any] | None) -> list[Reply]:
        """Call the handler once for the messages of all Items, or of the first ones if there are very many."""
        unpacked: list[tuple[int, Peer, list[bytes], BaseException | None]] = []
        pairs: list[tuple[bytes, Peer]] = []
        while len(pairs) < _BATCH:
            try:
                item = work.popleft()
            except IndexError:  # there are no more, or other threads took the rest
                break
            taken.append(item)
            token, peer = item[0], item[1]
            messages, fault = self._messages(item, _BATCH)
            unpacked.append((token, peer, messages, fault))
            pairs.extend(zip(messages, repeat(peer)))
        count = len(pairs)  # the handler may change the list
        answers: list[Any] = []
        failure: BaseException | None = None
        if count:
            if handler is None:
                return [(token, b"", 0, FINISH) for token, *_ in unpacked]
            try:
                answers = hooks.batch_answers(handler(pairs), count)
            except BaseException as raised:
                failure, answers = raised, []
            if self._abandoned:
                end_child(server_log.child_returned)
        replies: list[Reply] = []
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
                        payloads.append(hooks.plain_bytes(answer))
                    elif isinstance(answer, Exception):
                        wrong = answer
                        break
                    elif answer is not None:
                        wrong = hooks.wrong("a handler returns bytes, None or an Exception", answer)
                        break
            replies.append(self._reply(token, peer, payloads, len(messages), _NONE, error, wrong))
        return replies

    def failed(self, item: Item, error: BaseException) -> Reply:
        """Give up a connection, because user code raised in an unexpected place."""
        return self._reply(item[0], item[1], [], 0, _NONE, None, error)

    def forget(self, closed: list[tuple[int, int]]) -> None:
        """Forget connections that have closed."""
        for token, _ in closed:
            for kept in (self._inboxes, self._held, self._unread):
                kept.pop(token, None)

    def _messages(self, item: Item, most: int) -> tuple[list[bytes], BaseException | None]:
        """Return the messages of an Item, and the fault that comes after them.

        At most ``most`` messages are returned, unless the codec is the user's or the engine has framed them.
        """
        token, _, given, _, error = item  # the error of framing, or of a stream that was cut
        if self._framed:
            assert not isinstance(given, bytes)
            return given or [], error  # nothing if the connection is gone
        assert not isinstance(given, list)
        inbox = self._inboxes.get(token)
        if inbox is None:
            inbox = self._inboxes[token] = Inbox(self._codec)
        if error is not None:
            inbox.cut(error)
            return [], inbox.fault
        if given == b"":
            given = self._unread.pop(token, b"")
        try:
            messages = self._cut(token, inbox, given, most)
        except BaseException as stranger:  # for example, no memory
            inbox.fail(stranger)
            messages = []
        if self._abandoned:
            end_child(server_log.child_returned)
        return messages, inbox.fault

    def _cut(self, token: int, inbox: Inbox, given: bytes | None, most: int) -> list[bytes]:
        """Return the messages in the input, at most ``most``, and keep the rest of the input for later."""
        if given is None or self._codec.framer is None:  # a user's decoder may be slow with small chunks
            return inbox.decode(given) if given != b"" else []
        messages, rest = inbox.decode_some(given, most)
        if rest:
            self._unread[token] = rest
        return messages

    def _reply(
        self,
        token: int,
        peer: Peer,
        payloads: list[bytes],
        handled: int,
        rest: Iterator[bytes],
        error: BaseException | None,
        failure: BaseException | None,
    ) -> Reply:
        """Make the answer to an Item, and log errors."""
        output = b""
        if payloads:
            try:
                output = self._encode(payloads)
            except BaseException as raised:
                # If the codec refuses an answer, that is the handler's fault. The answers before it are good.
                output, failure = _encode_some(self._encode, payloads), failure or raised
        action = ANSWERED
        if failure is not None:
            action = FINISH
            self._reactor.count_errors(1, 0)
            server_log.handler_failed(peer, failure)
        elif length_hint(rest):
            action = HELD
            self._held[token] = (rest, error)
        elif token in self._unread:
            action = HELD
        elif error is not None:
            action = FINISH
            if secure.is_cut(error):
                server_log.lost(peer, error)
            else:
                self._reactor.count_errors(0, 1)
                server_log.framing_broken(peer, error)
        return token, output, handled, action


def _encode_some(encode: Callable[[list[bytes]], bytes], payloads: list[bytes]) -> bytes:
    """Encode the payloads before the first that the codec refuses."""
    parts: list[bytes] = []
    for payload in payloads:
        try:
            parts.append(encode([payload]))
        except BaseException:
            break
    return b"".join(parts)
