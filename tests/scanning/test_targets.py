"""Targets: what a spec holds, in which order, under which spelling, at which cost, and what a bad one is told."""

from __future__ import annotations

import io
import ipaddress
import itertools
import pickle
import re
import socket
import sys
import tracemalloc
from pathlib import Path
from types import ModuleType

import pytest

from oxisock import Targets, parse_targets
from oxisock.engines.scanning import AddressRange

LOOPBACK = socket.if_indextoname(1) if sys.platform == "linux" else ""
needs_zone = pytest.mark.skipif(not LOOPBACK, reason="needs the name of an interface")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("10.0.0.1", ["10.0.0.1"]),
        ("10.0.0.77/30", ["10.0.0.76", "10.0.0.77", "10.0.0.78", "10.0.0.79"]),
        ("10.0.0.1/32", ["10.0.0.1"]),
        ("10.0.0.254-255", ["10.0.0.254", "10.0.0.255"]),
        ("10.0.0.7-7", ["10.0.0.7"]),
        ("10.0.0.255-10.0.1.1", ["10.0.0.255", "10.0.1.0", "10.0.1.1"]),
        ("2001:db8::1", ["2001:db8::1"]),
        ("[::1]", ["::1"]),
        ("2001:DB8:0::1", ["2001:db8::1"]),
        ("2001:db8::2/127", ["2001:db8::2", "2001:db8::3"]),
        ("::fffe-::1:1", ["::fffe", "::ffff", "::1:0", "::1:1"]),
        ("[::1]-[::2]", ["::1", "::2"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"]),
        ("10.0.0.1 [::FFFF:a00:1]", ["10.0.0.1"]),
        ("::ffff:10.0.0.1/127", ["10.0.0.0", "10.0.0.1"]),
        ("::ffff:10.0.0.1-::ffff:a00:2", ["10.0.0.1", "10.0.0.2"]),
        ("::fffe:ffff:ffff-::ffff:0:0", ["::fffe:ffff:ffff", "::ffff:0.0.0.0"]),
        ("localhost", ["localhost"]),
        ("db-1.example.com.", ["db-1.example.com."]),
        ("10.0.0.1-static.example", ["10.0.0.1-static.example"]),
        ("_ldap._tcp.example", ["_ldap._tcp.example"]),
        ("bücher.example", ["bücher.example"]),
        ("faß.example", ["faß.example"]),
        ("b a B a", ["b", "a"]),
        ("z, ::1 ,10.0.0.2\t10.0.0.1\n", ["10.0.0.1", "10.0.0.2", "::1", "z"]),
        ("10.0.0.1,10.0.0.1,10.0.0.0/31", ["10.0.0.0", "10.0.0.1"]),
        (["10.0.0.3 a", "10.0.0.1,b"], ["10.0.0.1", "10.0.0.3", "a", "b"]),
        (("10.0.0.1",), ["10.0.0.1"]),
    ],
)
def test_specs(spec: object, expected: list[str]) -> None:
    targets = parse_targets(spec)  # type: ignore[arg-type]
    assert list(targets) == expected
    assert list(targets) == expected, "it can be iterated again"
    assert len(targets) == targets.count == len(expected)
    assert all(target in targets for target in expected)


def test_both_engines_offer_it(impl: ModuleType) -> None:
    assert list(impl.parse_targets("10.0.0.1-2", exclude="10.0.0.1")) == ["10.0.0.2"]
    with pytest.raises(ValueError, match=r"'1\.2\.3' at position 1"):
        impl.parse_targets("1.2.3")


