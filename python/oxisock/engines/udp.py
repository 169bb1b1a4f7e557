"""What the UDP face needs from an engine: a reactor to be turned, and one that echoes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..types import Datagram, Peer


class UdpPlan(NamedTuple):
    """What a UDP engine needs to know besides its socket."""

    max_datagram: int  # bytes; what is longer is cut and marked
    answer_low_ports: bool  # whether datagrams from source ports below 1024 are taken
    wildcard: bool  # whether to ask which address a datagram was sent to, and to reply from there


class UdpTally(NamedTuple):
    """The running totals of a UDP engine: datagrams taken, their bytes, bytes of replies, then replies that were too
    long and that waited too long, errors from the network, datagrams ignored, and after the end had begun, replies that
    left and replies dropped."""

    messages: int
    bytes_in: int
    bytes_out: int
    too_long: int
    timeouts: int
    icmp_errors: int
    ignored: int
    drained: int
    aborted: int


class UdpReactor(Protocol):
    """One UDP socket, turned by one thread."""

    def turn(self, replies: Sequence[bytes | None]) -> list[Datagram] | None:
        """Send ``replies`` to the datagrams of the last turn in their order (fewer is fine, None is no reply), wait
        for the next ones and give them; None is the end. Where some of the replies are ``refused``, there is no waiting
        and an empty list."""

    def refused(self) -> list[tuple[Peer, int]]:
        """Return the replies of the last turn that no datagram can hold: to whom, and how long."""
        ...

    def end(self, drain: float | None) -> None:
        """Let ``turn`` answer what is queued for at most ``drain`` seconds (None: no limit), then give None.

        From any thread; again may bring the end forward, never put it off.
        """

    def close(self) -> None:
        """Close the socket; waits for a ``turn`` that is ending."""

    def abandon(self) -> None:
        """Close the socket in a forked child, and nothing else."""

    def tally(self) -> UdpTally:
        """Return the totals so far; also after the end."""
        ...


class UdpEchoReactor(Protocol):
    """A reactor that echoes datagrams, on a thread of its own; every method from any thread."""

    def end(self, drain: float | None) -> None:
        """End within ``drain`` seconds (None: no limit); again may bring the end forward."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end; say whether it came. The socket is closed by then."""
        ...

    def abandon(self) -> None:
        """Close the socket in a forked child, and nothing else."""

    def tally(self) -> UdpTally:
        """Return the totals so far; also after the end."""
        ...


class UdpModule(Protocol):
    """What the UDP face needs from an engine. A socket is passed as its descriptor, which the engine then owns."""

    def udp_reactor(self, fd: int, plan: UdpPlan) -> UdpReactor:
        """Take over a bound socket, to be turned by the caller."""
        ...

    def start_udp_echo(self, fd: int, plan: UdpPlan, prefix: bytes) -> UdpEchoReactor:
        """Take over a bound socket and begin to send every datagram back after ``prefix``."""
        ...
