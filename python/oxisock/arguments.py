"""Argument checks, the same for every public function: what is accepted, what is refused, and the error messages.

Each check takes a value and the name of its parameter, and returns the value as the rest of the code needs it. A wrong
type is a TypeError, a wrong value a ValueError, and both say "NAME=VALUE: expected ...". A bool is not a number. Values
with ``__index__`` are whole numbers, such as those of numpy; a float is not. No number is too large for a check.
"""

from __future__ import annotations

import inspect
import operator
import os
import reprlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, NamedTuple, NoReturn, TypeVar

NEVER: Final = (1 << 63) - 1
"""No limit, for a time in integer nanoseconds."""

LONGEST: Final = (1 << 31) / 1000
"""Seconds, about 24 days. No system call waits longer, so a timeout from here on is no limit."""

MOST: Final = (1 << 31) - 1
"""The most that a count can be, unless its check says otherwise."""

_NS: Final = 1_000_000_000
_Function = TypeVar("_Function", bound=Callable[..., Any])
_Value = TypeVar("_Value")

_words = reprlib.Repr()
_words.maxstring = _words.maxother = 60


def shown(value: object) -> str:
    """Return the repr of any value, shortened for messages."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return f"about {'-' if value < 0 else ''}2**{value.bit_length() - 1}"
    try:
        return _words.repr(value)
    except Exception:  # a repr that fails
        return f"<{type(value).__name__}>"


def refuse(kind: type[Exception], name: str, value: object, expected: str) -> NoReturn:
    """Raise a TypeError or a ValueError for a parameter. Its message has the value and what is expected."""
    raise kind(f"{name}={shown(value)}: expected {expected}") from None


# --- whole numbers ---------------------------------------------------------------------------------------------------


def port(value: object, name: str = "port", lowest: Literal[0, 1] = 1) -> int:
    """Return a port number. 0 (any free port) is accepted only if ``lowest`` is 0."""
    return _whole(value, name, lowest, 65535, f"a port from {lowest} to 65535")


def count(value: object, name: str, lowest: int = 1, highest: int = MOST) -> int:
    """Return a whole number from ``lowest`` to ``highest``."""
    return _whole(value, name, lowest, highest, f"a whole number from {_number(lowest)} to {_number(highest)}")


def threads(value: object, name: str) -> int:
    """Return a number of threads, from 1 to 4096."""
    return count(value, name, 1, 4096)


def size(value: object, name: str, lowest: int = 1, highest: int = sys.maxsize) -> int:
    """Return a number of bytes from ``lowest`` to ``highest``."""
    return _whole(value, name, lowest, highest, f"a number of bytes from {lowest} to {_number(highest)}")


def _whole(value: object, name: str, lowest: int, highest: int, expected: str) -> int:
    if isinstance(value, bool):
        refuse(TypeError, name, value, expected)
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        refuse(TypeError, name, value, expected)
    if not lowest <= number <= highest:
        refuse(ValueError, name, value, expected)
    return number


def _number(value: int) -> str:
    """Return a limit as text. Large powers of two are written as powers."""
    if value < 0:
        return f"-{_number(-value)}"
    for add, words in ((0, ""), (1, " - 1")):
        power = value + add
        if power >= 1 << 31 and not power & (power - 1):
            return f"2**{power.bit_length() - 1}{words}"
    return str(value)


# --- times, rates and chances ----------------------------------------------------------------------------------------


def timeout(value: object, name: str = "timeout", *, zero: bool = False) -> float | None:
    """Return a limit in seconds, more than 0 (or 0, with ``zero``). None, infinity and LONGEST mean no limit."""
    if value is None:
        return None
    limit = _seconds(value, name, zero, ", or None for no limit")
    return None if limit >= LONGEST else limit


def nanoseconds(value: object, name: str, *, zero: bool = False) -> int:
    """Return a limit in integer nanoseconds, as `timeout` does in seconds. NEVER is no limit; only 0 gives 0."""
    if value is None:
        return NEVER
    limit = _seconds(value, name, zero, ", or None for no limit")
    return NEVER if limit >= NEVER / _NS else max(int(limit * _NS), 1 if limit else 0)


def seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Return a pause in seconds, more than 0 (or 0, with ``zero``) and less than LONGEST."""
    expected = f" and less than {LONGEST:.0f}"
    pause = _seconds(value, name, zero, expected)
    if pause >= LONGEST:
        refuse(ValueError, name, value, _time(zero) + expected)
    return pause


