"""The order of a scan: seeded permutations of hosts and ports, computed place by place, with no list in memory."""

from __future__ import annotations

from collections.abc import Sequence

from ...engines.scanning import FIRST, GROUP, ScanPlan
from ..splitmix import mix

_ROUNDS = 4
_BLOCK = 64  # so many ports of a host are computed at a time


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
        return self.several(range(position, position + 1))[0]

    def several(self, positions: range) -> list[int]:
        """Return what stands at these positions; together they cost less."""
        size, half, mask = self.size, self._half, self._mask
        first, second, third, fourth = self._rounds
        found = []
        for place in positions:
            while True:
                left, right = place >> half, place & mask
                left ^= first[right]
                right ^= second[left]
                left ^= third[right]
                right ^= fourth[left]
                place = left << half | right
                if place < size:
                    break
            found.append(place)
        return found


class PortOrder:
    """The ports of one host that fall to this share, at positions 0..count-1.

    In random order the first `FIRST` of the ports that are likeliest to answer come first, then the others of those,
    then the rest. Positions are mostly taken one after the other, so some are computed at a time.
    """

    __slots__ = ("_begin", "_block", "_key", "_offset", "_permutation", "_ports", "_start", "_step", "_tiers", "count")

    def __init__(self, ports: Sequence[int], tiers: tuple[int, ...], offset: int, step: int, key: int | None) -> None:
        self._ports, self._tiers, self._offset, self._step, self._key = ports, tiers, offset, step, key
        self.count = max(0, -(-(tiers[-1] - offset) // step))
        self._start = -1  # of the tier that the permutation is for
        self._permutation: Permutation | None = None
        self._begin = 0
        self._block: list[int] = []  # what stands at the positions from there on

    def __getitem__(self, position: int) -> int:
        index = position - self._begin
        if not 0 <= index < len(self._block):
            self._begin, self._block, index = position, self._computed(position), 0
        return self._block[index]

    def _computed(self, position: int) -> list[int]:
        """Compute the ports at this position and some after it, in its tier."""
        place, step, key = self._offset + position * self._step, self._step, self._key
        if key is None:
            return list(self._ports[place : place + _BLOCK * step : step])
        start = stop = 0
        for stop in self._tiers:
            if place < stop:
                break
            start, key = stop, mix(key)
        if start != self._start or self._permutation is None:
            self._start, self._permutation = start, Permutation(stop - start, key)
        places = range(place - start, min(stop - start, place - start + _BLOCK * step), step)
        return [self._ports[start + each] for each in self._permutation.several(places)]


class Order:
    """Every (host number, port number) of one share of a scan, each once.

    Position ``host * ports + port`` of the whole scan belongs to the share if it is ``start`` modulo ``step``. In
    random order the hosts of a group are shuffled, and the ports of a host by a key of its own: host 0 has the order of
    host ``first_host`` of the whole.
    """

    def __init__(self, plan: ScanPlan, hosts: int) -> None:
        self._ports, ports = plan.ports, len(plan.ports)
        self._hosts = hosts
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
        key = mix(mix(self._seed) ^ (self._first_host + host)) if self._random else None
        return PortOrder(self._ports, self._tiers, self._offset(host), self._step, key)

    def _offset(self, host: int) -> int:
        """Return how many places of a host come before the first that falls to this share."""
        return (self._start - host * len(self._ports)) % self._step

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
            if self._offset(host) < len(self._ports):
                self.upcoming = host
                return
        self.upcoming = None


def asked_ports(plan: ScanPlan, hosts: Sequence[int]) -> list[list[int]]:
    """Return which ports of each of the ``hosts`` fall to the plan's shard, in the order in which they are asked."""
    order = Order(plan, 0)
    return [[ports[position] for position in range(ports.count)] for ports in map(order.ports_of, hosts)]
