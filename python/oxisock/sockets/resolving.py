"""Checks host names and finds their addresses.

Names are looked up in threads that can be abandoned, because getaddrinfo has no timeout and cannot be stopped.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .. import arguments
from .addresses import IPV4_EXPECTED, format_key, parse_address, reads_as_address

Family = int | None
"""4, 6, or None for either."""

_THREADS: Final = 32
_SLICE: Final = 0.05  # seconds between two looks at `cancelled`, and of each wait where locks ignore Ctrl-C
_LABEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_NAME_EXPECTED: Final = "expected a name of letters, digits, '-', '_' and dots, or an address"
# C libraries read these as addresses in octal and hexadecimal, so they are not names either.
_C_NUMBERS: Final = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]*|[0-9]+))*\.?")
# Today, these are letters of their own, or joiners. In the standard of 2003 they became "ss", another sigma, or
# nothing.
_OWN_LETTERS: Final = re.compile("([\u00df\u03c2])")
_JOINERS: Final = re.compile("[\u200c\u200d]")
_FAMILIES: Final = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


def checked_host(host: str, name: str = "host") -> str:
    """Return a host, which is a name or an address, without blanks around it.

    The system's resolver reads 127.0.0.010 as 127.0.0.8, and takes 0x7f.1 for an address too. Here, they are no hosts.
    Raises TypeError or ValueError for what is no host.
    """
    text = arguments.host(host, name)
    try:
        if reads_as_address(text):
            parse_address(text)
        else:
            ascii_name(text)
    except ValueError as error:
        raise ValueError(f"{name}={arguments.shown(host)}: {error}") from None
    return text


def ascii_name(name: str) -> str:
    """Return a name in ASCII, as name servers know it. Raises ValueError if it is no name.

    Python's own codec follows the standard of 2003. There, ``fa\u00df.example`` is ``fass.example``, which may belong
    to another owner.
    """
    labels = [name] if name.isascii() else [_ascii_label(label) for label in re.split("[.\u3002\uff0e\uff61]", name)]
    text = ".".join(labels)
    if _C_NUMBERS.fullmatch(text):
        raise ValueError(IPV4_EXPECTED)
    text = text.removesuffix(".")
    if not all(map(_LABEL.fullmatch, text.split("."))) or len(text) > 253:
        raise ValueError(_NAME_EXPECTED)
    return ".".join(labels)


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if _JOINERS.search(label):
        # Some are allowed, but to know which takes tables that Python does not have.
        raise ValueError("there is a joiner (U+200C or U+200D) in it: expected its xn-- form")
    from encodings.idna import nameprep

    try:
        nameprep(label)  # raises the error for a label that is wrong as a whole
        parts = _OWN_LETTERS.split(label.replace("\u1e9e", "\u00df"))
        parts[::2] = map(nameprep, parts[::2])
    except UnicodeError as error:
        raise ValueError(f"expected a name or an address ({error})") from None
    text = "".join(parts)
    if "." in text:
        raise ValueError(_NAME_EXPECTED)
    return text if text.isascii() else f"xn--{text.encode('punycode').decode()}"


class Resolution(NamedTuple):
    """What became of names.

    ``addresses`` has the addresses of each name that has any, and ``unresolved`` a message for each other name.
    ``errors`` has their exceptions: the resolver's (``socket.gaierror``), or TimeoutError if there was no time left.
    """

    addresses: dict[str, list[str]]
    unresolved: dict[str, str]
    errors: dict[str, OSError]

    def error(self) -> socket.gaierror | None:
        """Return what to raise if nothing was resolved: the first error as a ``socket.gaierror`` with the name.

        The resolver's own errors come before timeouts.
        """
        for name, error in sorted(self.errors.items(), key=lambda each: not isinstance(each[1], socket.gaierror)):
            return named(name, error)
        return None


def named(name: str, error: OSError) -> socket.gaierror:
    """Make the error of a name that has no address, with the name in its message."""
    # The resolver has error numbers of its own.
    number = error.errno if isinstance(error, socket.gaierror) else socket.EAI_AGAIN
    failure = socket.gaierror(number, f"{name}: {error.strerror or error}")
    failure.__cause__ = error
    return failure


def resolve(
    names: Iterable[str],
    *,
    family: Family = None,
    resolve_all: bool = False,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Resolution:
    """Ask the system for the addresses of many names side by side.

    Takes a name's first IPv4 address, or its first IPv6 address if it has no IPv4 address. With ``family`` 4 or 6, it
    takes the first address of that version, and with ``resolve_all`` all addresses, in the resolver's order.

    After ``timeout`` seconds, or when ``cancelled()`` is true, the names still outstanding count as unresolved, and
    their threads are abandoned. They are daemon threads and hold nothing. Raises ValueError for another family.
    """
    if family not in _FAMILIES:
        raise ValueError(f"family {family!r}: expected 4, 6 or None")
    wanted = list(dict.fromkeys(names))
    found: dict[str, list[str] | OSError] = {}
    deadline = None if timeout is None else time.monotonic() + timeout
    why = ""
    waiting = deque(wanted)
    answers: queue.SimpleQueue[tuple[str, list[str] | OSError]] = queue.SimpleQueue()
    try:
        _start_helpers(min(_THREADS, len(wanted)), waiting, answers, family)
        while len(found) < len(wanted):
            left = _SLICE if deadline is None else deadline - time.monotonic()
            if cancelled is not None and cancelled():
                why = "the look-up was cancelled"
            elif left <= 0:
                why = f"the name was not resolved within {timeout:g} s"
            if why:
                waiting.clear()
            try:
                # An answer that has arrived counts, even if it is read late.
                name, answer = answers.get(not why, min(_SLICE, left))
            except queue.Empty:
                if why:
                    break
            else:
                found[name] = answer
    finally:
        waiting.clear()  # each thread ends after its current name
    addresses: dict[str, list[str]] = {}
    errors: dict[str, OSError] = {}
    for name in wanted:
        answer = found.get(name) or TimeoutError(why)
        if isinstance(answer, OSError):
            errors[name] = answer
        else:
            addresses[name] = answer if resolve_all else _preferred(answer)
    return Resolution(addresses, {name: error.strerror or str(error) for name, error in errors.items()}, errors)


def host_addresses(
    host: str,
    *,
    family: Family = None,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> list[str]:
    """Return every address of one host, a literal or a name, in the order in which to try them.

    Raises ValueError or TypeError for no host, ``socket.gaierror`` if the host has no address, and TimeoutError after
    ``timeout`` seconds or when ``cancelled()`` is true.
    """
    host = checked_host(host)
    if reads_as_address(host):
        return [format_key(parse_address(host))]
    resolution = resolve([host], family=family, resolve_all=True, timeout=timeout, cancelled=cancelled)
    if resolution.errors:
        raise resolution.errors[host]
    return resolution.addresses[host]


def _start_helpers(
    count: int, waiting: deque[str], answers: queue.SimpleQueue[tuple[str, list[str] | OSError]], family: Family
) -> None:
    def help_out() -> None:
        while True:
            try:
                name = waiting.popleft()
            except IndexError:
                return
            answers.put((name, _look_up(name, family)))

    for number in range(count):
        helper = threading.Thread(target=help_out, name=f"oxisock-resolve-{number}", daemon=True)
        try:
            helper.start()
        except RuntimeError:  # there are no more threads; the started ones are enough
            if number == 0:
                raise


def _look_up(name: str, family: Family) -> list[str] | OSError:
    try:
        answers = socket.getaddrinfo(ascii_name(name), None, family=_FAMILIES[family], type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except Exception as error:  # for example, ValueError for a bad name
        failure = socket.gaierror(socket.EAI_NONAME, str(error))
        failure.__cause__ = error
        return failure
    addresses: dict[str, None] = {}
    for kind, _, _, _, address in answers:
        if kind == socket.AF_INET and family != 6:
            addresses[str(address[0])] = None
        elif kind == socket.AF_INET6 and family != 4:
            # Python does not include the zone in the text.
            scope_id = address[3] if len(address) > 3 and "%" not in str(address[0]) else 0
            addresses[f"{address[0]}%{scope_id}" if scope_id else str(address[0])] = None
    return list(addresses) or socket.gaierror(socket.EAI_NONAME, f"the name has no IPv{family or '4 or IPv6'} address")


def _preferred(addresses: list[str]) -> list[str]:
    return [next((address for address in addresses if ":" not in address), addresses[0])]
