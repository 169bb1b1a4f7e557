"""Scanning across a network of this machine's own: loss, silence, refusals of every kind, limits, and death."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from oxisock import PortState
from support.far_host import DistantHost, FarHost, run, why_not

pytestmark = [pytest.mark.namespace, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]

OPEN = (22, 80, 443, 6000, 8080, 31337, 50001)


@pytest.fixture
def far() -> Iterator[FarHost]:
    with FarHost() as host:
        yield host


def ports_open(report: object) -> list[int]:
    return [result.port for result in report.open]  # type: ignore[attr-defined]


def test_repeated_scans_have_no_false_open(impl: ModuleType) -> None:
    """In a namespace of its own, where nobody else listens, and source ports are few: probes do meet themselves.

    Only where those few are asked, so that is what is done most often.
    """
    full = 4 if impl.impl == "native" else 1
    code = f"""
import socket
from oxisock import {impl.impl} as impl
listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(10)]
ports = sorted(l.getsockname()[1] for l in listeners)
met = 0
for spec, size, times in ("-", 65535, {full}), ("39900-40499", 600, 30):
    for seed in range(times):
        report = impl.scan("127.0.0.1", spec, seed=seed, keep=["open", "closed", "filtered", "error"])
        assert [r.port for r in report if not r.state == "closed"] == ports, report.open
        assert sum(report.counts.values()) == size
        met += sum(r.reason == "self-connect" for r in report)
print("right" if met else "no probe met itself")
"""
    with FarHost() as alone:
        alone.inside("sysctl -qw", "net.ipv4.ip_local_port_range=40000 40399")
        done = subprocess.run(
            ["ip", "netns", "exec", alone.name, sys.executable, "-c", code], capture_output=True, text=True, timeout=100
        )
    assert done.stdout == "right\n", done.stderr


def test_silent_ports(impl: ModuleType, far: FarHost) -> None:
    far.listen(22, 80, 443)
    far.rule("tcp dport { 22, 80, 443 } accept")
    far.rule("tcp dport 1-1024 drop")
    for options in {}, {"adaptive": False, "timeout": 0.5}:
        report = impl.scan(far.address, "1-1024", keep=["open", "filtered"], **options)
        assert ports_open(report) == [22, 80, 443]
        assert report.counts[PortState.FILTERED] == 1021
        assert {r.reason for r in report if not r.is_open} == {"no-response"}
        assert report.stats.probes <= 1.6 * (3 + 2 * 1021)


def test_every_open_port_is_found_under_loss(impl: ModuleType, far: FarHost) -> None:
    far.listen(*OPEN)
    for percent in (5, 20):
        far.flush()
        far.rule(f"numgen random mod 100 < {percent} drop")
        report = impl.scan(far.address, sorted({*range(1, 8000), *OPEN}))
        assert ports_open(report) == sorted(OPEN)
        assert report.stats.drops > 0
        assert report.stats.retries >= report.stats.drops


def test_unreachables_are_told_apart(impl: ModuleType, far: FarHost) -> None:
    kinds = {
        2000: ("host-unreachable", "filtered", "host-unreachable"),
        2001: ("net-unreachable", "filtered", "net-unreachable"),
        2002: ("prot-unreachable", "filtered", "proto-unreachable"),
        2003: ("port-unreachable", "closed", "conn-refused"),
        2004: ("admin-prohibited", "filtered", "host-unreachable"),
        2005: ("host-prohibited", "filtered", "host-unreachable"),
        2006: ("net-prohibited", "filtered", "net-unreachable"),
    }
    for setting in ("icmp_ratelimit=0", "icmp_msgs_per_sec=100000", "icmp_msgs_burst=10000"):
        far.inside(f"sysctl -qw net.ipv4.{setting}")
    for port, (kind, _, _) in kinds.items():
        far.rule(f"tcp dport {port} reject with icmp type {kind}")
    report = impl.scan(far.address, "2000-2007", keep=list(PortState), retries=3)
    found = {r.port: (str(r.state), r.reason) for r in report}
    assert found == {port: kind[1:] for port, kind in kinds.items()} | {2007: ("closed", "conn-refused")}


def test_refusals_limited_to_200_a_second(impl: ModuleType, far: FarHost) -> None:
    far.listen(22, 80, 443)
    far.rule("tcp flags & rst == rst limit rate over 200/second drop", "output")
    report = impl.scan(far.address, "1-600", keep=["open", "filtered"])
    assert ports_open(report) == [22, 80, 443]
    assert report.counts[PortState.CLOSED] == 597


def test_a_target_that_vanishes_in_mid_scan(impl: ModuleType, far: FarHost) -> None:
    far.listen(22, 80, 443)
    seen = threading.Event()

    def vanish() -> None:
        seen.wait(30)
        far.rule("drop")

    thread = threading.Thread(target=vanish)
    thread.start()
    start = time.monotonic()
    report = impl.scan(far.address, "1-3000", rate=4000, timeout=0.5, on_result=lambda _: seen.set())
    thread.join()
    assert time.monotonic() - start < 60, "a dead host is not asked for ever"
    assert not report.partial
    assert report.counts[PortState.ERROR] == 0
    assert set(ports_open(report)) <= {22, 80, 443}
    assert report.counts[PortState.FILTERED] > 0


def test_no_route_is_an_error_at_once(impl: ModuleType) -> None:
    code = f"""
