"""What the scan face needs from an engine: a plan in, outcomes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class AddressRange(NamedTuple):
    """The addresses from ``first`` to ``last``, both included, as integers of IP ``version`` 4 or 6."""

    version: int
    first: int
    last: int
    scope_id: int = 0


class Link(NamedTuple):
    """Hosts by number, ``first`` to ``last``, that this machine reaches without a router.

    ``capacity`` is how many hosts the neighbour table can resolve at once, those of other links with this IP version
    included.
    """

    first: int
    last: int
    capacity: int


class ScanPlan(NamedTuple):
    """Everything that a scan engine needs to know. Durations are integer nanoseconds.

    Host number *i* is the *i*-th address of ``ranges``, and port number *j* is the *j*-th of ``ports``.
    """

    ranges: Sequence[AddressRange]
    ports: Sequence[int]
    first_ports: int  # the first so many of `ports` are asked before the others, in random order
    timeout: int
    retries: int
    adaptive: bool
    concurrency: int
    interval: int  # nanoseconds between two probes; 0 for no interval
    threads: int
    random: bool
    seed: int  # 64 bits
    shard: int  # 0-based
    shards: int
    banner: int  # how long to wait for a banner; 0 for no banner
    keep: int  # bit 1 << state for each state whose outcomes are reported
    trace: bool
    descriptors: int = 0  # the most sockets at once, listening ones included; at least `concurrency`
    skip_silent: bool = False
    links: Sequence[Link] = ()
    first_host: int = 0  # the number that host 0 has in the whole scan; the order of its ports depends on it
    first_send: int = 0  # when the first probe may be sent
    of_many: bool = False  # this is a part of a scan of several hosts, with all ports of its own, even if that is one


OPEN, CLOSED, FILTERED, ERROR = range(4)
"""The states of an Outcome, as small integers."""

(
    SYN_ACK,
    CONN_REFUSED,
    NO_RESPONSE,
    HOST_UNREACHABLE,
    NET_UNREACHABLE,
    PROTO_UNREACHABLE,
    SELF_CONNECT,
    HOST_SILENT,
    BROADCAST,
    MULTICAST,
) = range(10)
"""The reasons of an Outcome; a local error is minus its errno. The last two are local errors without one."""

LASTING = 1 << 16
"""Added to an errno for the machine if the fault will not pass, although others with that errno do."""


class Outcome(NamedTuple):
    """What an engine decided about one port of one host (both by number); ``rtt`` in nanoseconds, -1 for none."""

    host: int
    port: int
    state: int
    reason: int
    rtt: int
    banner: bytes | None


class Tally(NamedTuple):
    """The running totals of a scan: ports by state, probes by fate, hosts by outcome.

    ``unasked`` counts the ports that were decided without a probe of their own.
    """

    open: int
    closed: int
    filtered: int
    error: int
    probes: int
    retries: int
    drops: int
    local_errors: int
    hosts: int = 0
    hosts_up: int = 0
    hosts_unreachable: int = 0
    hosts_silent: int = 0
    unasked: int = 0


class TraceEvent(NamedTuple):
    """One probe or answer: nanoseconds since the start, host and port number, repeat number, and what happened.

    ``what`` is the reason of an Outcome, SENT, or -errno for a local fault. NO_RESPONSE means that the time of a probe
    is over; an answer may still come.
    """

    time: int
    host: int
    port: int
    repeat: int
    what: int


SENT = 100
"""``TraceEvent.what`` of a probe that was sent."""

GROUP = 1024
"""Hosts go through in groups of at most this many, whose state is freed when they are done."""

USUAL_CONCURRENCY = 4096
"""So many probes are in flight by default, where descriptors allow."""

FIRST = 16
"""So many ports of a host are asked before anything is known of it."""

# Plain tuples behind the named ones. An engine may return these, without making a named tuple of each.
OutcomeTuple = tuple[int, int, int, int, int, bytes | None]
TallyTuple = tuple[int, ...]
EventTuple = tuple[int, int, int, int, int]


class ScanRun(Protocol):
    """One scan under way."""

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes, and return those that there are."""
        ...

    def tally(self) -> TallyTuple:
        """Return the totals so far."""
        ...

    def done(self) -> bool:
        """Return whether everything is decided (or cancelled) and every outcome has been returned."""
        ...

    def cancel(self) -> None:
        """End the scan. On return, every descriptor is closed. May be called again, and from another thread."""

    def trace(self) -> Sequence[EventTuple]:
        """Return the events so far, in order of time; empty unless the plan asked for a trace."""
        ...


class ScanningModule(Protocol):
    """What the scan face needs from an engine."""

    def start_scan(self, plan: ScanPlan) -> ScanRun:
        """Begin to scan."""
        ...

    def asked_ports(self, plan: ScanPlan, hosts: Sequence[int]) -> Sequence[Sequence[int]]:
        """Return the ports of each of ``hosts`` that belong to the plan's shard, in the order of asking."""
        ...
