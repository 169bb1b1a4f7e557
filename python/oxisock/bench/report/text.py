"""The table of a benchmark for a terminal or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .environment import noise
from .figures import digits, machine, micros, others, rate, rate_of, rounds, times, versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .document import Document, ScenarioResult

HEADING = ("scenario", "per second", "pure", "native", "ratio", "CPU pure", "CPU native", "others")
RIGHT = range(2, 7)
QUICK = "This was a quick run: a part of the scenarios, with small amounts."
LEGEND = (
    "ratio: native / pure, median of paired rounds (min-max)",
    "CPU: processor time for each operation",
)


def row(scenario: ScenarioResult) -> tuple[str, ...]:
    """Return the row of a scenario; the heading is ``HEADING``."""
    return (
        scenario["name"],
        scenario["unit"],
        rate_of(scenario, "pure"),
        rate_of(scenario, "native"),
        times(scenario),
        *(micros(scenario["cpu_us"][name]) for name in ("pure", "native")),
        others(scenario),
    )


def facts(document: Document) -> list[str]:
    """Say where and how it ran."""
    environment = document["environment"]
    how = f"{environment['date']}, {rounds(document['scenarios'])} in {environment['elapsed']:.0f} s"
    return [f"{versions(environment)}; {how}", machine(environment)]


def warnings(document: Document) -> list[str]:
    """Say what a reader must know before the figures: a busy machine, a part of the run, wrong answers."""
    environment = document["environment"]
    found = [busy] if (busy := noise(environment)) else []
    if environment["quick"]:
        found.append(QUICK)
    if environment["interrupted"]:
        found.append("The run was interrupted: this is what was complete.")
    found += [
        f"Wrong answer: {scenario['name']}, {name}, {wrong}"
        for scenario in document["scenarios"]
        for name, wrong in scenario["wrong"].items()
    ]
    return found


def details(scenario: ScenarioResult) -> list[tuple[str, ...]]:
    """Return the table of all contenders of a scenario, the heading first, the engines before the others."""
    rows: list[tuple[str, ...]] = [
        ("", f"{scenario['unit']}/s", "fastest", "slowest", "CPU", "times pure", *_percents(scenario))
    ]
    for name in _order(scenario):
        seconds, other = scenario["seconds"][name], scenario["others"].get(name)
        cpu = other["cpu_us"] if other else scenario["cpu_us"][name]
        right = name not in scenario["wrong"]
        rates = (rate(scenario["operations"] / extreme) if right else "" for extreme in (min(seconds), max(seconds)))
        latency = scenario.get("latency_ms", {}).get(name)
        times_pure = times(other or scenario) if name != "pure" else "1"
        rows.append(
            (
                name,
                rate_of(scenario, name),
                *rates,
                micros(cpu) if right else "",
                times_pure,
                *((f"{digits(each)} ms" for each in latency) if latency else ("" for _ in _percents(scenario))),
            )
        )
    return rows


def _percents(scenario: ScenarioResult) -> tuple[str, ...]:
    return ("50 % within", "99 % within") if "latency_ms" in scenario else ()


def _order(scenario: ScenarioResult) -> Sequence[str]:
    return [name for name in ("pure", "native", *scenario["others"]) if name in scenario["seconds"]]
