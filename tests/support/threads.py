"""Work in a thread beside the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def beside(work: Callable[..., Any], *arguments: Any) -> Iterator[list[Any]]:
    """Do work in a thread while the block lasts, and wait for it; its result is in the list afterwards. What it raises
    fails the test."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work(*arguments)))
    thread.start()
    try:
        yield results
    finally:
        thread.join(100)
        assert not thread.is_alive()
