"""What a report says of what was asked: by itself, in a difference, in nmap's XML, and read back."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libnmap.parser import NmapParser

from oxisock import PortResult, PortState, ScanReport, ScanStats, parse_ports
from oxisock.scanning.asked import NotAsked
from oxisock.scanning.report import PortChange
from oxisock.scanning.specs import chosen_ports, format_ports
from support.commands import listening

NOBODY = "224.0.0.1"  # a multicast address: a local fault, at once


def found(host: str, address: str, port: int) -> PortResult:
    return PortResult(host, address, port, PortState.OPEN, "syn-ack", 0.001, None, None)


def report(*results: PortResult, **more: Any) -> ScanReport:
    given = {"counts": {"open": len(results)}, "stats": ScanStats(), "addresses": 2}
    return ScanReport(results=results, **(given | more))


def test_a_scan_says_what_it_asked(impl: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda name, *_, **__: [(2, 1, 6, "", (f"127.0.0.{len(name)}", 0))])
    made = impl.scan(
        ["127.0.0.8/29", "::ffff:127.0.0.9", "ninechars", "127.0.0.20-22", "four", "five5"],
        "22,80-82,!81",
        exclude=["127.0.0.21", "five5"],
        exclude_ports=22,
        keep=["closed", "open"],
    )
    assert made.targets == ["127.0.0.8/29", "ninechars", "127.0.0.20-127.0.0.22", "four", "five5"]
    assert made.ports == "80,82"
    assert made.exclude == ["five5", "127.0.0.5", "127.0.0.21"]
    assert made.names == {"127.0.0.9": ["127.0.0.9", "::ffff:127.0.0.9", "ninechars"], "127.0.0.4": ["four"]}
    assert {result.host for result in made if result.address in made.names} == {"127.0.0.9", "four"}
    assert made.not_asked == []
    assert ScanReport.from_json(made.to_json()) == ScanReport.from_ndjson(made.to_ndjson()) == made
    again = impl.scan(made.targets, made.ports, exclude=made.exclude, keep=["closed", "open"])
    assert [(r.address, r.port) for r in again] == [(r.address, r.port) for r in made]


def test_a_scan_says_what_it_could_not_ask(impl: ModuleType) -> None:
    silent = impl.scan([NOBODY, "224.0.0.2", "127.0.0.1"], "1-9")
    assert silent.counts["error"] == 18
    assert silent.results == []
    (part,) = silent.not_asked
    assert part == NotAsked("224.0.0.1-224.0.0.2", "1-9", part.reason)
    assert part.reason.startswith("local-error: ")
    kept = impl.scan([NOBODY, "224.0.0.2", "127.0.0.1"], "1-9", keep=["error"])
    assert kept.not_asked == silent.not_asked
    assert len(kept) == 18
    with impl.scan_iter([NOBODY], "1-9") as scan:
        assert list(scan) == []
    parts = [impl.scan(NOBODY, "1-9", shard=f"{k}/2", seed=1).not_asked for k in (1, 2)]
    assert sorted(port for (each,) in parts for port in parse_ports(each.ports)) == list(range(1, 10))


OLD = report(found("db.example", "10.0.0.1", 5432), found("10.0.0.2", "10.0.0.2", 22))
NEW = found("10.0.0.2", "10.0.0.2", 22)


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (report(NEW, unresolved={"db.example": "no"}), "could not resolve its name"),
        (report(NEW, counts={"open": 1, "error": 1}), "does not say which ports could not be asked"),
        (report(NEW, counts={"open": 2}), "does not have all its open ports"),
        (report(NEW, partial=True), "is partial"),
        (
            report(
                NEW, counts={"open": 1, "error": 2}, not_asked=[NotAsked("10.0.0.0/31", "5432", "local-error: EPERM")]
            ),
            "could not ask it",
        ),
        (report(NEW, targets=["10.0.0.1-2"], ports="22,80"), "did not ask it"),
        (report(NEW, targets=["10.0.0.2"], ports="1-9999"), "did not ask it"),
        (report(NEW, targets=["10.0.0.0/24"], exclude=["10.0.0.1"], ports="1-9999"), "did not ask it"),
        (report(NEW, targets=["db.example"], names={"10.0.0.9": ["db.example"]}, ports="1-9999"), "did not ask it"),
    ],
)
def test_what_nobody_asked_is_neither_closed_nor_opened(new: ScanReport, why: str) -> None:
    assert (OLD.diff(new).closed, OLD.left_out(new)) == ([], [(OLD.results[0], why)])
    assert (new.diff(OLD).opened, new.left_out(OLD)) == ([], [(OLD.results[0], why)])
    read = ScanReport.from_json(new.to_json())
    assert (read, OLD.left_out(read)) == (new, OLD.left_out(new))


@pytest.mark.parametrize(
    "new",
    [
        report(NEW),
        report(NEW, targets=["10.0.0.0/24"], ports="1-9999"),
        report(NEW, targets=["db.example", "10.0.0.2"], names={"10.0.0.1": ["db.example"]}, ports="5432,22"),
        report(NEW, counts={"open": 1, "error": 4}, not_asked=[NotAsked("10.0.0.3", "1-4", "local-error: EPERM")]),
    ],
)
def test_what_was_asked_and_is_not_there_has_closed(new: ScanReport) -> None:
    assert (OLD.diff(new).closed, OLD.left_out(new)) == ([OLD.results[0]], [])
    assert new.diff(OLD).opened == [OLD.results[0]]


def test_an_address_is_the_same_in_every_spelling() -> None:
    one, two = report(found("x", "fd00::1", 22)), report(found("x", "FD00:0:0::1", 22))
    assert not one.diff(two)
    banner = two.results[0]._replace(state=PortState.CLOSED)
    three = report(banner, counts={"closed": 1})
    assert one.diff(three).closed == one.results
    assert not isinstance(one.diff(three), PortChange)


def test_a_host_that_refused_is_up_and_one_that_keeps_silent_is_not_down() -> None:
    stats = ScanStats()
    told = {"targets": ["10.0.0.1"], "ports": "1-9", "addresses": 1, "stats": stats}
    xml = report(counts={"closed": 9}, **told).to_nmap_xml()
    refused = NmapParser.parse_fromstring(xml)
    assert (refused.hosts_up, refused.hosts_down, refused.hosts_total) == (1, 0, 1)
    assert (refused.hosts[0].address, refused.hosts[0].status) == ("10.0.0.1", "up")
    assert 'numservices="9" services="1-9"' in xml
    silent = NmapParser.parse_fromstring(report(counts={"filtered": 9}, **told).to_nmap_xml())
    assert (silent.hosts_up, silent.hosts_down, silent.hosts_total) == (0, 0, 1)
    many = ScanStats(hosts=256, hosts_up=4, hosts_unreachable=250, hosts_silent=2)
    network = report(NEW, targets=["10.0.0.0/24"], ports="22", addresses=256, stats=many)
    read = NmapParser.parse_fromstring(network.to_nmap_xml())
    assert (read.hosts_up, read.hosts_down, read.hosts_total) == (4, 250, 256)


@given(st.floats(0, 1e308) | st.integers(0, 2**63 - 1), st.floats(0, 1e308))
def test_what_can_be_read_can_be_written(started: float, elapsed: float) -> None:
    document = json.loads(OLD.to_json()) | {"started": started, "elapsed": elapsed}
    read = ScanReport.from_json(json.dumps(document))
    assert ScanReport.from_json(read.to_json()) == read
    assert read.to_nmap_xml().endswith("</nmaprun>\n")
    assert read.to_csv()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": "10.0.0.1"}, "targets: expected a list of strings"),
        ({"targets": ["@/etc/passwd"]}, "targets: '@/etc/passwd': expected"),
        ({"exclude": ["10.0.0.300"]}, "exclude: '10.0.0.300': expected"),
        ({"ports": "@/etc/passwd"}, "ports='@/etc/passwd': expected numbers"),
        ({"ports": "0-4"}, "ports"),
        ({"names": {"10.0.0.1": "x"}}, "names.10.0.0.1: expected a list of strings"),
        ({"names": []}, "names: expected an object"),
        ({"not_asked": [{}]}, r"not_asked\[0\].addresses: expected a string"),
        ({"not_asked": [{"addresses": "x y", "ports": "1", "reason": ""}]}, "not_asked: 'x y': expected"),
    ],
)
def test_what_no_scan_asks_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScanReport.from_json(json.dumps(json.loads(OLD.to_json()) | change))


def test_a_report_of_before_has_nothing_to_say_of_it() -> None:
    document = json.loads(OLD.to_json())
    for name in ("targets", "ports", "exclude", "names", "not_asked", "suspicious"):
        del document[name]
    read = ScanReport.from_json(json.dumps(document))
    assert (read.targets, read.ports, read.exclude, read.names, read.not_asked) == (None, None, [], {}, [])
    assert read == OLD


@pytest.mark.parametrize(("opened", "asked", "suspicious"), [(501, 501, True), (500, 500, False), (900, 1001, False)])
def test_a_host_of_which_nearly_everything_is_open_is_suspicious(opened: int, asked: int, suspicious: bool) -> None:
    results = [found("10.0.0.1", "10.0.0.1", port) for port in range(1, opened + 1)]
    for addresses in 1, 3:
        counts = {"open": opened + 1, "closed": addresses * asked - opened - 1}
        if addresses == 1:
            counts = {"open": opened, "closed": asked - opened}
        made = report(
            *results,
            *[found("10.0.0.2", "10.0.0.2", 1)] * (addresses > 1),
            counts=counts,
            addresses=addresses,
            ports=f"1-{asked}",
        )
        assert made.suspicious == (["10.0.0.1"] if suspicious else [])
        assert json.loads(made.to_json())["suspicious"] == made.suspicious
        assert len(made.open) == opened + (addresses > 1)


@given(st.frozensets(st.integers(1, 65535), min_size=1, max_size=50))
def test_ports_as_text_are_the_same_ports(ports: frozenset[int]) -> None:
    assert frozenset(parse_ports(format_ports(chosen_ports(ports)))) == ports


def test_a_proxy_is_one_line_of_a_table(impl: ModuleType) -> None:
    from support.commands import oxisock

    with listening(520) as ports:
        done = oxisock("scan", "127.0.0.1", "-p", ",".join(map(str, ports)), "--format", "table", "--impl", impl.impl)
        plain = oxisock("scan", "127.0.0.1", "-p", ",".join(map(str, ports)), "--impl", impl.impl)
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[1].split()[:3] == ["127.0.0.1", "520", "ports"]
    assert "127.0.0.1: nearly all of its ports are open" in done.stderr
    assert len(plain.stdout.splitlines()) == 520
