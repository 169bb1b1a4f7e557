"""The order of a scan: a seeded permutation that is computed position by position, with no list in memory."""

from __future__ import annotations

from collections.abc import Iterator

GROUP = 1024
"""Hosts go through in groups of at most this many, whose state is freed when they are done."""

_MASK = (1 << 64) - 1
_ROUNDS = 4


def mix(value: int) -> int:
    """Scramble 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Permutation:
    """A pseudo-random bijection of 0..size-1 onto itself, chosen by a 64-bit key.

    A Feistel network over the next even power of two; a value that falls outside is sent through again until it falls
    inside ("cycle walking": Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """

    __slots__ = ("_half", "_keys", "_mask", "size")

    def __init__(self, size: int, key: int) -> None:
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._mask = (1 << self._half) - 1
        self._keys = [mix(key ^ (number + 1)) for number in range(_ROUNDS)]

    def __getitem__(self, position: int) -> int:
        half, mask = self._half, self._mask
        while True:
            left, right = position >> half, position & mask
            for key in self._keys:
                left, right = right, left ^ (mix(right ^ key) & mask)
            position = left << half | right
            if position < self.size:
                return position


class Order:
    """Every (host number, port number) of one share of a scan, each once.

    The positions of the whole scan are counted group by group; this share takes ``start``, ``start + step``, ... In
    random order the first ``first_ports`` ports of all hosts of a group come before its other ports.
    """

    def __init__(self, hosts: int, ports: int, first_ports: int, *, random: bool, seed: int, start: int, step: int):
        self._hosts, self._ports, self._first_ports = hosts, ports, first_ports
        self._random, self._seed = random, seed
        self._position, self._step = start, step
        self.total = max(0, -(-(hosts * ports - start) // step))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give the pairs in order; a pair's host tells its group (``host // GROUP``), which never decreases."""
        group, early, late = -1, Permutation(1, 0), Permutation(1, 0)
        per_group = GROUP * self._ports
        while self._position < self._hosts * self._ports:
            number, offset = divmod(self._position, per_group)
            hosts = min(GROUP, self._hosts - number * GROUP)
            self._position += self._step
            if not self._random:
                host, port = divmod(offset, self._ports)
            else:
                split = hosts * self._first_ports
                if number != group:
                    group, key = number, mix(self._seed ^ mix(number))
                    early = Permutation(max(1, split), key)
                    late = Permutation(max(1, hosts * self._ports - split), mix(key))
                if offset < split:
                    port, host = divmod(early[offset], hosts)
                else:
                    port, host = divmod(late[offset - split], hosts)
                    port += self._first_ports
            yield number * GROUP + host, port
