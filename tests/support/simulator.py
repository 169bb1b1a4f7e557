"""A network on paper: hosts, latency, loss and limits, under a clock that only the simulation moves.

It drives the scan machine of either engine, so that their traces can be compared and their accuracy counted at scales
and losses that no machine here has.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import heapq
import random
from collections.abc import Iterator
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
    # As in `oxisock.scan`: who says how many probes there may be at once bounds those that only listen, too.
    values["descriptors"] = changes.get("concurrency", 20_000)
    return ScanPlan(**(values | changes))


@dataclass
class SimHost:
    """How a simulated host behaves; the ports in no set are silent."""

    open: frozenset[int] = frozenset()
    closed: frozenset[int] = frozenset()
    unreachable: frozenset[int] = frozenset()
    rtt: int = 2 * MS
    jitter: int = MS
    loss: float = 0.0  # each way
    burst: int = 0  # a loss takes this many packets more with it
    rst_rate: int = 0  # RSTs per second, 0 for all
    accept_rate: float = 0  # connections that each open port accepts per second, beyond five; 0 for all
    dies_at: int = 0  # 0 for never
    back_at: int = 0  # when it lives again, 0 for never
    appears_at: int = 0  # it is not there before
    slow: frozenset[int] = frozenset()  # ports that answer later than others...
    slowness: int = 0  # ...by up to so much
    fault: int = 0  # what this machine says of every connect to it, 0 for nothing
    on_link: bool = False  # it is found by the neighbour table
    nobody: bool = False  # nobody has this address
    given_up_after: int = 0  # somebody says so, so long after the first probe; 0 for never
    unreachable_rate: int = 0  # that is said so often per second for all hosts together, 0 for always
    _budgets: dict[str, tuple[int, float]] = field(default_factory=dict)
    _burst_left: int = 0

    def _allowed(self, kind: str, rate: float, now: int) -> bool:
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
        if self._lost(dice) or not self.there(now):
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
        slowness = dice.randrange(self.slowness + 1) if port in self.slow else 0
        return what, self.rtt + dice.randrange(self.jitter + 1) + slowness

    def there(self, now: int) -> bool:
        """Say whether somebody has this address at time ``now``."""
        dead = self.dies_at and now >= self.dies_at and not (self.back_at and now >= self.back_at)
        return not (self.nobody or dead or now < self.appears_at)


class Table:
    """The neighbour table: it holds so many addresses that are being asked for, and drops what is for others."""

    KERNEL = 3060 * MS  # three requests, a second apart

    def __init__(self, size: int) -> None:
        self.size = size
        self.asking: dict[int, int] = {}  # since when, by host number
        self.dropped = 0

    def passes(self, number: int, host: SimHost, now: int) -> bool:
        """Say whether a packet for this host leaves; if there is nobody, it is kept for as long as is asked."""
        if not host.on_link or not self.size:
            return True
        while self.asking and (oldest := next(iter(self.asking.items())))[1] + self.KERNEL <= now:
            del self.asking[oldest[0]]
        if number in self.asking:
            return True
        if len(self.asking) >= self.size:
            self.dropped += 1
            return False
        if not host.there(now):
            self.asking[number] = now
        return True

    def knows(self, number: int, host: SimHost, now: int) -> bool | None:
        if not host.on_link:
            return None
        return True if host.there(now) else False if number in self.asking else None


class Gone:
    """Whoever says that nobody is there, a limited number of times."""

    def __init__(self) -> None:
        self.since: dict[int, int] = {}
        self.budget = (0, 50.0)

    def says(self, number: int, host: SimHost, now: int) -> int | None:
        """Give how long after now it is said of a probe that leaves now, if it is."""
        if not host.given_up_after or host.there(now):
            return None
        start = self.since.setdefault(number, now)
        if now > start + host.given_up_after:
            start = self.since[number] = now
        at = start + host.given_up_after
        if host.unreachable_rate:
            then, tokens = self.budget
            tokens = min(50.0, tokens + max(0, at - then) * host.unreachable_rate / SECOND)
            self.budget = (max(at, then), tokens - 1 if tokens >= 1 else tokens)
            if tokens < 1:
                return None
        return at - now


class Bottleneck:
    """A slow line that all packets of this machine pass: what finds its queue full is dropped."""

    def __init__(self, rate: int, queue: int) -> None:
        self._each = SECOND // rate
        self._queue = queue
        self._free_at = 0
        self.dropped = 0

    def delay(self, now: int) -> int | None:
        """Give how long a packet that leaves now waits for those before it; None where it is dropped."""
        self._free_at = max(self._free_at, now)
        if self._free_at - now > self._queue * self._each:
            self.dropped += 1
            return None
        self._free_at += self._each
        return self._free_at - now


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


@contextlib.contextmanager
def nothing_collected() -> Iterator[None]:
    """Save the garbage collector from going through hundreds of thousands of events, all of which are kept."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@nothing_collected()
