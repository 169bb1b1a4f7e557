"""Checks of arguments, the same for every public function: what is taken, what is refused, and in which words."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar

_Function = TypeVar("_Function", bound=Callable[..., Any])


def unexpected(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError, in Python's own words, for a keyword that a function does not know."""
    for name in given:
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


def spelled_out(options: type[NamedTuple]) -> Callable[[_Function], _Function]:
    """Let ``help`` and ``inspect`` show each keyword of a function that takes ``**options``, with its default."""

    def mark(function: _Function) -> _Function:
        signature = inspect.signature(function)
        defaults: dict[str, Any] = options._field_defaults
        keywords = [
            # As text, like the other annotations: a named tuple has made a ForwardRef of it.
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=annotation.__forward_arg__
            )
            for name, annotation in options.__annotations__.items()
        ]
        rest = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
        function.__signature__ = signature.replace(parameters=[*rest, *keywords])  # type: ignore[attr-defined]
        return function

    return mark
