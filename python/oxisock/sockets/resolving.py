"""Names to addresses in threads that can be abandoned, because getaddrinfo can be neither hurried nor stopped."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from .addresses import parse_address

Family = int | None
"""4, 6, or None for either."""

_THREADS: Final = 32
_SLICE: Final = 0.05  # seconds between two looks at `cancelled`; also the wait of systems whose locks ignore Ctrl-C
_FAMILIES: Final = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}


class Resolution(NamedTuple):
    """What became of names.

    ``addresses`` has the addresses of each name that has any, ``unresolved`` a message for each of the others, and
    ``errors`` their exceptions: the resolver's own (``socket.gaierror``), or TimeoutError where there was no time left.
    """

    addresses: dict[str, list[str]]
    unresolved: dict[str, str]
    errors: dict[str, OSError]

    def error(self) -> socket.gaierror | None:
        """Give what to raise where nothing resolved: the first error, if any, as a ``socket.gaierror``."""
        for error in self.errors.values():
            if isinstance(error, socket.gaierror):
                return error
        for error in self.errors.values():
            failure = socket.gaierror(socket.EAI_AGAIN, str(error))
            failure.__cause__ = error
            return failure
        return None


def resolve(
    names: Iterable[str],
    *,
    family: Family = None,
    resolve_all: bool = False,
    timeout: float | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Resolution:
    """Ask the system for the addresses of many names side by side.

    A name's first IPv4 address is taken, or its first IPv6 address where it has none; with ``family`` 4 or 6 the first
    of that version, and with ``resolve_all`` all of them, in the resolver's order. After ``timeout`` seconds, or once
    ``cancelled()`` is true, the names still outstanding count as unresolved and their threads are left to themselves:
    they are daemons and hold nothing. Raises ValueError for another family.
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
                # What is in by now counts, however late it is read.
                name, answer = answers.get(not why, min(_SLICE, left))
            except queue.Empty:
                if why:
                    break
            else:
                found[name] = answer
    finally:
        waiting.clear()  # the threads end after the name they are at
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
    """Give every address of one host, a literal or a name, in the order in which they are to be tried.

    Raises ``socket.gaierror`` where there is none, and TimeoutError after ``timeout`` seconds or once ``cancelled()``.
    """
    try:
        parse_address(host)
    except ValueError:
        resolution = resolve([host], family=family, resolve_all=True, timeout=timeout, cancelled=cancelled)
        if resolution.errors:
            raise resolution.errors[host] from None
        return resolution.addresses[host]
    return [host.removeprefix("[").removesuffix("]")]


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
        except RuntimeError:  # no more threads to be had; those there are will do
            if number == 0:
                raise


def _look_up(name: str, family: Family) -> list[str] | OSError:
    try:
        answers = socket.getaddrinfo(name, None, family=_FAMILIES[family], type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except Exception as error:  # UnicodeError, for one, of a name that IDNA does not allow
        failure = socket.gaierror(socket.EAI_NONAME, str(error))
        failure.__cause__ = error
        return failure
    addresses: dict[str, None] = {}
    for kind, _, _, _, address in answers:
        if kind == socket.AF_INET and family != 6:
            addresses[str(address[0])] = None
        elif kind == socket.AF_INET6 and family != 4:
            # Python leaves the zone out of the text.
            scope_id = address[3] if len(address) > 3 and "%" not in str(address[0]) else 0
            addresses[f"{address[0]}%{scope_id}" if scope_id else str(address[0])] = None
    return list(addresses) or socket.gaierror(socket.EAI_NONAME, f"the name has no IPv{family or '4 or IPv6'} address")


def _preferred(addresses: list[str]) -> list[str]:
    return [next((address for address in addresses if ":" not in address), addresses[0])]
