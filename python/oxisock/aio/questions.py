"""Questions about one port on the event loop, without threads, however many questions there are."""

from __future__ import annotations

import asyncio
import weakref
from typing import TypeVar

from ..engines.scanning import OutcomeTuple, ScanRun
from ..scanning.questions import LookUp, Outcomes, Step, Steps
from .connect import addresses_of, carry_out

T = TypeVar("T")

# The pause between two looks at a scan is this share of the time since the scan began, within these bounds in seconds.
# So answers that come soon are seen soon, and a scan without answers is looked at seldom.
_SHARE = 1 / 8
_SOONEST = 0.0002
_LATEST = 0.02


async def answer(steps: Steps[T]) -> T:
    """Answer a question, awaiting one step after the other. Cancelling this closes every descriptor at once."""
    # Beginning a question takes a moment. Begin one question at a time, and let other tasks run between two.
    async with _turnstile():
        await asyncio.sleep(0)
        try:
            step = next(steps)
        except StopIteration as end:
            raise RuntimeError("a question without steps") from end
    looks = _Looks()
    return await carry_out(steps, step, lambda step: _wait_for(step, looks))


class _Looks:
    """Decides when to look at scans that are under way."""

    def __init__(self) -> None:
        self._latest: ScanRun | None = None
        self._began = 0.0

    async def look(self, runs: tuple[ScanRun, ...], timeout: float) -> list[list[OutcomeTuple]]:
        """Return the new outcomes, after a pause of at most ``timeout`` seconds."""
        now = asyncio.get_running_loop().time()
        if runs[-1] is not self._latest:
            self._latest, self._began = runs[-1], now
        else:
            pause = min(max((now - self._began) * _SHARE, _SOONEST), _LATEST, max(timeout, 0))
            await asyncio.sleep(pause)
        return [list(run.wait(0)) for run in runs]


async def _wait_for(step: Step, looks: _Looks) -> object:
    if isinstance(step, LookUp):
        return await addresses_of(step.host, step.timeout)
    if isinstance(step, Outcomes):
        return await looks.look(step.runs, step.timeout)
    await asyncio.sleep(step.seconds)
    return None


_turnstiles: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = weakref.WeakKeyDictionary()


def _turnstile() -> asyncio.Lock:
    loop = asyncio.get_running_loop()
    if loop not in _turnstiles:
        _turnstiles[loop] = asyncio.Lock()
    return _turnstiles[loop]
