"""Benchmarks that check the answers they time: what a scenario and its contenders are, and the registry of them.

To add a group, write ``bench/NAME.py`` with ``scenarios() -> list[Scenario]`` and put NAME into ``GROUPS``. The
contenders of a scenario that are called "pure" and "native" are the engines, of which the ratio is told; a "ceiling" is
the least that any program could do; all others are peers. ``running`` lets them run in turn, ``report`` tells what came
of it, and ``stage`` has the servers in processes of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..arguments import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

GROUPS = ("scan", "echo", "udp", "framing", "message", "tls", "chat")
"""The modules of this package that have scenarios."""


_SETTING = 0.1  # what setting the stage adds to the cost of a scenario that is small


class Clocked(NamedTuple):
    """What a load generator measured by itself: ``seconds`` from the first request to the last answer.

    ``latency`` is the time within which half of the answers came, and that of 99 of 100, in seconds.
    """

    seconds: float
    latency: tuple[float, float] | None = None


class Contender(NamedTuple):
    """One way of doing the work of a scenario.

    ``run`` does it once, and only that is timed; ``check`` takes what ``run`` gave and returns None, or says what is
    wrong with it. ``prepare`` runs untimed before every ``run``. ``cpu`` gives the CPU seconds so far of whoever does
    the work, None where the system does not tell, where that is another process that goes on, such as a server; without
    it the CPU seconds are those of this process and of the children it waited for. ``clocked`` takes what ``run`` gave
    where that knows the time better: a load that first opens connections. ``part`` is the part of the scenario's amount
    that one who is slow does; what it took is told as if it had done all.
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

    ``amount`` of ``unit`` are done in one run (65,535 "ports"); ``quick`` of them in a quick run, which passes over
    scenarios where that is 0. ``contenders`` takes the amount and gives a context manager that sets the stage, gives
    the contenders, and clears the stage. ``cost`` is about how many seconds a round takes, compared with other
    scenarios. ``notes`` are told where there is room for them.
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
    """Return the scenarios of all groups, or of those named in ``only``; raises ValueError for an unknown name.

    With ``quick`` they are a part of them, with smaller amounts.
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
