"""The document of a benchmark run, which is its JSON: medians, paired ratios, processor time, and where it ran.

    {"schema": 1, "environment": {...}, "scenarios": [{"group", "name", "unit", "operations", "rounds", "pure",
     "native", "ratio", "ratio_range", "cpu_us", "others", "wrong", "notes", "seconds"}]}

``pure`` and ``native`` are medians in operations of the ``unit`` a second, null after a wrong answer. ``ratio`` is how
many times the rate of pure native makes, the median of the rounds, and ``ratio_range`` the least and the most of them;
null where either was wrong. ``cpu_us`` has the microseconds of processor time for an operation by engine, null where
the system does not tell. ``others`` has, by name, ``rate``, ``cpu_us``, and ``ratio`` and ``ratio_range``, to pure as
well. ``wrong`` has what was wrong by contender, ``seconds`` the seconds of every round, and ``latency_ms``, where it
was measured, the times within which half of the answers and 99 of 100 came. ``Environment`` says what is known of the
machine.
"""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..running import Measured, Timing
    from .environment import Environment

SCHEMA: Literal[1] = 1
ENGINES = ("pure", "native")


class Compared(TypedDict):
    """How many times the rate of pure: the median of the rounds, and the least and the most of them."""

    ratio: float | None
    ratio_range: tuple[float, float] | None


class Other(Compared):
    """A contender beside the engines."""

    rate: float | None
    cpu_us: float | None


class _Always(Compared):
    group: str
    name: str
    unit: str
    operations: int
    rounds: int
    pure: float | None
    native: float | None
    cpu_us: dict[str, float | None]
    others: dict[str, Other]
    wrong: dict[str, str]
    notes: list[str]
    seconds: dict[str, list[float]]


class ScenarioResult(_Always, total=False):
    """What a scenario came to."""

    latency_ms: dict[str, tuple[float, float]]


class Document(TypedDict):
    """What a run came to."""

    schema: Literal[1]
    environment: Environment
    scenarios: list[ScenarioResult]


def document(measured: Sequence[Measured], environment: Environment) -> Document:
    """Put what was measured and what is known of the machine together."""
    return {"schema": SCHEMA, "environment": environment, "scenarios": [_result(each) for each in measured]}


def write(document: Document) -> str:
    """Return the document as JSON."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def read(text: str) -> Document:
    """Read a document; raises ValueError for what is none."""
    try:
        found: Any = json.loads(text)
        schema = found["schema"]
        if schema == SCHEMA and isinstance(found["environment"]["date"], str):
            for scenario in found["scenarios"]:
                missing = _Always.__annotations__.keys() - scenario.keys()
                if missing:
                    raise ValueError(f"a scenario lacks {', '.join(sorted(missing))}")
            return found  # type: ignore[no-any-return]
    except json.JSONDecodeError as error:
        raise ValueError(f"this is not the JSON of a benchmark: {error}") from None
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"this is not the JSON of a benchmark: {type(error).__name__}: {error}") from None
    raise ValueError(f"schema {schema!r} of the JSON is not known: expected {SCHEMA}")


def compared(others: Sequence[Timing], pure: Sequence[Timing]) -> Compared:
    """Compare the rates within each round; there is no ratio without right answers of both."""
    pairs = list(zip(others, pure, strict=False))
    if not pairs or any(timing.wrong for timing in (*others, *pure)):
        return {"ratio": None, "ratio_range": None}
    found = [reference.seconds / other.seconds for other, reference in pairs]
    return {"ratio": _short(median(found)), "ratio_range": (_short(min(found)), _short(max(found)))}


def _result(measured: Measured) -> ScenarioResult:
    scenario, timings = measured.scenario, measured.timings
    pure = timings.get("pure", [])
    native = compared(timings.get("native", ()), pure)

    def rate(name: str) -> float | None:
        seconds = _median(timings.get(name, ()), "seconds")
        return None if seconds is None else _short(scenario.amount / seconds)

    def cpu(name: str) -> float | None:
        seconds = _median(timings.get(name, ()), "cpu")
        return None if seconds is None else _short(seconds / scenario.amount * 1e6)

    result: ScenarioResult = {
        "group": scenario.group,
        "name": scenario.name,
        "unit": scenario.unit,
        "operations": scenario.amount,
        "rounds": measured.rounds,
        "pure": rate("pure"),
        "native": rate("native"),
        "ratio": native["ratio"],
        "ratio_range": native["ratio_range"],
        "cpu_us": {name: cpu(name) for name in ENGINES},
        "others": {
            name: {"rate": rate(name), "cpu_us": cpu(name), **compared(timings[name], pure)}
            for name in timings
            if name not in ENGINES
        },
        "wrong": {name: wrong for name, each in timings.items() if (wrong := _wrong(each))},
        "notes": list(scenario.notes),
        "seconds": {name: [_short(timing.seconds) for timing in each] for name, each in timings.items()},
    }
    latencies = {
        name: (_short(median(half) * 1000), _short(median(most) * 1000))
        for name, each in timings.items()
        if (known := [timing.latency for timing in each if timing.latency])
        for half, most in [zip(*known, strict=True)]
    }
    if latencies:
        result["latency_ms"] = latencies
    return result


def _median(timings: Sequence[Timing], what: Literal["seconds", "cpu"]) -> float | None:
    values = [getattr(timing, what) for timing in timings if not timing.wrong]
    return median(values) if values and len(values) == len(timings) and None not in values else None


def _wrong(timings: Sequence[Timing]) -> str | None:
    return next((f"round {number}: {timing.wrong}" for number, timing in enumerate(timings, 1) if timing.wrong), None)


def _short(value: float) -> float:
    """Leave away the digits that no clock knows."""
    return float(f"{value:.5g}")
