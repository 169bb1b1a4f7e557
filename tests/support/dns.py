"""A name server in a few lines, for dig to ask."""

from __future__ import annotations


def dns_answer(query: bytes) -> bytes:
    """Answer any question with the address 192.0.2.7."""
    question = query[12 : query.index(b"\0", 12) + 5]  # the name, its type and class
    header = query[:2] + b"\x85\x80" + b"\0\1\0\1\0\0\0\0"
    return header + question + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes((192, 0, 2, 7))
