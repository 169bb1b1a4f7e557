"""Codecs as text for command lines: ``length:2:little``, ``lines``, ``delimiter:\\r\\n``, ``dns_tcp``.

A spec is a name and the arguments of the codec, separated by colons: values in their order, then NAME=VALUE.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Final

from ..arguments import did_you_mean
from ..engines.binding import engine
from ..engines.selection import selected

if TYPE_CHECKING:
    from .codecs import StreamCodec

_CLASSES: Final = {
    "length": "LengthPrefix",
    "varint": "Varint",
    "netstring": "Netstring",
    "fixed": "Fixed",
    "delimiter": "Delimiter",
    "lines": "Lines",
}
_PRESETS: Final = ("erlang", "dns_tcp", "multiprocessing", "syslog_octet_counted", "redis_inline")

CODEC_NAMES: Final = (*_CLASSES, *_PRESETS)
"""The names that a spec may begin with."""

CODEC_HELP: Final = "length:4, length:2:little, varint, netstring, fixed:N, lines, delimiter:\\r\\n or " + ", ".join(
    ("erlang:4", *_PRESETS[1:])
)
"""Examples of specs, for the help of a command."""


def parse_codec(spec: str, face: Any = None) -> StreamCodec:
    """Return the codec for a spec, from ``face`` (``oxisock.pure`` or ``oxisock.native``; default: the selected one).

    Values are whole numbers, ``big`` or ``little``, or a delimiter with Python's escapes (``\\x3a`` is a colon);
    options are named as the codec's parameters are, and a bare name switches one on: ``lines:eof_frame:max_frame=80``.

    Raises ValueError, which says what is wrong with the spec.
    """
    if face is None:
        face = engine(selected()).names
    name, *words = spec.split(":")
    if name in _CLASSES:
        make = getattr(face, _CLASSES[name])
    elif name in _PRESETS:
        make = getattr(face.presets, name)
    else:
        raise ValueError(
            f"codec {spec!r}: {name!r} is not one of {', '.join(CODEC_NAMES)}{did_you_mean(name, CODEC_NAMES)}"
        )
    values: list[Any] = []
    options: dict[str, Any] = {}
    try:
        for word in words:
            option, equals, value = word.partition("=")
            if name == "delimiter" and option not in ("keep", "eof_frame", "max_frame"):
                values.append(_unescape(word))
            elif equals:
                options[option] = _value(value)
            elif option in ("keep", "eof_frame"):
                options[option] = True
            else:
                values.append(_value(word))
        codec: StreamCodec = make(*values, **options)
    except TypeError:
        raise ValueError(f"codec {spec!r}: wrong arguments for {name!r}: expected {CODEC_HELP}") from None
    except ValueError as error:
        raise ValueError(f"codec {spec!r}: {error}") from None
    return codec


def _value(word: str) -> int | str:
    digits = word.removeprefix("-")
    return int(word) if digits.isascii() and digits.isdigit() else word


def _unescape(word: str) -> bytes:
    """Return the bytes of a typed delimiter: UTF-8, with the escapes of Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # Python warns of unknown escapes; here they are errors
        try:
            return word.encode().decode("unicode_escape").encode("latin-1")
        except DeprecationWarning:
            raise ValueError(f"{word!r} has an escape that Python does not know") from None
