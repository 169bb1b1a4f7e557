"""Wakes a task that waits for a frame, inside the callback that brought the frame."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context, copy_context
from itertools import repeat
from typing import Any


class Waker:
    """To be awaited by one task at a time, again and again; as good as a future to asyncio's tasks.

    A future lets its task go on by one more callback of the loop, which costs as much as all else that is done for a
    small message. That callback is spared where no task runs.

    It is a future-like object, as the documentation of ``asyncio.isfuture`` has it.

    Attributes:
        callback: what lets the task go on that waits, or is about to go on; None where none does.
        get_loop: gives the loop whose tasks may wait, as a future's does.
        wait: what is to be awaited instead, where there is something quicker.
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
        self.get_loop = repeat(loop).__next__  # which tasks call for each wait; a method would take twice as long
        self._asyncio_future_blocking = False  # by its presence tasks know what they can wait on
        self.wait: Awaitable[None] | None = None
        self.callback: Callable[[Any], object] | None = None
        self._context = Context()
        self._done: asyncio.Future[None] = loop.create_future()
        self._done.set_result(None)
        self._woken = self._cancelled = False
        self._message: object = None  # of who cancelled the task

    def idle(self) -> bool:
        """Say whether a task waits that nothing has woken."""
        return self.callback is not None and not self._woken

    def wake(self) -> None:
        """Let the task go on in the loop's next turn; does nothing where none waits."""
        if self.callback is not None and not self._woken:
            self._woken = True
            self._loop.call_soon(self.callback, self, context=self._context)

    def go_on(self) -> None:
        """Let the task go on now, or soon where another one runs; it waits again or has ended when this returns."""
        callback = self.callback
        if callback is not None and not self._woken:
            if current_task(self._loop) is None:
                self.callback = None
                self._context.run(callback, self._done)  # whose result is there, which costs no call of ours
            else:
                self.wake()

    # --- what a task asks of a future --------------------------------------------------------------------------------

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        return iter((self,))  # type: ignore[return-value]  # which costs less than a generator

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Begin to wait: what the task gives lets it go on."""
        self.callback = callback
        self._context = copy_context() if context is None else context

    def cancel(self, msg: object = None) -> bool:
        """Let the task go on with CancelledError; False where it is about to go on anyhow."""
        if not self.idle():
            return False
        self._cancelled, self._message = True, msg
        self.wake()
        return True

    def result(self) -> None:
        """End the waiting; raises CancelledError where it was cancelled."""
        self.callback = None
        self._woken = False
        if self._cancelled:
            self._cancelled = False
            message, self._message = self._message, None
            raise asyncio.CancelledError() if message is None else asyncio.CancelledError(message)
