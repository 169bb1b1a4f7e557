"""Runs blocking work for asyncio programs on a thread of its own, and tells it to stop when the task is cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")

# A cancelled task waits this long for its work to close what it holds. All work here finishes sooner.
_PATIENCE = 0.1


async def in_thread(
    work: Callable[[], T], *, stop: Callable[[], object] | None = None, undo: Callable[[T], object] | None = None
) -> T:
    """Do ``work()`` on a daemon thread and return its result.

    If the task is cancelled, ``stop()`` tells the work to end. If the work still gives a result, ``undo(result)`` takes
    it back, also on a thread. The task waits for both to end, but at most a tenth of a second.

    This does not use the loop's executor, because a program waits at its end for all work in an executor.
    """
    job = _Job(work, undo)
    try:
        # Do not await the future itself: cancelling the task would cancel it, and the result of the thread would be
        # lost.
        await asyncio.wait([job.done])
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        job.abandon()
        await asyncio.wait([job.gone], timeout=_PATIENCE)
        raise
    return job.done.result()


class _Job(Generic[T]):
    """Work on a thread. Everything except that thread runs on the loop's thread."""

    def __init__(self, work: Callable[[], T], undo: Callable[[T], object] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._undo = undo
        self._abandoned = False
        self.done: asyncio.Future[T] = self._loop.create_future()
        self.gone: asyncio.Future[None] = self._loop.create_future()  # set once abandoned work is undone
        self._start(lambda: self._work(work))

    def abandon(self) -> None:
        """Abandon the work and take back its result."""
        self._abandoned = True
        if self.done.done():
            self._let_go()

    def _work(self, work: Callable[[], T]) -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:
            failure = error
        try:
            self._loop.call_soon_threadsafe(self._settle, result, failure)
        except RuntimeError:  # the loop is closed: nobody waits any more
            if failure is None and self._undo is not None:
                self._undo(result)  # type: ignore[arg-type]

    def _settle(self, result: T | None, failure: BaseException | None) -> None:
        if failure is not None:
            self.done.set_exception(failure)
        else:
            self.done.set_result(result)  # type: ignore[arg-type]
        if self._abandoned:
            self._let_go()

    def _let_go(self) -> None:
        # Asking for the exception also stops asyncio from warning that nobody retrieved it.
        if self.done.exception() is not None or self._undo is None:
            self.gone.set_result(None)
        else:
            undo, result = self._undo, self.done.result()
            self._start(lambda: self._take_back(undo, result))

    def _take_back(self, undo: Callable[[T], object], result: T) -> None:
        try:
            undo(result)
        finally:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self.gone.set_result, None)

    def _start(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name="oxisock-background", daemon=True).start()
