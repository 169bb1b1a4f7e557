"""Users' own code that oxisock calls (handlers, codecs, callbacks): holds it, and checks its results and errors."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Generic, TypeVar

_Function = TypeVar("_Function")
_NOT_RUN = (CoroutineType, GeneratorType, AsyncGeneratorType)


class Lent(Generic[_Function]):
    """A hook of a server. Its threads hold this weakly, so that a server can be dropped whose handler belongs to the
    object that it belongs to."""

    __slots__ = ("__weakref__", "function")

    def __init__(self, function: _Function) -> None:
        self.function = function


def wrong(expected: str, given: object, words: str | None = None) -> TypeError:
    """Make the error for what a hook gave and must not: "``expected``, not ..."; what was not run yet is closed."""
    if type(given) in (CoroutineType, GeneratorType):
        with suppress(BaseException):
            given.close()  # type: ignore[attr-defined]
    return TypeError(f"{expected}, not {words or type(given).__name__}")


def plain_bytes(given: bytes | bytearray | memoryview) -> bytes:
    """Return bytes of a hook as bytes of no class of its own, and as they are now."""
    return given if type(given) is bytes else memoryview(given).tobytes()


def batch_answers(answers: object, count: int) -> list[Any]:
    """Return what a batch handler gave, as a plain list; TypeError unless it is a list of so many items."""
    if not isinstance(answers, list):
        raise wrong(f"a batch handler returns a list of {count} items", answers)
    found = answers if type(answers) is list else list(answers)
    if len(found) != count:
        raise TypeError(f"a batch handler returns a list of {count} items, not {len(found)} items")
    return found


def check_ran(what: str, result: object) -> None:
    """Raise TypeError where calling a hook whose result does not matter has run nothing of it."""
    if type(result) in _NOT_RUN:
        raise wrong(f"{what} does its work when it is called", result, f"in a {type(result).__name__} that nobody runs")


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an exception out of a hook may be Ctrl-C, which is for whoever runs the main thread."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
