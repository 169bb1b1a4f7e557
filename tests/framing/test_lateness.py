"""A frame that is always about to come is late, however much of it there is to read."""

from __future__ import annotations

import socket
from types import ModuleType
from typing import Any

import pytest


class Endless(socket.socket):
    """A socket that has always one byte more: the body of a frame that never is whole."""

    count = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.count += 1
        assert self.count < 5_000_000, "and goes on for ever"
        return b"\x7f"


@pytest.mark.parametrize("timeout", [0.0, 0.05])
def test_a_frame_that_is_always_about_to_come_is_late(impl: ModuleType, timeout: float) -> None:
    with Endless() as endless:
        framed = impl.FramedSocket(endless, impl.LengthPrefix(4, max_frame=1 << 31), timeout=timeout)
        with pytest.raises(TimeoutError):
            framed.recv()
        # What came meanwhile may have waited for whoever is late, and is taken.
        assert endless.count > 64
        taken = endless.count
        with pytest.raises(TimeoutError):
            framed.recv()
        assert endless.count > taken


class Greedy(socket.socket):
    """A socket that takes a byte whenever it is given some."""

    count = 0

    def send(self, data: Any, flags: int = 0) -> int:
        self.count += 1
        return 1


@pytest.mark.parametrize("timeout", [0.0, 0.05])
def test_a_frame_that_never_has_left_is_late(impl: ModuleType, timeout: float) -> None:
    with Greedy() as greedy:
        framed = impl.FramedSocket(greedy, impl.LengthPrefix(4, max_frame=1 << 31), timeout=timeout)
        with pytest.raises(TimeoutError):
            framed.send(bytes(1 << 23))
        assert 64 < greedy.count < 1 << 23
        framed.abort()
