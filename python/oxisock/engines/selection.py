"""Selects the engine, and checks whether it can be loaded."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Literal, NoReturn

Impl = Literal["native", "pure"]
"""The name of an engine."""


def selected() -> Impl:
    """Return the engine that ``OXISOCK_IMPL`` names; unset or empty is "native".

    Raises ImportError for any other word. Another engine is never used instead without a word.
    """
    choice = os.environ.get("OXISOCK_IMPL", "")
    if choice in ("", "native"):
        return "native"
    if choice == "pure":
        return "pure"
    raise ImportError(f"OXISOCK_IMPL={choice!r} names no engine: expected 'native' or 'pure'")


def check(impl: Impl) -> None:
    """Raise ImportError if an engine cannot be loaded; the message says what to do."""
    if impl == "pure":
        return
    try:
        import_module("oxisock._native")
    except ImportError as error:
        raise ImportError(
            f"the native engine of oxisock cannot be loaded ({error}); OXISOCK_IMPL=pure selects the pure one"
        ) from error


def refuse(error: ImportError) -> NoReturn:
    """Raise the error. If the command was started, it prints one line instead, as for other wrong usage."""
    words = sys.orig_argv[1:]
    script = os.path.basename(sys.argv[0]) if sys.argv else ""
    # Python imports the package before the command, so the command cannot report this itself.
    if script in ("oxisock", "oxisock.exe") or (script == "-m" and "oxisock" in words[words.index("-m") + 1 :][:1]):
        if sys.stderr is not None:
            sys.stderr.write(f"oxisock: {error}\n")
        raise SystemExit(2)
    raise error
