"""Reports: what they hold, every format they are written in, reading them back, and how two of them differ."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libnmap.parser import NmapParser

from oxisock import PortResult, PortState, ProbeEvent, ScanReport, ScanStats
from oxisock.scanning.formats import banner_text
from oxisock.scanning.sorting import sort_keys

OPEN, CLOSED, FILTERED, ERROR = PortState
REASONS = {OPEN: "syn-ack", CLOSED: "conn-refused", FILTERED: "no-response", ERROR: "local-error: EMFILE"}


def result(port: int, state: PortState = OPEN, address: str = "10.0.0.1", **more: Any) -> PortResult:
    rtt = 0.0005 if state in (OPEN, CLOSED) else None
    given = {"host": address, "reason": REASONS[state], "rtt": rtt, **more}
    return PortResult(address=address, port=port, state=state, **given)


def report(*results: PortResult, **more: Any) -> ScanReport:
    counts = {state: sum(r.state is state for r in results) for state in PortState}
    given: dict[str, Any] = {"counts": counts, "stats": ScanStats(probes=9, retries=2, elapsed=1.5, rate=6.0), **more}
    return ScanReport(results=results, **given)


FULL = report(
    result(80, service="http", banner=b'HTTP/1.0 400 "bad"\r\n\x00\xff\x1b[31m<&>'),
    result(22, host="gate.example", service="ssh", banner=b""),
    result(23, FILTERED),
    result(443, CLOSED, "10.0.0.200"),
    result(8080, OPEN, "9.0.0.1"),
    result(22, ERROR, "fe80::1%lo"),
    unresolved={"nowhere.invalid": "Name or service not known"},
    seed=2**64 - 1,
    started=1_700_000_000.25,
)


def test_results_are_sorted_by_the_number_of_the_address_then_by_port() -> None:
    found = report(*[result(p, OPEN, a) for a in ("::1", "10.0.0.2", "10.0.0.10", "9.255.0.1") for p in (8080, 443)])
    assert [(r.address, r.port) for r in found] == [
        ("9.255.0.1", 443), ("9.255.0.1", 8080), ("10.0.0.2", 443), ("10.0.0.2", 8080),
        ("10.0.0.10", 443), ("10.0.0.10", 8080), ("::1", 443), ("::1", 8080),
    ]  # fmt: skip
    assert list(found.hosts) == ["9.255.0.1", "10.0.0.2", "10.0.0.10", "::1"]
    assert found.hosts["10.0.0.2"] == [result(443, OPEN, "10.0.0.2"), result(8080, OPEN, "10.0.0.2")]


@pytest.mark.parametrize(("hosts", "ports"), [(1, 40_000), (40_000, 1), (200, 200)])
def test_many_results_are_sorted_as_few_are(hosts: int, ports: int) -> None:
    keys = [
        (f"10.{host >> 16}.{host >> 8 & 255}.{host & 255}", 65535 - port)
        for host in range(hosts)
        for port in reversed(range(ports))
    ]
    shuffled = keys.copy()
    random.Random(1).shuffle(shuffled)
    assert sort_keys(shuffled) == keys


def test_the_parts_of_a_report() -> None:
    assert [r.port for r in FULL.open] == [8080, 22, 80]
    assert FULL.counts == {"open": 3, "closed": 1, "filtered": 1, "error": 1}
    assert len(FULL) == 6
    assert list(FULL) == FULL.results
    assert (FULL.elapsed, FULL.seed, FULL.partial) == (1.5, 2**64 - 1, False)
    assert repr(FULL) == "<ScanReport: 3 open, 1 closed, 1 filtered, 1 error in 1.500 s>"
    assert repr(report(partial=True)) == "<ScanReport: no port decided in 1.500 s, partial>"
    assert report()
    assert len(report()) == 0
    assert pickle.loads(pickle.dumps(FULL)) == FULL


def test_json_has_the_names_of_the_contract() -> None:
    document = json.loads(FULL.to_json())
    assert document["schema"] == 1
    assert {"partial", "elapsed", "seed", "counts", "stats", "unresolved", "results"} < set(document)
    assert document["counts"] == {"open": 3, "closed": 1, "filtered": 1, "error": 1}
    assert document["stats"] == {
        "probes": 9, "retries": 2, "drops": 0, "local_errors": 0, "elapsed": 1.5, "rate": 6.0,
        "hosts": 0, "hosts_up": 0, "hosts_unreachable": 0, "hosts_silent": 0, "unasked": 0,
    }  # fmt: skip
    gate = document["results"][1]
    assert gate == {
        "host": "gate.example", "address": "10.0.0.1", "port": 22, "state": "open", "reason": "syn-ack", "rtt": 0.0005,
        "service": "ssh", "banner": "",
    }  # fmt: skip
    assert base64.b64decode(document["results"][3]["banner"]) == FULL.results[3].banner


def test_reports_come_back_equal() -> None:
    for text in (FULL.to_json(), FULL.to_json(indent=2), FULL.to_json().encode()):
        assert ScanReport.from_json(text) == FULL
    assert ScanReport.from_ndjson(FULL.to_ndjson()) == FULL
    assert ScanReport.from_ndjson(FULL.to_ndjson().encode()) == FULL
    back = ScanReport.from_json(FULL.to_json()).results[1]
    assert back.state is OPEN
    assert isinstance(back.banner, bytes)


results_of_any_kind = st.builds(
    PortResult,
    host=st.text(),
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65535),
    state=st.sampled_from(PortState),
    reason=st.text(),
    rtt=st.floats(0, 1e6),
    service=st.none() | st.text(),
    banner=st.none() | st.binary(),
)


@given(
    st.lists(results_of_any_kind, unique_by=lambda r: (r.address, r.port), max_size=8),
    st.none() | st.integers(),
    st.booleans(),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.none() | st.floats(0, 1e9),
)
def test_every_report_comes_back_equal_and_can_be_written(results, seed, partial, unresolved, started) -> None:
    made = report(*results, seed=seed, partial=partial, unresolved=unresolved, started=started)
    assert ScanReport.from_json(made.to_json()) == made
    assert ScanReport.from_ndjson(made.to_ndjson()) == made
    assert len(list(csv.DictReader(io.StringIO(made.to_csv(), newline="")))) == len(results)
    assert len(NmapParser.parse_fromstring(made.to_nmap_xml()).hosts) == len(made.hosts)


def broken(path: str, value: Any) -> str:
    """Give the JSON of FULL with one member replaced."""
    document = json.loads(FULL.to_json())
    *parents, last = path.split(".")
    inner = document
    for name in parents:
        inner = inner[int(name)] if name.isdigit() else inner[name]
    inner[last] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a scan report: not JSON: Expecting value"),
        (b"\xff\xfe\xfd", "not a scan report: not JSON"),
        ("[]", r"not a scan report: expected a JSON object, got \[\]"),
        ("{}", "not a scan report: 'results' is missing"),
        ("[" * 100_000, "nested too deeply"),
        ('{"elapsed": NaN}', "NaN is not a number of JSON"),
        (broken("schema", 2), "schema 1, the one that this version of oxisock reads: schema is 2"),
        (broken("schema", True), "schema is True"),
        (broken("partial", 0), "partial: expected true or false, got 0"),
        (broken("elapsed", "1"), "elapsed: expected a number of seconds, got '1'"),
        (broken("elapsed", 10**400), "elapsed: expected a number of seconds, got 1000"),
        (broken("seed", 1.5), "seed: expected an integer or null, got 1.5"),
        (broken("counts", []), r"counts: expected an object, got \[\]"),
        (broken("counts.open", -1), "counts.open: expected an integer of at least 0, got -1"),
        (broken("stats.probes", True), "stats.probes: expected an integer of at least 0, got True"),
        (broken("unresolved.x", None), "unresolved.x: expected a string, got None"),
        (broken("results", None), "results: expected a list, got None"),
        (broken("results", [1]), r"results\[0\]: expected a JSON object, got 1"),
        (broken("results.2.host", None), r"results\[2\].host: expected a string, got None"),
        (broken("results.2.address", "10.0.0.256"), r"results\[2\].address: expected an IP address, got '10.0.0.256'"),
        (broken("results.2.port", 0), r"results\[2\].port: expected an integer from 1 to 65535, got 0"),
        (broken("results.2.port", "22"), r"results\[2\].port: expected an integer from 1 to 65535, got '22'"),
        (broken("results.2.state", "up"), r"results\[2\].state: expected one of 'open', 'closed', 'filtered', 'error'"),
        (broken("results.2.state", {}), r"results\[2\].state: expected one of"),
        (broken("results.2.rtt", -1), r"results\[2\].rtt: expected a number of seconds or null, got -1"),
        (broken("results.0.rtt", None), r"results\[0\].rtt: an open port has a round trip, got null"),
        (broken("results.1.banner", "a"), r"results\[1\].banner: not base64"),
        (broken("results.1.banner", "ö"), r"results\[1\].banner: not base64"),
        (broken("results.1.port", 80), r"results\[3\]: port 80 of 10.0.0.1 appears twice"),
    ],
)
def test_what_is_no_report_is_refused_with_the_part_at_fault(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScanReport.from_json(text)


def test_members_of_a_later_version_are_passed_over() -> None:
    assert ScanReport.from_json(broken("novelty", {"a": 1})) == FULL


def test_ndjson_ends_with_its_summary() -> None:
    lines = [json.loads(line) for line in FULL.to_ndjson().splitlines()]
    assert [line["type"] for line in lines] == ["result"] * 6 + ["summary"]
    assert lines[1]["host"] == "gate.example"
    assert lines[-1]["counts"]["open"] == 3
    assert "results" not in lines[-1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "its last line, the summary, is missing"),
        ("{}", "line 1: expected an object with the type 'result' or 'summary'"),
        ("\n{", "line 2: not JSON"),
        (FULL.to_ndjson() * 2, "line 8: text after the summary"),
    ],
)
def test_broken_ndjson_is_refused_by_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScanReport.from_ndjson(text)


def test_csv_has_a_header_and_escapes_banners() -> None:
    rows = list(csv.DictReader(io.StringIO(FULL.to_csv(), newline="")))
    assert list(rows[0]) == list(PortResult._fields)
    assert [row["port"] for row in rows] == ["8080", "22", "23", "80", "443", "22"]
    assert rows[1]["host"] == "gate.example"
    assert rows[2]["rtt"] == ""
    assert rows[3]["banner"] == 'HTTP/1.0 400 "bad"\\r\\n\\x00\\xff\\x1b[31m<&>'
    assert float(rows[3]["rtt"]) == 0.0005


@pytest.mark.parametrize("first", "=+-@")
def test_a_banner_is_no_formula_in_a_spreadsheet(first: str) -> None:
    made = report(result(80, banner=f"{first}cmd|'/c calc'!A1".encode()))
    (row,) = csv.DictReader(io.StringIO(made.to_csv(), newline=""))
    assert row["banner"] == f"\\x{ord(first):02x}cmd|'/c calc'!A1"


@pytest.mark.parametrize(
    ("banner", "text"),
    [
        (b"SSH-2.0-x\r\n", "SSH-2.0-x\\r\\n"),
        (b"a\\b\t", "a\\\\b\\t"),
        ("grüß dich".encode(), "grüß dich"),
        (b"\xff\xfe\x9b2J", "\\xff\\xfe\\x9b2J"),
        ("\u202eexe\u200b\x85\U000e0001".encode(), "\\u202eexe\\u200b\\u0085\\U000e0001"),
    ],
)
def test_banners_are_escaped(banner: bytes, text: str) -> None:
    assert banner_text(banner) == text


@given(st.binary())
def test_an_escaped_banner_is_printable_and_loses_nothing(banner: bytes) -> None:
    text = banner_text(banner)
    assert text.isprintable()
    back, rest = b"", text
    while rest:
        size = {"x": 4, "u": 6, "U": 10}.get(rest[1], 2) if rest[0] == "\\" else 1
        unit, rest = rest[:size], rest[size:]
        if size == 4:
            back += bytes([int(unit[2:], 16)])
        elif size > 4:
            back += chr(int(unit[2:], 16)).encode()
        elif size == 2:
            back += {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}[unit[1]]
        else:
            back += unit.encode()
    assert back == banner


def test_libnmap_reads_the_xml() -> None:
    parsed = NmapParser.parse_fromstring(FULL.to_nmap_xml())
    assert (parsed.started, parsed.endtime) == (1_700_000_000, 1_700_000_001)
    assert parsed.elapsed == 1.5
    assert parsed.get_raw_data()["_runstats"]["finished"]["exit"] == "success"
    assert parsed.version
    hosts = {host.address: host for host in parsed.hosts}
    assert list(hosts) == ["9.0.0.1", "10.0.0.1", "10.0.0.200", "fe80::1%lo"]
    assert [host.status for host in parsed.hosts] == ["up", "up", "up", "unknown"]
    assert hosts["10.0.0.1"].hostnames == ["gate.example"]
    assert hosts["10.0.0.1"].get_ports() == [(22, "tcp"), (23, "tcp"), (80, "tcp")]
    assert hosts["10.0.0.1"].get_open_ports() == [(22, "tcp"), (80, "tcp")]
    http = hosts["10.0.0.1"].get_service(80)
    assert (http.service, http.state, http.reason) == ("http", "open", "syn-ack")
    assert http.scripts_results == [
        {"id": "banner", "output": 'HTTP/1.0 400 "bad"\\r\\n\\x00\\xff\\x1b[31m<&>', "elements": {}}
    ]
    assert hosts["10.0.0.1"].get_service(23).state == "filtered"
    assert hosts["fe80::1%lo"].get_service(22).state == "unknown"
    assert (parsed.hosts_up, parsed.hosts_down, parsed.hosts_total) == (3, 0, 4)


def test_xml_of_one_address_sums_up_what_was_not_kept() -> None:
    made = report(result(22), counts={"open": 1, "closed": 1000, "filtered": 23}, addresses=1)
    (host,) = NmapParser.parse_fromstring(made.to_nmap_xml()).hosts
    text = made.to_nmap_xml()
    assert '<extraports state="closed" count="1000">' in text
    assert '<extraports state="filtered" count="23">' in text
    assert host.extraports_state["count"]["count"] == "23"  # libnmap keeps the last
    many = report(result(22), counts={"open": 1, "closed": 1000}, addresses=256)
    assert "extraports" not in many.to_nmap_xml()
    assert NmapParser.parse_fromstring(many.to_nmap_xml()).hosts_total == 256


def test_xml_of_a_partial_report_says_so() -> None:
    parsed = NmapParser.parse_fromstring(report(result(22), partial=True).to_nmap_xml())
    assert parsed.get_raw_data()["_runstats"]["finished"]["exit"] == "error"
    dead = report(result(22, FILTERED, reason="host-unreachable"))
    assert NmapParser.parse_fromstring(dead.to_nmap_xml()).hosts[0].status == "down"


def ports(results: list[Any]) -> list[int]:
    return [r.port for r in results]


@pytest.mark.parametrize("keep_all", [False, True])
def test_a_difference_is_the_same_whatever_was_kept(keep_all: bool) -> None:
    before = [result(1), result(2), result(3), result(4, CLOSED), result(5, FILTERED)]
    after = [result(1), result(2, CLOSED), result(3, FILTERED), result(4), result(5)]
    every = [report(*before), report(*after)]
    if not keep_all:
        every = [report(*r.open, counts=r.counts) for r in every]
    diff = every[0].diff(every[1])
    assert (ports(diff.opened), ports(diff.closed), diff.changed) == ([4, 5], [2, 3], [])
    assert diff.opened == after[3:]
    assert diff.closed == before[1:3]
    assert diff


def test_other_changes() -> None:
    before = report(
        result(1, CLOSED), result(2, banner=b"a"), result(3, banner=b"a"), result(4, ERROR), result(5), result(6)
    )
    after = report(
        result(1, FILTERED), result(2, banner=b"b"), result(3), result(4), result(5, ERROR), result(6, rtt=0.7)
    )
    diff = before.diff(after)
    assert (diff.opened, diff.closed) == ([], [])
    assert ports(diff.changed) == [1, 2, 4, 5]
    assert diff.changed[0] == (result(1, CLOSED), result(1, FILTERED))
    assert diff.changed[0].address == "10.0.0.1"


def test_no_difference() -> None:
    diff = FULL.diff(ScanReport.from_json(FULL.to_json()))
    assert diff == ([], [], [])
    assert not diff


def test_a_report_that_says_nothing_of_a_port_is_no_news_of_it() -> None:
    full, partial = report(result(1), result(2)), report(result(2), result(3), partial=True)
    assert full.diff(partial) == ([result(3)], [], [])
    assert partial.diff(full) == ([], [result(3)], [])
    without_open = report(result(9, CLOSED), counts={"open": 2, "closed": 1})
    assert full.diff(without_open) == ([], [], [])


def test_differences_are_in_order_of_address_and_port() -> None:
    new = report(*[result(p, OPEN, a) for a in ("10.0.0.10", "9.0.0.1") for p in (80, 9)])
    assert [(r.address, r.port) for r in report().diff(new).opened] == [
        ("9.0.0.1", 9), ("9.0.0.1", 80), ("10.0.0.10", 9), ("10.0.0.10", 80),
    ]  # fmt: skip


TRACE = [
    ProbeEvent(0.0001, "10.0.0.1", 22, 0, "sent"),
    ProbeEvent(0.0002, "10.0.0.1", 80, 0, "sent"),
    ProbeEvent(0.2001, "10.0.0.1", 22, 0, "no-response"),
    ProbeEvent(0.2002, "10.0.0.1", 22, 1, "sent"),
    ProbeEvent(0.2012, "10.0.0.1", 22, 1, "syn-ack"),
]


def test_why_gives_the_story_of_one_port() -> None:
    traced = report(result(22, host="gate"), trace=iter(TRACE))
    assert traced.why("10.0.0.1", 22) == [TRACE[0], *TRACE[2:]]
    assert traced.why("gate", 22) == traced.why("10.0.0.1", 22)
    assert str(traced.why("10.0.0.1", 22)).splitlines() == [
        "   0.000100 s  probe 1  sent",
        "   0.200100 s  probe 1  -> no-response",
        "   0.200200 s  probe 2  sent",
        "   0.201200 s  probe 2  -> syn-ack",
    ]
    assert traced.why("10.0.0.1", 23) == []
    assert pickle.loads(pickle.dumps(traced)).why("10.0.0.1", 22) == traced.why("10.0.0.1", 22)


def test_why_without_a_trace_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="no trace of its probes: scan with trace=True"):
        FULL.why("10.0.0.1", 22)


@pytest.mark.parametrize("form", ["json", "ndjson", "csv", "nmap_xml", "html"])
def test_every_format_goes_to_a_file_as_well(form: str, tmp_path: Path) -> None:
    write = getattr(report(result(80), unresolved={"f\u00fcr": "\u00e9"}), f"to_{form}")
    assert write(path=tmp_path / "x") == write() == (tmp_path / "x").read_bytes().decode()
    with pytest.raises(FileNotFoundError):
        write(path=tmp_path / "nowhere" / "x")
    with pytest.raises(TypeError, match="path=3: expected the path of a file"):
        write(path=3)
