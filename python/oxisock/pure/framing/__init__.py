"""The pure framers.

- ``framers``: the decoder, and the framers that faces ask for, over the machines of the two kinds of codec.
- ``counted``: frames that begin with their length, or all have the same; ``delimited``: frames that end with a
  terminator.
"""

from .framers import (
    decimal_framer,
    delimiter_framer,
    escaped_framer,
    fixed_framer,
    length_framer,
    lines_framer,
    varint_framer,
)

__all__ = [
    "decimal_framer",
    "delimiter_framer",
    "escaped_framer",
    "fixed_framer",
    "length_framer",
    "lines_framer",
    "varint_framer",
]
