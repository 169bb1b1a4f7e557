"""Port specs: what they choose, and what a bad one is told."""

from __future__ import annotations

import io
import re
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock.scanning.services import TOP_PORTS, service_port
from oxisock.scanning.specs import parse_ports, port_array


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (80, (80,)),
        ([443, 22, 443], (22, 443)),
        ({65535, 1}, (1, 65535)),
        (range(20, 26, 2), (20, 22, 24)),
        ("80", (80,)),
        ("080", (80,)),
        ("000000000000080", (80,)),
        ("443,22", (22, 443)),
        ("22,80,22,20-23", (20, 21, 22, 23, 80)),
        ("22,", (22,)),
        ("22 , ", (22,)),
        (" 22 ,\t80\n", (22, 80)),
        ("5-5", (5,)),
        ("-3", (1, 2, 3)),
        ("65534-", (65534, 65535)),
        ("http", (80,)),
        ("HTTPS,ssh", (22, 443)),
        ("http-alt", (8080,)),
        ("20-25,!22", (20, 21, 23, 24, 25)),
        ("!22,20-25", (20, 21, 23, 24, 25)),
        ("!22, 22, 23", (23,)),
        ("79-81,!http", (79, 81)),
        ("-,!1-65000,!65010-", tuple(range(65001, 65010))),
        ("top:3", tuple(sorted(TOP_PORTS[:3]))),
        ("top:3,!top:2", TOP_PORTS[2:3]),
    ],
)
def test_specs(impl: ModuleType, spec: object, expected: tuple[int, ...]) -> None:
    assert impl.parse_ports(spec) == expected


def test_an_iterator_of_ports(impl: ModuleType) -> None:
    assert impl.parse_ports(iter([9, 8])) == (8, 9)


def test_all_ports(impl: ModuleType) -> None:
    assert (
        impl.parse_ports("-") == tuple(range(1, 65536)) == impl.parse_ports("1-65535") == impl.parse_ports("top:65535")
    )


@pytest.mark.parametrize(
    ("spec", "part", "position", "expected"),
    [
        ("", "", 1, "an empty element"),
        ("  ", "", 1, "an empty element"),
        (",", "", 1, "an empty element"),
        ("22,,80", "", 4, "an empty element"),
        ("22, ,80", "", 4, "an empty element"),
        ("22,,", "", 4, "an empty element"),
        ("!", "!", 1, "an empty element"),
        ("1-2-3", "1-2-3", 1, "expected a port of 1 to 65535"),
        ("22,10-5", "10-5", 4, "expected the lower port first"),
        ("22, 65536", "65536", 5, "expected a number of 1 to 65535"),
        ("0", "0", 1, "expected a number of 1 to 65535"),
        ("0-5", "0-5", 1, "expected a number of 1 to 65535"),
        ("-0", "-0", 1, "expected a number of 1 to 65535"),
        ("5-70000", "5-70000", 1, "expected a number of 1 to 65535"),
        ("9" * 5000, "9" * 5000, 1, "expected a number of 1 to 65535"),
        ("8O", "8O", 1, "no such service: expected a port"),
        ("no-such-service", "no-such-service", 1, "no such service"),
        ("80;81", "80;81", 1, "expected a port"),
        ("80 81", "80 81", 1, "expected a port"),
        ("1 - 5", "1 - 5", 1, "expected a port"),
        ("+80", "+80", 1, "expected a port"),
        ("--", "--", 1, "expected a port"),
        ("80.0", "80.0", 1, "expected a port"),
        ("٣", "٣", 1, "expected a port"),
        ("1-٣", "1-٣", 1, "expected a port"),
        ("８０", "８０", 1, "expected a port"),
        ("80\u00a0", "80\u00a0", 1, "expected a port"),
        ("!!5", "!!5", 1, "expected a port"),
        ("top:", "top:", 1, "expected a number after 'top:'"),
        ("top:ten", "top:ten", 1, "expected a number after 'top:'"),
        ("22,top:0", "top:0", 4, "expected a number of 1 to 65535"),
        ("top:65536", "top:65536", 1, "expected a number of 1 to 65535"),
        ("!22", "!22", 1, "removes from nothing"),
        ("22,!20-25", "!20-25", 4, "leaves no port"),
    ],
)
def test_a_bad_spec_is_quoted_with_its_position(
    impl: ModuleType, spec: str, part: str, position: int, expected: str
) -> None:
    quoted = re.escape(f"{part!r} at position {position}")
    with pytest.raises(ValueError, match=rf"^ports: {quoted}.*{re.escape(expected)}"):
        impl.parse_ports(spec)


