"""IP addresses as text and as numbers: every address, of either version and any zone, is one integer, its key.

Keys sort as addresses do: all of IPv4 first, then IPv6 by zone. Zones lie further apart than a zone is wide, so two of
them never touch, and a set of addresses of all kinds is a plain set of integers. An IPv4-mapped IPv6 address
(``::ffff:10.0.0.1``) has the key of the IPv4 address, because what is sent to it goes to that host.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from typing import Any, Final

from ..engines.scanning import AddressRange
from ..types import Peer

_IPV6: Final = 1 << 192  # set in the key of every IPv6 address
_ZONE_BIT: Final = 129  # one bit more than an address has, so that zones do not touch
_VALUE: Final = (1 << 128) - 1
IPV4_MAPPED: Final = 0xFFFF << 32
"""``::ffff:0:0``; adding an IPv4 address gives its IPv4-mapped IPv6 address."""

IPV4_EXPECTED: Final = "expected an IPv4 address: four numbers of 0 to 255 without leading zeros"
IPV6_EXPECTED: Final = "expected an IPv6 address such as 2001:db8::1 or fe80::1%eth0"

# "-" is for ranges, "/" for networks; brackets and "%" belong to IPv6 addresses.
_ADDRESS_ONLY: Final = re.compile(r"[0-9.-]+|.*[:/\[\]%].*", re.DOTALL)
# A hyphen that an address follows is the hyphen of a range, and not one in the name of a zone.
_IPV6_HYPHEN: Final = re.compile(r"-(?=\[?[0-9A-Fa-f]*:)")


def make_key(version: int, value: int, scope_id: int = 0) -> int:
    """Return the key of an address."""
    return value if version == 4 else _IPV6 | scope_id << _ZONE_BIT | value


def key_range(first: int, last: int) -> AddressRange:
    """Return the addresses from key ``first`` to key ``last``. Both are in one zone."""
    if first < _IPV6:
        return AddressRange(4, first, last)
    return AddressRange(6, first & _VALUE, last & _VALUE, (first ^ _IPV6) >> _ZONE_BIT)


def format_key(key: int) -> str:
    """Return the usual text of an address: dotted or RFC 5952, with the name of the zone if there is one."""
    if key < _IPV6:
        return socket.inet_ntop(socket.AF_INET, key.to_bytes(4, "big"))
    value, scope_id = key & _VALUE, (key ^ _IPV6) >> _ZONE_BIT
    if 0xFFFF < value <= 0xFFFFFFFF:
        # C libraries write these as ::0.1.0.0, a form that RFC 4291 has deprecated.
        text = f"::{value >> 16:x}:{value & 0xFFFF:x}"
    elif value >> 32 == 0xFFFF:
        text = f"::ffff:{socket.inet_ntoa((value & 0xFFFFFFFF).to_bytes(4, 'big'))}"  # the same with every C library
    else:
        text = socket.inet_ntop(socket.AF_INET6, value.to_bytes(16, "big"))
    return _with_zone(text, scope_id)


def _with_zone(text: str, scope_id: int) -> str:
    if not scope_id:
        return text
    if sys.platform == "win32":  # it understands numbers only
        return f"{text}%{scope_id}"
    try:
        return f"{text}%{socket.if_indextoname(scope_id)}"
    except (OSError, SystemError):  # if a long has 32 bits, Python takes the highest number for an error mark
        return f"{text}%{scope_id}"


def peer_of(name: Any) -> Peer:
    """Return the name of a connection's end, as ``accept`` or ``getpeername`` returns it, as a Peer.

    A Unix socket has its path and 0; without a path, "" and 0.
    """
    if isinstance(name, tuple):
        host = str(name[0])
        # Python does not include the zone in the text.
        return Peer(_with_zone(host, name[3]) if len(name) == 4 and "%" not in host else host, name[1])
    return Peer(os.fsdecode(name), 0)


def network_of(host: str) -> int:
    """Return the network with which a peer is counted, as a number: an IPv4 address alone, or an IPv6 /64."""
    value = number_of(host)
    return value if value >> 32 == 0xFFFF else value >> 64 << 64


def number_of(host: str) -> int:
    """Return the address of a peer as an IPv6 number, without its zone. An IPv4 address becomes the mapped one."""
    if ":" not in host:
        return IPV4_MAPPED | int.from_bytes(socket.inet_pton(socket.AF_INET, host), "big")
    return int.from_bytes(socket.inet_pton(socket.AF_INET6, host.partition("%")[0]), "big")


def range_of_numbers(first: int, last: int) -> tuple[int, int]:
    """Return the range from key ``first`` to key ``last`` in the numbers of `number_of`."""
    found = key_range(first, last)
    base = IPV4_MAPPED if found.version == 4 else 0
    return base | found.first, base | found.last


def is_of_this_machine(name: tuple[Any, ...]) -> bool:
    """Return whether the sender's address of a datagram belongs to this machine: only then can it be bound to."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in name[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind((name[0], 0, *name[2:]))
    except OSError:
        return False
    return True


