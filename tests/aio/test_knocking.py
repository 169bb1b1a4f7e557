"""Servers on a loop that can watch no listener, as Windows's: a thread watches for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import pytest


class Blind(asyncio.SelectorEventLoop):
    """Has transports, and watches nothing else."""

    def add_reader(self, *args: Any) -> None:
        raise NotImplementedError

    def remove_reader(self, *args: Any) -> bool:
        raise NotImplementedError


def run(work: Coroutine[Any, Any, Any]) -> None:
    with asyncio.Runner(loop_factory=Blind) as runner:
        runner.run(asyncio.wait_for(work, 60))


async def upper(stream: Any, peer: Any) -> None:
    async for message in stream:
        await stream.send(message.upper())


def watchers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "oxisock-knocks"]


def test_conversations_one_after_the_other_and_at_once(impl: ModuleType) -> None:
    async def talk(server: Any, number: int) -> None:
        async with impl.aio.open_framed(*server.address) as stream:
            for i in range(3):
                await stream.send(b"x%d %d" % (number, i))
                assert await stream.recv() == b"X%d %d" % (number, i)

    async def work() -> None:
        async with impl.aio.start_server(upper) as server:
            for number in range(3):
                await talk(server, number)
            await asyncio.gather(*(talk(server, number) for number in range(100)))
            assert server.stats().accepted == 103
            assert watchers() == ["oxisock-knocks"]
        assert watchers() == []

    run(work())


def test_nobody_is_let_in_beyond_the_limit_and_somebody_is_once_there_is_room(impl: ModuleType) -> None:
    async def work() -> None:
        async with impl.aio.start_server(upper, max_connections=1) as server:
            async with impl.aio.open_framed(*server.address) as first:
                await first.send(b"x")
                assert await first.recv() == b"X"
                second = await impl.aio.open_framed(*server.address)
                await second.send(b"y")
                await first.send(b"z")
                assert await first.recv() == b"Z"
                assert server.stats().accepted == 1
            assert await second.recv() == b"Y"
            second.abort()

    run(work())


@pytest.mark.parametrize("drain", [0, 0.05, None])
def test_a_stop_ends_the_watch(impl: ModuleType, drain: float | None) -> None:
    async def work() -> None:
        server = await impl.aio.start_server(upper)
        if drain is not None:
            async with impl.aio.open_framed(*server.address) as stream:
                await stream.send(b"x")
                assert await stream.recv() == b"X"
        await server.stop(drain)
        assert watchers() == []
        with pytest.raises(ConnectionRefusedError):
            await impl.aio.open_framed(*server.address)

    run(work())