@pytest.mark.parametrize(
    "spec", [True, False, 80.0, None, b"80", bytearray(b"80"), object(), ["80"], [80, True], [1.0]]
)
def test_wrong_types(impl: ModuleType, spec: object) -> None:
    with pytest.raises(TypeError, match=r"^ports(: item \d)?=.*: expected "):
        impl.parse_ports(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (0, "^ports=0: expected a port from 1 to 65535"),
        (-1, "^ports=-1: "),
        (65536, "^ports=65536: "),
        ([80, 0], "^ports: item 2=0: expected a port from 1 to 65535"),
        (range(10**18), "item 1=0: "),
        ([], "expected at least one"),
        (range(0), "expected at least one"),
    ],
)
def test_bad_numbers(impl: ModuleType, spec: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        impl.parse_ports(spec)


def test_exclude_is_read_like_the_ports() -> None:
    assert list(port_array("20-25", "22-24,!23")) == [20, 21, 23, 25]
    assert list(port_array("20-25", [20, 21])) == [22, 23, 24, 25]
    assert list(port_array([20, 80], "http")) == [20]
    assert list(port_array(20, 80)) == [20]
    for nothing in ((), "", " ", set[int]()):
        assert list(port_array("20-21", nothing)) == [20, 21]
    with pytest.raises(ValueError, match=r"^exclude_ports: '-' leaves none of the ports '22'"):
        port_array("22", "-")
    with pytest.raises(ValueError, match=r"^exclude_ports: 'x' at position 3: no such service"):
        port_array("22", "1,x")
    with pytest.raises(TypeError, match=r"^exclude_ports"):
        port_array("22", True)


def test_all_ports_cost_little_memory() -> None:
    port_array("-")
    tracemalloc.start()
    try:
        ports = port_array("-", "!1,1-2")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(ports) == 65534
    assert peak < 300_000


PORT = st.integers(1, 65535)
ELEMENT = st.one_of(
    PORT.map(lambda port: (str(port), {port})),
    PORT.map(lambda port: (f"0{port}", {port})),
    st.tuples(PORT, PORT).map(sorted).map(lambda ends: (f"{ends[0]}-{ends[1]}", set(range(ends[0], ends[1] + 1)))),
    PORT.map(lambda port: (f"-{port}", set(range(1, port + 1)))),
    PORT.map(lambda port: (f"{port}-", set(range(port, 65536)))),
    st.sampled_from(["http", "ssh", "domain"]).map(lambda name: (name, {service_port(name)})),
    st.integers(1, 400).map(lambda count: (f"top:{count}", set(parse_ports(f"top:{count}")))),
)


@given(st.lists(st.tuples(st.booleans(), ELEMENT, st.sampled_from(["", " ", "\t "])), min_size=1, max_size=6))
def test_a_spec_is_its_elements_less_those_removed(elements: list[tuple[bool, tuple[str, set[int]], str]]) -> None:
    spec = ",".join(f"{blank}{'!' * remove}{text}{blank}" for remove, (text, _), blank in elements)
    added = set[int]().union(*(ports for remove, (_, ports), _ in elements if not remove))
    removed = set[int]().union(*(ports for remove, (_, ports), _ in elements if remove))
    if added - removed:
        assert parse_ports(spec) == tuple(sorted(added - removed))
    else:
        with pytest.raises(ValueError, match=r"removes from nothing|leaves no port"):
            parse_ports(spec)


@given(st.sets(PORT, min_size=1, max_size=50))
def test_what_is_parsed_parses_to_itself(ports: set[int]) -> None:
    chosen = parse_ports(ports)
    assert chosen == tuple(sorted(ports)) == parse_ports(chosen) == parse_ports(",".join(map(str, ports)))


@given(st.text(alphabet="0189-!,: top\u0663\u00b2x", max_size=12))
def test_any_text_is_ports_or_a_value_error(text: str) -> None:
    try:
        ports = parse_ports(text)
    except ValueError as error:
        assert "position" in str(error)
    else:
        assert ports and text.isascii()
        assert all(1 <= port <= 65535 for port in ports)


def test_ports_stand_in_files(tmp_path: Path) -> None:
    path = tmp_path / "some, ports"
    path.write_bytes("\ufeff22,80 # web\r\n\r\nhttps\r\n!80\r\n1000-1002\r\n".encode())
    assert parse_ports(f"@{path}") == (22, 443, 1000, 1001, 1002)
    (tmp_path / "few").write_text("1\n")
    assert parse_ports(f"5,@{tmp_path}/few,!22") == (1, 5)
    for content, message in ("22\n70000\n", "few:2: '70000' at position 1"), ("@x\n", "a file cannot name another"):
        (tmp_path / "few").write_text(content)
        with pytest.raises(ValueError, match=message):
            parse_ports(f"@{tmp_path}/few")
    with pytest.raises(OSError, match="none"):
        parse_ports(f"@{tmp_path}/none")
    with pytest.raises(ValueError, match="expected @FILE"):
        parse_ports("@")


def test_ports_stand_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"22\n80\n")))
    assert parse_ports("443,@-") == (22, 80, 443)
