"""Reads what users write: ports ("22,1000-2000,http,top:100,!25") and targets (names, addresses, networks, files)."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import groupby
from typing import Final, SupportsIndex, cast

from ..arguments import did_you_mean, refuse, shown
from ..arguments import port as port_number
from ..sockets.addresses import format_key, parse_range, reads_as_address
from ..sockets.resolving import ascii_name
from .files import BLANKS, lines_of
from .services import MAX_PORT, service_names, service_port, top_ports
from .targets import Given, RangeSet, Segment, Targets

PortSpec = int | str | Iterable[int]
"""Ports: an int, text such as ``"22,80,1000-2000,http,top:100,!25"``, or an iterable of int. See ``parse_ports``."""
TargetSpec = str | Iterable[str] | Targets
"""Targets: text such as ``"10.0.0.0/24, db.example.com"``, an iterable of such text, or Targets (`parse_targets`)."""

_WORD: Final = re.compile(rf"[^{BLANKS}]+")
_PORT_RANGE: Final = re.compile(r"([0-9]*)-([0-9]*)")
_PORT_EXPECTED: Final = "expected a port of 1 to 65535, a range such as 20-25, the name of a service, or top:100"


def parse_ports(spec: PortSpec) -> tuple[int, ...]:
    """Read a selection of TCP ports and return them sorted, each once.

    ``spec`` is an int, an iterable of int, or text. In text, commas separate the elements; blanks around an element and
    one comma at the end are ignored. An element is one of these:

    - a port: ``80``, ``080``;
    - a range with both ends included: ``1000-2000``, ``-100``, ``60000-``, ``-`` for all ports;
    - the name of a service: ``http``;
    - ``top:100``: the hundred ports most worth asking;
    - any of these after ``!``: these ports are removed from the selection;
    - ``@FILE``: a UTF-8 file with one or more elements on a line, and comments after ``#``; ``@-`` is standard input.

    Raises ValueError for a port outside 1 to 65535, for text that is none of these, and if no port is selected. The
    message has the part at fault and its position, counted from 1. Raises TypeError for other types.
    """
    return tuple(port_array(spec))


def port_array(spec: PortSpec, exclude: PortSpec = (), name: str = "ports") -> array[int]:
    """Return the ports of ``spec`` less those of ``exclude``, sorted, each once, in two bytes each.

    ``exclude`` is read as ``spec`` is, but may be empty; ``name`` is what errors call ``spec``. Raises what
    ``parse_ports`` raises.
    """
    if type(spec) is int and 1 <= spec <= MAX_PORT and exclude == ():
        return array("H", [spec])  # thousands of questions are about one port: no map of all of them
    return ports_in(chosen_ports(spec, exclude, name))


def chosen_ports(spec: PortSpec, exclude: PortSpec = (), name: str = "ports") -> bytearray:
    """Return one byte for each port number, as ``port_array`` reads the ports; 1 means that the port is selected."""
    chosen = _choose_ports(spec, name)
    if 1 not in chosen:
        raise ValueError(f"{name}: {shown(spec)} holds no port: expected at least one")
    if not isinstance(exclude, str) or exclude.strip(BLANKS):
        _clear(chosen, _choose_ports(exclude, "exclude_ports"))
        if 1 not in chosen:
            raise ValueError(f"exclude_ports: {shown(exclude)} leaves none of the ports {shown(spec)}")
    return chosen


def ports_in(chosen: bytearray) -> array[int]:
    """Return the ports that are selected, sorted, in two bytes each."""
    ports, every = array("H"), memoryview(_every_port()).cast("B")
    for first, last in _spans(chosen):
        ports.frombytes(every[2 * first : 2 * (last + 1)])
    return ports


def format_ports(chosen: bytearray) -> str:
    """Return the ports that are selected as text that ``parse_ports`` reads, adjacent ones as ranges: "22,80-90"."""
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in _spans(chosen))


def _spans(chosen: bytearray) -> Iterator[tuple[int, int]]:
    """Yield the first and the last port of each run of selected ports."""
    first = chosen.find(1)
    while first >= 0:
        end = chosen.find(0, first)
        if end < 0:
            end = len(chosen)
        yield first, end - 1
        first = chosen.find(1, end)


@cache
def _every_port() -> array[int]:
    return array("H", range(MAX_PORT + 1))


def _choose_ports(spec: PortSpec, what: str) -> bytearray:
    """Return one byte for each port number; 1 means that the port is selected."""
    chosen = bytearray(MAX_PORT + 1)
    if isinstance(spec, str):
        _choose_from_text(spec, what, chosen)
    elif isinstance(spec, (bytes, bytearray, memoryview)) or not isinstance(spec, (Iterable, SupportsIndex)):
        refuse(TypeError, what, spec, "text, an int or an iterable of int")
    elif isinstance(spec, Iterable):
        for number, port in enumerate(spec, 1):
            chosen[port_number(port, f"{what}: item {number}")] = 1
    else:
        chosen[port_number(spec, what)] = 1
    return chosen


def _clear(chosen: bytearray, removed: bytearray) -> None:
    port = removed.find(1)
    while port >= 0:
        chosen[port] = 0
        port = removed.find(1, port + 1)


def _choose_from_text(text: str, what: str, chosen: bytearray) -> None:
    removed = bytearray(MAX_PORT + 1)
    removals = list[str]()
    # A file with commas in its name must be the only element.
    _choose_elements([text] if text.strip(BLANKS).startswith("@") else text.split(","), what, chosen, removed, removals)
    if not removals:
        return
    if 1 not in chosen:
        raise ValueError(f"{what}: {removals[0]} removes from nothing: begin with '-' for all ports")
    _clear(chosen, removed)
    if 1 not in chosen:
        raise ValueError(f"{what}: {removals[-1]} leaves no port: expected at least one")


def _choose_elements(
    elements: list[str], what: str, chosen: bytearray, removed: bytearray, removals: list[str], in_file: bool = False
) -> None:
    if len(elements) > 1 and not elements[-1].strip(BLANKS):
        elements.pop()
    position = 1
    for element in elements:
        part = element.strip(BLANKS)
        at = position + len(element) - len(element.lstrip(BLANKS)) if part else position
        position += len(element) + 1
        if part.startswith("@"):
            if in_file or part == "@":
                why = "a file cannot name another" if in_file else "expected @FILE"
                raise ValueError(f"{what}: {part!r} at position {at}: {why}")
            for where, line in lines_of(part[1:]):
                _choose_elements(line.split(","), where, chosen, removed, removals, in_file=True)
            continue
        remove = part.startswith("!")
        try:
            if remove:
                removals.append(f"{part!r} at position {at}")
            for first, last in _read_ports(part.removeprefix("!")):
                (removed if remove else chosen)[first : last + 1] = b"\x01" * (last - first + 1)
        except ValueError as error:
            raise ValueError(f"{what}: {part!r} at position {at}: {error}") from None


def _read_ports(part: str) -> Iterator[tuple[int, int]]:
    """Return the ports of one element, without its ``!``, as ranges with both ends included."""
    span = _PORT_RANGE.fullmatch(part)
    if not part:
        raise ValueError(f"an empty element: {_PORT_EXPECTED}")
    if part.isascii() and part.isdigit():
        port = _read_number(part)
        yield port, port
    elif span:
        first, last = _read_number(span[1] or "1"), _read_number(span[2] or str(MAX_PORT))
        if first > last:
            raise ValueError("the range goes backwards: expected the lower port first")
        yield first, last
    elif part.lower().startswith("top:"):
        number = part[len("top:") :]
        if not (number.isascii() and number.isdigit()):
            raise ValueError("expected a number after 'top:'")
        for port in top_ports(_read_number(number)):
            yield port, port
    elif part[0] in "+-" or not part.isascii() or not any(map(str.isalpha, part)):
        raise ValueError(_PORT_EXPECTED)
    else:
        named = service_port(part)
        if named is None:
            raise ValueError(f"no such service: {_PORT_EXPECTED}{did_you_mean(part, service_names())}")
        yield named, named


def _read_number(digits: str) -> int:
    # Cut first, because Python refuses to convert thousands of digits.
    digits = digits.lstrip("0")[:6] or "0"
    if not 1 <= int(digits) <= MAX_PORT:
        raise ValueError(f"expected a number of 1 to {MAX_PORT}")
    return int(digits)


def parse_targets(targets: TargetSpec, exclude: TargetSpec = ()) -> Targets:
    """Read targets. This opens no socket: the scan resolves the names.

    Both arguments are text, with parts separated by commas or blanks, or an iterable of such text. A part is one of
    these:

    - a name: ``db.example.com``;
    - an IPv4 or IPv6 address: ``10.0.0.1``, ``2001:db8::1``, ``fe80::1%eth0``, ``[::1]``;
    - a network, with its first and last address: ``10.0.0.77/24`` is all of ``10.0.0.0/24``;
    - a range: ``10.0.0.1-20``, ``10.0.0.1-10.0.0.30``;
    - ``@FILE``: a UTF-8 file with one part on each line, and comments after ``#``; ``@-`` is standard input. In an
      iterable, an item that begins with ``@`` is one path, with all its blanks and commas.

    Text of digits and dots only, or with a colon, is always an address and never a name. ``exclude`` removes targets; a
    name in it also removes the addresses of that name.

    Raises ValueError for anything else, and if no target is left. The message has the part at fault and its position,
    counted from 1. Raises TypeError for other types, and OSError for a file that cannot be read.
    """
    ranges, excluded_names = list[tuple[int, int]](), dict[str, None]()
    if not isinstance(exclude, str) or exclude.strip(BLANKS):
        for part in _read_targets(exclude, "exclude"):
            if isinstance(part, str):
                excluded_names[part] = None
            else:
                ranges.append((part.first, part.last))
    excluded = RangeSet(ranges)
    if isinstance(targets, Targets):
        result = targets.excluding(excluded, excluded_names)
    else:
        result = Targets(_in_segments(_read_targets(targets, "targets")), excluded, excluded_names)
    if not result.count:
        why = "everything is excluded" if excluded.firsts or excluded_names else "expected at least one"
        raise ValueError(f"no target: {why}")
    return result


def _in_segments(parts: Iterable[Given | str]) -> Iterator[Segment | str]:
    for are_names, group in groupby(parts, key=lambda part: isinstance(part, str)):
        if are_names:
            yield from cast("Iterator[str]", group)
        else:
            yield Segment(list(cast("Iterator[Given]", group)))


def _read_targets(spec: TargetSpec, what: str) -> Iterator[Given | str]:
    if isinstance(spec, str):
        yield from _read_text(spec, what)
    elif (
        not isinstance(spec, Targets)
        and isinstance(spec, Iterable)
        and not isinstance(spec, (bytes, bytearray, memoryview))
    ):
        for number, item in enumerate(spec, 1):
            if not isinstance(item, str):
                raise TypeError(f"{what}: item {number}: expected text, not {type(item).__name__}")
            where = f"{what}: item {number}"
            if item.startswith("@"):  # the item is one path, which may have blanks and commas
                yield from _read_file(item, f"{where}: {item!r} at position 1")
            else:
                yield from _read_text(item, where)
    else:
        refuse(TypeError, what, spec, "text or an iterable of text")


def _read_text(text: str, where: str, in_file: bool = False) -> Iterator[Given | str]:
    position = 1
    for element in text.split(","):
        words = list(_WORD.finditer(element))
        if not words:
            raise ValueError(f"{where}: '' at position {position}: expected a name, address, network, range or @file")
        for word in words:
            part, at = word[0], f"{where}: {word[0]!r} at position {position + word.start()}"
            if part.startswith("@"):
                if in_file:
                    raise ValueError(f"{at}: a file cannot name another")
                yield from _read_file(part, at)
                continue
            try:
                yield read_target(part)
            except ValueError as error:
                raise ValueError(f"{at}: {error}") from None
        position += len(element) + 1


def _read_file(part: str, at: str) -> Iterator[Given | str]:
    path = part.removeprefix("@")
    if not path:
        raise ValueError(f"{at}: expected @FILE")
    for where, line in lines_of(path):
        yield from _read_text(line, where, in_file=True)


def read_target(part: str) -> Given | str:
    """Return one target: a range of addresses, or the name. Raises ValueError for other text."""
    if reads_as_address(part):
        first, last, literal = parse_range(part)
        usual = not literal or ":" not in part or part == format_key(first)  # IPv4 has only one spelling
        return Given(first, last, None if usual else part)
    ascii_name(part)
    return part
