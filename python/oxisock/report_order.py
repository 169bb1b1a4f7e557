"""The order of what a report holds: by the number of the address, IPv4 before IPv6, then by port."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .types import PortResult

T = TypeVar("T")

_SORTED_AT_ONCE = 1 << 13  # results


def address_key(address: str) -> tuple[int, bytes, str]:
    """Give what sorts addresses by number, IPv4 before IPv6; raises ValueError for what is no address.

    The zone of an IPv6 address is but a word here: the report may be of another machine, with other interfaces.
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
    """Sort (address, port) pairs by the number of the address, then by port."""
    found = list(keys)
    ranks = _ranks({address for address, _ in found})
    return _in_order(found, lambda key: ranks[key[0]] + key[1])


def sort_results(results: Iterable[PortResult]) -> list[PortResult]:
    """Sort results by the number of the address, then by port."""
    found = list(results)
    ranks = _ranks({result.address for result in found})
    return _in_order(found, lambda result: ranks[result.address] + result.port)


def _ranks(addresses: set[str]) -> dict[str, int]:
    """Give each address a number that leaves room for a port, in the order of the addresses."""
    return {address: rank << 16 for rank, address in enumerate(sorted(addresses, key=address_key))}


def _in_order(found: list[T], key: Callable[[T], int]) -> list[T]:
    """Sort piece by piece, and then the pieces: while a list is sorted, other threads wait, an event loop's for one."""
    if len(found) > _SORTED_AT_ONCE:
        pieces = [found[at : at + _SORTED_AT_ONCE] for at in range(0, len(found), _SORTED_AT_ONCE)]
        found = [item for piece in pieces for item in sorted(piece, key=key)]
    return sorted(found, key=key)
