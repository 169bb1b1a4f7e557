"""Waiting for what comes about in a while."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], timeout: float = 20.0) -> bool:
    """Wait for a condition with a generous deadline; say whether it came true."""
    deadline = time.monotonic() + timeout
    pause = 0.0002  # most is true at once, or in a moment
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, 0.005)
    return True
