"""Codecs of well-known protocols, in terms of the codecs of one engine."""

from __future__ import annotations

from typing import Literal

from .framing import KIB, MIB, Delimiter, LengthPrefix, MultiprocessingPrefix, OctetCounted


class Presets:
    """What `oxisock.presets` offers, bound to the codecs of one engine."""

    def __init__(
        self,
        length_prefix: type[LengthPrefix],
        delimiter: type[Delimiter],
        octet_counted: type[OctetCounted],
        multiprocessing_prefix: type[MultiprocessingPrefix],
    ) -> None:
        self._length_prefix = length_prefix
        self._delimiter = delimiter
        self._octet_counted = octet_counted
        self._multiprocessing_prefix = multiprocessing_prefix

    def erlang(self, n: Literal[1, 2, 4], *, max_frame: int = 16 * MIB) -> LengthPrefix:
        """Erlang's ``{packet, n}``: a big-endian length of ``n`` = 1, 2 or 4 bytes; ValueError for another ``n``."""
        if n not in (1, 2, 4):
            raise ValueError(f"n={n!r} is no packet type of Erlang: 1, 2 or 4")
        return self._length_prefix(n, max_frame=min(max_frame, (1 << 8 * n) - 1))

    def dns_tcp(self) -> LengthPrefix:
        """DNS over TCP (RFC 1035): a big-endian length of two bytes."""
        return self._length_prefix(2, max_frame=0xFFFF)

    def multiprocessing(self, *, max_frame: int = 16 * MIB) -> MultiprocessingPrefix:
        """``multiprocessing.connection``: its messages as bytes (``send_bytes``, ``recv_bytes``)."""
        return self._multiprocessing_prefix(max_frame=max_frame)

    def syslog_octet_counted(self, *, max_frame: int = 16 * MIB) -> OctetCounted:
        """Syslog over TCP or TLS (RFC 6587, RFC 5425): the length in decimal digits and a space."""
        return self._octet_counted(max_frame=max_frame)

    def redis_inline(self, *, max_frame: int = 64 * KIB) -> Delimiter:
        """Redis inline commands: CR LF is written, a bare LF is taken too; 64 KiB is Redis's own limit."""
        return self._delimiter(b"\r\n", b"\n", max_frame=max_frame)
