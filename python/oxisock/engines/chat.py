"""What the chat face needs from an engine: the hub machine, and a reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from .serving import Reactors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .serving import ServerPlan


class HubPlan(NamedTuple):
    """The rules of a chat. Durations are integer nanoseconds; NEVER is no limit."""

    name: str
    max_clients: int
    max_line: int
    history: int
    queue_limit: int
    drop: bool  # whether a slow client misses lines; otherwise it is closed
    interval: int  # nanoseconds between two lines in the long run; 0 for no limit
    burst: int  # the most lines at once
    idle_timeout: int
    echo: bool
    events: bool  # whether events are wanted
    shared: bool = False  # whether the room is shared with other nodes


HubClose: TypeAlias = "tuple[int, bytes, bool]"
"""A client to be closed: its number, its last bytes, and whether to cut it off at once instead."""

HubEvent: TypeAlias = "tuple[str, str, str]"
"""The fields of ChatEvent."""

HubMember: TypeAlias = "tuple[int, str, int, int, int]"
"""The client, its nick, when it joined, bytes waiting for it, and lines that it missed."""

HubAppend: TypeAlias = "tuple[str, int, str, str]"
"""What a shared room's hub wants in the log: kind, client, nick, text. ``oxisock.pure.chat.replica`` lists kinds."""

HubEntry: TypeAlias = "tuple[str, str, int, str, str, int]"
"""An entry of the log: kind, node, client, nick, text, and when, in milliseconds since 1970."""

HubResident: TypeAlias = "tuple[str, str, int, int, int, str]"
"""A member of a shared room: nick, host, port, time of joining, bytes waiting, lines missed, node."""


class ChatReactor(Reactors, Protocol):
    """The reactor of a chat server, on a thread of its own."""

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether the reactor has ended."""
        ...

    def now(self) -> int:
        """Return the time on the clock of ``members``, in nanoseconds."""
        ...

    def members(self) -> list[tuple[str, str, int, int, int, int]]:
        """Return nick, host, port, time of joining, bytes queued, lines skipped of each member, in order of joining."""
        ...

    def broadcast(self, text: str) -> None:
        """Say something to all members."""

    def kick(self, nick: str, reason: str) -> bool:
        """Remove a member; return False if nobody has this nick."""
        ...

    def take_appends(self) -> list[HubAppend] | None:
        """Return what is to be appended to the log of a shared room; None if nothing more will come."""
        ...

    def entries(self, entries: Sequence[HubEntry]) -> None:
        """Apply entries of that log, in their order. Returns when that is done or the chat has ended."""

    def residents(self) -> list[HubResident]:
        """Return the members of the shared room, in order of joining."""
        ...

    def events(self, timeout: float) -> tuple[Sequence[HubEvent], int] | None:
        """Wait at most ``timeout`` seconds for events.

        Returns them with the number of events lost because nobody took them in time; None if nothing more will come.
        """


class ChatModule(Protocol):
    """What the chat face needs from an engine."""

    def start_chat(self, listener: int, server: ServerPlan, plan: HubPlan, bell: int | None = None) -> ChatReactor:
        """Start a chat on the listening descriptor ``listener``. The engine owns it from now on.

        The engine also owns ``bell``, a non-blocking socket. It writes a byte to it when ``take_appends`` has
        something.
        """
        ...
