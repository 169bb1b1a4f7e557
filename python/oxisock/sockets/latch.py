"""Threads that start together: waits for their end, and reports the first error once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Latch:
    """Daemon threads that were begun together. ``failed`` is called, on its thread, with what the first one raised."""

    def __init__(self, failed: Callable[[BaseException], object] | None = None) -> None:
        self.failure: BaseException | None = None
        self._failed = failed
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._threads)

    def spawn(self, name: str, work: Callable[[], object]) -> threading.Thread:
        """Begin a thread; RuntimeError where none is to be had."""
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.remove(thread)
            raise
        return thread

    def join(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end of all; say whether it came."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, timeout: float) -> bool:
        """As ``join``, but how one of them failed is told once, as an error."""
        ended = self.join(timeout)
        if ended and (failure := self.failure) is not None:
            self.failure = None
            raise failure
        return ended

    def inside(self) -> bool:
        """Return whether the calling thread is one of them."""
        return threading.current_thread() in self._threads

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            if self.failure is None:
                self.failure = error
                if self._failed is not None:
                    self._failed(error)
