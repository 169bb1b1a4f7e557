"""Runs contenders in turn, round after round, and records times and whether the answers were right.

Every contender runs once in a round, one after the other, so that other load of the machine affects all of them. A
contender with a wrong answer does not run again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from . import Contender, Scenario


class Timing(NamedTuple):
    """One run: elapsed seconds, CPU seconds of the work, what was wrong, and latencies if known."""

    seconds: float
    cpu: float | None
    wrong: str | None = None
    latency: tuple[float, float] | None = None


class Measured(NamedTuple):
    """All runs of a scenario, by contender. Timings with the same index are from the same round."""

    scenario: Scenario
    timings: dict[str, list[Timing]]

    @property
    def wrong(self) -> list[str]:
        """The wrong answers, one line each."""
        return [
            f"{name}, round {number}: {timing.wrong}"
            for name, timings in self.timings.items()
            for number, timing in enumerate(timings, 1)
            if timing.wrong
        ]

    @property
    def rounds(self) -> int:
        """The number of rounds."""
        return max(map(len, self.timings.values()), default=0)


class Pace(NamedTuple):
    """The number of rounds: at least ``least`` of each scenario, and at most ``most``, within ``seconds`` for all."""

    least: int
    most: int
    seconds: float

    def more(self, done: int, spent: float, share: float) -> bool:
        """Return whether a scenario gets another round, after it has spent ``spent`` seconds of its share."""
        return done < self.least or (done < self.most and spent * (done + 1) / done <= share)

    def expected(self, done: int, spent: float, share: float) -> int:
        """Return the expected number of rounds of a scenario."""
        affordable = int(share * done / spent) if done and spent else self.least
        return max(self.least, done, min(self.most, affordable))


FULL = Pace(least=3, most=5, seconds=130.0)
QUICK = Pace(least=2, most=3, seconds=13.0)


class Step(NamedTuple):
    """The current run.

    ``done`` is the share of all work that is done, from 0 to 1. ``left`` is the seconds for the rest; None at first.
    """

    done: float
    scenario: str
    round: int
    rounds: int
    contender: str
    left: float | None = None


def run_all(
    scenarios: Sequence[Scenario],
    pace: Pace,
    progress: Callable[[Step], object] = lambda step: None,
    clock: Callable[[], float] | None = None,
) -> Iterator[Measured]:
    """Run all scenarios, and yield their results.

    If KeyboardInterrupt ends a scenario, the results of its complete rounds are yielded before it is raised.
    """
    from time import perf_counter

    clock = clock or perf_counter
    start = clock()
    total = sum(scenario.cost for scenario in scenarios)
    before = done = 0.0
    for scenario in scenarios:
        share = max(0.0, pace.seconds - (clock() - start)) * scenario.cost / (total - before)

        def tell(part: float, number: int, rounds: int, name: str, scenario: Scenario = scenario) -> None:
            nonlocal done
            done = max(done, (before + part * scenario.cost) / total)  # noqa: B023 - it is called within this turn
            left = (clock() - start) * (1 - done) / done if done else None
            progress(Step(done, scenario.name, number, rounds, name, left))

        rounds: list[dict[str, Timing]] = []
        try:
            _rounds(scenario, pace, share, rounds, tell, clock)
        except KeyboardInterrupt:
            if rounds:
                yield _measured(scenario, rounds)
            raise
        yield _measured(scenario, rounds)
        before += scenario.cost


def _measured(scenario: Scenario, rounds: Sequence[dict[str, Timing]]) -> Measured:
    return Measured(scenario, {name: [timings[name] for timings in rounds if name in timings] for name in rounds[0]})


def run(scenario: Scenario, rounds: int, progress: Callable[[Step], object] = lambda step: None) -> Measured:
    """Run every contender of a scenario once in each round."""
    return next(run_all([scenario], Pace(rounds, rounds, 0.0), progress))


def _rounds(
    scenario: Scenario,
    pace: Pace,
    share: float,
    rounds: list[dict[str, Timing]],
    tell: Callable[[float, int, int, str], None],
    clock: Callable[[], float],
) -> None:
    """Run a scenario, and append each complete round."""
    start = clock()
    tell(0.0, 1, pace.least, "getting ready")
    with scenario.contenders(scenario.amount) as contenders:
        wrong: set[str] = set()
        while pace.more(done := len(rounds), clock() - start, share):
            expected = pace.expected(done, clock() - start, share)
            timings = {}
            for place, contender in enumerate(contenders):
                if contender.name not in wrong:
                    tell((done + place / len(contenders)) / expected, done + 1, expected, contender.name)
                    timings[contender.name] = timing = time_once(contender)
                    if timing.wrong:
                        wrong.add(contender.name)
            rounds.append(timings)


def time_once(contender: Contender) -> Timing:
    """Run a contender once. A failure counts as a wrong answer, so that the others can still be compared."""
    import gc
    import time

    if contender.prepare:
        contender.prepare()
    gc.collect()  # no contender pays for the garbage of the one before
    processor = contender.cpu or _cpu
    cpu, start = processor(), time.perf_counter()
    try:
        answer = contender.run()
    except Exception as error:
        return Timing(time.perf_counter() - start, None, f"{type(error).__name__}: {error}")
    seconds, latency = (time.perf_counter() - start) / contender.part, None
    after = processor()
    wrong = contender.check(answer)
    if contender.clocked and not wrong:
        seconds, latency = contender.clocked(answer)
    return Timing(seconds, None if after is None or cpu is None else (after - cpu) / contender.part, wrong, latency)


def _cpu() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    import os
    import time

    children = os.times()
    # The clock of os.times ticks every 10 ms, but no finer clock for children exists on all systems.
    return time.process_time() + children.children_user + children.children_system
