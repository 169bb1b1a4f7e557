"""A handler is driven by its frames, and nobody can tell: its task is cancelled, times out, waits and ends as any."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from support.coroutines import Run, until

Handler = Callable[[Any, Peer], Awaitable[object]]


async def _echo_one(stream: Any) -> bool:
    """Echo a frame, which is the one step of the task that everything begins with; False at the end."""
    frame = await stream.recv()
    if frame is not None:
        await stream.send(frame)
    return frame is not None


async def _ask(impl: ModuleType, handler: Handler, *asked: bytes) -> tuple[list[bytes | None], Any]:
    """Ask one after the other, wait for the end of the connection, and give the answers and the server's counters."""
    async with impl.aio.start_server(handler) as server:
        stream = await impl.aio.open_framed(*server.address)
        answers: list[bytes | None] = []
        with suppress(OSError):
            for message in asked:
                await stream.send(message)
                answers.append(await stream.recv())
            stream.shutdown_write()
        await until(lambda: server.stats().active == 0)
        stream.abort()
    return answers, server.stats()


def test_a_timeout_while_it_waits_for_a_frame(impl: ModuleType, run: Run) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        await _echo_one(stream)
        await _echo_one(stream)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await stream.recv()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stream.recv(), 0.01)
        await stream.send(b"nothing came")
        while await _echo_one(stream):
            pass

    async def main() -> None:
        async with impl.aio.start_server(handler) as server, impl.aio.open_framed(*server.address) as stream:
            for message in (b"1", b"2"):
                await stream.send(message)
                assert await stream.recv() == message
            assert await stream.recv() == b"nothing came"
            for message in (b"3", b"4"):
                await stream.send(message)
                assert await stream.recv() == message
            assert server.stats().handler_errors == 0

    run(main())


def test_a_timeout_while_it_waits_for_something_else(impl: ModuleType, run: Run) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        while await _echo_one(stream):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await asyncio.Event().wait()
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    answers, stats = run(_ask(impl, handler, b"1", b"2", b"3"))
    assert answers == [b"1", b"2", b"3"]
    assert stats.handler_errors == 0


@pytest.mark.parametrize("then", ["frame", "future", "turn", "end", "error", "nothing to cancel"])
def test_a_handler_that_cancels_itself(impl: ModuleType, run: Run, then: str) -> None:
    """It is cancelled where it waits the next time, whatever that is for, or where it ends."""
    seen: list[object] = []

    async def handler(stream: Any, peer: Peer) -> None:
        await _echo_one(stream)
        await _echo_one(stream)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancel("by itself")
        future = asyncio.get_running_loop().create_future()
        if then == "nothing to cancel":
            future.set_result(None)
        try:
            if then == "frame":
                await stream.recv()
            elif then == "future":
                await future
            elif then == "turn":
                await asyncio.sleep(0)
            elif then == "nothing to cancel":
                await future
                await asyncio.sleep(0)
            elif then == "error":
                raise LookupError("in the end")
        except asyncio.CancelledError as error:
            seen.append((error.args, future.cancelled()))
            raise

    answers, stats = run(_ask(impl, handler, b"1", b"2"))
    assert answers == [b"1", b"2"]
    assert stats.active == 0
    if then in ("end", "error"):
        assert not seen
        assert stats.handler_errors == (then == "error")
    else:
        assert seen == [(("by itself",), then == "future")]


def test_what_a_handler_raises_is_its_own(impl: ModuleType, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        await _echo_one(stream)
        await _echo_one(stream)
        raise LookupError("as it was")

    answers, stats = run(_ask(impl, handler, b"1", b"2"))
    assert answers == [b"1", b"2"]
    assert stats.handler_errors == 1
    assert "as it was" in caplog.text
    assert "test_driving.py" in caplog.text


def test_a_handler_that_others_cancel(impl: ModuleType, run: Run) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def handler(stream: Any, peer: Peer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            while await _echo_one(stream):
                pass
        except asyncio.CancelledError:
            tasks.remove(task)
            raise

    async def main() -> None:
        async with impl.aio.start_server(handler) as server:
            streams = [await impl.aio.open_framed(*server.address) for _ in range(3)]
            for stream in streams:
                for message in (b"1", b"2"):
                    await stream.send(message)
                    assert await stream.recv() == message
            for task in tasks:
                assert task.cancel()
            await until(lambda: server.stats().active == 0)
            assert not tasks
            for stream in streams:
                stream.abort()

    run(main())


def test_two_who_receive_are_one_too_many(impl: ModuleType, run: Run) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        while (frame := await stream.recv()) is not None:
            await stream.send(frame)
            other = asyncio.create_task(stream.recv())
            await asyncio.sleep(0)  # it waits now
            with pytest.raises(RuntimeError, match="another task receives"):
                await stream.recv()
            await stream.send(await other or b"nothing")

    async def main() -> None:
        async with impl.aio.start_server(handler) as server, impl.aio.open_framed(*server.address) as stream:
            for number in range(10):
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number
            assert server.stats().handler_errors == 0

    run(main())


def test_what_is_awaited_need_not_be_a_coroutine(impl: ModuleType, run: Run) -> None:
    def handler(stream: Any, peer: Peer) -> Awaitable[object]:
        async def conversation() -> None:
            while await _echo_one(stream):
                pass

        return asyncio.ensure_future(conversation())

    async def main() -> None:
        async with impl.aio.start_server(handler) as server, impl.aio.open_framed(*server.address) as stream:
            for number in range(5):
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number

    run(main())


def test_a_handler_that_ignores_its_cancelling_goes_on(impl: ModuleType, run: Run) -> None:
    async def handler(stream: Any, peer: Peer) -> None:
        await _echo_one(stream)
        task = asyncio.current_task()
        assert task is not None
        for _ in range(3):
            await _echo_one(stream)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stream.recv()
            task.uncancel()
        while await _echo_one(stream):
            pass

    async def main() -> None:
        async with impl.aio.start_server(handler) as server, impl.aio.open_framed(*server.address) as stream:
            for number in range(10):
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number
            stream.shutdown_write()
            assert await stream.recv() is None
            assert server.stats().handler_errors == 0

    run(main())


def test_a_connection_that_was_alone_is_forgotten(impl: ModuleType, run: Run) -> None:
    class Decoder:
        def __init__(self) -> None:
            known.add(self)

        def feed(self, data: bytes) -> list[bytes]:
            return [data]

        def eof(self) -> list[bytes]:
            return []

    class Whole:
        def encode(self, payload: bytes) -> bytes:
            return payload

        def decoder(self) -> Decoder:
            return Decoder()

    known: weakref.WeakSet[Decoder] = weakref.WeakSet()

    async def handler(stream: Any, peer: Peer) -> None:
        while await _echo_one(stream):
            pass

    async def main() -> None:
        async with impl.aio.start_server(handler, codec=Whole()) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            for message in (b"1", b"2"):
                writer.write(message)
                assert await reader.read(1) == message
            assert len(known) == 1
            writer.close()
            await until(lambda: server.stats().active == 0)

            def is_forgotten() -> bool:
                gc.collect()
                return not known

            await until(is_forgotten)

    run(main())