def simulate(
    engine: Any,
    hosts: list[SimHost],
    *,
    seed: int = 0,
    descriptors: int = 0,
    step: int = 100_000,
    limit: int = 3600,
    table: int = 0,
    cost: int = 0,
    bottleneck: Bottleneck | None = None,
    stall: tuple[int, int] | None = None,
) -> Result:
    """Drive an engine through the network until it is finished, and check what must always hold.

    ``descriptors``: more probes at once than this meet EMFILE. ``step``: how long the driver takes for a round, and
    ``cost``: for a probe. ``table``: how many addresses the neighbour table can be asked for at once.
    ``bottleneck``: what all packets pass. ``stall``: for so long the driver sends, and for so long it does something
    else and sees answers late.
    """
    neighbours, gone = Table(table), Gone()
    dice = random.Random(seed)
    now, in_flight, most = 0, {}, 0
    arrivals: list[tuple[int, int, int, int]] = []
    sent: list[int] = []
    outcomes: list[Outcome] = []
    events: list[TraceEvent] = []
    serial, looked = 0, 0
    stalls_at = stall[0] if stall else limit * SECOND
    while not engine.finished():
        assert now < limit * SECOND, "the scan does not end"
        batch = 0
        while (not cost or batch < 64) and (probe := engine.next(now)) is not None:
            token, host, port, _ = probe
            batch += 1
            now += cost
            if hosts[host].fault:
                engine.answer(token, hosts[host].fault, now)
                continue
            if descriptors and len(in_flight) >= descriptors:
                engine.answer(token, -errno.EMFILE, now)
                continue
            in_flight[token] = host
            most = max(most, len(in_flight))
            sent.append(now)
            reply = None
            waits = bottleneck.delay(now) if bottleneck else 0
            if waits is not None and neighbours.passes(host, hosts[host], now):
                reply = hosts[host].answer(port, now, dice)
                if reply is None and (after := gone.says(host, hosts[host], now)) is not None:
                    reply = HOST_UNREACHABLE, after
            if reply is not None:
                serial += 1
                heapq.heappush(arrivals, (now + (waits or 0) + reply[1], serial, token, reply[0]))
        wake = engine.wakeup(now)
        times = [t for t in (wake, arrivals[0][0] if arrivals else None) if t is not None]
        assert times or engine.finished(), "the scan waits for nothing"
        if stall and now >= stalls_at:
            now += stall[1]
            stalls_at = now + stall[0]
        entered = now
        if not (cost and batch == 64):
            now = max(now + step, min(times, default=now))
        if stall:
            engine.looked = looked + now - entered
            looked = now
        while arrivals and arrivals[0][0] <= now:
            at, _, token, what = heapq.heappop(arrivals)
            if token in in_flight:
                del in_flight[token]
                engine.answer(token, what, now if stall else max(at, now - step))
        engine.looked = None
        for token in engine.expire(now):
            in_flight.pop(token, None)
        for number in engine.take_doubtful():
            engine.neighbour(number, neighbours.knows(number, hosts[number], now), now)
        outcomes += engine.take_outcomes()
        events += engine.take_events()
    outcomes += engine.take_outcomes()
    events += engine.take_events()
    return Result(
        [Outcome(*o) for o in outcomes], [TraceEvent(*e) for e in events], tuple(engine.tally()), sent, now, most
    )
