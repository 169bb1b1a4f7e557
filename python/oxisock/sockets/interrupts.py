"""Delays Ctrl-C for a moment, so that no descriptor or result is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def held_back() -> Iterator[None]:
    """Delay SIGINT, and SIGTERM or SIGHUP if they have a handler, until the end of this block.

    Python may run a signal handler between any two steps. So it could raise KeyboardInterrupt between the call that
    makes a socket and the assignment that keeps it. Handlers run in the main thread only; in other threads this does
    nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[tuple[int, FrameType | None]] = []

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append((number, frame))

    # Signals that are ignored, or that Python does not handle, raise nothing.
    handlers = {number: handler for number in _ENDING if callable(handler := signal.getsignal(number))}
    try:
        for number in handlers:
            signal.signal(number, remember)
    except ValueError:  # the main thread of another interpreter, which gets no signals
        handlers.clear()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if caught:
            handlers[caught[0][0]](*caught[0])
