"""Targets and ranges as sets: whatever is added and taken away, what is left is what a set would hold."""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock import parse_targets
from oxisock.scanning.targets import RangeSet

V4 = st.integers(0, 40).map(lambda n: str(ipaddress.IPv4Address(n if n < 20 else 2**32 - 41 + n)))
V6 = st.integers(0, 40).map(lambda n: str(ipaddress.IPv6Address(n if n < 20 else 2**128 - 41 + n)))


def _span(ends: list[str]) -> tuple[str, set[str]]:
    low, high = sorted(map(ipaddress.ip_address, ends), key=int)
    return f"{low}-{high}", {str(type(low)(n)) for n in range(int(low), int(high) + 1)}


def _network(address: str, bits: int) -> tuple[str, set[str]]:
    width = ipaddress.ip_address(address).max_prefixlen - bits
    return f"{address}/{width}", set(map(str, ipaddress.ip_network(f"{address}/{width}", strict=False)))


ELEMENT = st.one_of(
    V4.map(lambda text: (text, {text})),
    V6.map(lambda text: (text, {text})),
    st.one_of(V4, V6).flatmap(lambda text: st.integers(0, 4).map(lambda bits: _network(text, bits))),
    st.lists(st.integers(0, 30).map(lambda n: f"10.0.0.{n}"), min_size=2, max_size=2).map(_span),
    st.lists(st.integers(0, 30).map(lambda n: f"2001:db8::{n:x}"), min_size=2, max_size=2).map(_span),
    st.sampled_from(["a", "b.example"]).map(lambda name: (name, {name})),
)


def _order(text: str) -> tuple[int, int, str]:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return 7, 0, ""
    return address.version, int(address), ""


@given(st.lists(ELEMENT, min_size=1, max_size=8), st.lists(ELEMENT, max_size=4))
def test_targets_are_a_sorted_set(added: list[tuple[str, set[str]]], removed: list[tuple[str, set[str]]]) -> None:
    spec, exclude = ",".join(text for text, _ in added), [text for text, _ in removed]
    gone = set[str]().union(*(held for _, held in removed))
    held = set[str]().union(*(held for _, held in added)) - gone
    if not held:
        with pytest.raises(ValueError, match="everything is excluded"):
            parse_targets(spec, exclude)
        return
    targets = parse_targets(spec, exclude)
    names = [name for name in dict.fromkeys(text for text, _ in added) if name in ("a", "b.example") and name in held]
    assert list(targets) == sorted(held - set(names), key=_order) + names
    assert targets.count == len(held)
    assert [targets.address(n) for n in range(len(held) - len(names))] == list(targets)[: len(held) - len(names)]
    assert not any(text in targets for text in gone)
    for before, after in itertools.pairwise(targets.ranges):
        assert before[::3] != after[::3] or before.last + 1 < after.first, "merged"


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**33) | st.integers(0xFFFE << 32, 1 << 48))
def test_ipv6_text_is_that_of_ipaddress(value: int) -> None:
    address = ipaddress.IPv6Address(value)
    (text,) = parse_targets(address.exploded)
    assert text == str(address.ipv4_mapped or address)


@given(st.text(alphabet="01:.-/%[]@,ax#\u0663ü ", max_size=14))
def test_any_text_is_targets_or_an_error_that_says_where(text: str) -> None:
    try:
        targets = parse_targets(text)
    except ValueError as error:
        assert "at position" in str(error)
    except OSError:
        assert "@" in text  # of a file
    else:
        assert targets.count > 0
        assert all(re.search("[a-zA-Zü]", name) and ":" not in name for name in targets.names)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 60), st.integers(0, 12)), max_size=30),
)
def test_a_range_set_is_a_set(steps: list[tuple[bool, int, int]]) -> None:
    ranges, model = RangeSet(), set[int]()
    for add, first, more in steps:
        if add:
            ranges.add(first, first + more)
            model |= set(range(first, first + more + 1))
        else:
            ranges.subtract(RangeSet([(first, first + more)]))
            model -= set(range(first, first + more + 1))
        assert [n for first, last in ranges for n in range(first, last + 1)] == sorted(model)
        assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(ranges))
        assert all((n in ranges) == (n in model) for n in range(80))


PAIRS = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 9)).map(lambda pair: (pair[0], sum(pair))), max_size=90)


@given(PAIRS, PAIRS)
def test_range_sets_are_joined_and_subtracted_as_sets(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    def members(pairs: Iterable[tuple[int, int]]) -> set[int]:
        return {n for first, last in pairs for n in range(first, last + 1)}

    joined, less = RangeSet(left), RangeSet(left)
    assert members(joined) == members(left)
    joined.update(RangeSet(right))
    less.subtract(RangeSet(right))
    assert members(joined) == members(left) | members(right)
    assert members(less) == members(left) - members(right)
    for ranges in (joined, less):
        assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(ranges))


LITERALS = st.integers(0, 6).flatmap(
    lambda n: st.sampled_from([f"2001:db8::{n}", f"2001:DB8::{n}", f"[2001:db8::{n}]", f"2001:db8:0::{n}"])
)
GIVEN = st.one_of(
    LITERALS,
    st.tuples(st.integers(0, 6), st.integers(125, 128)).map(lambda pair: f"2001:db8::{pair[0]}/{pair[1]}"),
    st.tuples(st.integers(0, 3), st.integers(3, 6)).map(lambda pair: f"2001:db8::{pair[0]}-2001:DB8::{pair[1]}"),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(GIVEN, min_size=1, max_size=10))
def test_the_first_spelling_is_the_first_mention(parts: list[str]) -> None:
    found = {"a": ["2001:db8::2", "2001:db8::4"], "b": ["2001:db8::1"]}
    expected: dict[str, str] = {}
    for part in parts:
        held = found.get(part) or list(parse_targets(part))
        for address in held:
            literal = part not in found and "/" not in part and "-" not in part
            expected.setdefault(address, part if literal or part in found else address)
    resolved = parse_targets(parts).resolved(found)
    assert {resolved.address(n): resolved.host(n) for n in range(resolved.count)} == expected