def rate(value: object, name: str, what: str) -> int:
    """Return the nanoseconds between two events at a rate per second; 0 for no limit (None or infinity)."""
    if value is None:
        return 0
    expected = f"0.001 to 1e9 {what} a second, or None for no limit"
    often = _float(value, name, expected)
    if often == float("inf"):
        return 0
    if not 0.001 <= often <= 1e9:
        refuse(ValueError, name, value, expected)
    return -int(-_NS // often)


def number(value: object, name: str, lowest: float, highest: float, expected: str) -> float:
    """Return a number from ``lowest`` to ``highest``."""
    found = _float(value, name, expected)
    if not lowest <= found <= highest:
        refuse(ValueError, name, value, expected)
    return found


def duration(value: Any, name: str) -> float:
    """Return a number of seconds, from 0 up, unchanged."""
    expected = "seconds from 0 up"
    if not 0 <= _float(value, name, expected) < float("inf"):
        refuse(ValueError, name, value, expected)
    found: float = value
    return found


def chance(value: object, name: str) -> float:
    """Return a probability, from 0 to 1."""
    return number(value, name, 0, 1, "a chance from 0 to 1")


def _time(zero: bool) -> str:
    return "seconds from 0 up" if zero else "more than 0 seconds"


def _seconds(value: object, name: str, zero: bool, expected: str) -> float:
    time = _float(value, name, _time(zero) + expected)
    # Written so that NaN fails.
    if not (time > 0 or (zero and time == 0)):
        refuse(ValueError, name, value, _time(zero) + expected)
    return time


def _float(value: Any, name: str, expected: str) -> float:
    """Return a number as a float; infinity if it is too large for a float."""
    kind = type(value)
    if kind is bool or not (hasattr(kind, "__float__") or hasattr(kind, "__index__")):
        refuse(TypeError, name, value, expected)
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except (TypeError, ValueError):  # an array, for example
        refuse(TypeError, name, value, expected)


# --- everything else -------------------------------------------------------------------------------------------------


def flag(value: object, name: str) -> bool:
    """Return True or False; 1 and 0 are accepted."""
    if isinstance(value, int) and value in (0, 1):
        return bool(value)
    refuse(ValueError if isinstance(value, int) else TypeError, name, value, "True or False")


def text(value: object, name: str, expected: str = "text") -> str:
    """Return a str."""
    if not isinstance(value, str):
        refuse(TypeError, name, value, expected)
    return value


def host(value: object, name: str = "host", *, empty: bool = False) -> str:
    """Return a name or an address without the blanks around it. Text that cannot be a name is refused.

    With ``empty`` it may be "", which means every address of this machine.
    """
    expected = "a name or an address"
    bare = text(value, name, f"{expected} as text").strip()
    if not (bare or (empty and value == "")) or not bare.isprintable():
        refuse(ValueError, name, value, expected)
    return bare


def view(value: object, name: str) -> memoryview:
    """Return a view of any buffer. The bytes are copied only if the buffer is not contiguous."""
    try:
        found = memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        refuse(TypeError, name, value, "bytes")
    return found.cast("B") if found.c_contiguous else memoryview(found.tobytes())


def path(value: object, name: str, expected: str) -> str:
    """Return the path of a file. A path that no file can have is refused."""
    if not isinstance(value, (str, os.PathLike)):
        refuse(TypeError, name, value, expected)
    found = os.fspath(value)
    try:
        if found and b"\0" not in os.fsencode(found):
            return os.fsdecode(found)
    except UnicodeError:
        pass
    refuse(ValueError, name, value, expected)


def bytes_like(value: object, name: str, lowest: int = 0, highest: int = sys.maxsize) -> bytes:
    """Return a copy of the bytes of any buffer, from ``lowest`` to ``highest`` bytes."""
    data = value if isinstance(value, bytes) else view(value, name).tobytes()
    if not lowest <= len(data) <= highest:
        raise ValueError(
            f"{name}={shown(value)} of {len(data)} bytes: expected {lowest} to {_number(highest)} bytes"
        ) from None
    return data


def function(value: _Value, name: str) -> _Value:
    """Return a callable that runs when it is called: not a coroutine function, and not a generator function."""
    if not callable(value):
        refuse(TypeError, name, value, "something to call")
    if _is(inspect.iscoroutinefunction, value):
        refuse(TypeError, name, value, "a plain function, not a coroutine function, which nobody awaits here")
    return _no_generator(value, name, "a plain function")


def coroutine_function(value: _Value, name: str) -> _Value:
    """Return a callable that may return an awaitable: not a generator function."""
    if not callable(value):
        refuse(TypeError, name, value, "something to call")
    return _no_generator(value, name, "a coroutine function")


def _no_generator(value: _Value, name: str, expected: str) -> _Value:
    if _is(inspect.isgeneratorfunction, value) or _is(inspect.isasyncgenfunction, value):
        refuse(TypeError, name, value, f"{expected}, not a generator function, which nobody goes through here")
    return value


def _is(test: Callable[[Any], bool], value: Any) -> bool:
    """Return whether a test is true for a function, or for the ``__call__`` of an object."""
    return test(value) or test(type(value).__call__)


def iterable(value: Iterable[_Value], name: str, expected: str) -> Iterable[_Value]:
    """Return an iterable."""
    if isinstance(value, type) or not hasattr(type(value), "__iter__"):
        refuse(TypeError, name, value, expected)
    return value


def choice(value: object, name: str, options: Iterable[_Value]) -> _Value:
    """Return the option that equals the value. All options have one type."""
    known = tuple(options)
    expected = " or ".join([", ".join(repr(each) for each in known[:-1]), repr(known[-1])])
    if isinstance(value, bool) or not isinstance(value, type(known[0])):
        refuse(TypeError, name, value, expected)
    for each in known:
        if each == value:
            return each
    refuse(ValueError, name, value, expected)


def every(value: Iterable[Any], name: str, kind: type[_Value], expected: str) -> list[_Value]:
    """Return the items of an iterable as a list. All must have one class."""
    found = list(iterable(value, name, expected))
    for each in found:
        instance(each, name, kind, expected)
    return found


def instance(value: object, name: str, kind: type[_Value], expected: str) -> _Value:
    """Return an object of a class."""
    if not isinstance(value, kind):
        refuse(TypeError, name, value, expected)
    return value


def having(value: _Value, name: str, what: str, *methods: str) -> _Value:
    """Return an object that has some methods. A class is refused."""
    if isinstance(value, type) or not all(callable(getattr(value, each, None)) for each in methods):
        refuse(TypeError, name, value, f"{what}, with {' and '.join(methods)}")
    return value


def codec(value: _Value, name: str = "codec") -> _Value:
    """Return a codec. A user's own codec must have the methods of `oxisock.Codec`."""
    return having(value, name, "a codec", "encode", "decoder")


def stream(value: _Value, name: str = "sock") -> _Value:
    """Return a socket, or an object that behaves like one."""
    return having(value, name, "a socket", "fileno", "recv", "send", "setblocking", "close")


# --- keywords --------------------------------------------------------------------------------------------------------


def unexpected(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, with Python's own message, for a keyword that a function does not know."""
    for name in given:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def spelled_out(options: type[NamedTuple]) -> Callable[[_Function], _Function]:
    """Let ``help`` and ``inspect`` show each keyword of a function that takes ``**options``, with its default."""

    def mark(function: _Function) -> _Function:
        signature = inspect.signature(function)
        defaults: dict[str, Any] = options._field_defaults
        keywords = [
            # As text, like the other annotations. The named tuple has turned it into a ForwardRef.
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation.__forward_arg__
            )
            for name, annotation in options.__annotations__.items()
        ]
        rest = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*rest, *keywords])  # type: ignore[attr-defined]
        return function

    return mark


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the most similar known word, if there is one."""
    from difflib import get_close_matches

    found = get_close_matches(word, list(known), 1) if len(word) <= 40 else []  # a longer word is not a typing error
    return f"; did you mean {found[0]!r}?" if found else ""
