"""What the UDP face needs from an engine: a reactor that the caller turns, and one that echoes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..types import Datagram, Peer


class UdpPlan(NamedTuple):
    """What a UDP engine needs to know besides its socket."""

    max_datagram: int  # bytes; a longer datagram is cut and marked
    answer_low_ports: bool  # whether datagrams from source ports below 1024 are taken
    wildcard: bool  # whether to ask for the address a datagram was sent to, and to reply from it


class UdpTally(NamedTuple):
    """The running totals of a UDP engine.

    They are: datagrams taken, their bytes, bytes of replies, replies that were too long, replies that waited too long,
    errors from the network, and datagrams ignored. Then, since the end began: replies sent and replies dropped.
    """

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
    """One UDP socket, which one thread turns."""

    def turn(self, replies: Sequence[bytes | None]) -> list[Datagram] | None:
        """Send ``replies`` to the datagrams of the last turn, then wait for the next datagrams and return them.

        Replies are in the order of the datagrams; fewer are fine, and None is no reply. Returns None at the end. If
        some replies are ``refused``, it does not wait, and returns an empty list.
        """

    def refused(self) -> list[tuple[Peer, int]]:
        """Return the replies of the last turn that do not fit in a datagram: the peer and the size of each."""
        ...

    def end(self, drain: float | None) -> None:
        """Let ``turn`` answer what is queued for at most ``drain`` seconds (None: no limit), then return None.

        Any thread may call this. Another call may bring the end forward, but cannot delay it.
        """

    def close(self) -> None:
        """Close the socket, after waiting for a ``turn`` that is ending."""

    def abandon(self) -> None:
        """Close the socket in a forked child, and do nothing else."""

    def tally(self) -> UdpTally:
        """Return the totals so far; works after the end too."""
        ...


class UdpEchoReactor(Protocol):
    """A reactor that echoes datagrams on a thread of its own. Any thread may call every method."""

    def end(self, drain: float | None) -> None:
        """End within ``drain`` seconds (None: no limit). Another call may bring the end forward."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end; return whether it came. By then, the socket is closed."""
        ...

    def abandon(self) -> None:
        """Close the socket in a forked child, and do nothing else."""

    def tally(self) -> UdpTally:
        """Return the totals so far; works after the end too."""
        ...


class UdpModule(Protocol):
    """What the UDP face needs from an engine. A socket is passed as its descriptor, which the engine then owns."""

    def udp_reactor(self, fd: int, plan: UdpPlan) -> UdpReactor:
        """Take over a bound socket; the caller turns the reactor."""
        ...

    def start_udp_echo(self, fd: int, plan: UdpPlan, prefix: bytes) -> UdpEchoReactor:
        """Take over a bound socket, and begin to send back every datagram after ``prefix``."""
        ...
