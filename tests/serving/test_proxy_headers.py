"""The machine that reads the PROXY header, against a model and the vectors of its specification."""

from __future__ import annotations

import ipaddress
import itertools
import re
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oxisock import _native
from oxisock.sockets.proxies import ProxyHeader
from support.proxy_headers import BAD, GOOD, SIGNATURE

MACHINES: list[Any] = [ProxyHeader, _native.ProxyHeader]


def outcome(machine: Any, chunks: list[bytes]) -> Any:
    """Feed a stream; give the source and the size of the header, None where it goes on, or what is wrong."""
    taken = 0
    for chunk in chunks:
        try:
            end = machine.feed(chunk)
        except ValueError as error:
            return str(error)
        if end >= 0:
            return machine.source, taken + end
        taken += len(chunk)
    return None


def model(stream: bytes) -> Any:
    """Say the same, by other means: a good header, or one that may become one, or neither (True, None, False)."""
    text = re.match(rb"PROXY (?:UNKNOWN(?: [^\r]*)?|(TCP[46]) (\S+) (\S+) (\d{1,5}) (\d{1,5}))\r\n", stream)
    if text and text.end() <= 107:
        if text[1] is None:
            return None, text.end()
        kind = ipaddress.IPv4Address if text[1] == b"TCP4" else ipaddress.IPv6Address
        host, _ = kind(text[2].decode()), kind(text[3].decode())
        return (str(host), int(text[4])), text.end()
    if stream[:12] == SIGNATURE and len(stream) >= 16:
        meaning, protocol, size = struct.unpack("!BBH", stream[12:16])
        if len(stream) < 16 + size:
            return False
        if meaning == 0x20:
            return None, 16 + size
        if protocol in (0x11, 0x12):
            return (str(ipaddress.IPv4Address(stream[16:20])), struct.unpack("!H", stream[24:26])[0]), 16 + size
        if protocol in (0x21, 0x22):
            return (str(ipaddress.IPv6Address(stream[16:32])), struct.unpack("!H", stream[48:50])[0]), 16 + size
        return None, 16 + size
    return False


@pytest.mark.parametrize("kind", MACHINES)
def test_good_headers(kind: Any) -> None:
    for header, source in GOOD:
        assert outcome(kind(), [header + b"PROXY rest"]) == (source, len(header))
        assert outcome(kind(), [header[at : at + 1] for at in range(len(header))]) == (source, len(header))
        for end in range(len(header)):
            assert outcome(kind(), [header[:end]]) is None


@pytest.mark.parametrize("kind", MACHINES)
def test_bad_headers(kind: Any) -> None:
    for header, words in BAD:
        for chunks in ([header], [header[at : at + 1] for at in range(len(header))]):
            assert words in outcome(kind(), chunks), header


def test_nothing_is_read_past_the_end() -> None:
    for header, source in GOOD:
        machine, at = ProxyHeader(), 0
        while at < len(header):
            piece = header[at : at + machine.wanted]
            assert 0 < machine.wanted <= len(header) - at
            at += len(piece)
            assert (machine.feed(piece) >= 0) == (at == len(header))
        assert machine.source == source


lines = st.builds(
    lambda words, end: b" ".join(words) + end,
    st.lists(
        st.sampled_from(
            [b"PROXY", b"TCP4", b"TCP6", b"UNKNOWN", b"", b"1.2.3.4", b"01.2.3.4", b"1.2.3", b"::", b"1::8",
             b"1:2:3:4:5:6:7::", b"1:2:3:4:5:6:7:8", b"::1:2:3:4:5:6:7:8", b"::ffff:1.2.3.4", b"::1.2.3", b"1.2.3.4::",
             b"::00001", b"::g", b"0", b"00", b"80", b"65535", b"65536", b"\xff"]
        ),
        max_size=7,
    ),
    st.sampled_from([b"\r\n", b"\n", b"\r", b"", b"\r\nmore"]),
)  # fmt: skip
four = st.ip_addresses(v=4).map(str)
six = st.one_of(st.ip_addresses(v=6).map(str), st.ip_addresses(v=4).map("::ffff:{}".format))
port = st.integers(0, 65535)
good_lines = st.one_of(
    st.builds(lambda a, b, p, q: f"PROXY TCP4 {a} {b} {p} {q}\r\n".encode(), four, four, port, port),
    st.builds(lambda a, b, p, q: f"PROXY TCP6 {a} {b} {p} {q}\r\n".encode(), six, six, port, port),
)
binaries = st.builds(
    lambda meaning, protocol, size, rest: SIGNATURE + bytes([meaning, protocol]) + struct.pack("!H", size) + rest,
    st.sampled_from([0x20, 0x21, 0x22, 0x11, 0x31]),
    st.sampled_from([0x00, 0x10, 0x11, 0x12, 0x13, 0x21, 0x22, 0x31, 0x41]),
    st.one_of(st.integers(0, 300), st.integers(0, 65535)),
    st.binary(max_size=300),
)


@given(st.one_of(lines, good_lines, binaries, st.binary(max_size=40)), st.lists(st.integers(0, 300), max_size=8))
@example(b"PROXY TCP6 ::1:2 ::1 1 1\r\n", [])
def test_both_read_alike_however_it_is_cut_and_as_the_model_says(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[a:b] for a, b in itertools.pairwise(edges)]
    whole = [outcome(kind(), [stream]) for kind in MACHINES]
    assert whole[0] == whole[1]
    assert [outcome(kind(), chunks) for kind in MACHINES] == whole
    if isinstance(whole[0], tuple):
        assert canonical(whole[0]) == canonical(model(stream))
    elif isinstance(expected := model_or_none(stream), tuple):
        # What the model takes and the machine does not: a leading zero, a header too long, addresses cut short.
        assert isinstance(whole[0], str), expected


def canonical(found: Any) -> Any:
    """Write an address as the model's library does: mapped ones have two spellings."""
    source, size = found
    return (source and (str(ipaddress.ip_address(source[0])), source[1])), size


def model_or_none(stream: bytes) -> Any:
    try:
        return model(stream)
    except (ValueError, struct.error):
        return None


@given(good_lines)
def test_every_good_line_is_read(line: bytes) -> None:
    for kind in MACHINES:
        assert canonical(outcome(kind(), [line])) == canonical(model(line))
