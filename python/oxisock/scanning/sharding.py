"""Cuts the plan of a scan into shards of about ten seconds, each of which is one task or one checkpoint line."""

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

_NS = 1_000_000_000
_SECONDS = 10  # of work in a shard, about
_MOST_PROBES = 1 << 15  # in a shard of a scan without a rate: sixteen seconds of an empty network, one of a full one
_WORTH_A_TASK = 4096  # probes: fewer of them cost less than to give them out
_LEAST_PROBES = 16  # however low the rate is
_LEAST_RATE = 40  # probes a second of a task that shares a rate: each keeps one of a second back
_WHOLE_HOSTS = 1024  # an engine takes so many hosts at once: more in a shard share nothing
_SPREAD = 0x9E3779B97F4A7C15  # a step through the shards that leaves neighbours apart


class Shard(NamedTuple):
    """A part of a scan: hosts from ``first_host`` on, some of the ports, and the plan to ask just those."""

    first_host: int  # its host 0 in the whole scan
    total: int  # how many ports of hosts it asks
    plan: ScanPlan

    @property
    def hosts(self) -> int:
        """How many hosts it has."""
        return sum(each.last - each.first + 1 for each in self.plan.ranges)


class Shards:
    """The shards of a plan, by number; they are disjoint, complete, and made when they are asked for.

    A scan is cut along its hosts, and the ports of a host that is more than a shard. Of one with ``shard=`` every part
    has what falls to that: the order of the ports of a host is that of the whole scan.
    """

    def __init__(self, plan: ScanPlan, probes: int) -> None:
        self.probes = probes
        self._plan = plan
        self._starts = [0, *accumulate(each.last - each.first + 1 for each in plan.ranges)]
        self._hosts, self._ports = self._starts[-1], len(plan.ports)
        asked = -(-self._ports // plan.shards)  # of a host, at most
        self._columns = -(-asked // probes)
        self._hosts_each = 1 if self._columns > 1 else min(probes * plan.shards // self._ports, self._hosts)
        if self._hosts_each > _WHOLE_HOSTS:
            self._hosts_each -= self._hosts_each % _WHOLE_HOSTS
        self.count = -(-self._hosts // self._hosts_each) * self._columns

    def __getitem__(self, number: int) -> Shard:
        """Return a shard by its number, 0 and up."""
        return self._at(self._mixed(number))

    @property
    def largest(self) -> Shard:
        """A shard of which none is larger by more than one port."""
        return self._at(0)

    def same_hosts(self, number: int) -> int | None:
        """Return what is equal for shards that ask other ports of the same hosts; None where no other shard does."""
        return None if self._columns == 1 else self._mixed(number) // self._columns

    def _at(self, place: int) -> Shard:
        plan = self._plan
        row, column = divmod(place, self._columns)
        first_host = row * self._hosts_each
        hosts = min(self._hosts_each, self._hosts - first_host)
        ranges = list(self._ranges(first_host, first_host + hosts))
        if plan.shards > 1:
            # A port's position is its host's number times the ports, and more: counted from this part's first host
            # those of the shard are others. Every so many of them are a column.
            shards = plan.shards * self._columns
            shard = (plan.shard - first_host * self._ports) % plan.shards + plan.shards * column
            total = max(0, -(-(hosts * self._ports - shard) // shards))
            return Shard(
                first_host, total, plan._replace(ranges=ranges, first_host=first_host, shard=shard, shards=shards)
            )
        each = -(-self._ports // self._columns)
        ports = plan.ports[column * each : (column + 1) * each]
        first_ports = max(0, min(len(ports), plan.first_ports - column * each))
        part = plan._replace(ranges=ranges, first_host=first_host, ports=ports, first_ports=first_ports)
        return Shard(first_host, hosts * len(ports), part)

    def _mixed(self, number: int) -> int:
        """Return the place of a shard: in random order neighbours are not asked one after the other."""
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


def slots_of_a_rate(interval: int, total: int, wanted: int) -> int:
    """Say how many tasks share a rate of one probe in ``interval``: not so many that each would send next to nothing.

    Of a second that begins and ends anywhere nobody knows whether it has one more probe of a task, or one less.
    """
    return max(1, min(wanted, _NS // (interval * _LEAST_RATE), -(-total // _LEAST_PROBES)))


def shared_rate(plan: ScanPlan, slots: int) -> ScanPlan:
    """Return the plan of each of so many tasks that share a rate and know nothing of each other.

    Together they keep it in any second, whatever the moments of their probes. A task may begin when another has just
    ended, so it waits before its first probe, too.
    """
    interval = plan.interval * slots
    if interval and slots > 1:
        interval = interval * _NS // (_NS - interval) + 1
    return plan._replace(interval=interval, first_send=interval)


def probes_of_a_shard(plan: ScanPlan, total: int, slots: int) -> int:
    """Return how many probes make a shard of about ten seconds, where so many tasks share work and rate of a plan."""
    if not plan.interval:
        return min(_MOST_PROBES, max(_WORTH_A_TASK, -(-total // slots)))
    most = max(_LEAST_PROBES, min(_MOST_PROBES, _SECONDS * _NS // (plan.interval * slots)))
    rounds = max(1, -(-total // (most * slots)))
    return max(1, -(-total // (rounds * slots)))  # so that all have something to do until the end


def limit_of_a_shard(shard: Shard) -> int:
    """Say after how many ns a task cannot be at work any more: what its probes may take at worst, and a minute."""
    plan = shard.plan
    probes = shard.total * (max(plan.retries, 10 if plan.adaptive else 0) + 1)
    waits = -(-probes // max(1, min(plan.concurrency, 64))) * (plan.timeout + plan.banner)
    return 60 * _NS + waits + plan.first_send + probes * plan.interval


def expected_of_a_shard(shard: Shard) -> int:
    """Return how many nanoseconds a task takes in an empty network."""
    plan = shard.plan
    return shard.total * max(plan.interval, 500_000) + plan.timeout * (plan.retries + 1) + plan.banner


def digest(plan: ScanPlan) -> str:
    """Return what tells one scan from another: what is asked, in which order, and what is kept; not how fast."""
    facts = [
        [list(each) for each in plan.ranges],
        list(plan.ports),
        [plan.random, plan.seed, plan.shard, plan.shards, plan.keep, bool(plan.banner), plan.skip_silent],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
