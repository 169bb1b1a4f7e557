"""Fixtures of the tests of loads."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def same_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command leave the limit of open files as it is: most of these tests run it in their own process."""
    monkeypatch.setattr("oxisock.cli.load.raise_descriptor_limit", lambda: None)
