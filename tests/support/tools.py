"""Programs of others, which are tried where they are installed."""

from __future__ import annotations

import shutil

import pytest


def needs(name: str) -> pytest.MarkDecorator:
    """Mark a test that is skipped where a program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=_why(name))


def tool(name: str) -> str:
    """Give the path of a program, or skip the test."""
    return shutil.which(name) or pytest.skip(_why(name))


def _why(name: str) -> str:
    return f"{name} is not installed"