from oxisock import {impl.impl} as impl
(result,) = impl.scan("10.77.0.1", 80, keep=["error"])
print(result.reason, impl.check_host("10.77.0.1", 80))
"""
    with FarHost() as alone:
        run(f"ip -n {alone.name} link set lo down")
        done = subprocess.run(
            ["ip", "netns", "exec", alone.name, sys.executable, "-c", code], capture_output=True, text=True, timeout=60
        )
    assert done.stdout == "local-error: ENETUNREACH False\n", done.stderr


def test_banners_across_the_network(impl: ModuleType, far: FarHost) -> None:
    far.listen(22, 80, banners={22: b"SSH-2.0-test\r\n"})
    report = impl.scan(far.address, "1-100", banner=0.5)
    assert {r.port: r.banner for r in report} == {22: b"SSH-2.0-test\r\n", 80: None}


@pytest.mark.skipif(bool(DistantHost.why_not()), reason=DistantHost.why_not() or "-")
def test_a_distant_host_behind_a_firewall(impl: ModuleType) -> None:
    with DistantHost("-d 25 -j 5 -l 1 -s 1") as distant:
        distant.listen(*OPEN)
        ports = f"{{ {', '.join(map(str, OPEN))} }}"
        distant.rule(f"tcp dport {ports} accept")
        distant.rule("tcp dport 1-65535 drop")
        report = impl.scan(distant.address, sorted({*range(1, 4000), *OPEN}), retries=4)
        assert ports_open(report) == sorted(OPEN)
        assert all(r.rtt is not None and r.rtt >= 0.05 for r in report)


@pytest.mark.skipif(bool(DistantHost.why_not()), reason=DistantHost.why_not() or "-")
def test_no_port_is_open_because_a_router_refused_another(impl: ModuleType) -> None:
    """The message comes after connect() has returned, so the link has a delay."""
    with DistantHost("-d 5") as distant:
        for setting in ("icmp_ratelimit=0", "icmp_msgs_per_sec=100000", "icmp_msgs_burst=10000"):
            distant.inside(f"sysctl -qw net.ipv4.{setting}")
        distant.listen(80)
        distant.rule("tcp dport 100-199 reject with icmp type port-unreachable")
        distant.rule("tcp dport 200-400 drop")
        report = impl.scan(distant.address, "1-400", keep=["open", "filtered"])
        assert ports_open(report) == [80]
        assert {r.port for r in report if not r.is_open} == set(range(200, 401))


def test_a_network_on_the_wire(impl: ModuleType, far: FarHost) -> None:
    far.listen(22, 6379)
    network = far.address.rpartition(".")[0]
    for number in 40, 60:
        far.inside(f"ip addr add {network}.{number}/24 dev {far.far_device}")
    far.rule(f"ip daddr {network}.60 tcp dport != 6379 drop")
    report = impl.scan(f"{network}.0/25", "1-40,6379", exclude=[far.near_address, f"{network}.0"])
    assert [(r.address, r.port) for r in report] == [
        (far.address, 22),
        (far.address, 6379),
        (f"{network}.40", 22),
        (f"{network}.40", 6379),
        (f"{network}.60", 6379),
    ]
    stats = report.stats
    assert (stats.hosts, stats.hosts_up, stats.hosts_unreachable, stats.hosts_silent) == (126, 3, 123, 0)
    assert stats.unasked == 123 * 25