@pytest.mark.parametrize(
    ("spec", "part", "position", "expected"),
    [
        ("", "", 1, "expected a name"),
        (" \n", "", 1, "expected a name"),
        ("a,,b", "", 3, "expected a name"),
        ("a, ,b", "", 3, "expected a name"),
        ("a,", "", 3, "expected a name"),
        (",a", "", 1, "expected a name"),
        ("256.1.1.1", "256.1.1.1", 1, "four numbers of 0 to 255"),
        ("a  1.2.3", "1.2.3", 4, "expected an IPv4 address"),
        ("a, 5", "5", 4, "expected an IPv4 address"),
        ("1.2.3.4.", "1.2.3.4.", 1, "expected an IPv4 address"),
        ("01.2.3.4", "01.2.3.4", 1, "without leading zeros"),
        ("1.2.3.4/33", "1.2.3.4/33", 1, "a prefix length of 0 to 32"),
        ("1.2.3.4/", "1.2.3.4/", 1, "a prefix length of 0 to 32"),
        ("1.2.3.4/-1", "1.2.3.4/-1", 1, "a prefix length of 0 to 32"),
        ("1.2.3.4/255.0.0.0", "1.2.3.4/255.0.0.0", 1, "a prefix length of 0 to 32"),
        ("::/129", "::/129", 1, "a prefix length of 0 to 128"),
        ("example.com/24", "example.com/24", 1, "expected an IPv4 address"),
        ("10.0.0.9-5", "10.0.0.9-5", 1, "expected the lower end first"),
        ("10.0.0.9-10.0.0.5", "10.0.0.9-10.0.0.5", 1, "expected the lower end first"),
        ("10.0.0.9-256", "10.0.0.9-256", 1, "a number of 0 to 255 after '-'"),
        ("10.0.0.9-010", "10.0.0.9-010", 1, "a number of 0 to 255 after '-'"),
        ("10.0.0.9-", "10.0.0.9-", 1, "a number of 0 to 255 after '-'"),
        ("-10.0.0.9", "-10.0.0.9", 1, "expected an IPv4 address"),
        ("10.0.0-1.1-2", "10.0.0-1.1-2", 1, "expected an IPv4 address"),
        ("::9-::5", "::9-::5", 1, "expected the lower end first"),
        ("::1-5", "::1-5", 1, "the last address of the range in full"),
        ("10.0.0.1-::1", "10.0.0.1-::1", 1, "one version of IP and one zone"),
        ("::g", "::g", 1, "expected an IPv6 address"),
        ("localhost:80", "localhost:80", 1, "the port is an argument of its own"),
        ("[localhost]", "[localhost]", 1, "expected an IPv4 address"),
        ("fe80::1%no-such-if", "fe80::1%no-such-if", 1, "no network interface 'no-such-if'"),
        ("fe80::1%", "fe80::1%", 1, "no network interface ''"),
        ("fe80::1%4294967296", "fe80::1%4294967296", 1, "a zone below 2**32"),
        ("10.0.0.1%1", "10.0.0.1%1", 1, "expected an IPv4 address"),
        ("٣.1.1.1", "٣.1.1.1", 1, "expected ASCII digits"),
        ("host٣", "host٣", 1, "expected ASCII digits"),
        ("10.0.0.1/２4", "10.0.0.1/２4", 1, "expected ASCII digits"),
        ("127。0。0。1", "127。0。0。1", 1, "expected an IPv4 address"),
        ("0x7f.1", "0x7f.1", 1, "expected an IPv4 address"),
        ("0x7f000001", "0x7f000001", 1, "expected an IPv4 address"),
        ("a..b", "a..b", 1, "expected a name"),
        ("ü..b", "ü..b", 1, "expected a name"),
        ("ü․b", "ü․b", 1, "expected a name"),
        ("نامه\u200cای.example", "نامه\u200cای.example", 1, "expected its xn-- form"),
        ("ü\u200d", "ü\u200d", 1, "expected its xn-- form"),
        (".a", ".a", 1, "expected a name"),
        ("-a", "-a", 1, "expected a name"),
        ("a!b", "a!b", 1, "expected a name"),
        ("x" * 64, "x" * 64, 1, "expected a name"),
        ("x." * 127 + "x", "x." * 127 + "x", 1, "expected a name"),
        ("a @", "@", 3, "expected @FILE"),
    ],
)
def test_a_bad_part_is_quoted_with_its_position(spec: str, part: str, position: int, expected: str) -> None:
    quoted = re.escape(f"{part!r} at position {position}: ")
    with pytest.raises(ValueError, match=rf"^targets: {quoted}.*{re.escape(expected)}"):
        parse_targets(spec)
    with pytest.raises(ValueError, match=rf"^targets: item 2: {quoted}"):
        parse_targets(["ok", spec])
    if spec.strip():
        with pytest.raises(ValueError, match=rf"^exclude: {quoted}"):
            parse_targets("ok", exclude=spec)


