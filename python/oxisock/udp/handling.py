"""Runs UDP servers: an engine's echo, or a thread that turns an engine's loop and calls the handler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import ref

from .. import hooks
from ..serving import log as server_log
from ..serving.lifecycle import EngineThreads, HandlerThreads
from ..sockets.forks import end_child
from ..types import ServerStats

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engines.udp import UdpEchoReactor, UdpReactor, UdpTally
    from ..types import Datagram, Peer

_PLAIN = frozenset((bytes, type(None)))


class UdpEchoRunning(EngineThreads):
    """An engine's echo server, adapted to the lifecycle."""

    def __init__(self, echo: UdpEchoReactor) -> None:
        super().__init__(echo.wait)
        self._echo = echo
        self.begin_stop = echo.end
        self.abandon = echo.abandon

    def outcome(self) -> tuple[int, int, int]:
        """Return the numbers of replies sent and dropped after the stop began, and 0 handlers."""
        tally = self._echo.tally()
        return tally.drained, tally.aborted, 0

    def stats(self) -> ServerStats:
        """Return the counters."""
        return _stats(self._echo.tally(), 0)

    def forked(self) -> None:
        """Closing frees a UDP port in one process whatever the others do."""


class UdpRunning(HandlerThreads):
    """A daemon thread that turns an engine's loop and calls the handler between the turns."""

    def __init__(self, loop: UdpReactor, lent: ref[hooks.Lent[Callable[..., Any]]], batch: bool) -> None:
        self._loop = loop
        self._lent = lent
        self._batch = batch
        self._errors = 0
        self._handling = False
        self._ending = False
        self._deadline: float | None = None
        self._over = False  # the socket is closed, so there is no next turn
        self._forked = False
        self._unanswered = 0  # datagrams of the batch that are not handled yet
        super().__init__()
        try:
            self._thread = self._latch.spawn("oxisock-udp", self._run)
        except BaseException:
            loop.close()
            raise

    # --- for the lifecycle -----------------------------------------------------------------------------------------

    def begin_stop(self, drain: float | None) -> None:
        """Begin to end, within ``drain`` seconds (None: no limit)."""
        if drain is not None:
            deadline = time.monotonic() + drain
            self._deadline = deadline if self._deadline is None else min(self._deadline, deadline)
        self._ending = True
        self._loop.end(drain)

    def outcome(self) -> tuple[int, int, int]:
        """Return the numbers of replies sent and of datagrams dropped after the stop began, and of running handlers."""
        if self._thread.is_alive():
            # The handler keeps the thread busy, so free the port here.
            self._over = True
            self._loop.close()
        tally = self._loop.tally()
        # The thread may not have counted these datagrams as dropped yet.
        dropped = tally.aborted + self._unanswered
        return tally.drained, dropped, int(self._handling and self._thread.is_alive())

    def stats(self) -> ServerStats:
        """Return the counters."""
        return _stats(self._loop.tally(), self._errors)

    def forked(self) -> None:
        """Closing frees a UDP port in one process whatever the others do."""

    def abandon(self) -> None:
        """Close the socket in a forked child, and nothing else."""
        self._over = self._forked = True
        self._loop.abandon()

    # --- the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        loop = self._loop
        answer = self._answer_batch if self._batch else self._answer
        replies: list[bytes | None] = []
        try:
            while not self._over:
                batch = loop.turn(replies)
                for peer, size in loop.refused():
                    server_log.reply_too_long(peer, size)  # counted by the engine
                if batch is None:
                    return
                replies = []
                lent = self._lent()
                if batch and lent is not None:  # the server was not dropped
                    self._handling = True
                    sender = batch[0].peer
                    try:
                        replies = answer(lent.function, batch)
                    except BaseException as error:  # an error of a handler's result
                        self._failed(sender, error)
                    if self._forked:
                        end_child(server_log.child_returned)
                    self._handling = False
                del lent
        except Exception:
            # The socket was closed while a handler was stuck, so the error is expected.
            if not self._over:
                raise
        finally:
            if not self._forked:
                loop.close()

    def _answer(self, handler: Callable[..., Any], batch: list[Datagram]) -> list[bytes | None]:
        replies: list[bytes | None] = []
        self._unanswered = len(batch)
        for datagram in batch:
            if self._ending and self._expired():
                return replies
            self._unanswered -= 1
            try:
                reply = handler(datagram)
                if reply is not None:
                    if not isinstance(reply, bytes):
                        raise hooks.wrong("a handler returns bytes or None", reply)
                    reply = hooks.plain_bytes(reply)
            except BaseException as error:
                if not self._forked:
                    self._failed(datagram.peer, error)
                reply = None
            if self._forked:
                end_child(server_log.child_returned)
            replies.append(reply)
        return replies

    def _answer_batch(self, handler: Callable[..., Any], batch: list[Datagram]) -> list[bytes | None]:
        if self._ending and self._expired():
            self._unanswered = len(batch)
            return []
        asked = batch[:]  # the handler may change the list
        try:
            answers = hooks.batch_answers(handler(batch), len(asked))
        except BaseException as error:
            if not self._forked:
                self._failed(asked[0].peer, error)
            return []
        finally:
            if self._forked:
                end_child(server_log.child_returned)
        if _PLAIN.issuperset(map(type, answers)):
            return answers
        replies: list[bytes | None] = []
        for (_, peer, _), answer in zip(asked, answers, strict=True):
            if isinstance(answer, bytes):
                answer = hooks.plain_bytes(answer)
            elif answer is not None:
                if not isinstance(answer, Exception):
                    answer = hooks.wrong("a handler returns bytes, None or an Exception", answer)
                self._failed(peer, answer)
                answer = None
            replies.append(answer)
        return replies

    def _failed(self, peer: Peer, error: BaseException) -> None:
        self._errors += 1
        server_log.handler_failed(peer, error)

    def _expired(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline


def _stats(tally: UdpTally, errors: int) -> ServerStats:
    return ServerStats(
        messages=tally.messages,
        bytes_in=tally.bytes_in,
        bytes_out=tally.bytes_out,
        handler_errors=errors + tally.too_long,
        timeouts=tally.timeouts,
        icmp_errors=tally.icmp_errors,
        ignored=tally.ignored,
    )
