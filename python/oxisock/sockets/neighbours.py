"""The addresses that this machine reaches without a router, and which of them answer (Linux)."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ..engines.scanning import AddressRange, Link

if TYPE_CHECKING:
    # The header before the attributes, and the attributes by number.
    Message = tuple[bytes, dict[int, bytes]]

# These are from linux/netlink.h, rtnetlink.h, neighbour.h and if.h.
_REQUEST, _DUMP, _DONE, _ERROR = 1, 0x300, 3, 2
_GETLINK, _GETROUTE, _GETNEIGH = 18, 26, 30
_HEADER = 16
_SIZES = {_GETLINK: 16, _GETROUTE: 12, _GETNEIGH: 12}  # bytes between the header and the attributes
_DESTINATION, _OUTPUT, _GATEWAY, _VIA, _MULTIPATH = 1, 4, 5, 18, 9
_LOOPBACK, _NO_ARP = 0x8, 0x80
_UNICAST = 1
_INCOMPLETE, _FAILED = 0x01, 0x20
_ARP_NEEDED = 0xFF & ~0x40  # every state but "no ARP"
_BYTES: dict[int, int] = {socket.AF_INET: 4, socket.AF_INET6: 16}
_RESERVE = 4  # a quarter of the table is left to others


def known() -> dict[tuple[int, int], bool]:
    """Return the neighbour table: whether a host answers, by (IP version, address). Empty if it cannot be read.

    If an address is in the table for several links, one answer is enough.
    """
    table: dict[tuple[int, int], bool] = {}
    for header, attributes in _dump(_GETNEIGH):
        family, _, _, _, state = struct.unpack_from("=BBHiH", header)
        address = attributes.get(_DESTINATION, b"")
        if len(address) == _BYTES.get(family) and state & _ARP_NEEDED:
            key = 4 if family == socket.AF_INET else 6, int.from_bytes(address, "big")
            table[key] = table.get(key, False) or not state & (_INCOMPLETE | _FAILED)
    return table


def links(ranges: Sequence[AddressRange]) -> list[Link]:
    """Return which addresses in ``ranges``, by number, are on a link where the kernel resolves addresses.

    The links are disjoint and in order, although routes may lie within each other.
    """
    quiet = {
        index
        for header, _ in _dump(_GETLINK)
        for index, flags in [struct.unpack_from("=iI", header, 4)]
        if flags & (_LOOPBACK | _NO_ARP)
    }
    found: list[Link] = []
    for header, attributes in _dump(_GETROUTE):
        family, bits, _, _, _, _, _, kind, _ = struct.unpack_from("=BBBBBBBBI", header)
        output = struct.unpack("=i", attributes[_OUTPUT])[0] if _OUTPUT in attributes else 0
        if kind != _UNICAST or family not in _BYTES or output in quiet or not output:
            continue
        if attributes.keys() & {_GATEWAY, _VIA, _MULTIPATH}:
            continue
        size = 8 * _BYTES[family]
        first = int.from_bytes(attributes.get(_DESTINATION, b"").ljust(size // 8, b"\0"), "big")
        last = first | (1 << size - bits) - 1
        found += _numbers(ranges, 4 if family == socket.AF_INET else 6, first, last)
    return disjoint(found)


def disjoint(found: Sequence[Link]) -> list[Link]:
    """Return the links in order, with those joined that have hosts in common."""
    joined: list[Link] = []
    for link in sorted(found):
        if joined and link.first <= joined[-1].last:
            joined[-1] = joined[-1]._replace(last=max(joined[-1].last, link.last))
        else:
            joined.append(link)
    return joined


def _numbers(ranges: Sequence[AddressRange], version: int, first: int, last: int) -> Iterator[Link]:
    """Yield the hosts from address ``first`` to ``last`` by their numbers."""
    capacity, start = 0, 0
    for each in ranges:
        low, high = max(first, each.first), min(last, each.last)
        if each.version == version and low <= high:
            capacity = capacity or _capacity(version)
            yield Link(start + low - each.first, start + high - each.first, capacity)
        start += each.last - each.first + 1


def _capacity(version: int) -> int:
    """Return how many addresses the kernel can resolve at once, without those it already knows."""
    try:
        with open(f"/proc/sys/net/ipv{version}/neigh/default/gc_thresh3") as setting:
            most = int(setting.read())
    except (OSError, ValueError):
        most = 1024
    used = sum(1 for kind, _ in known() if kind == version)
    return max(16, most - most // _RESERVE - used)


def _dump(what: int) -> Iterator[Message]:
    """Ask the kernel for one of its tables. Yields nothing if there is no such kernel, or it does not answer."""
    if sys.platform != "linux":
        return
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(1.0)
            size = _SIZES[what]
            kernel.send(struct.pack("=IHHII", _HEADER + size, what, _REQUEST | _DUMP, 1, 0) + bytes(size))
            while True:
                data = kernel.recv(1 << 17)
                while len(data) >= _HEADER:
                    length, kind, _, _, _ = struct.unpack_from("=IHHII", data)
                    if kind in (_DONE, _ERROR) or length < _HEADER:
                        return
                    yield data[_HEADER : _HEADER + size], dict(_attributes(data[_HEADER + size : length]))
                    data = data[length + 3 & ~3 :]
    except OSError:
        return


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]
