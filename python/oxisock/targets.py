"""What is to be scanned, as ranges of addresses and names: a /8 or ::/0 costs no more than one address."""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping

from .addresses import format_key, key_range, make_key, parse_address
from .engines import AddressRange


class RangeSet:
    """A set of integers as sorted, disjoint ranges that do not touch."""

    __slots__ = ("firsts", "lasts")

    def __init__(self) -> None:
        self.firsts: list[int] = []
        self.lasts: list[int] = []

    def add(self, first: int, last: int) -> None:
        """Add the integers from ``first`` to ``last``, joining the ranges that these touch."""
        low, high = bisect_left(self.lasts, first - 1), bisect_right(self.firsts, last + 1)
        if low < high:
            first, last = min(first, self.firsts[low]), max(last, self.lasts[high - 1])
        self.firsts[low:high], self.lasts[low:high] = [first], [last]

    def remove(self, first: int, last: int) -> None:
        """Remove the integers from ``first`` to ``last``."""
        low, high = bisect_left(self.lasts, first), bisect_right(self.firsts, last)
        if low >= high:
            return
        before, after = self.firsts[low], self.lasts[high - 1]
        left, right = before < first, after > last
        self.firsts[low:high] = [before] * left + [last + 1] * right
        self.lasts[low:high] = [first - 1] * left + [after] * right

    def __contains__(self, value: int) -> bool:
        at = bisect_left(self.lasts, value)
        return at < len(self.firsts) and self.firsts[at] <= value

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.firsts, self.lasts, strict=True)

    def copy(self) -> RangeSet:
        """Give a set of its own."""
        other = RangeSet()
        other.firsts, other.lasts = self.firsts[:], self.lasts[:]
        return other


class Segment:
    """Addresses given one after the other with no name between: which they are, and which had an unusual spelling."""

    __slots__ = ("keys", "spelled")

    def __init__(self) -> None:
        self.keys = RangeSet()
        self.spelled: dict[int, str] = {}

    def add(self, first: int, last: int, spelling: str | None = None) -> None:
        """Add a range of keys, or a single key that was given in a spelling of its own."""
        if spelling is not None and first not in self.keys and spelling != format_key(first):
            self.spelled[first] = spelling
        self.keys.add(first, last)


class Targets:
    """The addresses and names to scan, each once: made by ``parse_targets``, and never changed.

    It is iterated in address order (IPv4 before IPv6, then names as they were given); ``in`` takes any spelling of an
    address, and names without regard to case. ``len()`` raises OverflowError where ``count`` does not fit.
    """

    __slots__ = ("_excluded", "_excluded_names", "_parts", "_spelled", "_starts", "count", "names", "ranges")

    ranges: tuple[AddressRange, ...]
    """The addresses, sorted and merged."""
    names: tuple[str, ...]
    """The names that are still to be resolved, in the order given."""
    count: int
    """How many there are: addresses, and one for each name."""

    def __init__(
        self,
        parts: Iterable[Segment | str],
        excluded: RangeSet,
        excluded_names: Iterable[str],
        found: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        # Parts are kept in the order given: which of them an address is called after depends on it.
        self._parts = tuple(parts)
        self._excluded = excluded
        self._excluded_names = tuple(excluded_names)
        banned = {name.lower() for name in self._excluded_names}
        keys, names = RangeSet(), dict[str, str]()
        self._spelled: dict[int, str] = {}
        for part in self._parts:
            if isinstance(part, Segment):
                self._spelled.update((key, text) for key, text in part.spelled.items() if key not in keys)
                for first, last in part.keys:
                    keys.add(first, last)
            elif part.lower() in banned:
                continue
            elif found is None:
                names.setdefault(part.lower(), part)
            else:
                for key in map(parse_address, found.get(part, ())):
                    if key not in keys:
                        self._spelled[key] = part
                        keys.add(key, key)
        for first, last in excluded:
            keys.remove(first, last)
        self._spelled = {key: text for key, text in self._spelled.items() if key in keys}
        self.names = tuple(names.values())
        self.ranges = tuple(key_range(first, last) for first, last in keys)
        sizes = (last - first + 1 for _, first, last, _ in self.ranges)
        self._starts = list(itertools.accumulate(sizes, initial=0))
        self.count = self._starts[-1] + len(self.names)

    @property
    def excluded_names(self) -> tuple[str, ...]:
        """The names whose addresses are not to be scanned, however they are spelled among the targets."""
        return self._excluded_names

    def excluding(self, excluded: RangeSet, excluded_names: Iterable[str]) -> Targets:
        """Give these targets with more exclusions."""
        union = self._excluded.copy()
        for first, last in excluded:
            union.add(first, last)
        return Targets(self._parts, union, (*self._excluded_names, *excluded_names))

    def resolved(self, found: Mapping[str, Iterable[str]]) -> Targets:
        """Give these targets with the addresses of ``found`` in the place of names; names not in it are left out.

        Addresses that excluded names stand for are removed. What remains may be nothing.
        """
        excluded = self._excluded.copy()
        for name in self._excluded_names:
            for key in map(parse_address, found.get(name, ())):
                excluded.add(key, key)
        return Targets(self._parts, excluded, self._excluded_names, found)

    def address(self, index: int) -> str:
        """Give the address with this number, 0 being the first of ``ranges``; IndexError where there is none."""
        return format_key(self._key(index))

    def host(self, index: int) -> str:
        """Give the address with this number as it was first given: its spelling, its name, or the address itself."""
        key = self._key(index)
        return self._spelled.get(key) or format_key(key)

    def _key(self, index: int) -> int:
        if not 0 <= index < self._starts[-1]:
            raise IndexError(f"there is no address number {index} among {self._starts[-1]}")
        at = bisect_right(self._starts, index) - 1
        version, first, _, scope_id = self.ranges[at]
        return make_key(version, first + index - self._starts[at], scope_id)

    def __len__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0  # where len() overflows, too

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
            version, value, _, scope_id = key_range(*[parse_address(item)] * 2)
        except ValueError:
            return item.lower() in map(str.lower, self.names)
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
        ranges, names = len(self.ranges), len(self.names)
        return f"<Targets: {self.count} in {ranges} range{'s' * (ranges != 1)} and {names} name{'s' * (names != 1)}>"
