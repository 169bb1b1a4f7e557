"""How the figures of a benchmark are written for people: three digits, and a unit that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...text import plural

if TYPE_CHECKING:
    from .document import Compared, ScenarioResult
    from .environment import Environment

NOTHING = "-"
WRONG = "wrong answer"


def digits(value: float) -> str:
    """Write a number with three digits, and no exponent."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def rate(value: float | None) -> str:
    """Write how often a second: 184 k, 2.68 M."""
    if value is None:
        return NOTHING
    for factor, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= factor * 0.9995:
            return digits(value / factor) + prefix
    return digits(value)


def micros(value: float | None) -> str:
    """Write a time given in microseconds: 19.8 ns, 5.93 µs, 1.20 ms."""
    if value is None:
        return NOTHING
    for factor, unit in ((1e6, "s"), (1e3, "ms"), (1.0, "µs")):
        if value >= factor * 0.9995:
            return f"{digits(value / factor)} {unit}"
    return f"{digits(value * 1e3)} ns"


def times(compared: Compared) -> str:
    """Write a ratio and, where there was more than one round, its range: 27.7 (27.4-28.0)."""
    ratio, ends = compared["ratio"], compared["ratio_range"]
    return NOTHING if ratio is None or ends is None else written(ratio, *ends)


def written(ratio: float, low: float, high: float) -> str:
    """Write a ratio that there is, and its range."""
    return digits(ratio) if low == high else f"{digits(ratio)} ({digits(low)}-{digits(high)})"


def rate_of(scenario: ScenarioResult, name: str) -> str:
    """Write the rate of a contender, or that its answer was wrong."""
    if name in scenario["wrong"]:
        return WRONG
    if name in ("pure", "native"):
        return rate(scenario["pure"] if name == "pure" else scenario["native"])
    return rate(scenario["others"][name]["rate"])


def others(scenario: ScenarioResult, separator: str = ", ") -> str:
    """Write the contenders beside the engines and their rates."""
    return separator.join(f"{name} {rate_of(scenario, name)}" for name in scenario["others"]) or NOTHING


def machine(environment: Environment) -> str:
    """Write where it ran, in a line."""
    processor = environment["processor"] or environment["machine"]
    cores, system = plural(environment["cores"], "core"), f"{environment['system']} {environment['machine']}"
    return f"{processor}, {cores}, {system}, {environment['python']}"


def versions(environment: Environment) -> str:
    """Write what was compared, in a line."""
    found = [f"oxisock {environment['oxisock']}"]
    if environment["rustc"]:
        found[0] += f" (rustc {environment['rustc']})"
    found += [f"{name} {version}" for name in ("uvloop", "nmap") if (version := environment[name])]
    return ", ".join(found)


def rounds(scenarios: list[ScenarioResult]) -> str:
    """Write how many rounds there were."""
    counts = sorted({scenario["rounds"] for scenario in scenarios}) or [0]
    few, many = counts[0], counts[-1]
    return f"{few} to {many} rounds" if few != many else plural(few, "round")
