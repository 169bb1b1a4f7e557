"""Where no descriptor is left, those who are in are served, timeouts close, and a stop ends."""

from __future__ import annotations

import contextlib
from types import ModuleType

import pytest

from support.answering import PLAIN, SECURED, answering
from support.resources import no_descriptors
from support.served import Client, Served
from support.talking import adds_up, stuff_until_it_stops
from support.waiting import wait_until


def never_reads(running: Served, stack: contextlib.ExitStack) -> None:
    """Have answers wait for somebody."""
    sock = stack.enter_context(running.converse())
    sock.setblocking(False)
    with contextlib.suppress(ConnectionError):
        stuff_until_it_stops(sock, piece=b"x" * 1023 + b"\n")


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_timeouts_close_though_no_descriptor_is_left(impl: ModuleType, kind: str) -> None:
    limits = {"idle_timeout": 0.5, "write_timeout": 0.5, "max_buffered": 1 << 16}
    with contextlib.ExitStack() as stack, answering(impl, kind, **limits) as running:
        silent = stack.enter_context(running.converse())
        never_reads(running, stack)
        assert wait_until(lambda: running.stats().accepted == 2)
        with no_descriptors():
            assert wait_until(lambda: running.stats().closed == 2)
        with contextlib.suppress(ConnectionError):
            silent.settimeout(20)
            assert silent.recv(1) == b""
        assert running.stats().timeouts == 2
        with Client(running) as other:
            assert other.is_served()


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_a_stop_ends_though_no_descriptor_is_left(impl: ModuleType, kind: str) -> None:
    with contextlib.ExitStack() as stack, answering(impl, kind, max_buffered=1 << 16) as running:
        never_reads(running, stack)
        with Client(running) as other:
            assert other.is_served()
            with no_descriptors():
                assert other.is_served()
                report = running.stop()
        assert report.drained + report.aborted == 2
        assert wait_until(lambda: running.stats().active == 0)
        assert adds_up(running.stats())
