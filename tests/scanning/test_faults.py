"""What connect() says besides yes and no: resets after an accept, and faults of this machine that pass or do not."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import PortState, _native
from oxisock.engines.scanning import BROADCAST, CONN_REFUSED, ERROR, LASTING, MULTICAST
from oxisock.pure.scanning.driver import ScanEngine as PureEngine
from support.far_host import FarHost, why_not
from support.simulator import MS, plan

in_a_namespace = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


@pytest.fixture
def resetting() -> Iterator[list[int]]:
    """Accept on some ports, and reset at once."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(20)]
    chooser = selectors.DefaultSelector()
    for listener in listeners:
        chooser.register(listener, selectors.EVENT_READ)
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            for key, _ in chooser.select(0.05):
                connection, _ = key.fileobj.accept()  # type: ignore[union-attr]
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield [listener.getsockname()[1] for listener in listeners]
    over.set()
    thread.join()
    chooser.close()
    for listener in listeners:
        listener.close()


def test_who_accepts_and_resets_is_open(impl: ModuleType, resetting: list[int]) -> None:
    for _ in range(5):
        report = impl.scan("127.0.0.1", resetting, keep=list(PortState))
        assert {(r.state, r.reason) for r in report} == {(PortState.OPEN, "syn-ack")}
        assert len(report.open) == len(resetting)
        assert all(r.rtt is not None for r in report)


def test_a_connect_that_lacks_resources_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from oxisock import pure

    calls = []

    class Poor(socket.socket):
        def connect_ex(self, address: Any) -> int:
            calls.append(address)
            return errno.EAGAIN if len(calls) % 3 else super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", Poor)
    report = pure.scan("127.0.0.1", [1, 2, 3], keep=list(PortState), timeout=20.0)
    assert report.counts[PortState.CLOSED] == 3
    assert report.stats.local_errors >= 6


@pytest.mark.parametrize("machine", [PureEngine, _native.ScanEngine])
def test_descriptors_that_read_banners_do_not_narrow_the_scan(machine: Any) -> None:
    engine = machine(plan(100), 1)
    engine.reserved = 1000
    tokens = [engine.next(0)[0] for _ in range(20)]
    engine.answer(tokens.pop(), -errno.EMFILE, MS)
    assert engine.next(MS) is None
    engine.answer(tokens.pop(), CONN_REFUSED, 2 * MS)
    assert engine.next(2 * MS), "one socket was closed, so another one may be opened"


@pytest.mark.parametrize("machine", [PureEngine, _native.ScanEngine])
@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (-(LASTING + errno.EADDRNOTAVAIL), -errno.EADDRNOTAVAIL),
        (-errno.ENETUNREACH, -errno.ENETUNREACH),
        (BROADCAST, BROADCAST),
        (MULTICAST, MULTICAST),
    ],
)
def test_a_fault_that_will_not_pass_is_a_verdict_at_once(machine: Any, told: int, reason: int) -> None:
    engine = machine(plan(3), 1)
    while (probe := engine.next(0)) is not None:
        engine.answer(probe[0], told, 0)
    assert engine.finished()
    assert {outcome[2:4] for outcome in engine.take_outcomes()} == {(ERROR, reason)}


def inside(host: FarHost, code: str) -> str:
    command = ["ip", "netns", "exec", host.name, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert not done.returncode, done.stderr
    return done.stdout


@pytest.mark.namespace
@in_a_namespace
def test_a_family_that_this_machine_lacks_holds_nothing_up(impl: ModuleType) -> None:
    code = f"""
from oxisock import {impl.impl} as impl
report = impl.scan(["127.0.0.1", "::1"], "1-300", keep=["error"], timeout=30.0)
print(report.counts["closed"], report.counts["error"], {{r.reason for r in report}}, report.stats.elapsed < 25)
"""
    with FarHost() as alone:
        alone.inside("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
        assert inside(alone, code) == "300 300 {'local-error: EADDRNOTAVAIL'} True\n"


@pytest.mark.namespace
@in_a_namespace
def test_addresses_that_are_nobodys_have_words_of_their_own(impl: ModuleType) -> None:
    code = f"""
from oxisock import {impl.impl} as impl
for address in "10.99.255.255", "255.255.255.255", "224.0.0.1", "10.6.0.1", "10.7.0.1":
    (result,) = impl.scan(address, 80, keep=["error"])
    print(address, result.reason, impl.check_host(address, 80))
"""
    with FarHost() as alone:
        alone.inside(f"ip route add default via {alone.near_address}")
        alone.inside(f"ip addr add 10.99.255.1/24 dev {alone.far_device}")
        alone.inside("ip route add blackhole 10.6.0.0/24")
        alone.inside("ip route add unreachable 10.7.0.0/24")
        assert inside(alone, code).splitlines() == [
            "10.99.255.255 local-error: broadcast address False",
            "255.255.255.255 local-error: broadcast address False",
            "224.0.0.1 local-error: multicast address False",
            "10.6.0.1 local-error: ENETUNREACH False",
            "10.7.0.1 local-error: EHOSTUNREACH False",
        ]
