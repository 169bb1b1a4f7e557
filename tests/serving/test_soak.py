"""The soak for some seconds: among hostile peers good clients are served, and nothing is left of anybody."""

from __future__ import annotations

import os
import sys

import pytest

from support.soak import ENGINES, soak

SECONDS = 12 if os.environ.get("CI") else 6


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what another process holds")
def test_nothing_grows_and_nobody_good_is_lost() -> None:
    lines: list[str] = []
    assert soak(SECONDS, list(ENGINES), lines.append) == [], "\n".join(lines[-8:])
