"""A running scan: results one by one, progress, an early end, and a report at any time."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

from .. import arguments
from ..engines.scanning import ERROR, SENT, EventTuple, OutcomeTuple, Tally
from ..errors import errno_name
from ..sockets.interrupts import held_back
from ..types import PortResult, ProbeEvent, Progress, ScanStats
from .asked import Failures
from .plan import STATES, ScanJob
from .remaining import Estimate, Remaining
from .services import service_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..engines.binding import Engine
    from ..engines.scanning import ScanRun
    from .report import ScanReport
    from .shard_runs import SpreadRun

_SLICE = 0.05  # seconds; Ctrl-C is noticed within them
_REASONS = (
    "syn-ack",
    "conn-refused",
    "no-response",
    "host-unreachable",
    "net-unreachable",
    "proto-unreachable",
    "self-connect",
    "host-silent",
    "local-error: broadcast address",
    "local-error: multicast address",
)


def reason_text(reason: int) -> str:
    """Return the text for the reason of an engine. A negative reason is the errno of a local error."""
    if reason >= 0:
        return _REASONS[reason]
    return f"local-error: {errno_name(-reason) or -reason}"


def result_of(outcome: OutcomeTuple, host: str, address: str) -> PortResult:
    """Return the PortResult for an outcome of an engine."""
    _, port, state, reason, rtt, banner = outcome
    return PortResult(
        host,
        address,
        port,
        STATES[state],
        reason_text(reason),
        None if rtt < 0 or state == ERROR else rtt / 1e9,
        service_name(port, default="") or None,
        banner,
    )


class Scan:
    """A running scan: an iterator over the kept results, and a context manager that ends the scan.

    ``scan_iter`` makes it. Results come as they are found, in no order. A scan ends by itself, or by ``cancel``,
    ``close``, leaving ``with``, or dropping the Scan. It always closes its sockets, and ``report`` stays valid. The
    native engine scans on its own threads; the pure engine scans only while you ask for the next result.
    """

    def __init__(self, engine: Engine, job: ScanJob) -> None:
        self._job = job
        self._results: list[PortResult] = []
        self._fresh: deque[PortResult] = deque()
        self._cached: tuple[int, str, str] = (-1, "", "")
        self._closed = False
        self._ended: float | None = None
        self._started_at = time.time()
        self._started = time.monotonic()
        self._failures = Failures(job.ports, len(job.plan.ports) if job.plan.shards == 1 else 0)
        self._spread: SpreadRun | None = None
        self._earlier = (0, 0)  # ports decided and asked by earlier runs, from a checkpoint
        probes = 0  # of those runs
        if job.spread is None:
            self._run: ScanRun = engine.scanning.start_scan(job.plan)
        else:
            from .spreading import start_spread

            self._run = self._spread = start_spread(engine, job.plan, job.spread)
            earlier = self._spread.earlier
            self._earlier, probes = (sum(earlier[:4]), earlier.probes - earlier.retries), earlier.probes
        self._remaining = Remaining(job.plan, min(job.targets.count, job.total), job.total, probes)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> PortResult:
        """Return the next result; StopIteration at the end, and ScanInterrupted on Ctrl-C."""
        try:
            self.keep_time()
            while not self._fresh:
                if self._closed or self.advance(_SLICE) is None:
                    raise StopIteration
            return self._fresh.popleft()
        except KeyboardInterrupt:
            self.close()
            from .report import ScanInterrupted

            raise ScanInterrupted(self.report()) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_run"):
            self._run.cancel()

    def __repr__(self) -> str:
        done, total, open_ports, *_ = self.progress()
        return f"<Scan: {done} of {total} ports decided, {open_ports} open>"

    def cancel(self) -> None:
        """End the scan now. Iteration still gives the results found before. You may call it again, on any thread."""
        self._run.cancel()
        self._note_end()

    def keep_time(self) -> float:
        """End the scan if its time is over, and return the present time.

        Whoever takes long between two results calls it, because the native engine goes on asking meanwhile.
        """
        now = time.monotonic()
        if now >= self._job.deadline and self._ended is None:
            self.cancel()
        return now

    def close(self) -> None:
        """End the scan and the iteration; ``report`` still has all results."""
        self.cancel()
        self._collect(0)
        self._fresh.clear()
        self._closed = True

    def progress(self) -> Progress:
        """Return the progress of the scan."""
        tally, elapsed = Tally(*self._run.tally()), self._elapsed()
        done, estimate = sum(tally[:4]), self._remaining.estimate(elapsed, tally)
        rate = max(0, estimate.asked - self._earlier[1]) / elapsed if elapsed else 0.0
        estimate = self._within_deadline(estimate)
        return Progress(done, self._job.total, tally.open, elapsed, rate, tally.unasked, *estimate)

    def report(self) -> ScanReport:
        """Return the report so far. It is marked partial unless every port has a result."""
        if not self._run.done():
            self._collect(0)
        return self.taken()

    def taken(self) -> ScanReport:
        """Return what was taken from the engine so far. You can call it while another thread is in ``advance``."""
        from .report import ScanReport

        tally = Tally(*self._run.tally())
        done, elapsed = sum(tally[:4]), self._elapsed()
        return ScanReport(
            results=self._results,
            counts=dict(zip(STATES, tally[:4], strict=True)),
            stats=ScanStats(*tally[4:8], elapsed, (done - self._earlier[0]) / elapsed if elapsed else 0.0, *tally[8:]),
            unresolved=self._job.unresolved,
            seed=self._job.seed,
            partial=done < self._job.total,
            started=self._started_at,
            addresses=self._job.targets.count,
            targets=self._job.targets.given(),
            ports=self._job.ports,
            exclude=self._job.targets.excluded(),
            names=self._job.targets.spellings(),
            not_asked=self._failures.told(self._job.targets, self._reason),
            sources=() if self._spread is None else self._spread.sources,
            trace=map(self._event, self._run.trace()) if self._job.plan.trace else None,
        )

    def advance(self, timeout: float | None) -> list[PortResult] | None:
        """Wait at most ``timeout`` seconds (None: no limit) and return the new results, or None at the end.

        Use it if you do something else between results. The iterator gives the same results again.
        """
        limit = arguments.timeout(timeout, zero=True)
        until = float("inf") if limit is None else time.monotonic() + limit
        while True:
            if self._is_done():
                self.cancel()  # joins the threads
                return None
            now = self.keep_time()
            results = self._collect(max(0.0, min(until - now, _SLICE)))
            if results or time.monotonic() >= until:
                return results

    def _collect(self, timeout: float) -> list[PortResult]:
        """Wait for results and record them. Ctrl-C is held back meanwhile, so that no counted result is lost."""
        with self._failing_with_report(), held_back():
            results = self._take(self._run.wait(timeout))
            if self._remaining.is_due(elapsed := self._elapsed()):
                self._remaining.note(elapsed, Tally(*self._run.tally()))
            return results

    def _is_done(self) -> bool:
        with self._failing_with_report():
            return self._run.done()

    @contextmanager
    def _failing_with_report(self) -> Iterator[None]:
        """An error of the run, such as a checkpoint that cannot be written, ends the scan and has the report."""
        try:
            yield
        except Exception as error:
            self.cancel()
            error.report = self.report()  # type: ignore[attr-defined]
            raise

    def _note_end(self) -> None:
        if self._ended is None:
            self._ended = time.monotonic()

    def _elapsed(self) -> float:
        return (self._ended or time.monotonic()) - self._started

    def _within_deadline(self, estimate: Estimate) -> Estimate:
        if self._ended is not None:
            return estimate._replace(left=0.0)
        if self._job.deadline == float("inf"):
            return estimate
        most = max(0.0, self._job.deadline - time.monotonic())
        return estimate._replace(left=most if estimate.left is None else min(estimate.left, most))

    def _take(self, outcomes: Sequence[OutcomeTuple]) -> list[PortResult]:
        results = []
        for outcome in outcomes:
            if outcome[2] == ERROR:
                self._failures.note(outcome)
                if not self._job.keep_errors:
                    continue
            results.append(self._result(outcome))
        self._results += results
        self._fresh += results
        return results

    def _names(self, number: int) -> tuple[int, str, str]:
        """Return (number, host as given, address) of a host. The last one is cached, for the next result."""
        if self._cached[0] != number:
            self._cached = (number, self._job.targets.host(number), self._job.targets.address(number))
        return self._cached

    def _reason(self, reason: int) -> str:
        if self._spread is not None and (cause := self._spread.causes.get(reason)):
            return f"worker-lost: {cause}"
        return reason_text(reason)

    def _result(self, outcome: OutcomeTuple) -> PortResult:
        _, host, address = self._names(outcome[0])
        if self._spread is not None and outcome[3] in self._spread.causes:
            return result_of((*outcome[:3], 0, *outcome[4:]), host, address)._replace(reason=self._reason(outcome[3]))
        return result_of(outcome, host, address)

    def _event(self, event: EventTuple) -> ProbeEvent:
        at, number, port, repeat, what = event
        address = self._names(number)[2]
        return ProbeEvent(at / 1e9, address, port, repeat, "sent" if what == SENT else reason_text(what))
