"""What an engine offers, as Protocols; `selected` says which engine that is.

An engine is a set of modules, one for each concept, that satisfy these Protocols: ``oxisock.pure.*`` in Python and
``oxisock._native`` in Rust. Faces know engines only through what stands here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from .selection import Impl as Impl
from .selection import selected as selected

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .types import Datagram, Peer, SkippedFrame

# --- scan ----------------------------------------------------------------------------------------------------------


class AddressRange(NamedTuple):
    """The addresses from ``first`` to ``last``, both included, as integers of IP ``version`` 4 or 6."""

    version: int
    first: int
    last: int
    scope_id: int = 0


class ScanPlan(NamedTuple):
    """Everything a scan engine needs to know; durations are integer nanoseconds.

    Host number *i* is the *i*-th address of ``ranges``, port number *j* the *j*-th of ``ports``.
    """

    ranges: Sequence[AddressRange]
    ports: Sequence[int]
    first_ports: int  # in random order the first this many of `ports` are asked before the others
    timeout: int
    retries: int
    adaptive: bool
    concurrency: int
    interval: int  # between two probes, 0 for none
    threads: int
    random: bool
    seed: int  # 64 bits
    shard: int  # 0-based
    shards: int
    banner: int  # how long to wait for a banner, 0 for none
    keep: int  # bit 1 << state for each state whose outcomes are reported
    trace: bool


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
) = range(7)
"""The reasons of an Outcome; a local error is minus its errno."""


class Outcome(NamedTuple):
    """What an engine decided about one port of one host (both by number); ``rtt`` in nanoseconds, -1 for none."""

    host: int
    port: int
    state: int
    reason: int
    rtt: int
    banner: bytes | None


class Tally(NamedTuple):
    """The running totals of a scan: ports by state, then probes by fate."""

    open: int
    closed: int
    filtered: int
    error: int
    probes: int
    retries: int
    drops: int
    local_errors: int


class TraceEvent(NamedTuple):
    """One probe or answer: nanoseconds since the start, host and port number, repeat number, and what happened.

    ``what`` is a reason of an Outcome, or SENT, or -errno for a local fault; NO_RESPONSE is a probe given up.
    """

    time: int
    host: int
    port: int
    repeat: int
    what: int


SENT = 100
"""``TraceEvent.what`` of a probe that left."""

# The plain tuples behind the named ones: what may cross from an engine without being made by name there.
OutcomeTuple = tuple[int, int, int, int, int, bytes | None]
TallyTuple = tuple[int, int, int, int, int, int, int, int]
EventTuple = tuple[int, int, int, int, int]


class ScanRun(Protocol):
    """One scan under way."""

    def wait(self, timeout: float) -> Sequence[OutcomeTuple]:
        """Wait at most ``timeout`` seconds for kept outcomes and give those there are."""

    def tally(self) -> TallyTuple:
        """Give the totals so far."""

    def done(self) -> bool:
        """Say whether everything is decided (or cancelled) and every outcome given."""

    def cancel(self) -> None:
        """End the scan; on return every descriptor is back. May be called again, and from another thread."""

    def trace(self) -> Sequence[EventTuple]:
        """Give the events so far, in order of time; empty unless the plan asked for them."""


class ScanModule(Protocol):
    """What the scan face needs from an engine."""

    def start_scan(self, plan: ScanPlan) -> ScanRun:
        """Begin to scan."""


# --- framing -------------------------------------------------------------------------------------------------------

# Any object with a C-contiguous buffer; typing has a name for it from Python 3.12 on.
Buffer = bytes | bytearray | memoryview


class FrameDecoder(Protocol):
    """One stream being cut into frames; `framing.Decoder` says what each method does."""

    @property
    def buffered(self) -> int: ...
    @property
    def skipped_count(self) -> int: ...
    def feed(self, data: Buffer, /) -> list[bytes]: ...
    def eof(self) -> list[bytes]: ...
    def take_skipped(self) -> list[SkippedFrame]: ...
    def get_buffer(self, sizehint: int, /) -> memoryview: ...
    def buffer_updated(self, n: int, /) -> list[bytes]: ...


class Framer(Protocol):
    """A codec with its parameters, checked by the face, in one engine."""

    def encode(self, payload: Buffer, /) -> bytes:
        """Frame one payload; ValueError unless decoding the result gives exactly that payload."""

    def encode_many(self, payloads: Iterable[Buffer], /) -> bytes:
        """Frame payloads one after the other."""

    def decoder(self, skip: bool, /) -> FrameDecoder:
        """Begin a stream; ``skip`` leaves bad frames out where that can be done."""


class FramingModule(Protocol):
    """What the framing face needs from an engine: a framer for each kind of codec. Sizes are bytes."""

    def length_framer(
        self, width: int, little: bool, offset: int, adjustment: int, strip: int, max_frame: int, /
    ) -> Framer:
        """A field of ``width`` bytes after ``offset`` others; ``strip`` is a number here."""

    def escaped_framer(self, max_frame: int, /) -> Framer:
        """multiprocessing's: a signed 32-bit length, where -1 announces an unsigned 64-bit one."""

    def varint_framer(self, max_frame: int, /) -> Framer:
        """A LEB128 length."""

    def decimal_framer(self, separator: int, trailer: int | None, max_frame: int, /) -> Framer:
        """A length in decimal digits up to the byte ``separator``; the byte ``trailer`` ends the frame."""

    def fixed_framer(self, size: int, /) -> Framer:
        """Every frame of the same size."""

    def delimiter_framer(self, delimiters: Sequence[bytes], keep: bool, eof_frame: bool, max_frame: int, /) -> Framer:
        """Frames end at the earliest end of one of ``delimiters``."""

    def lines_framer(self, keep: bool, eof_frame: bool, max_frame: int, /) -> Framer:
        """Frames end at LF, and one CR before it belongs to the end."""