def socket_address(address: str, port: int) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return the family of a literal, and the address for a socket to connect to. This asks no resolver."""
    version, value, _, scope_id = key_range(*[parse_address(address)] * 2)
    host = format_key(make_key(version, value))
    if version == 4:
        return socket.AF_INET, (host, port)
    return socket.AF_INET6, (host, port, 0, scope_id)


def reads_as_address(text: str) -> bool:
    """Return whether a text is an address, a network or a range, good or bad, and so never a name.

    That is a text of only digits and dots, or with a colon. Raises ValueError for digits that are not ASCII.
    """
    if not text.isascii() and any(char.isdigit() and not char.isascii() for char in text):
        raise ValueError("expected ASCII digits")
    return bool(_ADDRESS_ONLY.fullmatch(text))


def parse_address(text: str) -> int:
    """Read an IPv4 or IPv6 literal, with zone or brackets, and return its key.

    Raises ValueError for anything else; the message says what was expected.
    """
    key = _read_literal(text)
    return _without_mapped(key, key)[0]


def _without_mapped(first: int, last: int) -> tuple[int, int]:
    """Return a range of only IPv4-mapped addresses as the range of those IPv4 addresses; another range unchanged."""
    if first >= _IPV6 and all(key & _VALUE & ~0xFFFFFFFF == IPV4_MAPPED for key in (first, last)):
        return first & 0xFFFFFFFF, last & 0xFFFFFFFF
    return first, last


def _read_literal(text: str) -> int:
    if ":" not in text:
        try:
            return int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
        except (OSError, ValueError):
            raise ValueError(IPV4_EXPECTED) from None
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    address, percent, zone = text.partition("%")
    try:
        value = int.from_bytes(socket.inet_pton(socket.AF_INET6, address), "big")
    except (OSError, ValueError):
        if "://" in text or address.count(":") == 1:
            raise ValueError("expected a name or an address alone: the port is an argument of its own") from None
        raise ValueError(IPV6_EXPECTED) from None
    return make_key(6, value, _scope_id(zone) if percent else 0)


def _scope_id(zone: str) -> int:
    """Return the number of a zone. A zone is the name or the number of a network interface."""
    if zone.isascii() and zone.isdigit():
        if len(zone) > 10 or int(zone) >= 1 << 32:
            raise ValueError(f"expected a zone below 2**32, not {zone!r}")
        return int(zone)
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        raise ValueError(f"there is no network interface {zone!r}") from None


def parse_range(text: str) -> tuple[int, int, bool]:
    """Read an address, a network or a range. Return its first key, its last key, and whether it is a single literal.

    Raises ValueError for anything else; the message says what was expected.
    """
    if "/" in text:
        return *_without_mapped(*_network(text)), False
    hyphen = _IPV6_HYPHEN.search(text)
    if hyphen:
        return *_without_mapped(*_full_range(text[: hyphen.start()], text[hyphen.end() :])), False
    start, hyphen_text, end = text.partition("-")
    if not hyphen_text or "%" in start:  # the hyphen may be in the name of a zone
        key = parse_address(text)
        return key, key, True
    if ":" in start:
        raise ValueError("expected the last address of the range in full after '-'")
    if "." in end:
        return *_full_range(start, end), False
    first = parse_address(start)
    if not (end.isascii() and end.isdigit() and len(end) <= 3 and str(int(end)) == end and int(end) <= 255):
        raise ValueError("expected an IPv4 address or a number of 0 to 255 after '-'")
    return *_ordered(first, first & ~0xFF | int(end)), False


def format_range(first: int, last: int) -> str:
    """Write the keys from ``first`` to ``last`` as ``parse_range`` reads them: an address, a network or a range."""
    size = last - first + 1
    version, value, _, scope_id = key_range(first, first)
    if size == 1:
        return format_key(first)
    if size & (size - 1) == 0 and value % size == 0 and not scope_id:
        return f"{format_key(first)}/{(32 if version == 4 else 128) - size.bit_length() + 1}"
    return f"{format_key(first)}-{format_key(last)}"


def _network(text: str) -> tuple[int, int]:
    address, _, prefix = text.partition("/")
    key = _read_literal(address)
    width = 32 if key < _IPV6 else 128
    if not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 3 and int(prefix) <= width):
        raise ValueError(f"expected a prefix length of 0 to {width} after '/'")
    host_bits = (1 << (width - int(prefix))) - 1
    return key & ~host_bits, key | host_bits


def _full_range(start: str, end: str) -> tuple[int, int]:
    first, last = _read_literal(start), _read_literal(end)
    if first >= _IPV6 and last >= _IPV6:  # the zone need not be written twice
        if "%" not in end:
            last |= first & ~_VALUE
        elif "%" not in start:
            first |= last & ~_VALUE
    if first >> 128 != last >> 128:
        raise ValueError("expected both ends of the range in one version of IP and one zone")
    return _ordered(first, last)


def _ordered(first: int, last: int) -> tuple[int, int]:
    if last < first:
        raise ValueError("the range goes backwards: expected the lower end first")
    return first, last
