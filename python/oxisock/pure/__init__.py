"""The faces bound to the pure engine: plain Python on ``socket`` and ``selectors``, written to be read."""

from __future__ import annotations

from ..engines import Impl as _Impl

impl: _Impl = "pure"

__all__ = ["impl"]
