"""Benchmarks that check the answers they time: a registry of scenarios and the runner that compares contenders.

To add one, write ``bench/NAME.py`` with ``scenarios() -> list[Scenario]`` and put NAME into ``GROUPS``. A scenario's
``contenders`` is a context manager: it sets the stage, gives the contenders, and clears the stage. The runner lets
every contender run once a round, one after the other, so that whatever else the machine does falls on all of them
alike, and compares two of them by the median of the ratios within the rounds. A wrong answer is reported, suppresses
every ratio it would have been part of, and fails the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

GROUPS = ("scan", "framing", "echo", "message", "udp", "chat")
"""The modules of this package that have scenarios."""


class Contender(NamedTuple):
    """One way of doing the work of a scenario.

    ``run`` does it once, and only that is timed; ``check`` takes what ``run`` gave and returns None, or says what is
    wrong with it. ``prepare`` runs untimed before every ``run``. ``cpu`` gives the CPU seconds so far of whoever does
    the work, where that is another process that goes on, such as a server; without it the CPU seconds are those of
    this process and of the children it waited for.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], str | None]
    prepare: Callable[[], object] | None = None
    cpu: Callable[[], float] | None = None


class Scenario(NamedTuple):
    """Work that several contenders do.

    ``amount`` of ``unit`` are done in one run (65,535 "ports"). ``ratios`` names pairs of contenders, slower and faster
    as expected: how many times as long does the first take? Pairs with a contender that is absent are passed over.
    ``notes`` are printed below the table.
    """

    name: str
    amount: int
    unit: str
    contenders: Callable[[], AbstractContextManager[Sequence[Contender]]]
    ratios: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


class Timing(NamedTuple):
    """One run: seconds by the clock, CPU seconds of whoever did the work, and what was wrong."""

    seconds: float
    cpu: float
    wrong: str | None


class Outcome(NamedTuple):
    """All runs of a scenario, by contender."""

    scenario: Scenario
    timings: dict[str, list[Timing]]

    @property
    def wrong(self) -> list[str]:
        """What was wrong with the answers, one line each."""
        return [
            f"{name}, round {number}: {timing.wrong}"
            for name, timings in self.timings.items()
            for number, timing in enumerate(timings, 1)
            if timing.wrong
        ]

    def ratio(self, first: str, second: str) -> tuple[float, float] | None:
        """Give how many times the seconds, and how many times the CPU, of ``second`` the contender ``first`` takes.

        Both are medians over the rounds of the ratio within the round; None without right answers of both.
        """
        from statistics import median

        pairs = list(zip(self.timings.get(first, ()), self.timings.get(second, ()), strict=False))
        if not pairs or any(one.wrong or other.wrong for one, other in pairs):
            return None
        seconds, cpu = zip(*[(one.seconds / other.seconds, one.cpu / other.cpu) for one, other in pairs], strict=True)
        return median(seconds), median(cpu)


def load(only: Sequence[str] = ()) -> list[Scenario]:
    """Give the scenarios of all groups, or of those named in ``only``; raises ValueError for an unknown name."""
    from importlib import import_module

    for name in only:
        if name not in GROUPS:
            raise ValueError(f"no scenarios are called {name!r}: there are {', '.join(GROUPS)}")
    return [
        scenario
        for group in GROUPS
        if not only or group in only
        for scenario in import_module(f"{__name__}.{group}").scenarios()
    ]


def run(scenario: Scenario, rounds: int, progress: Callable[[str], object] = lambda text: None) -> Outcome:
    """Let every contender of a scenario run once in each of the rounds; ``progress`` is told what runs now."""
    timings: dict[str, list[Timing]] = {}
    with scenario.contenders() as contenders:
        for number in range(1, rounds + 1):
            for contender in contenders:
                progress(f"{scenario.name}: round {number} of {rounds}, {contender.name}")
                timings.setdefault(contender.name, []).append(_time(contender))
    return Outcome(scenario, timings)


def _time(contender: Contender) -> Timing:
    import gc
    import time

    if contender.prepare:
        contender.prepare()
    gc.collect()  # nobody pays for what the one before left behind
    clock = contender.cpu or _cpu
    cpu, start = clock(), time.perf_counter()
    answer = contender.run()
    seconds = time.perf_counter() - start
    return Timing(seconds, clock() - cpu, contender.check(answer))


def _cpu() -> float:
    """Give the CPU seconds of this process and of its children that have ended."""
    import os
    import time

    children = os.times()
    # The clock of os.times ticks every 10 ms; for children there is nothing finer on all systems.
    return time.process_time() + children.children_user + children.children_system


def table(outcome: Outcome) -> list[tuple[str, ...]]:
    """Give the rows of a scenario's table, the heading first."""
    from statistics import median

    unit = outcome.scenario.unit
    rows: list[tuple[str, ...]] = [("", "median", "fastest", "slowest", "CPU", f"{unit}/s", f"CPU/{_one(unit)}")]
    for name, timings in outcome.timings.items():
        if any(timing.wrong for timing in timings):
            rows.append((name, "wrong answer", "", "", "", "", ""))
            continue
        seconds = [timing.seconds for timing in timings]
        middle, cpu = median(seconds), median(timing.cpu for timing in timings)
        rows.append(
            (
                name,
                *(f"{value:.3f} s" for value in (middle, min(seconds), max(seconds), cpu)),
                f"{outcome.scenario.amount / middle:,.0f}",
                f"{cpu / outcome.scenario.amount * 1e6:.2f} µs",
            )
        )
    return rows


def _one(unit: str) -> str:
    return unit.removesuffix("ies") + "y" if unit.endswith("ies") else unit.removesuffix("s")


def ratios(outcome: Outcome) -> list[str]:
    """Say how the pairs of a scenario compare, one line each."""
    lines = []
    for first, second in outcome.scenario.ratios:
        if (ratio := outcome.ratio(first, second)) is not None:
            lines.append(f"{first} takes {ratio[0]:.2f} times as long as {second}, and {ratio[1]:.2f} times the CPU")
    return lines
