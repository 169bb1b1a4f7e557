"""What the tests of ``oxisock.aio`` share: the fixture's type, a handler, and waiting on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from oxisock import Peer

Run = Callable[[Coroutine[Any, Any, Any]], Any]  # the fixture `run`


async def upper(stream: Any, peer: Peer) -> None:
    """Answer every message in upper case."""
    async for message in stream:
        await stream.send(message.upper())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition with a generous deadline."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.0005)
