"""Runs the shards of a scan as one run: keeps the totals, and scans shards in this process, one after the other."""

from __future__ import annotations

import operator
import socket
import threading
import time
from typing import TYPE_CHECKING

from ..engines.scanning import AddressRange, ScanRun, Tally
from ..sockets.addresses import format_key, make_key
from ..types import ScanSource
from .checkpoint import Checkpoint, Done
from .plan import with_links
from .sharding import Shards

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..engines.scanning import EventTuple, OutcomeTuple, ScanningModule, TallyTuple

NOTHING = Tally(*[0] * len(Tally._fields))
_HOSTS = ("hosts", "hosts_up", "hosts_unreachable", "hosts_silent")


class SpreadRun(ScanRun):
    """The base of runs in shards, which `Scan` uses like any other run. Subclasses run the shards."""

    def __init__(self, shards: Shards, checkpoint: Checkpoint | None) -> None:
        self._shards = shards
        self._checkpoint = checkpoint
        self._tally = NOTHING
        self._of_hosts: dict[int, Tally] = {}  # of hosts with ports in several shards, which count once
        self._fresh: list[OutcomeTuple] = []
        self._events: list[EventTuple] = []
        self._began = time.monotonic_ns()
        self._stopped = False
        self._lock = threading.RLock()
        self.sources: list[ScanSource] = []
        self.causes: dict[int, str] = {}  # the error for which no port was asked, by the reason of the outcome
        self.before = frozenset[int]()
        if checkpoint is not None:
            self.before = frozenset(checkpoint.done)
            for done in checkpoint.done.values():
                self._tally = self._including(done.shard, done.tally, True)
                self._fresh += done.outcomes
                self.sources.append(done.source)
            checkpoint.done.clear()
        self.earlier = self._tally
        """The totals before this run began."""

    def tally(self) -> TallyTuple:
        """Return the totals of the shards that are done."""
        return self._tally

    def trace(self) -> Sequence[EventTuple]:
        """Return the events of the shards that are done, in order of time."""
        return sorted(self._events)

    def _take(self) -> list[OutcomeTuple]:
        with self._lock:
            fresh, self._fresh = self._fresh, []
            return fresh

    def _settled(self, shard: int, tally: Tally, outcomes: list[OutcomeTuple], source: ScanSource) -> None:
        """Record a finished shard. Its outcomes have the host numbers of the whole scan."""
        self._tally = self._including(shard, tally, True)
        self.sources.append(source)
        if self._checkpoint is not None:
            self._checkpoint.add(Done(shard, tally, outcomes, source))

    def _including(self, shard: int, tally: Tally, settled: bool) -> Tally:
        """Return the totals, including those of one more shard."""
        group = self._shards.same_hosts(shard)
        if group is None:
            return sums(self._tally, tally)
        before = self._of_hosts.get(group, NOTHING)
        after = _of_same_hosts(before, tally)
        if settled:
            self._of_hosts[group] = after
        change = {name: getattr(after, name) - getattr(before, name) for name in _HOSTS}
        return sums(self._tally, tally._replace(**change))

    def _moved(self, events: Iterable[EventTuple], first_host: int, since: int) -> list[EventTuple]:
        """Return the events of a shard that began at ``since``, with the host numbers and clock of the whole scan."""
        start = since - self._began
        return [(start + event[0], first_host + event[1], *event[2:]) for event in events]

    def _close(self) -> None:
        if self._checkpoint is not None:
            self._checkpoint.close()


class LocalRun(SpreadRun):
    """Runs one shard after the other in this process. Results come as they are found."""

    def __init__(self, scanning: ScanningModule, shards: Shards, checkpoint: Checkpoint | None) -> None:
        super().__init__(shards, checkpoint)
        self._scanning = scanning
        self._left = iter(number for number in range(shards.count) if number not in self.before)
        self._run: ScanRun | None = None
        self._shard = shards[0]
        self._number = 0
        self._outcomes: list[OutcomeTuple] = []  # of the current shard
        self._begun = self._over = False
        self._advance()

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes and return those there are."""
        run = self._run
        if run is not None and not self._fresh:
            came = run.wait(timeout)
            first = self._shard.first_host
            moved = [(outcome[0] + first, *outcome[1:]) for outcome in came]
            self._outcomes += moved
            with self._lock:
                self._fresh += moved
                if run is self._run and run.done() and not self._stopped:
                    self._conclude(run)
                    self._advance()
        return self._take()

    def tally(self) -> TallyTuple:
        """Return the totals, including those of the current shard."""
        run = self._run
        return self._tally if run is None else self._including(self._number, Tally(*run.tally()), False)

    def trace(self) -> Sequence[EventTuple]:
        """Return the events so far, in order of time."""
        events = list(super().trace())
        if self._run is not None:
            events += self._moved(self._run.trace(), self._shard.first_host, self._since)
        return events

    def done(self) -> bool:
        """Return whether everything is decided (or cancelled) and every outcome given."""
        return self._over and not self._fresh

    def cancel(self) -> None:
        """End the scan, and close every descriptor before returning."""
        with self._lock:
            self._stopped = self._over = True
            if self._run is not None:
                self._run.cancel()
            self._close()

    def _conclude(self, run: ScanRun) -> None:
        run.cancel()
        took = (time.monotonic_ns() - self._since) / 1e9
        tally = Tally(*run.tally())
        address = source_address(self._shard.plan.ranges[0])
        self._run = None
        self._events += self._moved(run.trace(), self._shard.first_host, self._since)
        source = ScanSource(len(self.sources), socket.gethostname(), address, took, tally.probes)
        outcomes, self._outcomes = self._outcomes, []
        self._settled(self._number, tally, outcomes, source)

    def _advance(self) -> None:
        """Begin the next shard, if there is one."""
        number = next(self._left, None)
        if number is None:
            self._over = True
            self._close()
            return
        self._number, self._shard = number, self._shards[number]
        self._since = time.monotonic_ns()
        plan = with_links(self._shard.plan)
        # Before the first shard nothing was sent, so it need not wait for the rate.
        self._run = self._scanning.start_scan(plan if self._begun else plan._replace(first_send=0))
        self._begun = True


def source_address(target: AddressRange) -> str | None:
    """Return the address from which this machine asks a target; None if there is no route. This sends nothing."""
    family = socket.AF_INET if target.version == 4 else socket.AF_INET6
    address = format_key(make_key(target.version, target.first, target.scope_id))
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            where = (address, 9) if target.version == 4 else (address, 9, 0, target.scope_id)
            sock.connect(where)
            found: str = sock.getsockname()[0]
            return found
    except OSError:
        return None


def _of_same_hosts(one: Tally, other: Tally) -> Tally:
    """Return the counts of hosts from two shards of their ports. A host that answered in either is up."""
    hosts, up = max(one.hosts, other.hosts), max(one.hosts_up, other.hosts_up)
    unreachable = min(max(one.hosts_unreachable, other.hosts_unreachable), hosts - up)
    silent = min(max(one.hosts_silent, other.hosts_silent), hosts - up - unreachable)
    return NOTHING._replace(hosts=hosts, hosts_up=up, hosts_unreachable=unreachable, hosts_silent=silent)


def sums(one: Tally, other: Tally) -> Tally:
    return Tally(*map(operator.add, one, other))