# --- UDP -----------------------------------------------------------------------------------------------------------


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


class UdpLoop(Protocol):
    """One UDP socket, turned by one thread."""

    def turn(self, replies: Sequence[bytes | None]) -> list[Datagram] | None:
        """Send ``replies`` to the datagrams of the last turn in their order (fewer is fine, None is no reply), wait
        for the next ones and give them; None is the end. Where some of the replies are ``refused``, there is no waiting
        and an empty list."""

    def refused(self) -> list[tuple[Peer, int]]:
        """Give the replies of the last turn that no datagram can hold: to whom, and how long."""

    def end(self, drain: float | None) -> None:
        """Let ``turn`` answer what is queued for at most ``drain`` seconds (None: no limit), then give None.

        From any thread; again may bring the end forward, never put it off.
        """

    def close(self) -> None:
        """Close the socket; waits for a ``turn`` that is ending."""

    def abandon(self) -> None:
        """Close the socket in a forked child, and nothing else."""

    def tally(self) -> UdpTally:
        """Give the totals so far; also after the end."""


class UdpEcho(Protocol):
    """A UDP echo server under way, on a thread of its own; every method from any thread."""

    def end(self, drain: float | None) -> None:
        """End within ``drain`` seconds (None: no limit); again may bring the end forward."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the end; say whether it came. The socket is closed by then."""

    def abandon(self) -> None:
        """Close the socket in a forked child, and nothing else."""

    def tally(self) -> UdpTally:
        """Give the totals so far; also after the end."""


class UdpModule(Protocol):
    """What the UDP face needs from an engine. A socket is passed as its descriptor, which the engine then owns."""

    def udp_loop(self, fd: int, plan: UdpPlan) -> UdpLoop:
        """Take over a bound socket, to be turned by the caller."""

    def udp_echo(self, fd: int, plan: UdpPlan, prefix: bytes) -> UdpEcho:
        """Take over a bound socket and begin to send every datagram back after ``prefix``."""


# --- servers -------------------------------------------------------------------------------------------------------


class ServerPlan(NamedTuple):
    """The limits of a TCP server; durations are integer nanoseconds, NEVER for no limit."""

    max_connections: int
    idle_timeout: int
    write_timeout: int
    max_buffered: int
    nodelay: bool
    keepalive: bool


class FaultPlan(NamedTuple):
    """Faults made on purpose, as the connection machine takes them: ``drop`` is out of 2**32."""

    cut: int
    delay: int
    reset_after: int
    drop: int
    seed: int


NEVER = 2**63 - 1
"""A time that does not come; as a limit, no limit."""

Counters: TypeAlias = "tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]"
"""The fields of ServerStats, in their order."""


