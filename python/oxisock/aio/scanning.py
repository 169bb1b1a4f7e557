"""Scans from coroutines: the blocking scanner runs on its own thread, and ends with the task that waits for it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Self

from ..scanning.calls import check_callbacks
from ..scanning.report import ScanReport
from ..scanning.running import Scan
from ..types import PortResult, Progress

_SLICE = 0.02  # seconds after which the thread sees that it is to end
_PROGRESS_INTERVAL = 0.1  # the shortest time in seconds between two calls of on_progress
_FAIR_SHARE = 128  # results given in a row before other tasks run


class AsyncScan:
    """A running scan: an asynchronous iterator over the kept results, and a context manager that ends the scan.

    ``aio.scan_iter`` makes it. It begins when you enter ``async with`` or ask for the first result; bad arguments raise
    there. Results come as they are found, in no order. A scan ends by itself, or by ``cancel``, ``close``, leaving
    ``async with``, dropping it, or cancelling the task that waits for a result. It always closes its sockets, and
    ``report`` stays valid. Only one task at a time may iterate.
    """

    def __init__(self, begin: Callable[[threading.Event], Scan]) -> None:
        self._driver = _Driver(begin)
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PortResult:
        """Return the next result; StopAsyncIteration at the end. Cancelling this ends the scan."""
        driver = self._driver
        try:
            await self._give_way()
            if not driver.closed:
                driver.start()
            while not driver.fresh:
                if driver.over or driver.closed:
                    driver.check()
                    raise StopAsyncIteration
                await driver.wait()
        except asyncio.CancelledError:
            await self._end()
            raise
        return driver.fresh.popleft()

    async def __aenter__(self) -> Self:
        driver = self._driver
        driver.start()
        try:
            while driver.scan is None and not driver.over:
                await driver.wait()
        except BaseException:
            await self._end()
            raise
        driver.check()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    def __del__(self) -> None:
        if hasattr(self, "_driver"):
            self._driver.stop.set()

    def __repr__(self) -> str:
        done, total, open_ports, *_ = self.progress()
        return f"<AsyncScan: {done} of {total} ports decided, {open_ports} open>"

    def cancel(self) -> None:
        """End the scan within 50 ms. Iteration still gives the results found before."""
        self._driver.stop.set()

    def close(self) -> None:
        """End the scan as ``cancel`` does, and the iteration; ``report`` still has all results."""
        self._driver.stop.set()
        self._driver.closed = True
        self._driver.fresh.clear()

    async def wait_closed(self) -> None:
        """Wait until the scan has ended and has closed its sockets."""
        while not self._driver.over:
            await self._driver.wait()

    def progress(self) -> Progress:
        """Return the progress of the scan."""
        scan = self._driver.scan
        return Progress(0, 0, 0, 0.0, 0.0) if scan is None else scan.progress()

    def report(self) -> ScanReport:
        """Return the report so far, marked partial unless every port has a result. RuntimeError before the start."""
        if self._driver.report is not None:
            return self._driver.report
        if self._driver.scan is None:
            raise RuntimeError("the scan has not begun")
        return self._driver.scan.taken()

    async def run(
        self, on_result: Callable[[PortResult], object] | None, on_progress: Callable[[Progress], object] | None
    ) -> ScanReport:
        """Run the scan to its end, call the callbacks, and return the report."""
        check_callbacks(on_result, on_progress)
        async with self:
            driver = self._driver
            clock = driver.loop.time
            next_call = clock() + _PROGRESS_INTERVAL
            try:
                while not driver.over:
                    await driver.wait(_PROGRESS_INTERVAL if on_progress else None)
                    await self._call(on_result)
                    if on_progress and not driver.over and clock() >= next_call:
                        on_progress(self.progress())
                        next_call = clock() + _PROGRESS_INTERVAL
                driver.check()
                await self._call(on_result)
                if on_progress:
                    on_progress(self.progress())
            except Exception as error:
                await self._end()
                error.report = self.report()  # type: ignore[attr-defined]
                raise
        return self.report()

    async def _call(self, on_result: Callable[[PortResult], object] | None) -> None:
        fresh = self._driver.fresh
        if on_result is None:
            fresh.clear()
        while on_result is not None and fresh:
            await self._give_way()
            on_result(fresh.popleft())

    async def _give_way(self) -> None:
        """Let other tasks run from time to time, however many results there are."""
        self._given += 1
        if not self._given % _FAIR_SHARE:
            await asyncio.sleep(0)

    async def _end(self) -> None:
        self.close()
        await self.wait_closed()


class _Driver:
    """The thread that scans, and its results. It does not hold the user's AsyncScan, which may be dropped."""

    def __init__(self, begin: Callable[[threading.Event], Scan]) -> None:
        self._begin = begin
        self.stop = threading.Event()
        self.scan: Scan | None = None
        self.fresh: deque[PortResult] = deque()
        self.report: ScanReport | None = None
        self.closed = False
        self.over = True  # True until the thread is started
        self._started = False
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start the thread, unless it was started."""
        if self._started:
            return
        self._started = True
        self.loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self.over = False
        try:
            threading.Thread(target=self._run, name="oxisock-aio-scan", daemon=True).start()
        except BaseException:
            self.over = True
            raise

    async def wait(self, timeout: float | None = None) -> None:
        """Wait until something has happened, but at most ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    def check(self) -> None:
        """Raise the error that ended the scan, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        error, report = None, None
        try:
            with self._begin(self.stop) as scan:
                self._post(self._began, scan)
                while not self.stop.is_set() and (results := scan.advance(_SLICE)) is not None:
                    if results:
                        self._post(self._came, results)
                if self.stop.is_set():
                    scan.cancel()  # the results found before are still given
                    while (results := scan.advance(0)) is not None:
                        self._post(self._came, results)
            report = scan.report()
        except BaseException as failure:
            # A stop on request may make calls fail; that is not an error.
            error = None if self.stop.is_set() else failure
        self._post(self._ended, report, error)

    def _post(self, event: Callable[..., None], *values: object) -> None:
        try:
            self.loop.call_soon_threadsafe(event, *values)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.stop.set()

    def _began(self, scan: Scan) -> None:
        self.scan = scan
        self._news.set()

    def _came(self, results: list[PortResult]) -> None:
        if not self.closed:
            self.fresh += results
        self._news.set()

    def _ended(self, report: ScanReport | None, error: BaseException | None) -> None:
        self.report = report
        self._error = error
        self.over = True
        self._news.set()
