"""The order of results in a report: by address (IPv4 before IPv6), then by port."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..types import PortResult

T = TypeVar("T")

_SORTED_AT_ONCE = 1 << 13  # results


def address_key(address: str) -> tuple[int, bytes, str]:
    """Return a key that sorts addresses by number, IPv4 before IPv6. Raises ValueError if it is no address.

    The zone of an IPv6 address sorts as text, because the report may come from a machine with other interfaces.
    """
    import socket

    plain, _, scope = address.partition("%")
    family = socket.AF_INET6 if ":" in plain else socket.AF_INET
    try:
        packed = socket.inet_pton(family, plain)
    except OSError:
        raise ValueError(f"{address!r} is not an IP address") from None
    return len(packed), packed, scope


def sort_keys(keys: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return (address, port) pairs sorted by the number of the address, then by port."""
    found = list(keys)
    ranks = _ranks({address for address, _ in found})
    return _in_order(found, lambda key: ranks[key[0]] + key[1], len(ranks))


def sort_results(results: Iterable[PortResult]) -> list[PortResult]:
    """Return results sorted by the number of the address, then by port."""
    found = list(results)
    ranks = _ranks({result.address for result in found})
    return _in_order(found, lambda result: ranks[result.address] + result.port, len(ranks))


def _ranks(addresses: set[str]) -> dict[str, int]:
    """Return a number for each address, in the order of the addresses. A port can be added to it."""
    return {address: rank << 16 for rank, address in enumerate(sorted(addresses, key=address_key))}


def _in_order(found: list[T], key: Callable[[T], int], hosts: int) -> list[T]:
    """Sort in buckets. Sorting a list blocks other threads, such as that of an event loop, so lists must be small."""
    if len(found) <= _SORTED_AT_ONCE:
        return sorted(found, key=key)
    # A bucket is a sixteenth of a host's ports. It is larger if there are many hosts, because buckets are sorted, too.
    shift = max(12, (hosts << 16).bit_length() - 13)
    buckets: dict[int, list[T]] = {}
    for item in found:
        buckets.setdefault(key(item) >> shift, []).append(item)
    return [item for number in sorted(buckets) for item in sorted(buckets[number], key=key)]
