"""A network on paper: hosts, latency, loss and limits, under a clock that only the simulation moves.

It drives the scan machine of either engine, so that their traces can be compared and their accuracy counted at scales
and losses that no machine here has.
"""

from __future__ import annotations

import errno
import heapq
import random
from dataclasses import dataclass, field
from typing import Any

from oxisock.engines.scanning import CONN_REFUSED, HOST_UNREACHABLE, SYN_ACK, Outcome, ScanPlan, TraceEvent

MS = 1_000_000
SECOND = 1000 * MS


def plan(ports: int | list[int] = 100, **changes: Any) -> ScanPlan:
    """Make a plan with the defaults of `oxisock.scan`."""
    numbers = list(range(1, ports + 1)) if isinstance(ports, int) else ports
    values: dict[str, Any] = {
        "ranges": (),
        "ports": numbers,
        "first_ports": 0,
        "timeout": SECOND,
        "retries": 1,
        "adaptive": True,
        "concurrency": 4096,
        "interval": 0,
        "threads": 1,
        "random": True,
        "seed": 1,
        "shard": 0,
        "shards": 1,
        "banner": 0,
        "keep": 0b1111,
        "trace": True,
    }
    return ScanPlan(**(values | changes))


@dataclass
class SimHost:
    """How a simulated host behaves; the ports in neither set are silent."""

    open: frozenset[int] = frozenset()
    closed: frozenset[int] = frozenset()
    unreachable: frozenset[int] = frozenset()
    rtt: int = 2 * MS
    jitter: int = MS
    loss: float = 0.0  # each way
    burst: int = 0  # a loss takes this many packets more with it
    rst_rate: int = 0  # RSTs per second, 0 for all
    accept_rate: int = 0  # connections that each open port accepts per second, beyond five; 0 for all
    dies_at: int = 0  # 0 for never
    _budgets: dict[str, tuple[int, float]] = field(default_factory=dict)
    _burst_left: int = 0

    def _allowed(self, kind: str, rate: int, now: int) -> bool:
        if not rate:
            return True
        # A token bucket that holds five, as packet filters have it.
        then, tokens = self._budgets.get(kind, (0, 5.0))
        tokens = min(5.0, tokens + (now - then) * rate / SECOND)
        self._budgets[kind] = (now, tokens - 1 if tokens >= 1 else tokens)
        return tokens >= 1

    def _lost(self, dice: random.Random) -> bool:
        if self._burst_left:
            self._burst_left -= 1
            return True
        if dice.random() < self.loss:
            self._burst_left = self.burst
            return True
        return False

    def answer(self, port: int, now: int, dice: random.Random) -> tuple[int, int] | None:
        """Give (what, delay) for a SYN that leaves now, or None for silence."""
        if self._lost(dice) or (self.dies_at and now >= self.dies_at):
            return None
        if port in self.open and self._allowed(f"accept {port}", self.accept_rate, now):
            what = SYN_ACK
        elif port in self.closed and self._allowed("rst", self.rst_rate, now):
            what = CONN_REFUSED
        elif port in self.unreachable:
            what = HOST_UNREACHABLE
        else:
            return None
        if self._lost(dice):
            return None
        return what, self.rtt + dice.randrange(self.jitter + 1)


@dataclass
class Result:
    """What a simulated scan gave."""

    outcomes: list[Outcome]
    events: list[TraceEvent]
    tally: tuple[int, ...]
    sent: list[int]
    elapsed: int
    most_in_flight: int

    def found(self, state: int, host: int = 0) -> set[int]:
        return {o.port for o in self.outcomes if o.state == state and o.host == host}


def simulate(
    engine: Any, hosts: list[SimHost], *, seed: int = 0, descriptors: int = 0, step: int = 100_000, limit: int = 3600
) -> Result:
    """Drive an engine through the network until it is finished, and check what must always hold.

    ``descriptors``: more probes at once than this meet EMFILE. ``step``: how long the driver takes for a round.
    """
    dice = random.Random(seed)
    now, in_flight, most = 0, {}, 0
    arrivals: list[tuple[int, int, int, int]] = []
    sent: list[int] = []
    outcomes: list[Outcome] = []
    events: list[TraceEvent] = []
    serial = 0
    while not engine.finished():
        assert now < limit * SECOND, "the scan does not end"
        while (probe := engine.next(now)) is not None:
            token, host, port, _ = probe
            if descriptors and len(in_flight) >= descriptors:
                engine.answer(token, -errno.EMFILE, now)
                continue
            in_flight[token] = host
            most = max(most, len(in_flight))
            sent.append(now)
            if (reply := hosts[host].answer(port, now, dice)) is not None:
                serial += 1
                heapq.heappush(arrivals, (now + reply[1], serial, token, reply[0]))
        wake = engine.wakeup(now)
        times = [t for t in (wake, arrivals[0][0] if arrivals else None) if t is not None]
        assert times or engine.finished(), "the scan waits for nothing"
        now = max(now + step, min(times, default=now))
        while arrivals and arrivals[0][0] <= now:
            at, _, token, what = heapq.heappop(arrivals)
            if token in in_flight:
                del in_flight[token]
                engine.answer(token, what, max(at, now - step))
        for token in engine.expire(now):
            del in_flight[token]
        outcomes += engine.take_outcomes()
        events += engine.take_events()
    outcomes += engine.take_outcomes()
    events += engine.take_events()
    return Result(
        [Outcome(*o) for o in outcomes], [TraceEvent(*e) for e in events], tuple(engine.tally()), sent, now, most
    )
