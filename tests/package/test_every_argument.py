"""Every parameter of every public function against values that make no sense: taken, or refused in words that name it.

The parameters are found by looking, so a new one is tried without being written here; a new function fails until
support/public_calls.py says how to call it.
"""

from __future__ import annotations

import inspect
import math
import re
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import oxisock
import oxisock.native
import oxisock.pure
import oxisock.testing
from oxisock.errors import FrameError
from support.public_calls import World, drive, find, parameters, public_functions, see

NOBODY = object()
BAD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "2**64": lambda: 2**64,
    "10**400": lambda: 10**400,
    "-10**400": lambda: -(10**400),
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "1e300": lambda: 1e300,
    "1.5": lambda: 1.5,
    "5e-324": lambda: 5e-324,
    "empty text": str,
    "x": lambda: "x",
    "NUL": lambda: "\0",
    "lone surrogate": lambda: "\ud800",
    "empty bytes": bytes,
    "byte": lambda: b"\xff",
    "list": list,
    "dict": dict,
    "object": lambda: NOBODY,
    "function": lambda: _function,
    "class": lambda: str,
    "generator": lambda: (number for number in range(0)),
}

# What a message may call a parameter: parts of it, what is in it, and where it goes.
ALSO = {
    "spec": "ports",
    "targets": "targets?",
    "payloads": "payloads?",
    "host": "host|targets",
    "text": "text|not a scan report|line 1",
}


def _function(*values: object) -> None:
    return None


def _outcome(world: World, name: str, parameter: inspect.Parameter, value: Any) -> str:
    function, good = find(world, name)
    named, given = good(), list[Any]()
    if parameter.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL):
        given.append(value)
    else:
        named[parameter.name] = value
        given += [named.pop(name) for name in ["delimiters"] if name in named]

    async def call() -> None:
        result = function(*given, **named)
        await see(result)

    try:
        with _watched(f"{name}({parameter.name}={value!r:.40})"):
            world.runner.run(call()) if name.startswith("aio.") else drive(function(*given, **named))
    except (FrameError, IndexError):
        return "taken"
    except (ValueError, TypeError) as error:
        return f"{type(error).__name__}: {re.sub('0x[0-9a-f]+', '0x', str(error))}"
    except (OSError, oxisock.ChatError, AssertionError):  # there is no such host, nobody answers, it is not so
        return "taken"
    finally:
        for file in Path().iterdir():
            file.unlink()
    return "taken"


@contextmanager
def _watched(what: str) -> Iterator[None]:
    """Fail a case that hangs."""

    def bark(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"{what} hangs")

    before = signal.signal(signal.SIGALRM, bark)
    signal.setitimer(signal.ITIMER_REAL, 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody asks a name server, and files are written where they are in nobody's way."""
    monkeypatch.chdir(tmp_path)
    ask = socket.getaddrinfo

    def offline(host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> Any:
        return ask(host, port, family, type, proto, flags | socket.AI_NUMERICHOST)

    monkeypatch.setattr(socket, "getaddrinfo", offline)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a watchdog")
@pytest.mark.parametrize("name", list(public_functions(oxisock.pure)))
def test_bad_values_are_refused_by_name(name: str) -> None:
    wrong = []
    with ExitStack() as stack:
        worlds = [World(impl, stack) for impl in (oxisock.pure, oxisock.native)]
        space = {"aio": oxisock.pure.aio, "testing": oxisock.testing, "presets": oxisock.pure.presets}
        first, *rest = name.split(".")
        thing: Any = space.get(first) or getattr(oxisock.pure, first)
        for each in rest:
            thing = getattr(thing, each)
        for parameter in parameters(thing):
            for label, make in BAD.items():
                outcomes = [_outcome(world, name, parameter, make()) for world in worlds]
                named = re.compile(rf"^taken$|\b({ALSO.get(parameter.name, parameter.name)})\b")
                if not all(map(named.search, outcomes)) or outcomes[0] != outcomes[1]:
                    wrong.append(f"{parameter.name}={label}: {outcomes[0]} / {outcomes[1]}")
    assert not wrong, "\n".join(wrong)
