"""Waiting for many sockets as Windows lets it be done: by `select`, which takes 512 at once there and not none."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from oxisock.sockets import selecting

MOST = 4
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three groups of sockets, the last one not full, and the peer of each."""
    monkeypatch.setattr(selecting, "_MOST", MOST)
    with ExitStack() as both:
        made = [socket.socketpair() for _ in range(2 * MOST + 2)]
        for pair in made:
            for sock in pair:
                both.enter_context(sock)
        yield made


@pytest.fixture
def selector(pairs: list[tuple[socket.socket, socket.socket]]) -> Iterator[selecting.GroupSelector]:
    with selecting.GroupSelector() as selector:
        for number, (ours, _) in enumerate(pairs):
            selector.register(ours, READ, number)
        yield selector


def numbers(ready: list[tuple[selectors.SelectorKey, int]]) -> dict[int, int]:
    return {key.data: events for key, events in ready}


def test_none_is_a_pause() -> None:
    with selecting.GroupSelector() as selector:
        began = time.monotonic()
        assert selector.select(0.02) == []
        assert time.monotonic() - began >= 0.02
        assert selector.select(0) == selector.select(-1) == []


def test_what_is_ready_in_any_group_is_told_at_once(
    selector: selecting.GroupSelector, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    assert selector.select(0) == selector.select(-1) == selector.select(0.01) == []
    for number in (0, MOST, len(pairs) - 1):
        pairs[number][1].send(b"x")
    assert numbers(selector.select(0)) == {0: READ, MOST: READ, len(pairs) - 1: READ}
    selector.modify(pairs[1][0], WRITE, 1)
    selector.modify(pairs[-1][0], READ | WRITE, len(pairs) - 1)
    selector.unregister(pairs[MOST][0])
    assert numbers(selector.select(None)) == {0: READ, 1: WRITE, len(pairs) - 1: READ | WRITE}


@pytest.mark.parametrize("timeout", [60, None])
@pytest.mark.parametrize("number", [0, -1], ids=["first", "last"])
def test_a_wait_ends_with_what_comes(
    selector: selecting.GroupSelector,
    pairs: list[tuple[socket.socket, socket.socket]],
    timeout: float | None,
    number: int,
) -> None:
    comes = threading.Timer(0.05, pairs[number][1].send, (b"x",))
    comes.start()
    try:
        assert numbers(selector.select(timeout)) == {number % len(pairs): READ}
    finally:
        comes.join()


def test_few_are_one_call(
    monkeypatch: pytest.MonkeyPatch,
    selector: selecting.GroupSelector,
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    for ours, _ in pairs[MOST:]:
        selector.unregister(ours)
    calls: list[float | None] = []
    real = selecting.select.select
    monkeypatch.setattr(selecting.select, "select", lambda *args: calls.append(args[-1]) or real(*args))
    assert selector.select(0.01) == []
    assert calls == [0.01]
