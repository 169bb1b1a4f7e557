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
_SECONDS = 10  # of work in a shard, roughly
_MOST_PROBES = 1 << 15  # in a shard without a rate: one second if hosts answer, sixteen if not
_WORTH_A_TASK = 4096  # probes; for fewer, a task costs more than the probes
_LEAST_PROBES = 16  # in a shard, even at a low rate
_LEAST_RATE = 40  # probes a second of a task that shares a rate, because each task sends one less than its share
_WHOLE_HOSTS = 1024  # an engine scans so many hosts at once
_SPREAD = 0x9E3779B97F4A7C15  # a step through the shards that separates neighbours


class Shard(NamedTuple):
    """A part of a scan: hosts from ``first_host`` on, some of the ports, and the plan for them."""

    first_host: int  # the number of its host 0 in the whole scan
    total: int  # the number of (host, port) pairs
    plan: ScanPlan

    @property
    def hosts(self) -> int:
        """The number of its hosts."""
        return sum(each.last - each.first + 1 for each in self.plan.ranges)


class Shards:
    """The shards of a plan, by number. They are disjoint and complete, and made on access.

    A scan is cut between hosts; the ports of a host are cut if they are more than a shard. In a scan with ``shard=``,
    each part has its share of that shard, because the order of ports is that of the whole scan.
    """

    def __init__(self, plan: ScanPlan, probes: int) -> None:
        self.probes = probes
        self._plan = plan
        self._starts = [0, *accumulate(each.last - each.first + 1 for each in plan.ranges)]
        self._hosts, self._ports = self._starts[-1], len(plan.ports)
        asked = -(-self._ports // plan.shards)  # the most ports asked of a host
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
        """A shard of the largest size. Another shard may have one port more."""
        return self._at(0)

    def same_hosts(self, number: int) -> int | None:
        """Return a number that is equal for all shards of the same hosts; None if no two shards share hosts."""
        return None if self._columns == 1 else self._mixed(number) // self._columns

    def _at(self, place: int) -> Shard:
        # Where the ports of a host are cut, a part does not know whether the host has answered another one.
        plan = self._plan._replace(of_many=self._hosts > 1 and self._columns == 1)
        row, column = divmod(place, self._columns)
        first_host = row * self._hosts_each
        hosts = min(self._hosts_each, self._hosts - first_host)
        ranges = list(self._ranges(first_host, first_host + hosts))
        if plan.shards > 1:
            # The position of a port is the number of its host times the number of ports, plus its index. Counted from
            # the first host of this part, the shard has other positions. A column has every so many of them.
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
        """Return the place of a shard. In random order, neighbours do not follow each other."""
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
    """Return how many tasks, at most ``wanted``, share a rate of one probe per ``interval`` nanoseconds.

    Each task sends one probe a second less than its share, so a task must not have too small a share.
    """
    return max(1, min(wanted, _NS // (interval * _LEAST_RATE), -(-total // _LEAST_PROBES)))


def shared_rate(plan: ScanPlan, slots: int) -> ScanPlan:
    """Return the plan for each of ``slots`` tasks that share a rate without communicating.

    Together they keep the rate in every second. A task waits before its first probe, because another task may just
    have ended.
    """
    interval = plan.interval * slots
    if interval and slots > 1:
        interval = interval * _NS // (_NS - interval) + 1
    return plan._replace(interval=interval, first_send=interval)


def probes_of_a_shard(plan: ScanPlan, total: int, slots: int) -> int:
    """Return the number of probes in a shard of about ten seconds, if ``slots`` tasks share the work and the rate."""
    if not plan.interval:
        return min(_MOST_PROBES, max(_WORTH_A_TASK, -(-total // slots)))
    most = max(_LEAST_PROBES, min(_MOST_PROBES, _SECONDS * _NS // (plan.interval * slots)))
    rounds = max(1, -(-total // (most * slots)))
    return max(1, -(-total // (rounds * slots)))  # so that all tasks have work until the end


def limit_of_a_shard(shard: Shard) -> int:
    """Return the ns after which a task must have ended: the longest time of its probes, and a minute."""
    plan = shard.plan
    probes = shard.total * (max(plan.retries, 10 if plan.adaptive else 0) + 1)
    waits = -(-probes // max(1, min(plan.concurrency, 64))) * (plan.timeout + plan.banner)
    return 60 * _NS + waits + plan.first_send + probes * plan.interval


def expected_of_a_shard(shard: Shard) -> int:
    """Return the nanoseconds that a task takes if no host answers."""
    plan = shard.plan
    return shard.total * max(plan.interval, 500_000) + plan.timeout * (plan.retries + 1) + plan.banner


def digest(plan: ScanPlan) -> str:
    """Return a digest of what a scan asks, in which order, and what it keeps. It does not depend on the speed."""
    facts = [
        [list(each) for each in plan.ranges],
        list(plan.ports),
        [plan.random, plan.seed, plan.shard, plan.shards, plan.keep, bool(plan.banner), plan.skip_silent],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
