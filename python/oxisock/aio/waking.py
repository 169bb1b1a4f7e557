"""Wakes a task that waits for a frame, inside the callback that brought the frame."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, copy_context
from itertools import repeat
from typing import Any


class Waker:
    """An awaitable for one task at a time, again and again; asyncio's tasks treat it as a future.

    A future resumes its task through one more callback of the loop, which takes as long as all other work for a small
    message. A Waker needs no such callback while no task runs.

    It is a future-like object, as the documentation of ``asyncio.isfuture`` defines it.

    Attributes:
        callback: resumes the task that waits, or is about to go on; None if there is no such task.
        get_loop: returns the loop whose tasks may wait, as a future's ``get_loop`` does.
        wait: a faster object to await instead, if there is one.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_cancelled",
        "_context",
        "_done",
        "_loop",
        "_message",
        "_woken",
        "callback",
        "get_loop",
        "wait",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.get_loop = repeat(loop).__next__  # tasks call it for each wait; a method would take twice as long
        self._asyncio_future_blocking = False  # tasks recognise a future by this attribute
        self.wait: Awaitable[None] | None = None
        self.callback: Callable[[Any], object] | None = None
        self._context = Context()
        self._done: asyncio.Future[None] = loop.create_future()
        self._done.set_result(None)
        self._woken = self._cancelled = False
        self._message: object = None  # the message of the call that cancelled the task

    def idle(self) -> bool:
        """Return whether a task waits that nothing has woken."""
        return self.callback is not None and not self._woken

    def wake(self) -> None:
        """Resume the task in the loop's next turn; do nothing if no task waits."""
        if self.callback is not None and not self._woken:
            self._woken = True
            self._loop.call_soon(self.callback, self, context=self._context)

    def go_on(self) -> None:
        """Resume the task now, or soon if another task runs. If now, it waits again or has ended on return."""
        callback = self.callback
        if callback is not None and not self._woken:
            if current_task(self._loop) is None:
                self.callback = None
                self._context.run(callback, self._done)  # a finished future, so the task calls none of our methods
            else:
                self.wake()

    # --- what a task asks of a future --------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        return iter((self,))  # type: ignore[return-value]  # faster than a generator

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Begin to wait: ``callback`` resumes the task."""
        self.callback = callback
        self._context = copy_context() if context is None else context

    def cancel(self, msg: object = None) -> bool:
        """Resume the task with CancelledError; return False if it is about to resume anyway."""
        if not self.idle():
            return False
        self._cancelled, self._message = True, msg
        self.wake()
        return True

    def result(self) -> None:
        """End the wait. Raises CancelledError if it was cancelled."""
        self.callback = None
        self._woken = False
        if self._cancelled:
            self._cancelled = False
            message, self._message = self._message, None
            raise asyncio.CancelledError() if message is None else asyncio.CancelledError(message)
