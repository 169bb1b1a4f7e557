"""Fixtures of the tests of scanning."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import resource_tracker

import pytest


@pytest.fixture
def listeners() -> Iterator[list[int]]:
    """Five ports of 127.0.0.7 on which somebody listens, which answer at once."""
    with ExitStack() as stack:
        ports = []
        for _ in range(5):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.7", 0))
            sock.listen(200)
            ports.append(sock.getsockname()[1])
        yield sorted(ports)


@pytest.fixture(scope="module")
def tracker() -> None:
    """Let multiprocessing start its helper process, which it keeps, before leaks are watched."""
    if sys.platform != "win32":  # where nothing is shared that would have to be cleaned up
        resource_tracker.ensure_running()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut scans into shards of at most 50 probes."""
    monkeypatch.setattr("oxisock.scanning.spreading.probes_of_a_shard", lambda plan, total, workers: 50)