@pytest.mark.parametrize("spec", [None, 5, True, 1.5, b"10.0.0.1", bytearray(b"a"), [b"a"], [None], [["a"]]])
def test_wrong_types(spec: object) -> None:
    with pytest.raises(TypeError, match=r"^targets(: item \d: |=.*: )expected text"):
        parse_targets(spec)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^exclude(: item \d: |=.*: )expected text"):
        parse_targets("a", exclude=spec)  # type: ignore[arg-type]


def test_no_target_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="no target: expected at least one"):
        parse_targets([])


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ((), ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "::1", "a", "b"]),
        ("", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "::1", "a", "b"]),
        ("10.0.0.2", ["10.0.0.1", "10.0.0.3", "10.0.0.4", "::1", "a", "b"]),
        ("10.0.0.2-3", ["10.0.0.1", "10.0.0.4", "::1", "a", "b"]),
        ("10.0.0.0/30,A", ["10.0.0.4", "::1", "b"]),
        (["0.0.0.0/0", "b"], ["::1", "a"]),
        ("::/0 c", ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4", "a", "b"]),
        ("::ffff:0:0/96", ["::1", "a", "b"]),
        ("::ffff:10.0.0.2 [::ffff:10.0.0.3]-::ffff:10.0.0.9", ["10.0.0.1", "::1", "a", "b"]),
    ],
)
def test_exclusions(exclude: object, left: list[str]) -> None:
    spec = "10.0.0.1-4 ::1 a b"
    assert list(parse_targets(spec, exclude)) == left  # type: ignore[arg-type]
    assert list(parse_targets(parse_targets(spec), exclude)) == left  # type: ignore[arg-type]


def test_an_excluded_ipv4_address_is_no_target_in_its_ipv6_form() -> None:
    wide = parse_targets("::fffe:ffff:ffff-::ffff:0:3", exclude="0.0.0.0-1 0.0.0.3")
    assert list(wide) == ["::fffe:ffff:ffff", "::ffff:0.0.0.2"]
    resolved = parse_targets("a ::1", exclude="10.0.0.0/8").resolved({"a": ["::ffff:10.0.0.1", "::ffff:11.0.0.1"]})
    assert list(resolved) == ["11.0.0.1", "::1"]
    for spec in ("::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "::ffff:10.0.0.1-::ffff:10.0.0.2"):
        with pytest.raises(ValueError, match="everything is excluded"):
            parse_targets(spec, exclude="10.0.0.0/8")


def test_excluding_everything_is_a_value_error() -> None:
    for spec, exclude in [("10.0.0.1", "10.0.0.0/8"), ("a", "A"), ("::/0,10.0.0.0/8,x", "::/0 0.0.0.0/0 x")]:
        with pytest.raises(ValueError, match="no target: everything is excluded"):
            parse_targets(spec, exclude)


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"\xef\xbb\xbf# all of them\n10.0.0.1 # the first\r\n\n  b\xc3\xbccher.example#x\n\t\n10.0.0.4-5")
    assert list(parse_targets(f"@{path}")) == ["10.0.0.1", "10.0.0.4", "10.0.0.5", "bücher.example"]
    assert list(parse_targets(f"a @{path}", exclude="10.0.0.4")) == ["10.0.0.1", "10.0.0.5", "a", "bücher.example"]
    with pytest.raises(ValueError, match="everything is excluded"):
        parse_targets([f"@{path}"], exclude=[f"@{path}"])


