"""Load tests from Python, the limits of the command, and what it tells of wrong answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import pytest

import oxisock
from oxisock import pure
from support.commands import oxisock as command
from support.commands import refusing
from support.loading import PATIENT

HERE = "127.0.0.1"


def test_a_load_from_python(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        report = oxisock.load_test(*server.address, connections=3, duration=0.1, timeout=60)
        framed = oxisock.load_test(*server.address, duration=0.1, timeout=60, codec=oxisock.Netstring())
        spelled = oxisock.load_test(*server.address, duration=0.1, codec="lines", rate=50)
    assert report.good and framed.good and report.complete
    assert report.figures["answered"] == report.figures["sent"] > 0
    assert sum(count for _, count in report.histogram) == report.figures["answered"]
    assert [end for end, _ in report.histogram] == sorted(end for end, _ in report.histogram)
    assert report.p99 is not None
    assert report.options["connections"] == 3
    assert (spelled.options["codec"], spelled.options["timeout"]) == ("lines", 5.0)
    assert json.loads(json.dumps(report.document()))["first_wrong"] is None
    assert repr(report).startswith("<LoadReport: ")


def test_datagrams_and_what_is_before_the_answer(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server:
        report = oxisock.load_test(*server.address, udp=True, duration=0.1, timeout=60, rate=100, prefix=b"ACK: ")
    assert report.figures["answered"] > 0 and report.figures["wrong"] == 0


def test_what_cannot_be(impl: ModuleType) -> None:
    with refusing() as port:
        with pytest.raises(ConnectionRefusedError, match=f"{HERE}:{port}: no connection could be opened"):
            oxisock.native.load_test(HERE, port)
        with pytest.raises(NotImplementedError, match="use oxisock.native.load_test"):
            pure.load_test(HERE, port, duration=0.1)
        for wrong in ({"connections": 0}, {"expect": "any"}, {"codec": "nonsense"}, {"udp": True, "codec": "lines"}):
            with pytest.raises(ValueError):
                impl.load_test(HERE, port, **wrong)


def test_the_first_wrong_answer_is_shown(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        where = str(server.address)
        frames = command(
            "load", where, "-c", 2, "-d", "100ms", "--codec", "lines", "--expect", "upper", "--json", *PATIENT
        )
        stream = command("load", where, "-c", 2, "-d", "100ms", "--prefix", "x", "--json", "--timeout", "500ms")
    assert (frames.returncode, stream.returncode) == (1, 1)
    wrong = json.loads(frames.stdout)["first_wrong"]
    assert wrong["expected"] == "b'Echo: " + wrong["came"][2:].upper().rstrip("'") + "'"
    assert f"the first wrong answer began with {wrong['came']}; expected {wrong['expected']}" in frames.stderr
    assert "it is --prefix ''" in frames.stderr
    assert json.loads(stream.stdout)["first_wrong"]["expected"].startswith(("b'x", 'b"x'))


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (("--max-p99", "0.000001ms"), "p99 is over --max-p99"),
        (("--min-rate", 10_000_000), "the rate is under --min-rate 10,"),
    ],
)
def test_limits_for_ci(impl: ModuleType, limit: tuple[object, ...], words: str) -> None:
    with impl.EchoServer() as server:
        passed = command(
            "load", str(server.address), "-c", 2, "-d", "100ms", *PATIENT, "--max-p99", "1m", "--min-rate", 0.001
        )
        failed = command("load", str(server.address), "-c", 2, "-d", "100ms", *PATIENT, *limit)
    assert (passed.returncode, failed.returncode) == (0, 1)
    assert words in failed.stderr


def test_a_page_for_a_browser(impl: ModuleType, tmp_path: Path) -> None:
    with impl.EchoServer() as server:
        done = command("load", str(server.address), "-c", 2, "-d", "100ms", *PATIENT, "--html", tmp_path / "load.html")
    assert done.returncode == 0
    page = (tmp_path / "load.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and f"Load test of {server.address}" in page
    assert "<script" not in page and "How long answers took" in page
