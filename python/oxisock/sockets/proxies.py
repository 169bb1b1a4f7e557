"""The PROXY header, in which a proxy names the client: a machine that reads it, and the list of trusted proxies.

Both versions are those of https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

from .. import arguments
from ..types import Peer
from .addresses import format_key, make_key, parse_range, range_of_numbers

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
"""The first bytes of version 2."""
LONGEST_LINE = 107
"""The most bytes of a header of version 1, with its CR LF."""
LONGEST = 16384
"""The most bytes of a header of version 2, as in HAProxy. Unknown parts up to that size are skipped."""

PATIENCE = 5_000_000_000
"""The most nanoseconds that a header may take."""

_PREFIX = b"PROXY "
_FIXED = len(SIGNATURE) + 4
_SHORTEST_LINE = len(b"PROXY UNKNOWN\r\n")
_INET, _INET6, _UNIX = 1, 2, 3
_SIZES = {_INET: 12, _INET6: 36, _UNIX: 216}  # bytes of the addresses in version 2


class ProxyHeader:
    """Reads one header, however it was cut.

    Attributes:
        source: the client, once the header is complete. None if the header names no client with an IP address, that is,
            for a connection of the proxy's own (LOCAL, UNKNOWN) or from a Unix socket.
    """

    def __init__(self) -> None:
        self.source: Peer | None = None
        self._held = bytearray()

    @property
    def wanted(self) -> int:
        """How many bytes may be read without reading past the end of the header."""
        held = self._held
        if len(held) < _SHORTEST_LINE:
            return _SHORTEST_LINE - len(held)
        if held.startswith(_PREFIX):
            return 1 if held.endswith(b"\r") else 2
        return self._size() - len(held)

    def feed(self, data: bytes) -> int:
        """Take bytes. Return how many of them belong to the header, or -1 if the header goes on.

        Raises ValueError for bytes that are no header, or for a header that is too long.
        """
        before = len(self._held)
        self._held += data[: LONGEST - before]
        held = self._held
        if held.startswith(_PREFIX):
            end = held.find(b"\r\n", 0, LONGEST_LINE)
            if end < 0:
                if len(held) >= LONGEST_LINE:
                    raise ValueError("a PROXY header of version 1 longer than 107 bytes")
                return -1
            self.source = _line(bytes(held[:end]))
            return end + 2 - before
        if not (_PREFIX.startswith(bytes(held)) or SIGNATURE.startswith(bytes(held[: len(SIGNATURE)]))):
            raise ValueError("no PROXY header")
        if len(held) < _FIXED:
            return -1
        size = self._size()
        if size > LONGEST:
            raise ValueError("a PROXY header of version 2 longer than 16384 bytes")
        if len(held) < size:
            return -1
        self.source = _binary(bytes(held[:size]))
        return size - before

    def _size(self) -> int:
        """Return the size of a header of version 2, as far as it is known."""
        return _FIXED + int.from_bytes(self._held[14:16], "big") if len(self._held) >= _FIXED else _FIXED


def _line(line: bytes) -> Peer | None:
    """Read a header of version 1, without its line end."""
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return None
    wrong = ValueError("a torn PROXY header of version 1")
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise wrong
    hosts = [_host(word, words[1] == b"TCP6") for word in words[2:4]]
    ports = [_port(word) for word in words[4:]]
    host, port = hosts[0], ports[0]
    if host is None or port is None or None in hosts or None in ports:
        raise wrong
    return Peer(host, port)


def _host(word: bytes, six: bool) -> str | None:
    letters = b"0123456789abcdefABCDEF:." if six else b"0123456789."  # HAProxy writes ::ffff:192.0.2.7
    if word.strip(letters):
        return None
    try:
        return _text(socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, word.decode()))
    except OSError:
        return None


def _text(address: bytes) -> str:
    return format_key(make_key(4 if len(address) == 4 else 6, int.from_bytes(address, "big")))


def _port(word: bytes) -> int | None:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0") or int(word) > 65535:
        return None
    return int(word)


def _binary(header: bytes) -> Peer | None:
    """Read a header of version 2."""
    version, command = divmod(header[12], 16)
    family, transport = divmod(header[13], 16)
    if version != 2 or command > 1 or family > _UNIX or transport > 2:
        raise ValueError("a PROXY header of version 2 with an unknown version, command or protocol")
    if command == 0:
        return None
    rest = header[_FIXED:]
    if len(rest) < _SIZES.get(family, 0):
        raise ValueError("a torn PROXY header of version 2")
    if transport == 0 or family not in (_INET, _INET6):
        return None
    if family == _INET:
        return Peer(_text(rest[:4]), int.from_bytes(rest[8:10], "big"))
    return Peer(_text(rest[:16]), int.from_bytes(rest[32:34], "big"))


def checked(given: object, name: str = "proxies") -> tuple[str, ...]:
    """Return addresses and networks unchanged. Raises TypeError for no iterable of text, ValueError for a bad one."""
    expected = "addresses and networks, such as ('10.0.0.7', 'fd00::/8')"
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) or isinstance(given, type):
        arguments.refuse(TypeError, name, given, expected)
    found = tuple(arguments.text(each, name, expected) for each in given)
    for each in found:
        try:
            parse_range(each)
        except ValueError as error:
            raise ValueError(f"{name}={arguments.shown(given)}: {each!r}: {error}") from None
    return found


def ranges(proxies: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Return addresses and networks as ranges of numbers, as ``addresses.number_of`` gives them."""
    return tuple(range_of_numbers(*parse_range(each)[:2]) for each in proxies)
