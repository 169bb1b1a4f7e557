"""Records what a scan asked and what it could not ask, so that a report can tell "not open" from "not asked"."""

from __future__ import annotations

import re
import socket
from array import array
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..arguments import shown
from ..sockets.addresses import format_range, parse_address, parse_range, reads_as_address
from ..sockets.resolving import ascii_name
from .specs import format_ports, port_array
from .targets import RangeSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engines.scanning import OutcomeTuple
    from .targets import Targets

_PORTS = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_MOST_MAPS = 4096  # the most hosts with a map of failed ports, 8 KiB each


class NotAsked(NamedTuple):
    """Ports that this machine could not ask.

    Attributes:
        addresses: an address, a network or a range.
        ports: the ports, such as "22,80-90".
        reason: the reason, such as "local-error: EACCES".
    """

    addresses: str
    ports: str
    reason: str


def checked_ports(text: str, name: str) -> array[int]:
    """Return the ports of a list of numbers and ranges. Raises ValueError for other text, such as a file's name."""
    if not _PORTS.fullmatch(text):
        raise ValueError(f"{name}={shown(text)}: expected numbers and ranges, such as '22,80-90'")
    return port_array(text)


def checked_target(text: str, name: str) -> str:
    """Return the text of a name, an address, a network or a range. Raises ValueError for other text."""
    try:
        if "%" in text:
            return text  # it has a zone, which may be of another machine
        if reads_as_address(text):
            parse_range(text)
        else:
            ascii_name(text)
    except ValueError as error:
        raise ValueError(f"{name}: {shown(text)}: {error}") from None
    return text


def usual(address: str) -> str:
    """Return an address in its usual spelling, for comparisons."""
    plain, percent, zone = address.partition("%")
    if ":" not in plain:
        return address
    return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, plain)) + percent + zone


class Asked:
    """The addresses and ports that a scan was to ask. ``in`` takes an (address, port) pair."""

    def __init__(
        self,
        targets: Iterable[str],
        ports: str,
        exclude: Iterable[str],
        names: Mapping[str, object],
    ) -> None:
        self._ports = frozenset(checked_ports(ports, "ports"))
        self._keys = _keys([*targets, *names])
        self._keys.subtract(_keys(exclude))
        self._texts = {*targets, *names} - set(exclude)

    def __contains__(self, what: tuple[str, int]) -> bool:
        address, port = what
        if port not in self._ports:
            return False
        try:
            return parse_address(address) in self._keys
        except ValueError:  # a zone of another machine
            return address in self._texts


def _keys(texts: Iterable[str]) -> RangeSet:
    ranges = []
    for text in texts:
        try:
            if reads_as_address(text):
                ranges.append(parse_range(text)[:2])
        except ValueError:
            continue
    return RangeSet(ranges)


class Failures:
    """Records the ports that could not be asked, by reason and host: all ports, or a map of ports."""

    def __init__(self, ports: str, size: int) -> None:
        """``ports``: those of every host; ``size``: how many they are, or 0 if a shard of them is asked."""
        self._all = ports
        self._size = size
        self._maps: dict[tuple[int, int], bytearray] = {}
        self._left: dict[tuple[int, int], int] = {}
        self._full: dict[int, list[int]] = {}

    def note(self, outcome: OutcomeTuple) -> None:
        """Record an outcome for a port that could not be asked. There may be millions of them."""
        host, port, _, reason, *_ = outcome
        key = (reason, host)
        held = self._maps.get(key)
        if held is None:
            if len(self._maps) >= _MOST_MAPS:
                return  # the counts of the report include it all the same
            held = self._maps[key] = bytearray(1 << 16 >> 3)
            self._left[key] = self._size
        held[port >> 3] |= 1 << (port & 7)
        left = self._left[key] = self._left[key] - 1
        if not left:
            del self._maps[key], self._left[key]
            self._full.setdefault(reason, []).append(host)

    def told(self, targets: Targets, words: Callable[[int], str]) -> list[NotAsked]:
        """Return the records, with adjacent addresses joined. Another thread may record at the same time."""
        full, maps = list(self._full.items()), list(self._maps.items())
        found: dict[tuple[str, str], list[int]] = {(self._all, words(reason)): list(held) for reason, held in full}
        for (reason, host), held in maps:
            ports = format_ports(bytearray(held[port >> 3] >> (port & 7) & 1 for port in range(1 << 16)))
            found.setdefault((ports, words(reason)), []).append(host)
        return [
            NotAsked(format_range(first, last), ports, reason)
            for (ports, reason), hosts in sorted(found.items())
            for first, last in RangeSet((key, key) for key in (parse_address(targets.address(each)) for each in hosts))
        ]


def number_of(parts: Iterable[NotAsked]) -> int:
    """Return the number of (address, port) pairs in these parts."""
    total = 0
    for part in parts:
        first, last, _ = parse_range(part.addresses)
        total += (last - first + 1) * len(checked_ports(part.ports, "ports"))
    return total
