"""Decides which nicks are allowed."""

from __future__ import annotations

import re

_NICK = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)
_GUEST = re.compile(r"guest-[0-9]+", re.ASCII | re.IGNORECASE)


def is_nick(text: str) -> bool:
    """Return whether a member may have this nick."""
    return _NICK.fullmatch(text) is not None


def is_guest(nick: str) -> bool:
    """Return whether it is one of the nicks that the server gives."""
    return _GUEST.fullmatch(nick) is not None