@pytest.mark.parametrize("name", ["my hosts.txt", "a,b.txt", "@home"])
def test_an_item_that_begins_with_an_at_is_one_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("10.0.0.1\n")
    assert list(parse_targets([f"@{path}", "b"], exclude=["10.0.0.2"])) == ["10.0.0.1", "b"]
    with pytest.raises(ValueError, match="everything is excluded"):
        parse_targets("10.0.0.1", exclude=[f"@{path}"])
    with pytest.raises(FileNotFoundError, match="no such.txt"):
        parse_targets(["@no such.txt"])
    with pytest.raises(ValueError, match=r"^targets: item 2: '@' at position 1: expected @FILE"):
        parse_targets(["a", "@"])


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"10.0.0.1\n# x\n a, 256.1.1.1 # y\n", 3, "'256.1.1.1' at position 5: expected an IPv4 address"),
        (b"a,,b", 1, "'' at position 3: expected a name"),
        (b"\n@other", 2, "'@other' at position 1: a file cannot name another"),
        (b"a\nb\n\xff\n", 3, "expected text in UTF-8"),
    ],
)
def test_errors_in_files_have_file_and_line(tmp_path: Path, content: bytes, line: int, message: str) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}:{line}: {message}')}"):
        parse_targets(f"@{path}")


def test_files_that_hold_nothing_or_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    with pytest.raises(FileNotFoundError, match="hosts"):
        parse_targets(f"@{path}")
    path.write_text("# nothing\n\n")
    with pytest.raises(ValueError, match="no target: expected at least one"):
        parse_targets(f"@{path}")
    assert list(parse_targets(f"@{path} a")) == ["a"]


@needs_zone
def test_zones() -> None:
    targets = parse_targets(f"fe80::2%1 fe80::1-fe80::2 fe80::1%{LOOPBACK}-fe80::3")
    assert list(targets) == ["fe80::1", "fe80::2", *(f"fe80::{n}%{LOOPBACK}" for n in (1, 2, 3))]
    first = int(ipaddress.ip_address("fe80::1"))
    assert targets.ranges == (AddressRange(6, first, first + 1), AddressRange(6, first, first + 2, 1))
    assert [targets.host(n) for n in (0, 2, 3)] == ["fe80::1", f"fe80::1%{LOOPBACK}", "fe80::2%1"]
    assert f"FE80::3%{LOOPBACK}" in targets
    assert "fe80::3" not in targets
    with pytest.raises(ValueError, match="in one version of IP and one zone"):
        parse_targets("fe80::1%1-fe80::2%4294967295")


@needs_zone
def test_an_exclusion_without_a_zone_holds_in_every_zone() -> None:
    spec = f"fe80::1%{LOOPBACK}/126"
    assert list(parse_targets(spec, exclude=f"fe80::2-fe80::3%{LOOPBACK} fe80::%4294967295")) == [
        f"fe80::%{LOOPBACK}",
        f"fe80::1%{LOOPBACK}",
    ]
    assert list(parse_targets(spec, exclude="fe80::1-fe80::ff")) == [f"fe80::%{LOOPBACK}"]
    with pytest.raises(ValueError, match="everything is excluded"):
        parse_targets(spec, exclude="fe80::/10")


def test_a_zone_without_an_interface_keeps_its_number() -> None:
    assert list(parse_targets("fe80::1%4294967295")) == ["fe80::1%4294967295"]


def test_hosts_are_spelled_as_they_were_first_given() -> None:
    def spellings(spec: str) -> list[str]:
        targets = parse_targets(spec)
        return [targets.host(n) for n in range(sum(r.last - r.first + 1 for r in targets.ranges))]

    assert spellings("[::1] 0::1 ::1") == ["[::1]"]
    assert spellings("::1 [::1]") == ["::1"]
    assert spellings("::/127 0::1") == ["::", "::1"]
    assert spellings("0::1 ::/127") == ["::", "0::1"]
    assert spellings("0::1-0::1 [::3]/128 a 0::2") == ["::1", "0::2", "::3"]
    assert spellings("0::1 a [::1]") == ["0::1"]
    assert spellings("::ffff:10.0.0.1 10.0.0.1") == ["::ffff:10.0.0.1"]
    assert spellings("10.0.0.1 ::ffff:10.0.0.1") == ["10.0.0.1"]


