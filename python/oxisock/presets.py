"""Codecs of well-known protocols, bound to the selected engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engines.selection import selected as _selected

if TYPE_CHECKING or _selected() == "pure":
    from .pure import presets as _presets
else:
    from .native import presets as _presets

erlang = _presets.erlang
dns_tcp = _presets.dns_tcp
multiprocessing = _presets.multiprocessing
syslog_octet_counted = _presets.syslog_octet_counted
redis_inline = _presets.redis_inline

__all__ = ["dns_tcp", "erlang", "multiprocessing", "redis_inline", "syslog_octet_counted"]
