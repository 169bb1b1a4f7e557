"""Running coroutines on each kind of event loop, for the tests of oxisock.aio: import ``run`` and ``warm`` from here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

try:
    import uvloop
except ImportError:
    uvloop = None

Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Let libuv make its pool of threads, which it keeps for as long as the process lives, before leaks are watched."""
    if uvloop is not None:

        async def look_up() -> None:
            await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 1)
            await asyncio.get_running_loop().getaddrinfo("localhost", 1)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(look_up())


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine to its end on a loop of one kind, within a deadline."""
    if request.param == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed")
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(work, 60))

    return to_the_end
