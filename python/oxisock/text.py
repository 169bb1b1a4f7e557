"""Makes text from strangers safe for a terminal: removes characters that move the cursor, turn text or end a line.

It also formats numbers of things, and times.
"""

from __future__ import annotations

_REMOVED = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)])
_CLEAN = {**_REMOVED, 0x09: " "}
_SHORT = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str) -> str:
    """Return the text without unsafe characters. A tab becomes a space."""
    # Unsafe characters are not printable, so this test is enough for most lines.
    return text if text.isprintable() else text.translate(_CLEAN)


def escape(text: str) -> str:
    """Return the text with the backslash and all characters that are not printable escaped. No information is lost."""
    return "".join(map(_escape_character, text)) if not text.isprintable() or "\\" in text else text


def _escape_character(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that surrogateescape has kept
        return f"\\x{code - 0xDC00:02x}"
    # A character is named by its code point, so that \x.. always means a byte or ASCII.
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def plural(count: int, noun: str) -> str:
    """Return a number of things as text. The plural of ``noun`` ends with s, or with es after an s."""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def milliseconds(seconds: float | None) -> str:
    """Return a time in milliseconds with three decimals; "-" for None."""
    return "-" if seconds is None else f"{seconds * 1000:.3f}"
