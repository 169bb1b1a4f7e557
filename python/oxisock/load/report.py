"""The report of a load test: counters, latencies, and what they mean."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final, TypedDict

from ..errors import errno_name, errno_words
from ..text import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT: Final = 0.99
"""The least share of the due messages that must be sent for a kept rate."""

TIMES: Final = ("min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max")
"""The keys for the values of a histogram, which are in seconds."""


COUNTS: Final = ("sent", "answered", "lost", "wrong", "late", "duplicates", "pending", "unsent")
"""The keys of the figures that are numbers of messages."""


class Figures(TypedDict):
    """The figures of a load test so far.

    ``errors`` counts the ends of connections, by errno or by EOF, UNASKED, BADFRAME. ``local_errors`` counts faults of
    this machine. ``latency`` counts from the time at which a message was due, and ``lag`` is how late the load test
    itself was; both have the keys in TIMES.
    """

    begun: bool
    opened: int
    alive: int
    sent: int
    answered: int
    lost: int
    wrong: int
    late: int
    duplicates: int
    pending: int
    unsent: int
    bytes_sent: int
    bytes_received: int
    sending: float
    elapsed: float
    errors: dict[int | str, int]
    local_errors: dict[int, int]
    latency: dict[str, float] | None
    lag: dict[str, float] | None
    first_wrong: tuple[bytes, bytes | None] | None


class LoadReport:
    """The result of a load test.

    Attributes:
        target: name, host, address, port and protocol of the server.
        options: the arguments of ``load_test``, by name.
        figures: what was counted and measured; times are in seconds.
        complete: whether the test ran to its end.
        cpu: CPU seconds that the load test itself used.
        histogram: the latencies, as pairs of an upper bound in seconds and the number of answers up to it.
    """

    def __init__(
        self,
        target: dict[str, Any],
        options: dict[str, Any],
        figures: Figures,
        complete: bool,
        cpu: float,
        histogram: list[tuple[float, int]] | None = None,
    ) -> None:
        self.histogram = histogram or []
        self.cpu = cpu
        self.target = target
        self.options = options
        self.figures = figures
        self.complete = complete

    @property
    def good(self) -> bool:
        """Whether every message got one right answer, no connection was lost, and the rate was kept."""
        figures = self.figures
        bad = figures["lost"] + figures["wrong"] + figures["duplicates"] + len(figures["errors"])
        return bool(figures["answered"]) and not bad and not figures["local_errors"] and self.kept_rate

    @property
    def p99(self) -> float | None:
        """The time in seconds within which 99 of 100 answers came; None if there was no answer."""
        times = self.figures["latency"]
        return times["p99"] if times else None

    @property
    def nobody(self) -> bool:
        """Whether no connection could be opened, or no datagram arrived anywhere."""
        figures = self.figures
        if figures["opened"] == 0:
            return True
        udp = self.target["protocol"] == "udp"
        return udp and figures["alive"] == 0 and figures["answered"] == 0 and bool(figures["errors"])

    @property
    def errno(self) -> int:
        """The errno of an error that occurred, or 0."""
        found = [*self.figures["errors"], *self.figures["local_errors"]]
        return next((number for number in found if isinstance(number, int)), 0)

    def __repr__(self) -> str:
        figures = self.figures
        return (
            f"<LoadReport: {figures['answered']:,} answered, {figures['wrong']:,} wrong, {figures['lost']:,} lost in "
            f"{figures['elapsed']:.3f} s>"
        )

    @property
    def kept_rate(self) -> bool:
        """Whether messages were sent at the rate that you asked for; always true without a rate."""
        due = self.figures["sent"] + self.figures["unsent"]
        return self.figures["sent"] >= KEPT * due

    @property
    def rate(self) -> float:
        """Right answers per second."""
        return self.figures["answered"] / self.figures["elapsed"] if self.figures["elapsed"] else 0.0

    @property
    def busy(self) -> float:
        """The share of a core that the load test itself used. Near 1, the load test is the limit, not the server."""
        return min(1.0, self.cpu / self.figures["elapsed"]) if self.figures["elapsed"] else 0.0

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of messages, with the keys in COUNTS."""
        figures: Any = self.figures
        return {name: figures[name] for name in COUNTS}

    @property
    def errors(self) -> dict[str, int]:
        """How often connections ended, by the name of the reason."""
        return {_name(error): count for error, count in self.figures["errors"].items()}

    @property
    def local_errors(self) -> dict[str, int]:
        """Faults of this machine, by name."""
        return {_name(error): count for error, count in self.figures["local_errors"].items()}

    def document(self) -> dict[str, Any]:
        """Return the report as ``oxisock load --json`` prints it; times are in seconds."""
        figures = self.figures
        return {
            "schema": 1,
            "target": self.target,
            "options": self.options,
            "complete": self.complete,
            "elapsed": figures["elapsed"],
            "cpu": self.cpu,
            **self.counts,
            "connections": {
                "asked": self.options["connections"],
                "opened": figures["opened"],
                "alive": figures["alive"],
            },
            "errors": self.errors,
            "local_errors": self.local_errors,
            "rate": {"asked": self.options["rate"], "achieved": self.rate},
            "bytes": {"sent": figures["bytes_sent"], "received": figures["bytes_received"]},
            "latency": figures["latency"],
            "lag": figures["lag"],
            "first_wrong": first_wrong(self),
            "histogram": [{"to": end, "count": count} for end, count in self.histogram],
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield name and value of each line that ``oxisock load`` prints into a pipe; errors only if there are any."""
        figures = self.figures
        yield "target", str(self.target["name"])
        yield "complete", "yes" if self.complete else "no"
        yield "elapsed_s", f"{figures['elapsed']:.3f}"
        yield "cpu_s", f"{self.cpu:.3f}"
        for name, count in self.counts.items():
            yield name, str(count)
        yield "rate_asked", "-" if self.options["rate"] is None else f"{self.options['rate']:.12g}"
        yield "rate_achieved", f"{self.rate:.1f}"
        yield "bytes_sent", str(figures["bytes_sent"])
        yield "bytes_received", str(figures["bytes_received"])
        for label, times in (("latency", figures["latency"]), ("lag", figures["lag"])):
            for name in TIMES:
                yield f"{label}_{name}_ms", "-" if times is None else milliseconds(times[name])
        for name, count in self.errors.items():
            yield f"error_{name}", str(count)
        for name, count in self.local_errors.items():
            yield f"local_error_{name}", str(count)


_WORDS: Final = {
    "EOF": "the server closed the connection",
    "UNASKED": "something came that was not asked for",
    "BADFRAME": "what came is no frame of the codec",
}


def _name(error: int | str) -> str:
    return error if isinstance(error, str) else errno_name(error) or f"E{error}"


def pace(options: dict[str, Any]) -> str:
    """Return a text that says how a load sends messages."""
    return f"{options['rate']:,g} messages a second" if options["rate"] else f"{options['depth']:,} in flight on each"


def words(name: str) -> str:
    """Return the meaning of the name of an error."""
    return _WORDS.get(name) or errno_words(getattr(errno, name, 0))


def first_wrong(report: LoadReport) -> dict[str, str | None] | None:
    """Return the first wrong answer and the expected one as Python literals, each cut at 256 bytes; None if none."""
    wrong = report.figures.get("first_wrong")
    if wrong is None:
        return None
    came, expected = wrong
    return {"came": repr(bytes(came)), "expected": None if expected is None else repr(bytes(expected))}


def about_wrong(wrong: dict[str, str | None]) -> str:
    """Return a sentence with the beginning of the first wrong answer."""
    expected = f"; expected {wrong['expected']}" if wrong["expected"] else ""
    return f"the first wrong answer began with {wrong['came']}{expected}"


def why_nobody(report: LoadReport) -> str:
    """Return one line that says why nothing could be sent."""
    udp = report.target["protocol"] == "udp"
    done = "nobody receives there" if udp else "no connection could be opened"
    why = "; ".join(words(name) for name in report.errors)
    if report.local_errors:
        local = "; ".join(words(name) for name in report.local_errors)
        why += "; " * bool(why) + f"this machine is at fault: {local}"
    return f"{done}: {why}"
