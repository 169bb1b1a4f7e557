"""``oxisock explain``: files and standard input, exit codes, wrong usage."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from support.commands import environment, oxisock
from support.framings import PICTURE


def test_explain_a_file_and_the_standard_input(impl: ModuleType, tmp_path: Path) -> None:
    stream = b"\0\0\0\5hello\0\0\0\x63hi"
    (tmp_path / "stream").write_bytes(stream)
    done = oxisock("explain", "--codec", "length:4", tmp_path / "stream", "--impl", impl.impl)
    assert (done.returncode, done.stdout) == (1, PICTURE + "\n")
    for file in ([], ["-"]):
        done = oxisock("explain", "--codec", "length:4", *file, input=stream[:9], text=False)
        assert (done.returncode, done.stdout.count(b"\n")) == (0, 5)


def test_colours_change_no_text(tmp_path: Path) -> None:
    (tmp_path / "stream").write_bytes(b"\0\0\0\5hello\0\0\0\x63hi")
    words = ("explain", "--codec", "length:4", tmp_path / "stream")
    shown = oxisock(*words, env=environment(FORCE_COLOR="1")).stdout
    assert "\x1b[31mIncompleteFrame: " in shown  # the fault is red
    assert re.sub(r"\x1b\[\d+m", "", shown) == PICTURE + "\n"
    assert oxisock(*words, env=environment(FORCE_COLOR="1", NO_COLOR="1")).stdout == PICTURE + "\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--codec", "nonsense", "-"], "'nonsense' is not one of length, varint"),
        (["--codec", "delimiter:\\q", "-"], "has an escape that Python does not know"),
        (["--codec", "length:9", "-"], "width=9: expected a number of bytes from 1 to 8"),
        (["--codec", "length:4:big:4", "-"], "wrong arguments for 'length'"),
        (["--codec", "lines", "/no/such/file"], "/no/such/file: No such file or directory"),
        ([], "--codec"),
    ],
)
def test_wrong_usage_is_one_line(words: list[str], said: str) -> None:
    done = oxisock("explain", *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
