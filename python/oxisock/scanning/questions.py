"""Questions about one port as steps: what to wait for is decided here, and waited for by whoever asks.

Each question is a generator: it yields a Step, is sent what came of it (or is thrown its error), and returns the
answer. So the blocking functions and those of ``oxisock.aio`` answer alike.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Generator
from typing import Any, NamedTuple, TypeVar

from .. import arguments
from ..engines.scanning import OPEN, OutcomeTuple, ScanningModule, ScanRun
from ..sockets.resolving import checked_host
from ..types import Peer, PortResult
from .options import ScanOptions
from .plan import make_job, patience
from .running import reason_text, result_of

_TRY_SECONDS = 1.0  # how long wait_for_port gives one try
_LOCAL_ROUTES = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_ERRNO_OF = {
    "conn-refused": errno.ECONNREFUSED,
    "self-connect": errno.ECONNREFUSED,
    "no-response": errno.ETIMEDOUT,
    "host-unreachable": errno.EHOSTUNREACH,
    "net-unreachable": errno.ENETUNREACH,
    "proto-unreachable": errno.ENOPROTOOPT,
    "local-error: broadcast address": errno.ENETUNREACH,
    "local-error: multicast address": errno.ENETUNREACH,
}


class LookUp(NamedTuple):
    """Give the addresses of a host, within so many seconds; raise what ``host_addresses`` raises."""

    host: str
    timeout: float


class Outcomes(NamedTuple):
    """Let a scan run for a moment and give what is known since the last time."""

    run: ScanRun


class Pause(NamedTuple):
    """Let so many seconds pass."""

    seconds: float


Step = LookUp | Outcomes | Pause
T = TypeVar("T")
Steps = Generator[Step, Any, T]


class Questions:
    """The questions, bound to one engine's scans; ``Scanner`` says what each of them means."""

    def __init__(self, engine: ScanningModule) -> None:
        self._engine = engine

    def check_host(self, host: str, port: int, timeout: float | None) -> Steps[bool]:
        """Say whether a TCP connection to a port succeeds."""
        port = arguments.port(port)
        limit = patience(timeout)
        start = time.monotonic()
        try:
            addresses = yield LookUp(checked_host(host), limit)
        except (socket.gaierror, TimeoutError):
            return False
        outcomes = yield from self._ask(addresses, port, limit - (time.monotonic() - start))
        fault = None
        for outcome in outcomes:
            if outcome[2] == OPEN:
                return True
            if outcome[3] < 0 and -outcome[3] not in _LOCAL_ROUTES:
                fault = OSError(-outcome[3], os.strerror(-outcome[3]))
        if fault is not None:
            raise fault
        return False

    def scan_port(self, host: str, port: int, timeout: float | None) -> Steps[PortResult]:
        """Ask one port of one host, and give all that was learned."""
        port = arguments.port(port)
        limit = patience(timeout)
        start = time.monotonic()
        addresses = yield LookUp(checked_host(host), limit)
        address = next((address for address in addresses if ":" not in address), addresses[0])
        outcomes = yield from self._ask([address], port, limit - (time.monotonic() - start))
        return result_of(outcomes[0], host.strip(), address)

    def wait_for_port(self, host: str, port: int, timeout: float | None, interval: float) -> Steps[float]:
        """Wait until a TCP connection to a port succeeds, and give the seconds that it took."""
        port = arguments.port(port)
        limit = arguments.timeout(timeout)
        pause = arguments.seconds(interval, "interval")
        host = checked_host(host)
        start = time.monotonic()
        while True:
            left = _TRY_SECONDS if limit is None else min(_TRY_SECONDS, limit - (time.monotonic() - start))
            error = yield from self._try(host, port, max(left, 0.05))
            waited = time.monotonic() - start
            if error is None:
                return waited
            if limit is not None and waited + pause >= limit:
                yield Pause(max(0.0, limit - waited))
                raise TimeoutError(
                    errno.ETIMEDOUT, f"{Peer(host, port)} did not accept a connection within {limit:g} s ({error})"
                ) from error
            yield Pause(pause)

    def _try(self, host: str, port: int, timeout: float) -> Steps[OSError | None]:
        """Try every address once; give the last error, or None where one accepted."""
        start = time.monotonic()
        try:
            addresses = yield LookUp(host, timeout)
        except OSError as failure:
            return failure
        error = OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        outcomes = yield from self._ask(addresses, port, timeout - (time.monotonic() - start))
        for outcome in outcomes:
            if outcome[2] == OPEN:
                return None
            code = -outcome[3] if outcome[3] < 0 else _ERRNO_OF[reason_text(outcome[3])]
            error = OSError(code, os.strerror(code))
        return error

    def _ask(self, addresses: list[str], port: int, timeout: float) -> Steps[list[OutcomeTuple]]:
        """Ask one port of some addresses side by side, each twice if need be, and end with the first that is open."""
        options = ScanOptions(timeout=max(timeout, 0.001) / 2, adaptive=False, keep="open,closed,filtered,error")
        job = make_job(addresses, port, options)
        found: list[OutcomeTuple] = []
        run = self._engine.start_scan(job.plan)
        try:
            while not run.done() and not any(outcome[2] == OPEN for outcome in found):
                found += yield Outcomes(run)
        finally:
            run.cancel()
        return found
