"""Which engine is selected, and whether it can be loaded."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Literal, NoReturn

Impl = Literal["native", "pure"]
"""The name of an engine."""


def selected() -> Impl:
    """Name the engine that ``OXISOCK_IMPL`` asks for; unset or empty is "native".

    Raises ImportError for any other word: a choice that cannot be met is never silently replaced.
    """
    choice = os.environ.get("OXISOCK_IMPL", "")
    if choice in ("", "native"):
        return "native"
    if choice == "pure":
        return "pure"
    raise ImportError(f"OXISOCK_IMPL={choice!r} names no engine: expected 'native' or 'pure'")


def check(impl: Impl) -> None:
    """Raise ImportError, with the way out, where an engine cannot be loaded."""
    if impl == "pure":
        return
    try:
        import_module("oxisock._native")
    except ImportError as error:
        raise ImportError(
            f"the native engine of oxisock cannot be loaded ({error}); OXISOCK_IMPL=pure selects the pure one"
        ) from error


def refuse(error: ImportError) -> NoReturn:
    """Raise the error; where it is the command that cannot be had, one line says so, as of all wrong usage."""
    words = sys.orig_argv[1:]
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    # Python imports the package before the command, which so cannot say it itself.
    if script in ("oxisock", "oxisock.exe") or (script == "-m" and "oxisock" in words[words.index("-m") + 1 :][:1]):
        if sys.stderr is not None:
            sys.stderr.write(f"oxisock: {error}\n")
        raise SystemExit(2)
    raise error
