"""A redis-server for each test that asks for one, and nodes that give it time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oxisock.chat.backplane import machine
from oxisock.chat.backplane import redis as driver
from support.redis_server import RedisServer


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    with contextlib.closing(server):
        yield server


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let a node wait for as long as a busy machine may take: what is slow is not away, unless the test stops it."""

    def wait_for(seconds: float) -> None:
        monkeypatch.setattr(machine, "PATIENCE", int(seconds * 1e9))
        monkeypatch.setattr(driver, "_SECONDS", seconds)

    wait_for(60)
    return wait_for
