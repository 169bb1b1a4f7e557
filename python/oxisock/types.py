"""The values that oxisock gives back, shared by all concepts."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

Answer = TypeVar("Answer", bound="bytes | Exception | None")
"""What the list of a batch handler may hold, so that a ``list[bytes]`` is one too."""


class Peer(NamedTuple):
    """The other end of a connection or datagram; equal to a plain ``(host, port)``, and HOST:PORT as text.

    Attributes:
        host: the address, as text, with its zone where it has one: ``fe80::1%eth0``. Of a Unix socket, its path.
        port: 1 to 65535; 0 for a Unix socket.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Datagram(NamedTuple):
    """What a UDP handler gets.

    Attributes:
        data: the bytes, none among them.
        peer: who sent them.
        truncated: whether there were more than the server's ``max_datagram``.
    """

    data: bytes
    peer: Peer
    truncated: bool = False


class PortState(StrEnum):
    """What a probe says of a port; each value is also its plain lower-case string.

    Attributes:
        OPEN: the connection was accepted.
        CLOSED: it was refused.
        FILTERED: nothing came back, or a router said that nothing can.
        ERROR: this machine could not ask, which says nothing of the port.
    """

    OPEN = "open"
    CLOSED = "closed"
    FILTERED = "filtered"
    ERROR = "error"


class _PortFields(NamedTuple):
    """The fields of a PortResult."""

    host: str
    address: str
    port: int
    state: PortState
    reason: str
    rtt: float | None = None
    service: str | None = None
    banner: bytes | None = None


class PortResult(_PortFields):
    """What is known of one port of one address; immutable.

    Attributes:
        host: the target as given; the address itself for networks and ranges.
        address: what was probed.
        port: 1 to 65535.
        state: what the answer means.
        reason: "syn-ack", "conn-refused", "no-response", "host-unreachable", "net-unreachable", "proto-unreachable",
            "self-connect", "host-silent" (not asked: nothing had come from that host) or "local-error: " with the name
            of the errno, "broadcast address" or "multicast address".
        rtt: the round trip in seconds; None if nothing came back, so never for an open port.
        service: the usual service of that port number, or None.
        banner: what the port said first, or None.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # Any stands for the None of a port that did not answer: nobody has to make sure that an open one has a time.
        rtt: float | Any  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def is_open(self) -> bool:
        """Whether the port accepted a connection."""
        return self.state is PortState.OPEN

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values: the state as a string, the banner in base64."""
        fields = self._asdict()
        fields["state"] = str(self.state)
        if self.banner is not None:
            fields["banner"] = base64.b64encode(self.banner).decode("ascii")
        return fields


class Progress(NamedTuple):
    """How far a scan is.

    Attributes:
        done: ports decided.
        total: ports in all.
        open: ports found open.
        elapsed: seconds so far.
        rate: ports asked per second.
        unasked: those of ``done`` that were decided without a probe of their own: nothing is left to be asked of a host
            that cannot be reached.
        asked: ports of which a probe has left. The verdict on a silent port comes later, often near the end, so
            ``total - unasked - asked`` are left to ask.
        share: the part of all probes that has left, repeats included, from 0 to 1: an estimate.
        left: seconds that the rest will take, as an estimate; None until there is one.
    """

    done: int
    total: int
    open: int
    elapsed: float
    rate: float
    unasked: int = 0
    asked: int = 0
    share: float = 0.0
    left: float | None = None


class ScanStats(NamedTuple):
    """What a scan cost.

    Attributes:
        probes: sent in all.
        retries: the repeats among them.
        drops: probes known to have been lost, because a repeat was answered.
        local_errors: probes put back because of a fault on this machine.
        elapsed: seconds that it took.
        rate: ports decided per second; those of the runs that a checkpoint tells of are left out.
        hosts: asked, or to be asked.
        hosts_up: from which anything came.
        hosts_unreachable: for which nobody answers.
        hosts_silent: from which nothing came, and of which nothing says that they are unreachable.
        unasked: ports that were decided without a probe of their own.
    """

    probes: int = 0
    retries: int = 0
    drops: int = 0
    local_errors: int = 0
    elapsed: float = 0.0
    rate: float = 0.0
    hosts: int = 0
    hosts_up: int = 0
    hosts_unreachable: int = 0
    hosts_silent: int = 0
    unasked: int = 0


