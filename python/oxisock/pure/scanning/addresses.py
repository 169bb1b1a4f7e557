"""Which address a host number stands for, and to which network it belongs."""

from __future__ import annotations

import socket
from bisect import bisect_right
from collections.abc import Sequence

from ...engines.scanning import AddressRange

SocketAddress = tuple[str, int] | tuple[str, int, int, int]


class Addresses:
    """Maps a host number to its address: the ranges one after the other."""

    def __init__(self, ranges: Sequence[AddressRange]) -> None:
        self._ranges = ranges
        self._starts: list[int] = []
        self._latest = -1  # ports of one host are often asked one after the other
        self._family, self._text, self._scope_id = socket.AF_INET, "", 0
        self.count = 0
        for each in ranges:
            self._starts.append(self.count)
            self.count += each.last - each.first + 1

    def _value(self, number: int) -> tuple[AddressRange, int]:
        index = bisect_right(self._starts, number) - 1
        return self._ranges[index], self._ranges[index].first + number - self._starts[index]

    def of_port(self, number: int, port: int) -> tuple[socket.AddressFamily, SocketAddress]:
        """Return family and socket address of a port of host ``number``."""
        if number != self._latest:
            (version, _, _, self._scope_id), value = self._value(number)
            self._family, size = (socket.AF_INET, 4) if version == 4 else (socket.AF_INET6, 16)
            self._text = socket.inet_ntop(self._family, value.to_bytes(size, "big"))
            self._latest = number
        family = self._family
        return family, (self._text, port) if family is socket.AF_INET else (self._text, port, 0, self._scope_id)

    def key(self, number: int) -> tuple[int, int]:
        """Return (IP version, address as a number)."""
        each, value = self._value(number)
        return each.version, value

    def network(self, number: int) -> tuple[int, int]:
        """Return what hosts of one /24 (IPv6: /64) have in common; without ranges, 256 numbers are a network."""
        if not self._ranges:
            return 0, number >> 8
        each, value = self._value(number)
        return each.version, value >> (8 if each.version == 4 else 64)