def test_names_are_replaced_by_their_addresses_under_their_first_spelling() -> None:
    targets = parse_targets("b 10.0.0.5 a 10.0.0.1 ::1 c A gone", exclude="10.0.0.9 never")
    assert targets.names == ("b", "a", "c", "gone")
    assert targets.excluded_names == ("never",)
    found = {
        "b": ["10.0.0.7", "10.0.0.1"],
        "a": ["10.0.0.5", "10.0.0.6", "10.0.0.7"],
        "c": ["::1", "10.0.0.9", "10.0.0.8"],
        "never": ["10.0.0.8"],
    }
    resolved = targets.resolved(found)
    assert [(resolved.address(n), resolved.host(n)) for n in range(resolved.count)] == [
        ("10.0.0.1", "b"),
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.6", "a"),
        ("10.0.0.7", "b"),
        ("::1", "::1"),
    ]
    assert resolved.names == ()
    assert list(parse_targets(resolved, exclude="10.0.0.5-7")) == ["10.0.0.1", "::1"]
    assert targets.names == ("b", "a", "c", "gone"), "the original is as it was"
    assert parse_targets("a", exclude="never").resolved({"a": ["::1"], "never": ["::1"]}).count == 0


def test_numbers_outside_are_index_errors() -> None:
    targets = parse_targets("10.0.0.1-2 a")
    for index in (-1, 2):
        with pytest.raises(IndexError, match=f"no address number {index} among 2"):
            targets.address(index)
        with pytest.raises(IndexError):
            targets.host(index)


def test_membership_takes_any_spelling() -> None:
    targets = parse_targets("10.0.0.0/24 2001:db8::/32 Host.example")
    for inside in ("10.0.0.255", "2001:DB8::1", "[2001:db8::]", "host.EXAMPLE"):
        assert inside in targets
    for outside in ("10.0.1.0", "9.255.255.255", "2001:db9::", "::", "host", "10.0.0", "", "10.0.0.0/24", 1, None):
        assert outside not in targets


@pytest.mark.parametrize("spec", ["10.0.0.0/8", "::/0", "0.0.0.0/0,::/0,a"])
def test_what_is_large_is_held_as_ranges(spec: str) -> None:
    parse_targets(spec)
    tracemalloc.start()
    try:
        targets = parse_targets(spec, exclude="10.1.0.0/16")
        assert "10.1.2.3" not in targets
        assert list(itertools.islice(targets, 3)) == [targets.address(n) for n in range(3)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50_000
    assert targets


def test_the_size_of_everything() -> None:
    assert len(parse_targets("10.0.0.0/8")) == 2**24
    everything = parse_targets("::/0")
    assert everything.count == 2**128
    assert everything.ranges == (AddressRange(6, 0, 2**128 - 1),)
    assert everything.address(2**127) == "8000::"
    assert everything.host(2**128 - 1) == "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    with pytest.raises(OverflowError):
        len(everything)


def test_values() -> None:
    targets = parse_targets("[::1] 10.0.0.1-2 a", exclude="b")
    same = parse_targets("10.0.0.1 [::1] a 10.0.0.2", exclude="b")
    assert targets == same
    assert hash(targets) == hash(same)
    assert targets != parse_targets("::1 10.0.0.1-2 a", exclude="b")
    assert targets != "a"
    assert repr(targets) == "<Targets: 4 in 2 ranges and 1 name>"
    copy = pickle.loads(pickle.dumps(targets))
    assert isinstance(copy, Targets)
    assert copy == targets
    assert copy.resolved({"a": ["10.0.0.3"]}).host(2) == "a"


def test_parsing_opens_no_socket_and_asks_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a socket or a look-up")

    for name in ("socket", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, never)
    assert list(parse_targets("localhost 127.0.0.1 ::1", exclude="example.com")) == ["127.0.0.1", "::1", "localhost"]


# Near each other, so that they touch and overlap; at the seam of versions and zones, too.


def test_targets_stand_on_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeff10.0.0.1 # one\r\n\r\nbox.example\r\n".encode()))
    )
    assert list(parse_targets(["@-", "10.0.0.9"])) == ["10.0.0.1", "10.0.0.9", "box.example"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"10.0.0.1\n10.0.0.256\n")))
    with pytest.raises(ValueError, match=r"^standard input:2: '10.0.0.256' at position 1"):
        parse_targets("@-")
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(ValueError, match="there is no standard input"):
        parse_targets("@-")
