"""The values that oxisock returns, shared by all concepts."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

Answer = TypeVar("Answer", bound="bytes | Exception | None")
"""An item in the list that a batch handler returns: the answer, None for no answer, or an exception."""


class Peer(NamedTuple):
    """The other end of a connection or datagram. It equals a plain ``(host, port)``; ``str`` gives HOST:PORT.

    Attributes:
        host: the address as text, with its zone if it has one: ``fe80::1%eth0``. For a Unix socket, its path.
        port: 1 to 65535; 0 for a Unix socket.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Datagram(NamedTuple):
    """A datagram, as a UDP handler gets it.

    Attributes:
        data: the payload; may be empty.
        peer: the sender.
        truncated: whether the payload was longer than the server's ``max_datagram`` and lost its end.
    """

    data: bytes
    peer: Peer
    truncated: bool = False


class PortState(StrEnum):
    """The state of a port. Each value is also a lower-case string: ``PortState.OPEN == "open"``.

    Attributes:
        OPEN: the port accepted the connection.
        CLOSED: the port refused the connection.
        FILTERED: nothing came back, or a router reported the host as unreachable.
        ERROR: this machine could not send a probe, so nothing is known about the port.
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
    """The result for one port of one address; immutable.

    Attributes:
        host: the target as you gave it; for networks and ranges, the address itself.
        address: the IP address that was probed.
        port: 1 to 65535.
        state: open, closed, filtered or error.
        reason: why the port is in that state: "syn-ack", "conn-refused", "no-response", "host-unreachable",
            "net-unreachable", "proto-unreachable", "self-connect", "host-silent" (not probed, because nothing had come
            from that host) or "local-error: " followed by the name of the errno, "broadcast address" or
            "multicast address".
        rtt: the round trip in seconds; None if nothing came back. An open port always has one.
        service: the service that usually has this port number, or None.
        banner: the first bytes that the port sent, or None.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # Any instead of None, so that type checkers do not ask for a check of the time of an open port.
        rtt: float | Any  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def is_open(self) -> bool:
        """Whether the port accepted a connection."""
        return self.state is PortState.OPEN

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values for JSON: the state is a string, the banner is base64."""
        fields = self._asdict()
        fields["state"] = str(self.state)
        if self.banner is not None:
            fields["banner"] = base64.b64encode(self.banner).decode("ascii")
        return fields


class Progress(NamedTuple):
    """The progress of a scan.

    Attributes:
        done: the number of ports that have a result.
        total: the number of ports to scan.
        open: the number of open ports found so far.
        elapsed: seconds since the scan began.
        rate: ports asked per second.
        unasked: ports in ``done`` that got no probe of their own, because their host cannot be reached.
        asked: ports that got at least one probe. A silent port gets its result later, often near the end, so
            ``total - unasked - asked`` ports are left to ask.
        share: the estimated share of all probes sent so far, repeats included, from 0 to 1.
        left: the estimated seconds to the end; None until there is an estimate. 0 when the scan has ended, also if
            ``max_time`` or you ended it before all ports were asked.
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
    """The cost of a scan.

    Attributes:
        probes: the number of probes sent.
        retries: the number of repeats among the probes.
        drops: probes that are known to be lost, because a repeat was answered.
        local_errors: probes that were postponed because of a fault on this machine.
        elapsed: the duration in seconds.
        rate: ports decided per second, without those from earlier runs in a checkpoint.
        hosts: the number of hosts to scan.
        hosts_up: hosts that sent anything back.
        hosts_unreachable: hosts that are known to be unreachable.
        hosts_silent: hosts that sent nothing back, and are not known to be unreachable. A host that sent nothing back
            and that this machine could not ask (no route, no permission) counts in none of these three.
        unasked: ports that got no probe of their own.
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
    """The machine that scanned one part of a scan over an executor.

    Attributes:
        task: the number of the task, in the order of submission.
        host: the name of the machine.
        address: the source address of its probes, or None if that is not known.
        seconds: the duration in seconds.
        probes: the number of probes it sent.
    """

    task: int
    host: str
    address: str | None
    seconds: float
    probes: int


class ProbeEvent(NamedTuple):
    """One event in the trace of a scan: a probe to a port, or an answer to it.

    Attributes:
        time: seconds since the scan began.
        address: the IP address that was probed.
        port: 1 to 65535.
        repeat: the number of the probe to this port, from 0.
        event: "sent", or the result of the probe as in ``PortResult.reason``. "no-response" means that the scanner
            stopped waiting for this probe.
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
    """The events of one port in order of time; ``str`` gives one line for each."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))


class SkippedFrame(NamedTuple):
    """A bad frame that a decoder with the policy "skip" left out.

    Attributes:
        offset: where the frame begins in the stream, in bytes.
        length: its length in the stream in bytes, with header and terminator.
        error: the class of the exception that the policy "fail" raises for it.
        declared: the payload length that its header declared, in bytes, or None.
        limit: the limit of the codec in bytes, or None.
    """

    offset: int
    length: int
    error: type[Exception]
    declared: int | None
    limit: int | None


class ServerStats(NamedTuple):
    """The counters of a server. You can read them after ``stop``, too.

    Attributes:
        accepted: connections that the server accepted; always ``active + closed``.
        active: connections that are open now.
        closed: connections that have ended.
        shed: new connections closed at once, because the process had no free descriptors; not in ``accepted``.
        rejected: new connections turned away, because their address has ``max_per_address`` connections, or the chat
            is full, or too many clients join and leave; not in ``accepted``.
        messages: frames or datagrams handled; 0 for a TCP echo server.
        bytes_in: bytes received; with TLS, after decryption.
        bytes_out: bytes sent; with TLS, before encryption, in whole records. If an asyncio server loses a connection,
            only bytes that are known to be sent count.
        handler_errors: handler calls that raised or returned a wrong type, and answers that did not fit into memory.
        frame_errors: input that broke the framing or did not fit into memory.
        timeouts: connections closed by a timeout; for UDP, replies that could not be sent in time.
        icmp_errors: ICMP errors that peers sent back for a datagram.
        ignored: datagrams not answered on purpose, because they came from a low port or from the server's own address.
        handshake_errors: TLS handshakes that failed or that the client ended.
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
    """The result of stopping a server.

    Attributes:
        drained: connections that got all their answers; for UDP, replies sent after the stop began.
        aborted: connections that were cut; for UDP, datagrams and replies that were dropped.
        stuck_handlers: handler calls that had not returned.
        elapsed: the duration of the stop in seconds.
    """

    drained: int = 0
    aborted: int = 0
    stuck_handlers: int = 0
    elapsed: float = 0.0
