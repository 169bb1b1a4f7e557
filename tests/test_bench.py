"""The runner of benchmarks: rounds, ratios, wrong answers; and the scan scenario and the demo, once each."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from commands import listening, oxisock
from oxisock import _native, bench
from oxisock.bench import Contender, Outcome, Scenario, Timing, echo, message, scan, stage, udp


def scenario(contenders: Sequence[Contender], log: list[str]) -> Scenario:
    @contextmanager
    def stage() -> Iterator[Sequence[Contender]]:
        log.append("set")
        yield contenders
        log.append("cleared")

    return Scenario("paper", 100, "ports", stage, [("slow", "fast"), ("slow", "absent")])


def contender(name: str, log: list[str], wrong: str | None = None) -> Contender:
    def run() -> int:
        log.append(name)
        return 42

    def check(answer: Any) -> str | None:
        assert answer == 42
        return wrong

    return Contender(name, run, check, lambda: log.append(f"prepare {name}"))


def test_contenders_take_turns() -> None:
    log: list[str] = []
    told: list[str] = []
    outcome = bench.run(scenario([contender("slow", log), contender("fast", log)], log), 2, told.append)
    assert log == ["set", *["prepare slow", "slow", "prepare fast", "fast"] * 2, "cleared"]
    assert told[-1] == "paper: round 2 of 2, fast"
    assert {name: len(timings) for name, timings in outcome.timings.items()} == {"slow": 2, "fast": 2}
    assert outcome.wrong == []


def timings(*seconds: float) -> list[Timing]:
    return [Timing(each, each / 2, None) for each in seconds]


def test_ratios_are_medians_of_paired_rounds() -> None:
    outcome = Outcome(scenario([], []), {"slow": timings(2.0, 30.0, 4.0), "fast": timings(1.0, 10.0, 1.0)})
    assert outcome.ratio("slow", "fast") == (3.0, 3.0)
    assert bench.ratios(outcome) == ["slow takes 3.00 times as long as fast, and 3.00 times the CPU"]
    assert bench.table(outcome) == [
        ("", "median", "fastest", "slowest", "CPU", "ports/s", "CPU/port"),
        ("slow", "4.000 s", "2.000 s", "30.000 s", "2.000 s", "25", "20000.00 µs"),
        ("fast", "1.000 s", "1.000 s", "10.000 s", "0.500 s", "100", "5000.00 µs"),
    ]


def test_a_wrong_answer_suppresses_the_ratio() -> None:
    log: list[str] = []
    outcome = bench.run(scenario([contender("slow", log), contender("fast", log, "missed [22]")], log), 1)
    assert outcome.wrong == ["fast, round 1: missed [22]"]
    assert bench.ratios(outcome) == []
    assert bench.table(outcome)[2][:2] == ("fast", "wrong answer")


def test_unknown_groups_are_refused() -> None:
    assert [each.name for each in bench.load(["scan"])] == ["scan"]
    with pytest.raises(ValueError, match="no scenarios are called 'sleep'"):
        bench.load(["sleep"])


def test_the_stage_knows_what_is_open() -> None:
    with listening(3) as ports:
        stage = scan._Stage(set(ports[:2]))
        stage.look()
        assert set(ports) <= stage.before
        assert stage.check(ports[:2], 0) is None
        assert stage.check(ports, 0) is None, "a port of another program may be open"
        assert stage.check(ports[:1], 0) == f"missed [{ports[1]}]"
        assert stage.check([*ports, 1], 0) == "open but not listening: [1]"
        assert stage.check([*ports, 1], 1) is None
        assert stage.check(2, 0) is None
        assert "1 open ports" in str(stage.check(1, 0))
        assert "70000 open ports" in str(stage.check(70000, 3))


def test_the_raw_loop_counts_what_is_open() -> None:
    with listening(2) as ports:
        for port in ports:
            assert _native.raw_connect_loop("127.0.0.1", port, port, 1) == 1
        assert _native.raw_connect_loop("127.0.0.1", 1, 1, 4) == 0
    with pytest.raises(ValueError, match="threads must be at least 1"):
        _native.raw_connect_loop("127.0.0.1", 1, 1, 0)
    with pytest.raises(ValueError, match='"localhost" is not an IP address'):
        _native.raw_connect_loop("localhost", 1, 1, 1)


def test_the_scan_scenario_answers_rightly() -> None:
    done = oxisock("bench", "--only", "scan", "--rounds", 1, timeout=110, isolated=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = ["native, 1 thread", "native, 2 threads", "raw loop, 1 thread", "raw loop, 2 threads", "pure", "tutorial"]
    for name in names + ["nmap -sT -T4"] * bool(shutil.which("nmap")):
        assert f"\n{name}" in done.stdout
    assert "native, 2 threads takes " in done.stdout


def test_the_demo_finds_what_it_opened() -> None:
    done = oxisock("demo", timeout=110, isolated=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("opened by this demo") == 4
    assert "65,535 ports" in done.stdout
    assert "times as fast as pure" in done.stdout
    assert "The engines agree on every port." in done.stdout
    for engine in ("native", "pure"):
        for row in (
            rf"echo +{engine} +hello +hello",
            rf"upper +{engine} +hello +HELLO",
            rf"udp +{engine} +hello +ACK: hello",
        ):
            assert re.search(row, done.stdout)


@pytest.mark.parametrize("contenders", [echo._contenders(3, 64, 60), message._contenders(3, 2, 60)])
def test_the_tcp_scenarios_once(contenders: Any) -> None:
    with contenders as all_of_them:
        results = {contender.name: bench._time(contender) for contender in all_of_them}
    assert {"native", "pure"} <= set(results)
    assert [timing.wrong for timing in results.values()] == [None] * len(results)
    assert all(timing.cpu > 0 for timing in results.values())


def test_a_wrong_answer_of_a_server_is_told() -> None:
    servers = {"shouting": message._HANDLER.format(impl="native")}
    with stage.contenders(servers, stage.Asking(1, 1, b"quiet\n", b"quiet\n", 5)) as (contender,):
        assert bench._time(contender).wrong == "a wrong answer came"


def test_the_udp_scenarios_once() -> None:
    with udp._contenders(window=8, amount=200) as contenders:
        results = {contender.name: bench._time(contender) for contender in contenders}
    assert {"native echo", "native handler", "native handler, batches", "pure handler"} <= set(results)
    assert [timing.wrong for timing in results.values()] == [None] * len(results)
    assert udp._checker(3)((3, 2, 1, 0.1)) == "2 of 3 datagrams answered, 1 of them wrongly"
