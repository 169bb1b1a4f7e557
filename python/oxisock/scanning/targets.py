"""Targets as ranges of addresses and as names. A /8 or ::/0 takes no more memory than one address."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import Final, NamedTuple

from .. import arguments
from ..engines.scanning import AddressRange
from ..sockets.addresses import IPV4_MAPPED, format_key, format_range, key_range, make_key, parse_address
from ..text import plural

_FEW: Final = 64


class RangeSet:
    """A set of integers as sorted, disjoint ranges that do not touch."""

    __slots__ = ("firsts", "lasts")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []
        for first, last in sorted(pairs):
            if self.lasts and first <= self.lasts[-1] + 1:
                self.lasts[-1] = max(self.lasts[-1], last)
            else:
                self.firsts.append(first)
                self.lasts.append(last)

    def add(self, first: int, last: int) -> None:
        """Add the integers from ``first`` to ``last``. Ranges that touch are joined."""
        low, high = bisect_left(self.lasts, first - 1), bisect_right(self.firsts, last + 1)
        if low < high:
            first, last = min(first, self.firsts[low]), max(last, self.lasts[high - 1])
        self.firsts[low:high], self.lasts[low:high] = [first], [last]

    def update(self, other: RangeSet) -> None:
        """Add all integers of another set."""
        if len(other.firsts) < _FEW:
            for first, last in other:
                self.add(first, last)
        else:  # adding one by one would move the rest of the list each time
            joined = RangeSet([*self, *other])
            self.firsts, self.lasts = joined.firsts, joined.lasts

    def subtract(self, other: RangeSet) -> None:
        """Remove all integers of another set."""
        kept, at = [], 0
        for start, last in self:
            first = start
            while at < len(other.lasts) and other.lasts[at] < first:
                at += 1
            while at < len(other.firsts) and other.firsts[at] <= last:
                if first < other.firsts[at]:
                    kept.append((first, other.firsts[at] - 1))
                first = other.lasts[at] + 1
                if first > last:
                    break  # the other range may overlap with the next range, too
                at += 1
            if first <= last:
                kept.append((first, last))
        self.firsts, self.lasts = [first for first, _ in kept], [last for _, last in kept]

    def __contains__(self, value: int) -> bool:
        at = bisect_left(self.lasts, value)
        return at < len(self.firsts) and self.firsts[at] <= value

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.firsts, self.lasts, strict=True)


class Given(NamedTuple):
    """A range of keys as it was given. A single address has its spelling, if that is unusual."""

    first: int
    last: int
    spelling: str | None


class Segment:
    """Addresses given one after the other without a name between, and their unusual spellings."""

    __slots__ = ("keys", "others", "spelled")

    def __init__(self, given: Sequence[Given]) -> None:
        self.others = [(item.first, item.spelling) for item in given if item.spelling]
        self.keys = RangeSet((first, last) for first, last, _ in given)
        self.spelled = _first_spellings(given) if any(item.spelling for item in given) else {}


def _first_spellings(given: Sequence[Given]) -> dict[int, str]:
    """Return the unusual spelling of each address that no earlier item includes."""
    spelled = {}
    earliest: list[int] = []  # a heap of the numbers of items; some of them end before the key
    by_first = sorted(range(len(given)), key=lambda number: given[number].first)
    for key, numbers in itertools.groupby(by_first, key=lambda number: given[number].first):
        for number in numbers:
            heappush(earliest, number)
        while given[earliest[0]].last < key:
            heappop(earliest)
        spelling = given[earliest[0]].spelling
        if spelling is not None:
            spelled[key] = spelling
    return spelled


class Targets:
    """The addresses and names to scan, each once. ``parse_targets`` makes it; it is immutable.

    Iteration gives the addresses in order (IPv4 before IPv6), then the names as given. ``in`` takes any spelling of an
    address, and a name in any case. ``len()`` raises OverflowError if ``count`` is too large for it.
    """

    __slots__ = ("_excluded", "_excluded_names", "_found", "_parts", "_spelled", "_starts", "count", "names", "ranges")

    ranges: tuple[AddressRange, ...]
    """The addresses as sorted, disjoint ranges."""
    names: tuple[str, ...]
    """The names that are not resolved yet, in the order given."""
    count: int
    """The number of addresses, plus one for each name."""

    def __init__(
        self,
        parts: Iterable[Segment | str],
        excluded: RangeSet,
        excluded_names: Iterable[str],
        found: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        # Parts are kept in the order given, because the name of an address depends on it.
        self._parts = tuple(parts)
        self._excluded = excluded
        self._excluded_names = tuple(excluded_names)
        self._found = found
        banned = {name.lower() for name in self._excluded_names}
        keys, names = RangeSet(), dict[str, str]()
        self._spelled: dict[int, str] = {}
        for part in self._parts:
            if isinstance(part, Segment):
                self._spelled.update((key, text) for key, text in part.spelled.items() if key not in keys)
                keys.update(part.keys)
            elif part.lower() in banned:
                continue
            elif found is None:
                names.setdefault(part.lower(), part)
            else:
                for key in map(parse_address, found.get(part, ())):
                    if key not in keys:
                        self._spelled[key] = part
                        keys.add(key, key)
        self._remove(keys)
        self._spelled = {key: text for key, text in self._spelled.items() if key in keys}
        self.names = tuple(names.values())
        self.ranges = tuple(key_range(first, last) for first, last in keys)
        sizes = (last - first + 1 for _, first, last, _ in self.ranges)
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self.count = self._starts[-1] + len(self.names)

    def _remove(self, keys: RangeSet) -> None:
        """Remove the excluded addresses: those without a zone in every zone, and IPv4 addresses also as mapped ones."""
        zones = {held.scope_id for first in keys.firsts if (held := key_range(first, first)).version == 6}
        everywhere = []
        for held in itertools.starmap(key_range, self._excluded if zones else ()):
            if held.version == 4:  # its mapped address may be in an IPv6 network, such as ::/0
                first, last = IPV4_MAPPED | held.first, IPV4_MAPPED | held.last
            elif not held.scope_id:
                first, last = held.first, held.last
            else:
                continue
            everywhere += [(make_key(6, first, zone), make_key(6, last, zone)) for zone in zones]
        keys.subtract(RangeSet([*self._excluded, *everywhere]))

    @property
    def excluded_names(self) -> tuple[str, ...]:
        """The names in ``exclude``. Their addresses are not scanned, however you spell them in the targets."""
        return self._excluded_names

    def excluding(self, excluded: RangeSet, excluded_names: Iterable[str]) -> Targets:
        """Return these targets with more exclusions."""
        names = (*self._excluded_names, *excluded_names)
        return Targets(self._parts, RangeSet([*self._excluded, *excluded]), names, self._found)

    def resolved(self, found: Mapping[str, Iterable[str]]) -> Targets:
        """Return these targets with the addresses in ``found`` instead of names. Names not in it are left out.

        The addresses of excluded names are removed. The result may be empty.
        """
        addresses = [parse_address(text) for name in self._excluded_names for text in found.get(name, ())]
        excluded = RangeSet([*self._excluded, *zip(addresses, addresses, strict=True)])
        return Targets(self._parts, excluded, self._excluded_names, found)

    def given(self) -> list[str]:
        """Return the targets before exclusions, as text: networks, ranges, addresses and names."""
        texts: dict[str, None] = {}
        for part in self._parts:
            if isinstance(part, Segment):
                texts.update((format_range(first, last), None) for first, last in part.keys)
            else:
                texts[part] = None
        return list(texts)

    def excluded(self) -> list[str]:
        """Return the exclusions as text, as ``given`` does: names and their addresses, too."""
        return [*self._excluded_names, *itertools.starmap(format_range, self._excluded)]

    def spellings(self) -> dict[str, list[str]]:
        """Return all spellings of each address that you gave in an unusual spelling, in the order given."""
        found = self._found or {}
        addressed = {name: list(map(parse_address, texts)) for name, texts in found.items()}
        spelled = {key for part in self._parts if isinstance(part, Segment) for key, _ in part.others}
        spelled.update(key for part in self._parts if isinstance(part, str) for key in addressed.get(part, ()))
        sought = sorted(key for key in spelled if format_key(key) in self)
        texts: dict[int, dict[str, None]] = {key: {} for key in sought}
        for part in self._parts:
            if isinstance(part, str):
                for key in addressed.get(part, ()):
                    if key in texts:
                        texts[key][part] = None
                continue
            for first, last in part.keys:
                for key in sought[bisect_left(sought, first) : bisect_right(sought, last)]:
                    texts[key][part.spelled.get(key) or format_key(key)] = None
            for key, text in part.others:
                if key in texts:
                    texts[key][text] = None
        return {format_key(key): list(held) for key, held in texts.items()}

    def address(self, index: int) -> str:
        """Return the address with this number, from 0 in the order of ``ranges``; IndexError if there is none."""
        return format_key(self._key(index))

    def host(self, index: int) -> str:
        """Return the address with this number as you first gave it: its spelling, its name, or the address itself."""
        key = self._key(index)
        return self._spelled.get(key) or format_key(key)

    def _key(self, index: int) -> int:
        if type(index) is not int:  # fast, because this is called for each result
            index = arguments.count(index, "index", 0, self._starts[-1])
        if not 0 <= index < self._starts[-1]:
            raise IndexError(f"there is no address number {index} among {self._starts[-1]}")
        at = bisect_right(self._starts, index) - 1
        version, first, _, scope_id = self.ranges[at]
        return make_key(version, first + index - self._starts[at], scope_id)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0  # without len(), which may overflow

    def __iter__(self) -> Iterator[str]:
        for version, first, last, scope_id in self.ranges:
            key, end = make_key(version, first, scope_id), make_key(version, last, scope_id)
            while key <= end:
                yield format_key(key)
                key += 1
        yield from self.names

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, str):
            return False
        try:
            key = parse_address(item)
        except ValueError:
            return item.lower() in map(str.lower, self.names)
        version, value, _, scope_id = key_range(key, key)
        # The mapped address of an IPv4 address may be in an IPv6 network.
        return self._holds(version, value, scope_id) or (version == 4 and self._holds(6, IPV4_MAPPED | value, 0))

    def _holds(self, version: int, value: int, scope_id: int) -> bool:
        at = bisect_right(self.ranges, (version, scope_id, value), key=lambda r: (r.version, r.scope_id, r.first)) - 1
        return at >= 0 and (held := self.ranges[at])[::3] == (version, scope_id) and value <= held.last

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Targets):
            return NotImplemented
        return self._state() == other._state()

    def __hash__(self) -> int:
        return hash((self.ranges, self.names))

    def _state(self) -> tuple[object, ...]:
        return self.ranges, self.names, self._spelled, list(self._excluded), self._excluded_names

    def __repr__(self) -> str:
        ranges, names = plural(len(self.ranges), "range"), plural(len(self.names), "name")
        return f"<Targets: {self.count} in {ranges} and {names}>"
