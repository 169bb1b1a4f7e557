"""What the TCP faces need from an engine: the connection machine, and reactors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from ..arguments import NEVER as NEVER

if TYPE_CHECKING:
    from ..types import Peer, ServerStats
    from .framing import Framer


class ServerPlan(NamedTuple):
    """The limits of a TCP server. Durations are integer nanoseconds; NEVER is no limit."""

    max_connections: int
    max_per_address: int
    idle_timeout: int
    write_timeout: int
    max_buffered: int
    nodelay: bool
    keepalive: bool
    proxies: tuple[tuple[int, int], ...]  # addresses whose connections begin with a PROXY header, as ranges of numbers
    header_timeout: int
    secure: bool = False  # whether the user of the reactor speaks TLS
    handshake_timeout: int = NEVER


class FaultPlan(NamedTuple):
    """Faults made on purpose, as the connection machine takes them. ``drop`` is a share of 2**32."""

    cut: int
    delay: int
    reset_after: int
    drop: int
    seed: int


Notice: TypeAlias = "tuple[int, str, int, str, int]"
"""What happened to a connection: when, in nanoseconds since 1970; its peer's host and port; "opened", "received" or
"closed"; how many bytes were received, or the number that machines use for why it was closed."""


class Reactors(Protocol):
    """The reactors of a TCP server. Any thread may call every method, and none blocks."""

    def begin_stop(self, drain: int) -> None:
        """Stop listening and end within ``drain`` nanoseconds."""

    def outcome(self) -> tuple[int, int]:
        """Return the connections drained and aborted by the stop."""
        ...

    def counters(self) -> ServerStats:
        """Return the counters."""
        ...

    def notices(self) -> tuple[list[Notice], int]:
        """Return what happened to connections since the last call, and how many notices were lost.

        The first call begins to watch; nothing before it is noticed.
        """
        ...

    def forked(self) -> None:
        """From now on, shut sockets down before closing them, because a forked child holds duplicates."""

    def abandon(self) -> None:
        """Close the listener and do nothing else, now or when dropped, because this is a forked child."""


class EchoReactors(Reactors, Protocol):
    """Reactors that echo, on threads of their own."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether the server has ended."""
        ...


ANSWERED, HELD, FINISH = range(3)
"""The action of a Reply. ANSWERED: all of the Item is answered. HELD: the rest waits until there is room, which an Item
without input will say. FINISH: all is answered, and the connection is to close."""

Item: TypeAlias = "tuple[int, Peer, bytes | list[bytes] | None, int, Exception | None]"
"""Input of a connection: its token; its peer; bytes (None at the end of the input), or messages if the engine frames;
how many bytes of answers there is room for; the error that ends the messages."""

Reply: TypeAlias = "tuple[int, bytes, int, int]"
"""Output of a connection: the token; bytes; the number of messages handled; one of ANSWERED, HELD, FINISH."""


class MessageReactor(Reactors, Protocol):
    """The reactor of a message server. Python threads turn it, one at a time."""

    @property
    def framed(self) -> bool:
        """Whether Items hold messages; otherwise they hold bytes."""
        ...

    def turn(self, replies: list[Reply], wait: bool = True) -> list[Item] | None:
        """Send ``replies``, and wait for input if ``wait`` is true. Returns None when the server has ended.

        A connection whose Item is out gives no other Item before its Reply is in. If the plan says ``secure``, a
        connection that is about to end gives a last Item without input.
        """

    def begun(self, token: int) -> None:
        """Clear the time limit of a connection, because its handshake is done."""

    def submit(self, replies: list[Reply]) -> None:
        """Send ``replies`` while another thread turns."""

    def written(self, token: int) -> int | None:
        """Return how many bytes the socket of a connection took; None if it has closed."""
        ...

    def take_closed(self) -> list[tuple[int, int]]:
        """Return the tokens of the connections that closed since the last call, and how many bytes their sockets took.

        A token may come twice, if there may be more to forget.
        """
        ...

    def count_errors(self, handler: int, frame: int) -> None:
        """Add to the counters handler_errors and frame_errors."""


class ServingModule(Protocol):
    """What the TCP faces need from an engine. Each function takes over the listening descriptor ``listener``."""

    def start_echo(self, listener: int, plan: ServerPlan, workers: int, faults: FaultPlan | None) -> EchoReactors:
        """Begin to echo."""
        ...

    def message_reactor(self, listener: int, plan: ServerPlan, framer: Framer | None) -> MessageReactor:
        """Make the reactor of a message server. If the engine knows ``framer``, the reactor may frame by itself."""
        ...
