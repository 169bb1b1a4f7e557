"""The order of a scan: seeded permutations of hosts and ports, computed place by place, with no list in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ...engines.scanning import FIRST, GROUP, ScanPlan
from ..splitmix import mix

_ROUNDS = 4


class Permutation:
    """A pseudo-random bijection of 0..size-1 onto itself, chosen by a 64-bit key.

    A Feistel network over the next even power of two; a value that falls outside is sent through again until it falls
    inside ("cycle walking": Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002). A round scrambles half the
    bits of a place, so what it gives for each of those halves fits into a short list.
    """

    __slots__ = ("_half", "_mask", "_rounds", "size")

    def __init__(self, size: int, key: int) -> None:
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        keys = [mix(key ^ (number + 1)) for number in range(_ROUNDS)]
        halves = range(1 << self._half)
        self._rounds = [[mix(half ^ each) & self._mask for half in halves] for each in keys]

    def __getitem__(self, position: int) -> int:
        half = self._half
        first, second, third, fourth = self._rounds
        while True:
            left, right = position >> half, position & self._mask
            left ^= first[right]
            right ^= second[left]
            left ^= third[right]
            right ^= fourth[left]
            position = left << half | right
            if position < self.size:
                return position


class PortOrder:
    """The ports of one host that fall to this share: each by its index, at positions 0..count-1.

    In random order the first `FIRST` of the ports that are likeliest to answer come first, then the others of those,
    then the rest.
    """

    __slots__ = ("_key", "_offset", "_permutation", "_start", "_step", "_stop", "_tiers", "count")

    def __init__(self, tiers: tuple[int, ...], offset: int, step: int, key: int | None) -> None:
        self._tiers, self._offset, self._step, self._key = tiers, offset, step, key
        self.count = max(0, -(-(tiers[-1] - offset) // step))
        self._start = self._stop = 0  # of the tier that the permutation is for
        self._permutation: Permutation | None = None

    def __getitem__(self, position: int) -> int:
        place = self._offset + position * self._step
        if self._key is None:
            return place
        if not self._start <= place < self._stop:
            start, stop, key = 0, 0, self._key
            for stop in self._tiers:
                if place < stop:
                    break
                start, key = stop, mix(key)
            self._start, self._stop, self._permutation = start, stop, Permutation(stop - start, key)
        assert self._permutation is not None
        return self._start + self._permutation[place - self._start]


class Order:
    """Every (host number, port number) of one share of a scan, each once.

    Position ``host * ports + port`` of the whole scan belongs to the share if it is ``start`` modulo ``step``. In
    random order the hosts of a group are shuffled, and the ports of a host by a key of its own: host 0 has the order of
    host ``first_host`` of the whole.
    """

    def __init__(self, plan: ScanPlan, hosts: int) -> None:
        ports = len(plan.ports)
        self._hosts, self._ports = hosts, ports
        self._tiers = tuple(sorted({min(FIRST, plan.first_ports), plan.first_ports, ports} - {0}))
        self._random, self._seed, self._first_host = plan.random, plan.seed, plan.first_host
        self._start, self._step = plan.shard, plan.shards
        self.total = max(0, -(-(hosts * ports - self._start) // self._step))
        self.hosts = hosts if ports >= self._step else self.total
        """How many hosts have ports in this share."""
        self._position = 0
        self._group = -1
        self._shuffled: Permutation | None = None
        self.upcoming: int | None = None
        """The host that comes next, or None at the end."""
        self._advance()

    def take(self) -> tuple[int, PortOrder]:
        """Return the host that comes next, and its ports; there must be one."""
        host = self.upcoming
        assert host is not None
        self._advance()
        return host, self.ports_of(host)

    def ports_of(self, host: int) -> PortOrder:
        """Return the ports of any host."""
        offset = (self._start - host * self._ports) % self._step
        key = mix(mix(self._seed) ^ (self._first_host + host)) if self._random else None
        return PortOrder(self._tiers, offset, self._step, key)

    def _advance(self) -> None:
        while self._position < self._hosts:
            group, offset = divmod(self._position, GROUP)
            self._position += 1
            if self._random:
                if group != self._group:
                    self._group = group
                    size = min(GROUP, self._hosts - group * GROUP)
                    self._shuffled = Permutation(size, mix(self._seed ^ mix(group)))
                assert self._shuffled is not None
                offset = self._shuffled[offset]
            host = group * GROUP + offset
            if (self._start - host * self._ports) % self._step < self._ports:
                self.upcoming = host
                return
        self.upcoming = None


def asked_ports(plan: ScanPlan, hosts: Sequence[int]) -> list[list[int]]:
    """Return which ports of each of the ``hosts`` fall to the plan's shard, in the order in which they are asked."""
    order = Order(plan, 0)
    found = []
    for host in hosts:
        places = order.ports_of(host)
        found.append([plan.ports[places[position]] for position in range(places.count)])
    return found
