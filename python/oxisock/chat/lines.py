"""Reads the lines of the chat protocol as events."""

from __future__ import annotations

import re
from typing import NamedTuple


class ChatEvent(NamedTuple):
    """An event in a chat.

    Attributes:
        kind: "join", "leave", "nick", "message" or "private". ``ChatClient.events`` also returns "notice" for other
            news from the server, and "error" if the server refused something.
        nick: the member who did it; empty for "notice" and "error".
        text: the message; the new nick; the text of the server; or why a member left: "quit", "lost", "too slow",
            "idle", "kicked" or "closing", with ``: TEXT`` if there are details. Empty for "join".
    """

    kind: str
    nick: str
    text: str


_NICK = "([A-Za-z0-9_-]{1,24})"
_KINDS = (
    ("message", re.compile(rf"\[{_NICK}\] (.*)", re.DOTALL)),
    ("private", re.compile(rf"\[{_NICK} -> [A-Za-z0-9_-]{{1,24}}\] (.*)", re.DOTALL)),
    ("join", re.compile(rf"\* {_NICK} joined()")),
    ("leave", re.compile(rf"\* {_NICK} left \((.*)\)", re.DOTALL)),
    ("nick", re.compile(rf"\* {_NICK} is now {_NICK}")),
    ("error", re.compile("()! (.*)", re.DOTALL)),
)


def event_of(line: str) -> ChatEvent:
    """Read a line of a server."""
    for kind, pattern in _KINDS:
        if found := pattern.fullmatch(line):
            return ChatEvent(kind, *found.groups())
    return ChatEvent("notice", "", line.removeprefix("* "))
