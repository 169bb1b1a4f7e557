"""Waits for threads that start together, and reports the first error once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Latch:
    """Daemon threads that start together. ``failed`` is called with the first error, on the thread that raised it."""

    def __init__(self, failed: Callable[[BaseException], object] | None = None) -> None:
        self.failure: BaseException | None = None
        self._failed = failed
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        return len(self._threads)

    def spawn(self, name: str, work: Callable[[], object]) -> threading.Thread:
        """Start a thread. Raises RuntimeError if there are no more threads."""
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except BaseException:
            self._threads.remove(thread)
            raise
        return thread

    def join(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for all threads to end; return whether they have."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def wait(self, timeout: float) -> bool:
        """Do as ``join``, but raise the error of a failed thread, once."""
        ended = self.join(timeout)
        if ended and (failure := self.failure) is not None:
            self.failure = None
            raise failure
        return ended

    def inside(self) -> bool:
        """Return whether the calling thread is one of these."""
        return threading.current_thread() in self._threads

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            if self.failure is None:
                self.failure = error
                if self._failed is not None:
                    self._failed(error)