class ConnectionMachine(Protocol):
    """The life of one TCP connection; ``oxisock.pure.connection`` says what each of these means."""

    @property
    def closed(self) -> int: ...
    @property
    def queued(self) -> int: ...
    @property
    def owed(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    def active(self, now: int) -> None: ...
    def deliver(self, now: int) -> None: ...
    def answered(self, messages: int, now: int) -> None: ...
    def queue(self, size: int, now: int) -> None: ...
    def wrote(self, size: int, now: int) -> None: ...
    def ended(self, now: int) -> None: ...
    def finish(self, now: int) -> None: ...
    def abort(self, reason: int, now: int) -> None: ...
    def tick(self, now: int) -> None: ...
    def swallow(self) -> bool: ...
    def room(self) -> int: ...
    def allowance(self) -> int: ...
    def deadline(self) -> int: ...


class ReactorRun(Protocol):
    """What every TCP server under way offers; every method may be called from any thread, and none blocks."""

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""

    def outcome(self) -> tuple[int, int]:
        """Give the connections drained and aborted by the stop."""

    def counters(self) -> Counters:
        """Give the counters."""

    def forked(self) -> None:
        """From now on, shut sockets down before closing them: a forked child holds duplicates."""

    def abandon(self) -> None:
        """Close the listener and do nothing else, now or when dropped: this is a forked child."""


class EchoRun(ReactorRun, Protocol):
    """An echo server under way, on threads of its own."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether it has ended."""


ANSWERED, HELD, FINISH = range(3)
"""What a Reply says of its connection: all of the Item is answered; the rest waits until there is room (an Item without
input will say so); all is answered and the connection is to close."""

Item: TypeAlias = "tuple[int, Peer, bytes | list[bytes] | None, int, Exception | None]"
"""What came in on a connection: its token; its peer; bytes (None at the end of the input), or messages where the engine
frames; the bytes of answers there is room for; the error that ends the messages."""

Reply: TypeAlias = "tuple[int, bytes, int, int]"
"""What goes out: the token; bytes; the number of messages handled; one of ANSWERED, HELD, FINISH."""


class MessageReactor(ReactorRun, Protocol):
    """The loop of a message server, to be turned by Python threads, one at a time."""

    @property
    def framed(self) -> bool:
        """Whether Items hold messages, rather than bytes."""

    def turn(self, replies: list[Reply]) -> list[Item] | None:
        """Send ``replies`` and wait for input; None when the server has ended.

        A connection with an Item out gives no other before its Reply is in.
        """

    def submit(self, replies: list[Reply]) -> None:
        """Send ``replies`` while another thread turns."""

    def take_closed(self) -> list[int]:
        """Give the tokens of the connections that closed since the last call."""

    def count_errors(self, handler: int, frame: int) -> None:
        """Add to the counters handler_errors and frame_errors."""


class ServersModule(Protocol):
    """What the TCP faces need from an engine; each takes over the listening descriptor ``listener``."""

    def start_echo(self, listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> EchoRun:
        """Begin to echo."""

    def message_reactor(self, listener: int, plan: ServerPlan, framer: Framer | None) -> MessageReactor:
        """Make the loop of a message server; one that knows ``framer`` may frame by itself."""


# --- chat ----------------------------------------------------------------------------------------------------------


class HubPlan(NamedTuple):
    """The rules of a chat; durations are integer nanoseconds, NEVER for no limit."""

    name: str
    max_clients: int
    max_line: int
    history: int
    queue_limit: int
    drop: bool  # what a slow client misses is dropped; otherwise it is closed
    interval: int  # between two lines in the long run, 0 for no limit
    burst: int  # lines at once
    idle_timeout: int
    echo: bool
    events: bool  # whether anybody wants them


HubClose: TypeAlias = "tuple[int, bytes, bool]"
"""A client to be closed: what to send it last, and whether it is to be cut off at once instead."""

HubEvent: TypeAlias = "tuple[str, str, str]"
"""The fields of ChatEvent."""

HubMember: TypeAlias = "tuple[int, str, int, int, int]"
"""The client, its nick, when it joined, bytes waiting for it, and lines that it missed."""


class HubMachine(Protocol):
    """The room of a chat; ``oxisock.pure.hub`` says what each of these means."""

    @property
    def full(self) -> bool: ...
    @property
    def timeouts(self) -> int: ...
    def joined(self, client: int, now: int) -> bool: ...
    def line(self, client: int, line: bytes, now: int) -> None: ...
    def too_long(self, client: int, now: int) -> None: ...
    def left(self, client: int, lost: bool) -> None: ...
    def tick(self, now: int) -> None: ...
    def backlog(self, client: int, size: int) -> bool: ...
    def broadcast(self, text: str) -> None: ...
    def kick(self, nick: str, reason: str) -> bool: ...
    def close(self) -> None: ...
    def take_pressed(self) -> list[int]: ...
    def take_closes(self) -> list[HubClose]: ...
    def take_dirty(self) -> list[int]: ...
    def take(self, client: int) -> bytes: ...
    def take_events(self) -> list[HubEvent]: ...
    def deadline(self) -> int: ...
    def members(self) -> list[HubMember]: ...


class ChatRun(ReactorRun, Protocol):
    """A chat server under way, on a thread of its own."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; say whether it has ended."""

    def now(self) -> int:
        """Give the time on the clock of ``members``, in nanoseconds."""

    def members(self) -> list[tuple[str, str, int, int, int, int]]:
        """Give nick, host, port, time of joining, bytes queued and lines skipped of everybody, in order of joining."""

    def broadcast(self, text: str) -> None:
        """Say something to everybody."""

    def kick(self, nick: str, reason: str) -> bool:
        """Part with a client; False if nobody is called so."""

    def events(self, timeout: float) -> tuple[Sequence[HubEvent], int] | None:
        """Wait at most ``timeout`` seconds for events and give them, with the number of those lost because nobody took
        them in time; None when there will be no more."""


class ChatModule(Protocol):
    """What the chat face needs from an engine."""

    def start_chat(self, listener: int, server: ServerPlan, plan: HubPlan) -> ChatRun:
        """Begin to chat on the listening descriptor ``listener``, which is taken over."""
