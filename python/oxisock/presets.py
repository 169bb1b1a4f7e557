"""Codecs of well-known protocols, bound to the selected engine."""

from __future__ import annotations

from .engines.binding import engine
from .engines.selection import selected
from .framing.well_known import Presets

_presets = Presets.of(engine(selected()))

erlang = _presets.erlang
dns_tcp = _presets.dns_tcp
multiprocessing = _presets.multiprocessing
syslog_octet_counted = _presets.syslog_octet_counted
redis_inline = _presets.redis_inline

__all__ = ["dns_tcp", "erlang", "multiprocessing", "redis_inline", "syslog_octet_counted"]
