"""Questions about one port as steps: a question decides what to wait for, and the caller waits.

Each question is a generator. It yields a Step, receives the result or the error of the step, and returns the answer. So
the blocking functions and those of ``oxisock.aio`` give the same answers.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from .. import arguments
from ..engines.scanning import CLOSED, FILTERED, NO_RESPONSE, OPEN, OutcomeTuple, ScanningModule, ScanRun
from ..errors import errno_words
from ..sockets.connecting import unresolved
from ..sockets.resolving import checked_host
from ..types import Peer, PortResult
from .options import ScanOptions
from .plan import default_concurrency, make_job, patience
from .running import reason_text, result_of

_STEP_SECONDS = 1.0  # seconds of silence after which wait_for_port asks again; it still listens to earlier probes
_LISTEN_SECONDS = 10.0  # the most seconds that it listens to a probe
_PATIENCE = 0.25  # seconds to wait for a late verdict of an engine
_PATIENCE_AFTER_A_FAULT = 1.0
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_ERRNO_OF = {
    "conn-refused": errno.ECONNREFUSED,
    "self-connect": errno.ECONNREFUSED,
    "host-unreachable": errno.EHOSTUNREACH,
    "net-unreachable": errno.ENETUNREACH,
    "proto-unreachable": errno.ENOPROTOOPT,
    "local-error: broadcast address": errno.ENETUNREACH,
    "local-error: multicast address": errno.ENETUNREACH,
}


class LookUp(NamedTuple):
    """Step: look up the addresses of a host within ``timeout`` seconds. The error is that of ``host_addresses``."""

    host: str
    timeout: float


class Outcomes(NamedTuple):
    """Step: let scans run for at most ``timeout`` seconds. The result is the new outcomes of each scan."""

    runs: tuple[ScanRun, ...]
    timeout: float


class Pause(NamedTuple):
    """Step: wait for ``seconds`` seconds."""

    seconds: float


Step = LookUp | Outcomes | Pause
T = TypeVar("T")
Steps = Generator[Step, Any, T]


class _Try(NamedTuple):
    """One probe of one port to some addresses. Outcomes have the index of an address."""

    run: ScanRun
    addresses: list[str]


class _Verdict(NamedTuple):
    """The outcome for a port of one address."""

    address: str
    outcome: OutcomeTuple

    def fault(self) -> int:
        """Return the errno of a fault of this machine, which says nothing about the port, or 0."""
        code = max(0, -self.outcome[3])
        return 0 if code in _NO_WAY else code

    def rank(self) -> int:
        """Return a rank for verdicts about addresses of one host. The lowest rank tells most about the host."""
        if self.outcome[2] == OPEN:
            return 0
        if self.fault():
            return 1
        return {CLOSED: 2, FILTERED: 3}.get(self.outcome[2], 4)

    def error(self) -> OSError:
        """Return the error that a connection would have raised."""
        code = -self.outcome[3]
        if code <= 0:
            code = _ERRNO_OF.get(reason_text(self.outcome[3]), errno.ETIMEDOUT)
        return OSError(code, errno_words(code))


class Questions:
    """The questions, bound to the scans of one engine. ``Scanner`` documents each of them."""

    def __init__(self, engine: ScanningModule) -> None:
        self._engine = engine

    def check_host(self, host: str, port: int, timeout: float | None) -> Steps[bool]:
        """Return whether a TCP connection to a port succeeds."""
        try:
            verdict = yield from self._ask_host(host, port, timeout)
        except (socket.gaierror, TimeoutError):
            return False
        if verdict.fault():
            raise verdict.error()
        return verdict.outcome[2] == OPEN

    def ask_host(self, host: str, port: int, timeout: float | None) -> Steps[PortResult]:
        """Ask one port of every address of a host, and return the result that tells most. An open port tells most.

        Raises what ``scan_port`` raises.
        """
        address, outcome = yield from self._ask_host(host, port, timeout)
        return result_of(outcome, host.strip(), address)

    def scan_port(self, host: str, port: int, timeout: float | None) -> Steps[PortResult]:
        """Ask one port of one host, and return the result."""
        address, outcome = yield from self._ask_host(host, port, timeout, only_one=True)
        return result_of(outcome, host.strip(), address)

    def wait_for_port(self, host: str, port: int, timeout: float | None, interval: float) -> Steps[float]:
        """Wait until a TCP connection to a port succeeds, and return the seconds that it took.

        A try without an answer goes on listening during the next tries, so that long round trips succeed. A look-up may
        take all the remaining time.
        """
        port = arguments.port(port)
        limit = arguments.timeout(timeout)
        pause = arguments.seconds(interval, "interval")
        host = checked_host(host)
        start = next_try = time.monotonic()
        end = start + (float("inf") if limit is None else limit)
        error = OSError(errno.ETIMEDOUT, errno_words(errno.ETIMEDOUT))
        tries: list[_Try] = []
        try:
            while True:
                try:
                    if time.monotonic() >= next_try:
                        addresses = yield LookUp(host, max(end - time.monotonic(), 0.05))
                        listen = min(max(end - time.monotonic(), 0.05), _LISTEN_SECONDS)
                        tries.append(self._begin(addresses, port, listen))
                        next_try = time.monotonic() + max(_STEP_SECONDS, pause)
                    left = max(0.0, min(next_try, end) - time.monotonic())
                    verdicts = yield from self._listen(tries, left)
                    if any(verdict.outcome[2] == OPEN for verdict in verdicts):
                        return time.monotonic() - start
                    if verdicts:
                        error = verdicts[-1].error()
                    latest_over = bool(tries) and tries[-1].run.done()
                    for each in [each for each in tries if each.run.done()]:
                        each.run.cancel()  # frees what a scan keeps until its end
                        tries.remove(each)
                except OSError as failure:
                    # A fault of this machine may pass, and a name may resolve later.
                    error, latest_over = failure, True
                if latest_over:
                    next_try = min(next_try, time.monotonic()) + pause
                if time.monotonic() >= end:
                    raise TimeoutError(
                        errno.ETIMEDOUT, f"{Peer(host, port)} did not accept a connection within {limit:g} s ({error})"
                    ) from error
        finally:
            for each in tries:
                each.run.cancel()

    def _ask_host(self, host: str, port: int, timeout: float | None, only_one: bool = False) -> Steps[_Verdict]:
        """Ask every address of a host, or only the first IPv4 one, and return the verdict that tells most."""
        port = arguments.port(port)
        limit = patience(timeout)
        start = time.monotonic()
        peer = Peer(checked_host(host), port)
        try:
            addresses = yield LookUp(peer.host, limit)
        except OSError as error:
            raise unresolved(peer, limit, error) from error
        if only_one:
            addresses = [next((address for address in addresses if ":" not in address), addresses[0])]
        verdicts = yield from self._ask(addresses, port, max(limit - (time.monotonic() - start), 0.001))
        return min(verdicts, key=_Verdict.rank)

    def _ask(self, addresses: list[str], port: int, limit: float) -> Steps[list[_Verdict]]:
        """Ask one port of some addresses at the same time, within ``limit`` seconds. The first open port ends it.

        An address that is silent for half of the time gets a second probe, and both probes are listened to. If there
        are more addresses than descriptors, addresses take turns, each with its share of the time.
        """
        turns = 1 if len(addresses) == 1 else -(-len(addresses) // default_concurrency())
        start = time.monotonic()
        half, end = start + limit / 2, start + limit
        tries = [self._begin(addresses, port, limit / turns)]
        silent = set(tries[0].addresses)
        found: dict[str, _Verdict] = {}
        try:
            while silent and not all(each.run.done() for each in tries):
                now = time.monotonic()
                if turns == 1 and len(tries) == 1 and now >= half:
                    tries.append(self._begin(sorted(silent), port, max(end - now, 0.001)))
                patience = _PATIENCE_AFTER_A_FAULT if any(each.run.tally()[7] for each in tries) else _PATIENCE
                if now >= end + patience:
                    break
                due = end + patience if turns > 1 or len(tries) > 1 else half
                for verdict in (yield from self._listen(tries, due - now)):
                    if verdict.outcome[2] == OPEN:
                        return [verdict]
                    if verdict.outcome[3] != NO_RESPONSE:
                        silent.discard(verdict.address)
                    if verdict.outcome[3] >= 0 or verdict.address not in found:
                        found[verdict.address] = verdict
        finally:
            for each in tries:
                each.run.cancel()
        for address in tries[0].addresses:
            found.setdefault(address, _Verdict(address, (0, port, FILTERED, NO_RESPONSE, -1, None)))
        return list(found.values())

    def _begin(self, addresses: list[str], port: int, timeout: float) -> _Try:
        """Send one probe of a port to some addresses."""
        options = ScanOptions(
            timeout=timeout,
            retries=0,
            adaptive=False,
            # An engine begins with half of its concurrency.
            concurrency=2 * (1 if len(addresses) == 1 else min(len(addresses), default_concurrency())),
            keep="open,closed,filtered,error",
        )
        job = make_job(addresses, port, options)
        return _Try(self._engine.start_scan(job.plan), list(job.targets))

    def _listen(self, tries: list[_Try], timeout: float) -> Steps[list[_Verdict]]:
        """Return the verdicts that come within ``timeout`` seconds, or earlier. Ctrl-C can end the wait."""
        if not tries:
            yield Pause(timeout)
            return []
        found = yield Outcomes(tuple(each.run for each in tries), timeout)
        return [
            _Verdict(each.addresses[outcome[0]], outcome)
            for each, outcomes in zip(tries, found, strict=True)
            for outcome in outcomes
        ]
