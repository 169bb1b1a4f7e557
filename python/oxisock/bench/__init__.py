"""Benchmarks that check the answers they time: the types of scenarios and contenders, and the registry of scenarios.

To add a group, write ``bench/NAME.py`` with ``scenarios() -> list[Scenario]`` and put NAME into ``GROUPS``. The
contenders "pure" and "native" are the engines, and the report has their ratio. A "ceiling" does the least that any
program could do. All others are peers. ``running`` runs contenders in turn, ``report`` shows the results, and ``stage``
runs servers in their own processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..arguments import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

GROUPS = ("scan", "echo", "udp", "framing", "message", "tls", "chat")
"""The modules of this package that have scenarios."""


_SETTING = 0.1  # the cost of setting the stage, for a small scenario


class Clocked(NamedTuple):
    """The measurements of a load generator: ``seconds`` from the first request to the last answer.

    ``latency`` is the median and the 99th percentile of the time to an answer, in seconds.
    """

    seconds: float
    latency: tuple[float, float] | None = None


class Contender(NamedTuple):
    """One way of doing the work of a scenario.

    ``run`` does it once, and only ``run`` is timed. ``check`` takes the result of ``run``. It returns None, or what is
    wrong. ``prepare`` runs untimed before every ``run``. ``cpu`` returns the CPU seconds so far of another process that
    does the work, such as a server, or None if the system does not tell. Without ``cpu``, the CPU seconds are those of
    this process and its ended children. ``clocked`` takes the result of ``run`` and returns a better time, for a load
    that first opens connections. ``part`` is the share of the amount that a slow contender does; its time is scaled up.
    """

    name: str
    run: Callable[[], Any]
    check: Callable[[Any], str | None]
    prepare: Callable[[], object] | None = None
    cpu: Callable[[], float | None] | None = None
    clocked: Callable[[Any], Clocked] | None = None
    part: float = 1.0


class Scenario(NamedTuple):
    """Work that several contenders do.

    One run does ``amount`` of ``unit`` (65,535 "ports"). A quick run does ``quick``, and skips the scenario if that is
    0. ``contenders`` takes the amount and returns a context manager that sets the stage, yields the contenders, and
    clears the stage. ``cost`` is the relative time of a round. ``notes`` are shown if there is room.
    """

    group: str
    name: str
    amount: int
    unit: str
    contenders: Callable[[int], AbstractContextManager[Sequence[Contender]]]
    quick: int = 0
    cost: float = 1.0
    notes: Sequence[str] = ()


def load(only: Sequence[str] = (), quick: bool = False) -> list[Scenario]:
    """Return the scenarios of all groups, or of those in ``only``. Raises ValueError for an unknown name.

    With ``quick``, it returns fewer scenarios, with smaller amounts.
    """
    from importlib import import_module

    for name in only:
        if name not in GROUPS:
            raise ValueError(
                f"no scenarios are called {name!r}: there are {', '.join(GROUPS)}{did_you_mean(name, GROUPS)}"
            )
    found = [
        scenario
        for group in GROUPS
        if not only or group in only
        for scenario in import_module(f"{__name__}.{group}").scenarios()
    ]
    if not quick:
        return found
    return [
        scenario._replace(amount=scenario.quick, cost=scenario.cost * scenario.quick / scenario.amount + _SETTING)
        for scenario in found
        if scenario.quick
    ]