class ScanSource(NamedTuple):
    """Who asked a part of a scan, and from where.

    Attributes:
        task: the number of the task, in the order in which they were given out.
        host: the name of the machine.
        address: the address that its probes came from, or None if that is not known.
        seconds: how long it took.
        probes: how many it sent.
    """

    task: int
    host: str
    address: str | None
    seconds: float
    probes: int


class ProbeEvent(NamedTuple):
    """One step in the questioning of one port, from the trace of a scan.

    Attributes:
        time: in seconds since the scan began.
        address: what was probed.
        port: 1 to 65535.
        repeat: counts the probes to this port from 0.
        event: "sent", or what came of that probe: a reason of PortResult, where "no-response" means that it was given
            up.
    """

    time: float
    address: str
    port: int
    repeat: int
    event: str

    def __str__(self) -> str:
        what = "sent" if self.event == "sent" else f"-> {self.event}"
        return f"{self.time:11.6f} s  probe {self.repeat + 1}  {what}"


class ProbeTrail(list[ProbeEvent]):
    """The events of one port in order of time; as text, one line each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


class SkippedFrame(NamedTuple):
    """A frame that a decoder with the policy "skip" left out.

    Attributes:
        offset: where in the stream it begins.
        length: how many bytes it took there, header and terminator included.
        error: the exception that the policy "fail" would have raised, as a class.
        declared: the length of its body that the stream declared, or None.
        limit: the codec's limit, in bytes.
    """

    offset: int
    length: int
    error: type[Exception]
    declared: int | None
    limit: int | None


class ServerStats(NamedTuple):
    """The counters of a server; they outlive ``stop``.

    Attributes:
        accepted: connections taken; always ``active + closed``.
        active: connections there are.
        closed: connections there were.
        shed: newcomers closed at once, for want of descriptors; not among the accepted.
        rejected: newcomers turned away: of an address that has ``max_per_address`` connections, or by a chat, full or
            too busy with those who come and go; not among the accepted.
        messages: frames or datagrams handled; 0 for a TCP echo.
        bytes_in: payload as it came through the socket; with TLS, what that said.
        bytes_out: payload as it left through the socket; with TLS, before it was encrypted, in whole records. When an
            asyncio server loses a connection, what is known to have left.
        handler_errors: handlers that raised or gave a wrong type, and answers that there was no memory to keep.
        frame_errors: input that broke the framing, or that there was no memory to hold.
        timeouts: connections closed by a timer; for UDP, replies given up.
        icmp_errors: what peers answered to a datagram that nobody wanted.
        ignored: datagrams not answered on purpose: from low ports, or said to come from the server itself.
        handshake_errors: TLS handshakes that failed, or that the client broke off.
    """

    accepted: int = 0
    active: int = 0
    closed: int = 0
    shed: int = 0
    rejected: int = 0
    messages: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    handler_errors: int = 0
    frame_errors: int = 0
    timeouts: int = 0
    icmp_errors: int = 0
    ignored: int = 0
    handshake_errors: int = 0


class StopReport(NamedTuple):
    """How a stop went.

    Attributes:
        drained: connections that ended with nothing owed to them; for UDP, replies sent after the stop began.
        aborted: connections that were cut; for UDP, datagrams and replies that were dropped.
        stuck_handlers: handlers that had not returned.
        elapsed: the seconds it took.
    """

    drained: int = 0
    aborted: int = 0
    stuck_handlers: int = 0
    elapsed: float = 0.0
