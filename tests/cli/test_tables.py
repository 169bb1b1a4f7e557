"""Tables on terminals of any width: nothing is left out, and no line is too long."""

from __future__ import annotations

import io
import os
import re
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock.cli.tables import columns, table
from support.commands import listening, terminal_text

HEADING = ("HOST", "PORT", "STATE", "SERVICE", "RTT ms", "BANNER")
WORDS = st.text("ab.-\u4e16", min_size=1, max_size=70)
ROWS = st.lists(
    st.tuples(
        WORDS,
        st.integers(1, 65535).map(str),
        st.sampled_from(["open", "closed", "filtered"]),
        st.sampled_from(["http", "postgresql", "-"]),
        st.just("0.123"),
        WORDS,
    ),
    min_size=1,
    max_size=6,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(rows: list[tuple[str, ...]], width: int, **more: object) -> str:
    with mock.patch.dict(os.environ, {"COLUMNS": str(width), "NO_COLOR": "1", "TERM": "xterm"}):
        return table(rows, Terminal(), right=(1, 4), grouped=True, **more)  # type: ignore[arg-type]


@given(ROWS, st.sampled_from([40, 80, 200]))
def test_nothing_is_left_out_and_no_line_is_too_long(rows: list[tuple[str, ...]], width: int) -> None:
    rows = sorted(rows)
    lines = shown([HEADING, *rows], width).splitlines()
    assert all(columns(line) <= width for line in lines)
    kept = [match.groups() for line in lines if (match := re.search(r"(\d+)  (open|closed|filtered) +(\S+)", line))]
    assert kept == [row[1:4] for row in rows]
    # All letters are there: hosts once for each group, banners once for each row.
    letters = "".join(lines)
    hosts = "".join({row[0] for row in rows})
    banners = "".join(row[5] for row in rows)
    for letter in "b\u4e16":
        said = sum(row[column].count(letter) for row in rows for column in (2, 3))
        assert letters.count(letter) >= hosts.count(letter) + banners.count(letter) + said


def test_where_rows_do_not_fit_hosts_stand_above_and_the_rest_below() -> None:
    host = "db-primary.eu-west-1.internal.example.com"
    rows = [HEADING, (host, "22", "open", "ssh", "0.123", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3")]
    rows.append((host, "5432", "open", "postgresql", "0.200", "-"))
    assert shown(rows, 80).splitlines() == [
        "PORT  STATE  SERVICE     RTT ms  BANNER",
        host,
        "  22  open   ssh          0.123  SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3",
        "5432  open   postgresql   0.200  -",
    ]
    assert shown(rows, 40).splitlines() == [
        "PORT  STATE  SERVICE     RTT ms",
        "    BANNER",
        "db-primary.eu-west-1.internal.example.co",
        "m",
        "  22  open   ssh          0.123",
        "    SSH-2.0-OpenSSH_9.2p1",
        "    Debian-2+deb12u3",
        "5432  open   postgresql   0.200",
    ]
    assert shown(rows, 200).splitlines()[1:] == [
        f"{host}    22  open   ssh          0.123  SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3",
        f"{' ' * len(host)}  5432  open   postgresql   0.200  -",
    ]


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_a_scan_on_a_terminal_shows_every_port(width: str) -> None:
    with listening(2, banner=b"x" * 60) as ports:
        words = ("scan", "localhost", "-p", ",".join(map(str, ports)), "--family", "4", "--banner")
        code, text = terminal_text(*words, COLUMNS=width)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert code == 0
    assert all(re.search(rf"\b{port}  open\b", plain) for port in ports)
    assert plain.count("x" * 20) >= 2
