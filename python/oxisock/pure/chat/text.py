"""What may stand in a line of chat, and what a nick may look like."""

from __future__ import annotations

import re

_NICK = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)
_GUEST = re.compile(r"guest-[0-9]+", re.ASCII | re.IGNORECASE)
_REMOVED = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_CLEAN = {**_REMOVED, 0x09: " "}


def clean(text: str) -> str:
    """Take out what would move a terminal's cursor or turn its text around; a tab becomes a space."""
    # Whatever is to be removed is not printable, so most lines are done with one look.
    return text if text.isprintable() else text.translate(_CLEAN)


def is_nick(text: str) -> bool:
    """Say whether somebody may be called so."""
    return _NICK.fullmatch(text) is not None


def is_guest(nick: str) -> bool:
    """Say whether it is a nick of those that are given."""
    return _GUEST.fullmatch(nick) is not None
