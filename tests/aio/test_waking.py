"""A task that waits for a frame goes on where the frame came in: what is cancelled, lost and kept on the way."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from random import Random
from types import ModuleType
from typing import Any

import pytest

from oxisock import Peer
from oxisock.aio.tally import Tally
from oxisock.aio.waking import Waker
from support.coroutines import Run, until, upper

_word: ContextVar[str] = ContextVar("word", default="nobody's")


def test_a_cancelled_wait_says_why_and_loses_no_frame(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server, impl.aio.open_framed(*server.address) as stream:
            for number in range(20):
                waiting = asyncio.create_task(stream.recv())
                await asyncio.sleep(0)  # it waits now
                assert waiting.cancel("enough")
                with pytest.raises(asyncio.CancelledError, match="enough"):
                    await waiting
                await stream.send(b"%d" % number)
                assert await stream.recv() == b"%d" % number

    run(main())


def test_a_wait_with_a_limit_may_be_over_at_any_moment(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper) as server, impl.aio.open_framed(*server.address) as stream:
            heard = []
            for number in range(100):
                await stream.send(b"%d" % number)
                try:
                    heard.append(await asyncio.wait_for(stream.recv(), 0.0001 * (number % 5)))
                except TimeoutError:
                    continue
            while len(heard) < 100:
                heard.append(await stream.recv())
            assert heard == [b"%d" % number for number in range(100)]

    run(main())


def test_a_handler_goes_on_as_itself(impl: ModuleType, run: Run) -> None:
    """Its task is the current one, and its context is its own, however many others go on in between."""

    async def main() -> None:
        async def handler(stream: Any, peer: Peer) -> None:
            task = asyncio.current_task()
            _word.set(f"{peer.port}")
            async for message in stream:
                assert asyncio.current_task() is task
                await stream.send(message + _word.get().encode())

        async with impl.aio.start_server(handler) as server:
            streams = [await impl.aio.open_framed(*server.address) for _ in range(5)]
            for _ in range(20):
                for stream in streams:
                    await stream.send(b"I am ")
                for stream in streams:
                    port = stream.sock.getsockname()[1]
                    assert await stream.recv() == b"I am %d" % port
            assert _word.get() == "nobody's"
            for stream in streams:
                stream.close()
                await stream.wait_closed()
            await until(lambda: server.stats().active == 0)
            assert server.stats().handler_errors == 0

    run(main())


def test_a_handler_that_closes_others_where_its_frame_came_in(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        streams: list[Any] = []

        async def handler(stream: Any, peer: Peer) -> None:
            streams.append(stream)
            async for message in stream:
                if message == b"close":
                    for other in streams:
                        other.close()
                else:
                    await stream.send(message)

        async with impl.aio.start_server(handler) as server:
            clients = [await impl.aio.open_framed(*server.address) for _ in range(3)]
            for client in clients:
                await client.send(b"here")
                assert await client.recv() == b"here"
            await clients[0].send(b"close")
            for client in clients:
                assert await client.recv() is None
                client.close()
                await client.wait_closed()
            await until(lambda: server.stats().active == 0)
            # Two were waiting for a message when their stream was closed under them.
            assert server.stats().accepted == 3

    run(main())


def test_what_is_sent_together_and_alone_stays_in_order(impl: ModuleType, run: Run) -> None:
    """Frames that are written at once, those that wait for the end of the turn, and those that fill a write."""

    async def main() -> None:
        async def handler(stream: Any, peer: Peer) -> None:
            dice = Random(peer.port)
            async for message in stream:
                for number in range(int(message)):
                    await stream.send(b"%d" % number if dice.random() < 0.9 else b"%d" % number + b" " * 70_000)
                    if dice.random() < 0.1:
                        await asyncio.sleep(0)

        async def ask(number: int) -> None:
            dice = Random(number)
            async with impl.aio.open_framed(*server.address) as stream:
                for _ in range(40):
                    count = dice.choice((1, 1, 1, 2, 20))
                    await stream.send(b"%d" % count)
                    for answer in range(count):
                        assert int(await stream.recv()) == answer

        async with impl.aio.start_server(handler) as server:
            await ask(0)  # alone
            await asyncio.gather(*map(ask, range(1, 5)))

    run(main())


def test_a_write_that_fails_costs_no_other_stream_its_own(impl: ModuleType, run: Run) -> None:
    class Stub:
        def __init__(self, fails: bool) -> None:
            self.fails, self.written = fails, 0
            self._pending, self._inbox = [b"frame"], None

        def _hand_over(self, wire: bytes) -> None:
            self.written += 1
            if self.fails:
                raise OSError("so it goes")

    async def main() -> None:
        loop, told = asyncio.get_running_loop(), []
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        tally = Tally(loop)
        streams = [Stub(False), Stub(True), Stub(False), Stub(True), Stub(False)]
        tally.write_soon()
        tally.due += streams
        await until(lambda: all(stream.written for stream in streams))
        assert [stream.written for stream in streams] == [1] * 5
        assert [str(error) for error in told] == ["so it goes"] * 2

    run(main())


def test_it_is_future_like_as_asyncio_documents(run: Run) -> None:
    async def main() -> None:
        waker = Waker(asyncio.get_running_loop())
        assert asyncio.isfuture(waker)
        assert waker.get_loop() is asyncio.get_running_loop()

    run(main())
