"""Calls of users' own code (handlers, codecs, callbacks): holds the code, and checks its results and errors."""

from __future__ import annotations

import threading
from contextlib import suppress
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Generic, TypeVar

_Function = TypeVar("_Function")
_NOT_RUN = (CoroutineType, GeneratorType, AsyncGeneratorType)


class Lent(Generic[_Function]):
    """A hook of a server. The threads of the server hold it weakly, so that a server can be collected together with an
    object that owns both the server and the hook."""

    __slots__ = ("__weakref__", "function")

    def __init__(self, function: _Function) -> None:
        self.function = function


def wrong(expected: str, given: object, words: str | None = None) -> TypeError:
    """Return the error for a wrong result of a hook: "``expected``, not ...". A coroutine or generator is closed."""
    if type(given) in (CoroutineType, GeneratorType):
        with suppress(BaseException):
            given.close()  # type: ignore[attr-defined]
    return TypeError(f"{expected}, not {words or type(given).__name__}")


def plain_bytes(given: bytes | bytearray | memoryview) -> bytes:
    """Return a bytes-like result of a hook as plain bytes. A subclass or a buffer is copied."""
    return given if type(given) is bytes else memoryview(given).tobytes()


def batch_answers(answers: object, count: int) -> list[Any]:
    """Return the result of a batch handler as a plain list. Raises TypeError if it is no list of ``count`` items."""
    if not isinstance(answers, list):
        raise wrong(f"a batch handler returns a list of {count} items", answers)
    found = answers if type(answers) is list else list(answers)
    if len(found) != count:
        raise TypeError(f"a batch handler returns a list of {count} items, not {len(found)} items")
    return found


def check_ran(what: str, result: object) -> None:
    """Raise TypeError if a call of a hook returned a coroutine or generator, and so has run nothing."""
    if type(result) in _NOT_RUN:
        raise wrong(f"{what} does its work when it is called", result, f"in a {type(result).__name__} that nobody runs")


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether an exception of a hook may be Ctrl-C, which must reach the main thread."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()
