"""Verdicts on ports, and what is put off until there is one: the bench, further repeats, canaries."""

from __future__ import annotations

from collections.abc import Callable

from ....engines.scanning import FILTERED, NO_RESPONSE, Outcome
from ..host import MAX_REPEATS, Host, Probe, Question
from .state import State

_BENCH_LIMIT = 131_072


class Verdicts(State):
    """How a port is decided."""

    __slots__ = ()

    def _decide(self, host: Host, port: int, state: int, reason: int, rtt: int) -> None:
        self._counts[state] += 1
        if not host.up or host.asked_before:
            host.decided.add(port)
        if self._plan.keep >> state & 1:
            self._outcomes.append(Outcome(host.index, port, state, reason, rtt, None))
        self._close_question(host, port)

    def _close_question(self, host: Host, port: int) -> None:
        question = host.questions.pop(port, None)
        if question is not None:
            self._benched -= question.benched
            self._drop_all(question.tokens)

    def _bench(self, host: Host, port: int) -> None:
        """Set a silent port aside until its host is finished: loss seen by then gives it another chance."""
        if not self._plan.adaptive:
            self._decide(host, port, FILTERED, NO_RESPONSE, -1)
            return
        host.questions[port].benched = True
        host.bench.append(port)
        self._benched += 1
        if self._benched > _BENCH_LIMIT:
            self._unbench(host)

    def _unbench(self, host: Host) -> None:
        port = host.bench.popleft()
        if port in host.questions:
            self._decide(host, port, FILTERED, NO_RESPONSE, -1)

    def _grant(self, host: Host) -> None:
        """Let a host where loss was seen have its silent ports asked more often, those on the bench at once."""
        if not self._adaptive or not host.grant(self._plan.retries, self._highest):
            return
        self._ask_benched(host, lambda question: question.repeat < question.allowed(host.allowed))

    def _ask_anew(self, host: Host) -> None:
        """Let what a host was asked while its silence said nothing be asked as often as if it had not been."""
        if not self._plan.adaptive:
            return
        since = host.doubted[0]
        for question in host.questions.values():
            if question.asked_at >= since:
                question.wasted = question.repeat + 1
        self._ask_benched(host, lambda question: question.asked_at >= since and question.repeat < MAX_REPEATS)

    def _ask_benched(self, host: Host, chosen: Callable[[Question], bool]) -> None:
        spare = self._spare()
        for _ in range(len(host.bench)):
            port = host.bench.popleft()
            question = host.questions.get(port)
            if question is None:
                continue
            if chosen(question):
                if not spare:
                    self._drop_all(question.tokens)
                    question.tokens = ()
                question.benched = False
                self._benched -= 1
                host.again(port)
            else:
                host.bench.append(port)

    def _add_canary(self, host: Host) -> bool:
        port = host.canary()
        if port < 0:
            return False
        host.canaries.append(Probe(host, port, 0, True))
        return True
