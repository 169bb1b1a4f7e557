"""Codecs of well-known protocols, in terms of the codecs of one engine."""

from __future__ import annotations

from typing import Literal

from .. import arguments
from ..engines.binding import Functions
from .codecs import KIB, MIB, Delimiter, LengthPrefix, MultiprocessingPrefix, OctetCounted


class Presets(Functions):
    """What `oxisock.presets` offers, bound to the codecs of one engine."""

    def erlang(self, n: Literal[1, 2, 4], *, max_frame: int = 16 * MIB) -> LengthPrefix:
        """Erlang's ``{packet, n}``: a big-endian length of ``n`` = 1, 2 or 4 bytes; ValueError for another ``n``."""
        width = arguments.choice(n, "n", (1, 2, 4))
        longest = min(arguments.size(max_frame, "max_frame"), (1 << 8 * width) - 1)
        codec: LengthPrefix = self._engine.names.LengthPrefix(width, max_frame=longest)
        return codec

    def dns_tcp(self) -> LengthPrefix:
        """DNS over TCP (RFC 1035): a big-endian length of two bytes."""
        codec: LengthPrefix = self._engine.names.LengthPrefix(2, max_frame=0xFFFF)
        return codec

    def multiprocessing(self, *, max_frame: int = 16 * MIB) -> MultiprocessingPrefix:
        """``multiprocessing.connection``: its messages as bytes (``send_bytes``, ``recv_bytes``)."""
        codec: MultiprocessingPrefix = self._engine.names.MultiprocessingPrefix(max_frame=max_frame)
        return codec

    def syslog_octet_counted(self, *, max_frame: int = 16 * MIB) -> OctetCounted:
        """Syslog over TCP or TLS (RFC 6587, RFC 5425): the length in decimal digits and a space."""
        codec: OctetCounted = self._engine.names.OctetCounted(max_frame=max_frame)
        return codec

    def redis_inline(self, *, max_frame: int = 64 * KIB) -> Delimiter:
        """Redis inline commands: CR LF is written, a bare LF is taken too; 64 KiB is Redis's own limit."""
        codec: Delimiter = self._engine.names.Delimiter(b"\r\n", b"\n", max_frame=max_frame)
        return codec
