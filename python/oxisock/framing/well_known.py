"""Codecs of well-known protocols, built from the codecs of one engine."""

from __future__ import annotations

from typing import Literal

from .. import arguments
from ..engines.binding import Functions
from .codecs import KIB, MIB, Delimiter, LengthPrefix, MultiprocessingPrefix, OctetCounted


class Presets(Functions):
    """The functions of `oxisock.presets`, bound to one engine."""

    def erlang(self, n: Literal[1, 2, 4], *, max_frame: int = 16 * MIB) -> LengthPrefix:
        """Return a codec for Erlang's ``{packet, n}``: a big-endian length of ``n`` bytes, which is 1, 2 or 4."""
        width = arguments.choice(n, "n", (1, 2, 4))
        longest = min(arguments.size(max_frame, "max_frame"), (1 << 8 * width) - 1)
        codec: LengthPrefix = self._engine.names.LengthPrefix(width, max_frame=longest)
        return codec

    def dns_tcp(self) -> LengthPrefix:
        """Return a codec for DNS over TCP (RFC 1035): a big-endian length of two bytes."""
        codec: LengthPrefix = self._engine.names.LengthPrefix(2, max_frame=0xFFFF)
        return codec

    def multiprocessing(self, *, max_frame: int = 16 * MIB) -> MultiprocessingPrefix:
        """Return a codec for ``multiprocessing.connection``: what ``send_bytes`` and ``recv_bytes`` transfer."""
        codec: MultiprocessingPrefix = self._engine.names.MultiprocessingPrefix(max_frame=max_frame)
        return codec

    def syslog_octet_counted(self, *, max_frame: int = 16 * MIB) -> OctetCounted:
        """Return a codec for syslog over TCP or TLS (RFC 6587, RFC 5425): a decimal length and a space."""
        codec: OctetCounted = self._engine.names.OctetCounted(max_frame=max_frame)
        return codec

    def redis_inline(self, *, max_frame: int = 64 * KIB) -> Delimiter:
        """Return a codec for Redis inline commands. They end with CR LF, or LF; Redis's own limit is 64 KiB."""
        codec: Delimiter = self._engine.names.Delimiter(b"\r\n", b"\n", max_frame=max_frame)
        return codec
