"""Questions about one port where names are slow, ways are long, addresses are many, or descriptors are gone."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from oxisock.aio.faces import Aio
from oxisock.engines.scanning import CLOSED, CONN_REFUSED, FILTERED, NO_RESPONSE, OPEN, SYN_ACK, OutcomeTuple, ScanPlan
from oxisock.scanning.calls import Scanner
from oxisock.scanning.questions import LookUp, Outcomes, Questions
from support.commands import listening
from support.coroutines import Run
from support.processes import python


class Clock:
    """A clock that the questions read, and that passes only while a scan is waited for: no machine is too slow."""

    _GRAIN = 0.02  # seconds that pass at least: an event loop looks at a scan again and again, and does not wait

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += max(seconds, self._GRAIN)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("oxisock.scanning.questions.time", made)
    return made


class FarRun:
    """A scan of one port of one host that answers so many seconds after it was asked, to whoever still listens."""

    def __init__(self, plan: ScanPlan, clock: Clock, delay: float) -> None:
        self._clock = clock
        self._port = plan.ports[0]
        self._due = clock.now + min(delay, plan.timeout / 1e9)
        self._open = plan.timeout / 1e9 > delay
        self._over = False

    def wait(self, timeout: float) -> list[OutcomeTuple]:
        self._clock.wait(min(timeout, self._due - self._clock.now))
        if self._over or self._clock.now < self._due:
            return []
        self._over = True
        return [
            (0, self._port, OPEN, SYN_ACK, 1, None) if self._open else (0, self._port, FILTERED, NO_RESPONSE, -1, None)
        ]

    def tally(self) -> tuple[int, ...]:
        return (0,) * 8

    def done(self) -> bool:
        return self._over

    def cancel(self) -> None:
        self._over = True


def far(delay: float, clock: Clock, impl: ModuleType) -> Any:
    """Give an engine whose every port answers after so many seconds."""
    return SimpleNamespace(
        impl=impl.impl, names=impl, scanning=SimpleNamespace(start_scan=lambda plan: FarRun(plan, clock, delay))
    )


def test_a_long_way_is_no_obstacle(impl: ModuleType, clock: Clock) -> None:
    # Longer than half of what a question has, and than the step after which waiting asks anew.
    near = Scanner(far(0.6, clock, impl))
    assert near.check_host("10.0.0.1", 80, timeout=1.1) is True
    assert near.scan_port("10.0.0.1", 80, timeout=1.1).is_open
    assert near.check_host("10.0.0.1", 80, timeout=0.1) is False
    assert Scanner(far(1.3, clock, impl)).wait_for_port("10.0.0.1", 80, timeout=8.0) < 3


def test_a_long_way_is_no_obstacle_on_a_loop(impl: ModuleType, run: Run, clock: Clock) -> None:
    assert run(Aio(far(1.3, clock, impl)).wait_for_port("10.0.0.1", 80, timeout=8.0)) < 3


def slow(seconds: float) -> Callable[..., list[Any]]:
    def getaddrinfo(*_: object, **__: object) -> list[Any]:
        time.sleep(seconds)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

    return getaddrinfo


def test_a_slow_look_up_is_no_obstacle(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", slow(1.3))
    with listening() as (port,):
        assert impl.wait_for_port("db.example", port, timeout=30.0) < 30


def test_a_slow_look_up_is_no_obstacle_on_a_loop(impl: ModuleType, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", slow(1.3))
    with listening() as (port,):
        assert run(impl.aio.wait_for_port("db.example", port, timeout=30.0)) < 30


def script(code: str) -> str:
    done = python(code)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="every address of 127.0.0.0/8 is this machine's on Linux alone")
def test_many_silent_addresses_share_the_time_where_descriptors_are_few(impl: ModuleType) -> None:
    # A listener whose queue is full keeps silent. Eight at a time would take thirty seconds.
    code = f"""
import os, resource, socket, time
from oxisock import {impl.impl} as impl
held, port = [], None
for last in range(2, 122):
    s = socket.socket(); s.bind((f"127.0.9.{{last}}", port or 0)); s.listen(0); held.append(s)
    port = port or s.getsockname()[1]
    for _ in range(4):  # more than it takes; those who are too many go on trying
        c = socket.socket(); c.setblocking(False); held.append(c)
        c.connect_ex(s.getsockname())
socket.getaddrinfo = lambda *a, **k: [(2, 1, 6, "", (f"127.0.9.{{last}}", 0)) for last in range(2, 122)]
impl.check_host("127.0.0.1", 1)
lowest = os.dup(0); os.close(lowest)
resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 40, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
start = time.monotonic()
print(impl.check_host("many.example", port, timeout=2.0), time.monotonic() - start < 24)
start = time.monotonic()
try: impl.wait_for_port("many.example", port, timeout=2.0)
except TimeoutError: print("timed out", time.monotonic() - start < 24)
"""
    assert script(code) == "False True\ntimed out True\n"


@pytest.mark.skipif(sys.platform == "win32", reason="the limit of descriptors is POSIX's")
def test_waiting_outlasts_a_time_without_descriptors(impl: ModuleType) -> None:
    code = f"""
import os, resource, socket, threading, time
from oxisock import {impl.impl} as impl
s = socket.socket(); s.bind(("127.0.0.1", 0)); port = s.getsockname()[1]
impl.check_host("127.0.0.1", port)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/dev/fd"))) + 1, hard[1]))
hold = []
try:
    while True: hold.append(os.dup(0))
except OSError: pass
def release():
    time.sleep(0.7)
    for fd in hold: os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, hard)
    s.listen(5)
threading.Thread(target=release).start()
print(impl.wait_for_port("127.0.0.1", port, timeout=60.0) < 60)
"""
    assert script(code) == "True\n"


class TwoMinds(FarRun):
    """A scan of two addresses, of which the first refuses and the other keeps silent."""

    def __init__(self, plan: ScanPlan, clock: Clock) -> None:
        super().__init__(plan, clock, 1000.0)
        self._first: list[OutcomeTuple] = [(0, self._port, CLOSED, CONN_REFUSED, 1, None)]

    def wait(self, timeout: float) -> list[OutcomeTuple]:
        first, self._first = self._first, []
        return first or [(1, *outcome[1:]) for outcome in super().wait(timeout)]


def test_the_answer_is_of_the_address_that_tells_most(clock: Clock) -> None:
    asked: Any = SimpleNamespace(start_scan=lambda plan: TwoMinds(plan, clock))
    steps = Questions(asked).ask_host("two.example", 80, 0.3)
    assert isinstance(next(steps), LookUp)
    came: Any = ["10.0.0.9", "10.0.0.2"]
    try:
        while True:
            step = steps.send(came)
            assert isinstance(step, Outcomes)
            came = [run.wait(0.01) for run in step.runs]
    except StopIteration as end:
        assert (end.value.address, end.value.state, end.value.reason) == ("10.0.0.2", "closed", "conn-refused")
