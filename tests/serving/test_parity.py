"""The connection machines of both engines leave the same trace."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oxisock import _native
from oxisock.pure.serving import connection as pure

MACHINES = {"pure": pure.Connection, "native": _native.Connection}
DAY = 86_400 * 10**9

limits = st.tuples(
    st.sampled_from([1, 50, 1000, pure.NEVER]),  # idle
    st.sampled_from([1, 30, 1000, pure.NEVER]),  # write
    st.integers(1, 64),  # max_buffered
)
faults = st.one_of(
    st.just((0, 0, pure.NEVER, 0, 0)),
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 40),
        st.one_of(st.just(pure.NEVER), st.integers(1, 100)),
        st.sampled_from([0, 2**31, 2**32]),
        st.integers(0, 2**64 - 1),
    ),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "expect",
                "begin",
                "active",
                "deliver",
                "answered",
                "queue",
                "wrote",
                "ended",
                "finish",
                "abort",
                "tick",
                "swallow",
                "owe_farewell",
                "parts",
                "trickle",
            ]
        ),
        st.integers(0, 80),
        st.integers(0, 60),
    ),
    max_size=60,
)


def view(machine: Any) -> tuple[Any, ...]:
    return (
        machine.closed,
        machine.queued,
        machine.written,
        machine.owed,
        machine.expecting,
        machine.eof,
        machine.paused,
        machine.room(),
        machine.allowance(),
        machine.deadline(),
    )


def trace(kind: Any, start: int, bounds: Any, planned: Any, script: Any) -> list[Any]:
    machine = kind(start, *bounds, *planned)
    seen: list[Any] = [view(machine)]
    now = start
    for what, passed, size in script:
        now += passed
        match what:
            case "queue":
                machine.queue(size, now)
            case "wrote":
                machine.tick(now)  # brings the machine's clock up to date, as a driver's turn does
                if amount := min(size, machine.allowance()):
                    machine.wrote(amount, now)
            case "answered":
                machine.answered(size % 3, now)
            case "expect":
                machine.require_by(now + size, now, (pure.BROKEN, pure.IDLE)[size % 2])
            case "abort":
                machine.abort((pure.CUT, pure.LOST, pure.BROKEN, pure.REFUSED)[size % 4], now)
            case "swallow":
                seen.append(machine.swallow())
            case "trickle":
                for _ in range(2 * size):
                    now += passed
                    machine.deliver(now)
                    machine.queue(size % 2, now)
                    machine.answered(0, now)
            case "parts":
                seen.append(machine.parts())
            case _:
                getattr(machine, what)(now)
        seen.append(view(machine))
    return seen


@given(start=st.integers(0, DAY), bounds=limits, planned=faults, script=steps)
def test_both_engines_make_the_same_trace(start: int, bounds: Any, planned: Any, script: Any) -> None:
    traces = [trace(kind, start, bounds, planned, script) for kind in MACHINES.values()]
    assert traces[0] == traces[1]
