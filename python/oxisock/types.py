"""The values that oxisock gives back, shared by all concepts."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Any, NamedTuple


class Peer(NamedTuple):
    """The other end of a connection or datagram; equal to a plain ``(host, port)``."""

    host: str
    port: int


class Datagram(NamedTuple):
    """What a UDP handler gets: the bytes, who sent them, and whether there were more than the server keeps."""

    data: bytes
    peer: Peer
    truncated: bool = False


class PortState(StrEnum):
    """What a probe says of a port; each value is also its plain lower-case string."""

    OPEN = "open"
    CLOSED = "closed"
    FILTERED = "filtered"
    ERROR = "error"


class PortResult(NamedTuple):
    """What is known of one port of one address; immutable.

    ``host`` is the target as given (the address itself for networks and ranges) and ``address`` what was probed.
    ``reason`` is "syn-ack", "conn-refused", "no-response", "host-unreachable", "net-unreachable",
    "proto-unreachable", "self-connect" or "local-error: ERRNO_NAME". ``rtt`` is the round trip in seconds, never
    None for an open port; ``service`` the usual service of that port number, or None; ``banner`` what the port
    said first, or None.
    """

    host: str
    address: str
    port: int
    state: PortState
    reason: str
    rtt: float | None = None
    service: str | None = None
    banner: bytes | None = None

    @property
    def is_open(self) -> bool:
        """Whether the port accepted a connection."""
        return self.state is PortState.OPEN

    def to_dict(self) -> dict[str, Any]:
        """Give the fields as JSON-ready values: the state as a string, the banner in base64."""
        fields = self._asdict()
        fields["state"] = str(self.state)
        if self.banner is not None:
            fields["banner"] = base64.b64encode(self.banner).decode("ascii")
        return fields


class Progress(NamedTuple):
    """How far a scan is: ports decided, ports in all, ports open, seconds so far, ports decided per second."""

    done: int
    total: int
    open: int
    elapsed: float
    rate: float


class ScanStats(NamedTuple):
    """What a scan cost.

    ``probes`` sent in all, ``retries`` among them, ``drops`` (probes known to have been lost, because a repeat was
    answered), ``local_errors`` (probes put back because of a fault on this machine), ``elapsed`` seconds, and ``rate``
    in ports decided per second.
    """

    probes: int = 0
    retries: int = 0
    drops: int = 0
    local_errors: int = 0
    elapsed: float = 0.0
    rate: float = 0.0


class ProbeEvent(NamedTuple):
    """One step in the questioning of one port, from the trace of a scan.

    ``time`` is in seconds since the scan began; ``repeat`` counts the probes to this port from 0. ``event`` is "sent",
    or what came of that probe: a reason of PortResult, where "no-response" means that it was given up.
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

    ``offset`` is where in the stream it begins and ``length`` how many bytes it took there, header and terminator
    included; ``error`` the exception that the policy "fail" would have raised, as a class; ``declared`` the length of
    its body that the stream declared, or None; ``limit`` the codec's limit.
    """

    offset: int
    length: int
    error: type[Exception]
    declared: int | None
    limit: int | None


class ServerStats(NamedTuple):
    """The counters of a server; they outlive ``stop``.

    ``accepted`` connections are ``active`` or ``closed``. ``shed`` (closed at once, for want of descriptors) and
    ``rejected`` (by a full chat) are not among them. ``messages`` counts frames or datagrams handled (0 for echo),
    ``bytes_in`` and ``bytes_out`` payload as it crossed the socket, ``handler_errors`` handlers that raised or gave a
    wrong type, ``frame_errors`` input that broke the framing, ``timeouts`` connections closed by a timer,
    ``icmp_errors`` what peers answered to a datagram that nobody wanted, ``ignored`` datagrams not answered on purpose.
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


class StopReport(NamedTuple):
    """How a stop went: connections that ended with nothing owed to them, connections cut, handlers still running, and
    the seconds it took."""

    drained: int = 0
    aborted: int = 0
    stuck_handlers: int = 0
    elapsed: float = 0.0
