"""Cuts the plan of a scan into shards of about ten seconds: what one task asks, and what is written down as done."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from ..engines.scanning import AddressRange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engines.scanning import ScanPlan

_SECONDS = 10  # of work in a shard, about
_MOST_PROBES = 1 << 15  # in a shard of a scan without a rate: sixteen seconds of an empty network, one of a full one
_WORTH_A_TASK = 4096  # probes: fewer of them cost less than to give them out
_LEAST_PROBES = 16  # however low the rate is
_WHOLE_HOSTS = 1024  # an engine takes so many hosts at once: more in a shard share nothing
_SPREAD = 0x9E3779B97F4A7C15  # a step through the shards that leaves neighbours apart


class Shard(NamedTuple):
    """A part of a scan: hosts from ``first_host`` on, some of the ports, and the plan to ask just those."""

    first_host: int  # its host 0 in the whole scan
    total: int  # how many ports of hosts it asks
    plan: ScanPlan


class Shards:
    """The shards of a plan, by number; they are disjoint, complete, and made when they are asked for.

    A scan without ``shard=`` is cut along its hosts, and the ports of a host that is more than a shard. One with
    ``shard=`` is cut along its order: the parts of all machines stay disjoint.
    """

    def __init__(self, plan: ScanPlan, probes: int) -> None:
        self.probes = probes
        self._plan = plan
        self._starts = [0, *accumulate(each.last - each.first + 1 for each in plan.ranges)]
        self._hosts, self._ports = self._starts[-1], len(plan.ports)
        if plan.shards > 1:
            positions = max(0, -(-(self._hosts * self._ports - plan.shard) // plan.shards))
            self.count = max(1, -(-positions // probes))
            self._columns = self.count
            return
        self._ports_each = min(self._ports, probes)
        self._hosts_each = max(1, min(probes // self._ports_each, self._hosts))
        if self._hosts_each > _WHOLE_HOSTS:
            self._hosts_each -= self._hosts_each % _WHOLE_HOSTS
        self._columns = -(-self._ports // self._ports_each)
        self.count = -(-self._hosts // self._hosts_each) * self._columns

    def __getitem__(self, number: int) -> Shard:
        """Give a shard by its number, 0 and up."""
        plan = self._plan
        if plan.shards > 1:
            # Position p belongs to part p % shards; cutting that again by p // shards keeps it disjoint.
            shard, shards = plan.shard + plan.shards * number, plan.shards * self.count
            total = max(0, -(-(self._hosts * self._ports - shard) // shards))
            return Shard(0, total, plan._replace(shard=shard, shards=shards))
        row, column = divmod(self._mixed(number), self._columns)
        first_host, first_port = row * self._hosts_each, column * self._ports_each
        hosts = min(self._hosts_each, self._hosts - first_host)
        ports = plan.ports[first_port : first_port + self._ports_each]
        part = plan._replace(
            ranges=list(self._ranges(first_host, first_host + hosts)),
            ports=ports,
            first_ports=max(0, min(len(ports), plan.first_ports - first_port)),
        )
        return Shard(first_host, hosts * len(ports), part)

    def same_hosts(self, number: int) -> int | None:
        """Give what is equal for shards that ask other ports of the same hosts; None where no other shard does."""
        return None if self._columns == 1 else self._mixed(number) // self._columns

    def _mixed(self, number: int) -> int:
        """Give the place of a shard: in random order neighbours are not asked one after the other."""
        if not self._plan.random or self.count < 3:
            return number
        step = _SPREAD % self.count or 1
        while math.gcd(step, self.count) != 1:
            step += 1
        return (number * step + self._plan.seed) % self.count

    def _ranges(self, start: int, stop: int) -> Iterator[AddressRange]:
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            version, first, last, scope_id = self._plan.ranges[at]
            low = first + start - self._starts[at]
            high = min(last, first + stop - 1 - self._starts[at])
            yield AddressRange(version, low, high, scope_id)
            start += high - low + 1
            at += 1


def probes_of_a_shard(plan: ScanPlan, total: int, workers: int) -> int:
    """Say how many probes make a shard of about ten seconds, where so many workers share work and rate of a plan."""
    most = min(_MOST_PROBES, max(_WORTH_A_TASK, -(-total // workers)))
    if plan.interval:
        most = max(_LEAST_PROBES, min(most, _SECONDS * 1_000_000_000 // (plan.interval * workers)))
    return most


def seconds_of_a_shard(shard: Shard) -> float:
    """Say after how many seconds a task cannot be at work any more: what its probes may take at worst, and a minute."""
    plan = shard.plan
    tries = max(plan.retries, 10 if plan.adaptive else 0) + 1
    waits = -(-shard.total * tries // max(1, min(plan.concurrency, 64))) * (plan.timeout + plan.banner)
    return min(86_400.0, 60 + (waits + shard.total * tries * plan.interval) / 1e9)


def expected_of_a_shard(shard: Shard, workers: int) -> int:
    """Say how many nanoseconds a task of so many takes in an empty network, where all share the rate of the plan."""
    plan = shard.plan
    return shard.total * max(plan.interval * workers, 500_000) + plan.timeout * (plan.retries + 1) + plan.banner


def digest(plan: ScanPlan) -> str:
    """Give what tells one scan from another: what is asked, in which order, and what is kept; not how fast."""
    facts = [
        [list(each) for each in plan.ranges],
        list(plan.ports),
        [plan.random, plan.seed, plan.shard, plan.shards, plan.keep, bool(plan.banner), plan.skip_silent],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
