"""Makes text from strangers safe for a terminal: removes what moves the cursor, turns text around or ends a line.

And numbers in words: of things, and times.
"""

from __future__ import annotations

_REMOVED = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)])
_CLEAN = {**_REMOVED, 0x09: " "}
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str) -> str:
    """Take out what is not fit, and nothing else; a tab becomes a space."""
    # Whatever is to be removed is not printable, so most lines are done with one look.
    return text if text.isprintable() else text.translate(_CLEAN)


def escape(text: str) -> str:
    """Escape the backslash and whatever is not printable, so that nothing is lost."""
    return "".join(map(_escape_character, text)) if not text.isprintable() or "\\" in text else text


def _escape_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that surrogateescape set aside
        return f"\\x{code - 0xDC00:02x}"
    # What was valid UTF-8 is named by code point, so that \x.. always means a byte or ASCII.
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plural(count: int, noun: str) -> str:
    """Write a number of things; the plural of ``noun`` has an s, or es after one."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def milliseconds(seconds: float | None) -> str:
    """Write a time in milliseconds, to the microsecond; - for none."""
    return "-" if seconds is None else f"{seconds * 1000:.3f}"
