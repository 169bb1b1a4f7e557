"""Resumes a handler's coroutine as soon as its frame arrives, without a step of its task for each frame."""

from __future__ import annotations

import asyncio
from asyncio import current_task, tasks
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import CoroutineType, coroutine
from typing import Any, NoReturn, cast

from .waking import Waker

# asyncio has these for authors of their own tasks. Without them, each frame takes a step of the task.
_enter_task: Any = getattr(tasks, "_enter_task", None)
_leave_task: Any = getattr(tasks, "_leave_task", None)


class _Wait(tuple[Any, ...]):
    """An awaitable that yields its one item. Awaiting it calls no Python code."""

    __slots__ = ()
    __await__ = tuple.__iter__


class Driver(Waker):
    """A Waker that resumes a coroutine itself, on behalf of its task, while the coroutine waits only for frames.

    Meanwhile the task waits on the Driver. If the coroutine waits for something else, ends or raises, the task takes a
    step of its own, within the same callback.
    """

    __slots__ = ("_cancelled_itself", "_handler", "_next", "_send", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.wait = cast(Awaitable[None], _Wait((self,)))
        self._task: asyncio.Task[Any] | None = None
        self._handler: Coroutine[Any, Any, Any] | None = None
        self._send: Callable[[Any], object] | None = None  # the handler's `send`, while the handler waits for a frame
        self._cancelled_itself: tuple[object] | None = None  # the message, if the handler cancelled its own task
        self._next: tuple[Callable[[Any], object], Any] | None = None  # call and argument with which the task resumes

    @property
    def _asyncio_future_blocking(self) -> bool:
        """Return True: tasks read this to learn that they await the Driver, and nobody else reads it."""
        return True

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, blocking: bool) -> None:
        """Ignore what a task sets."""

    def driven(self, conversation: Awaitable[Any]) -> Awaitable[Any]:
        """Return what the running task is to await, so that the Driver drives the handler's conversation."""
        if _enter_task is None or _leave_task is None or not isinstance(conversation, CoroutineType):
            return conversation
        self._task = current_task(self._loop)
        self._handler = conversation
        return self._drive(conversation)

    @coroutine
    def _drive(self, handler: Coroutine[Any, Any, Any]) -> Generator[Any, None, Any]:
        step: Callable[[Any], object] = handler.send
        argument: Any = None
        try:
            while True:
                try:
                    wanted = step(argument)
                except StopIteration as end:
                    return end.value
                argument = None
                if wanted is self:
                    self._send = handler.send
                try:
                    yield wanted
                except GeneratorExit:
                    handler.close()
                    raise
                except BaseException as error:
                    step, argument = handler.throw, error
                else:
                    step, argument = self._next or (handler.send, None)
                self._next = self._send = None
        finally:
            # An exception that leaves refers to this frame. Clear the frame, so that it does not refer to the
            # exception.
            argument = self._next = self._send = self._handler = self._task = None

    def go_on(self) -> None:
        """Resume the handler now, or soon if a task is running."""
        callback, send, task = self.callback, self._send, self._task
        if send is None or task is None or callback is None or self._woken:
            super().go_on()
            return
        loop, context = self._loop, self._context
        try:
            _enter_task(loop, task)
        except RuntimeError:  # another task is running
            self.wake()
            return
        wanted = failed = None
        self.callback = None
        try:
            wanted = context.run(send, None)
        except BaseException as error:  # also the end of the coroutine
            failed = error
        _leave_task(loop, task)
        if wanted is self:
            self.callback = callback
            if self._cancelled_itself is not None:
                (message,), self._cancelled_itself = self._cancelled_itself, None
                super().cancel(message)
            return
        self._next = self._step_after(wanted, failed)
        failed = None
        context.run(callback, self._done)

    def cancel(self, msg: object = None) -> bool:
        """Raise CancelledError in the handler when it next waits."""
        if self._send is not None and self.callback is None:  # it runs without a step of its task
            self._cancelled_itself = (msg,)
            return True
        return super().cancel(msg)

    def _step_after(self, wanted: Any, failed: BaseException | None) -> tuple[Callable[[Any], object], Any]:
        """Return the step that passes on to the task what the handler did."""
        cancelled, self._cancelled_itself = self._cancelled_itself, None
        if cancelled is None or not (failed is None or isinstance(failed, StopIteration)):
            return (_want, wanted) if failed is None else (_fail, failed)
        if failed is None and asyncio.isfuture(wanted) and wanted.cancel(*cancelled):
            return _want, wanted
        error = asyncio.CancelledError() if cancelled[0] is None else asyncio.CancelledError(*cancelled)
        if failed is not None or self._handler is None:
            return _fail, error
        return self._handler.throw, error


def _want(wanted: object) -> object:
    return wanted


def _fail(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error
