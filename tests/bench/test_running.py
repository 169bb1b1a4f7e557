"""The runner of benchmarks: rounds, pace, wrong answers; the scenarios, once each; and the demo."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from oxisock import _native, bench
from oxisock.bench import Clocked, Contender, Scenario, chat, echo, framing, message, running, scan, stage, tls, udp
from oxisock.bench.running import Pace, Step
from support.commands import listening, oxisock
from support.waiting import wait_until


def scenario(contenders: Sequence[Contender], log: list[str], name: str = "paper", cost: float = 1.0) -> Scenario:
    @contextmanager
    def stage(amount: int) -> Iterator[Sequence[Contender]]:
        log.append(f"set for {amount}")
        yield contenders
        log.append("cleared")

    return Scenario("paper", name, 100, "ports", stage, cost=cost)


def contender(name: str, log: list[str], wrong: str | None = None, **more: Any) -> Contender:
    def run() -> int:
        log.append(name)
        return 42

    def check(answer: Any) -> str | None:
        assert answer == 42
        return wrong

    return Contender(name, run, check, lambda: log.append(f"prepare {name}"), **more)


def test_contenders_take_turns() -> None:
    log: list[str] = []
    told: list[Step] = []
    measured = running.run(scenario([contender("pure", log), contender("native", log)], log), 2, told.append)
    assert log == ["set for 100", *["prepare pure", "pure", "prepare native", "native"] * 2, "cleared"]
    assert [step.done for step in told] == [0.0, 0.0, 0.25, 0.5, 0.75]
    assert told[-1]._replace(left=None) == Step(0.75, "paper", 2, 2, "native")
    assert told[0].left is None
    assert all((step.left or 0) > 0 for step in told if step.done)
    assert {name: len(timings) for name, timings in measured.timings.items()} == {"pure": 2, "native": 2}
    assert measured.wrong == [] and measured.rounds == 2


def test_a_load_knows_the_time_better() -> None:
    clocked = contender(
        "native", [], cpu=iter([1.0, 1.5]).__next__, clocked=lambda answer: Clocked(answer / 10, (1, 2))
    )
    assert running.time_once(clocked) == (4.2, 0.5, None, (1, 2))
    assert running.time_once(contender("native", [], cpu=lambda: None)).cpu is None


def test_one_that_was_wrong_is_not_asked_again() -> None:
    log: list[str] = []
    measured = running.run(scenario([contender("pure", log), contender("native", log, "missed [22]")], log), 3)
    assert measured.wrong == ["native, round 1: missed [22]"]
    assert (log.count("pure"), log.count("native")) == (3, 1)
    assert measured.rounds == 3


def test_one_that_fails_was_wrong() -> None:
    def fail() -> None:
        raise ConnectionRefusedError("nobody there")

    measured = running.run(scenario([Contender("native", fail, lambda _: None)], []), 1)
    assert measured.wrong == ["native, round 1: ConnectionRefusedError: nobody there"]


def test_the_pace_is_what_time_allows() -> None:
    pace = Pace(least=3, most=5, seconds=60.0)
    assert pace.more(0, 0.0, 0.0) and pace.more(2, 100.0, 1.0), "ratios need three rounds"
    assert pace.more(3, 6.0, 8.0) and not pace.more(3, 6.0, 7.9)
    assert not pace.more(5, 0.1, 60.0)
    assert pace.expected(0, 0.0, 60.0) == 3
    assert [pace.expected(1, 1.0, share) for share in (1.0, 4.5, 100.0)] == [3, 4, 5]


def test_time_that_one_leaves_is_for_the_others() -> None:
    now = [0.0]

    def lasting(name: str, seconds: float) -> Scenario:
        def run() -> None:
            now[0] += seconds

        return scenario([Contender("pure", run, lambda _: None)], [], name)

    scenarios = [lasting("slow", 10.0), lasting("quick", 1.0), lasting("middling", 2.0)]
    told: list[Step] = []
    measured = list(running.run_all(scenarios, Pace(2, 6, 30.0), told.append, lambda: now[0]))
    # Of the ten seconds that two slow rounds leave, five are the quick one's share, and the last gets all that is left.
    assert [each.rounds for each in measured] == [2, 5, 2]
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert all(0 <= step.done < 1 for step in told)


def test_an_interrupted_run_gives_whole_rounds() -> None:
    log: list[str] = []

    def interrupt() -> int:
        if log.count("pure") == 3:
            raise KeyboardInterrupt
        return 42

    contenders = [contender("pure", log), Contender("native", interrupt, lambda _: None)]
    measured: list[running.Measured] = []
    with pytest.raises(KeyboardInterrupt):
        measured.extend(running.run_all([scenario(contenders, log)] * 2, Pace(4, 4, 0.0)))
    assert [{name: len(each) for name, each in one.timings.items()} for one in measured] == [{"pure": 2, "native": 2}]
    log[:] = ["pure"] * 2
    with pytest.raises(KeyboardInterrupt):
        next(running.run_all([scenario(contenders, log)], Pace(4, 4, 0.0)))


def test_the_groups() -> None:
    assert [each.name for each in bench.load(["scan"])] == ["scan"]
    with pytest.raises(ValueError, match="no scenarios are called 'sleep': there are scan, echo, udp, framing, mess"):
        bench.load(["sleep"])
    full, quick = bench.load(), bench.load(quick=True)
    assert {each.group for each in full} == {each.group for each in quick} == set(bench.GROUPS)
    assert len(quick) < len(full) == len({each.name for each in full})
    amounts = {each.name: each.amount for each in full}
    assert all(each.amount < amounts[each.name] for each in quick)
    assert all(each.name.startswith(each.group) for each in full if each.group != "framing")


def test_the_stage_knows_what_is_open() -> None:
    with listening(3) as ports:
        stage = scan._Stage(set(ports[:2]))
        stage.look()
        assert set(ports) <= stage.before
        assert stage.check(ports[:2], 0) is None
        assert stage.check(ports, 0) is None, "a port of another program may be open"
        assert stage.check(ports[:1], 0) == f"missed [{ports[1]}]"
        assert stage.check([*ports, 1], 0) == "open, though nobody listened before or after: [1]"
        assert stage.check([*ports, 1], 1) is None
        assert stage.check(2, 0) is None
        assert "1 open ports" in str(stage.check(1, 0))
        assert "70000 open ports" in str(stage.check(70000, 3))
        beyond = scan._Stage({65535}, ports[2] + 1)
        beyond.look()
        assert not beyond.before & set(ports), "what was not asked for may not be found"


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
    done = oxisock("bench", "--quick", "--only", "scan", "--rounds", 1, timeout=110, isolated=True)
    assert done.returncode == 0, done.stdout + done.stderr
    row = next(line for line in done.stdout.splitlines() if line.startswith("scan "))
    names = ["ceiling ", "200 threads ", *["nmap "] * bool(shutil.which("nmap"))]
    assert all(name in row for name in names) and "wrong" not in row


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


@pytest.mark.parametrize(
    ("contenders", "others"),
    [
        pytest.param(echo._contenders(3, 64, 60), {"ceiling", "asyncio", "threads"}, id="echo"),
        pytest.param(
            message._contenders(3, 2, 60), {"native batch", "asyncio", "streams", "oxisock.aio"}, id="message"
        ),
        pytest.param(udp._contenders("echo", 8, 200), {"ceiling", "recvfrom"}, id="udp-echo"),
        pytest.param(
            udp._contenders("handler", 8, 200), {"ceiling", "native batch", "asyncio", "recvfrom"}, id="udp-handler"
        ),
        pytest.param(tls._contenders(tls.Handshakes(9)), {"asyncio", "streams", "oxisock.aio"}, id="tls-handshakes"),
        pytest.param(tls._contenders(tls.Volleys(3, 2, 60)), {"asyncio", "streams", "oxisock.aio"}, id="tls"),
        pytest.param(chat._contenders(4, 80), {"ceiling", "asyncio"}, id="chat"),
    ],
)
def test_the_servers_answer_rightly(contenders: Any, others: set[str]) -> None:
    with contenders as all_of_them:
        results = {contender.name: running.time_once(contender) for contender in all_of_them}
    assert {"native", "pure"} | others == set(results) - {"uvloop"}
    assert [timing.wrong for timing in results.values()] == [None] * len(results)
    # The clock of another process stands still until that is next interrupted, so a moment may have taken nothing.
    assert all(timing.seconds > 0 and timing.cpu is not None and timing.cpu >= 0 for timing in results.values())


def test_the_processor_time_of_threads_that_ended_is_seen() -> None:
    code = """
import sys, threading, time
used = []
def work():
    while time.thread_time() < 0.2:
        pass
    used.append(time.thread_time())
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(time.thread_time() + used[0], flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        used = float(process.stdout.readline())
        assert used >= 0.2
        # The clock of another process may be late. The sum of two readings is rounded, by less than a microsecond.
        assert wait_until(lambda: (stage.cpu_seconds(process.pid) or 0.0) >= used - 1e-6)
        assert process.stdin is not None
        process.stdin.close()
    assert stage.cpu_seconds(2**22 + 1) is None, "no such process"


def test_a_wrong_answer_of_a_server_is_told() -> None:
    servers = {"shouting": message._HANDLER.format(impl="native"), "absent": "raise SystemExit"}
    with stage.contenders(servers, stage.Asking(1, 1, b"quiet\n", b"quiet\n", 5)) as (shouting, absent):
        assert running.time_once(shouting).wrong == "ValueError: a wrong answer came"
        assert running.time_once(absent).wrong == "OSError: the server did not start"
        assert shouting.check(stage.Answers(4, Clocked(1.0))) == "4 right answers to 5"


def test_a_wrong_datagram_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_PATIENCE", 1.0)  # each is waited for, because a right answer might still come
    servers = {"mumbling": udp._LOOP.replace("ACK", "ACH")}
    with stage.contenders(servers, udp.Datagrams(1, 3)) as (mumbling,):
        assert "3 of 3 answers were wrong" in str(running.time_once(mumbling).wrong)


def test_the_framing_scenarios_check_what_they_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framing, "STREAM", 100_000)
    for scenario in framing.scenarios():
        small = scenario if "feed" not in scenario.name else scenario._replace(amount=1)
        measured = running.run(small, 1)
        assert measured.wrong == []
        assert {"native", "pure"} <= set(measured.timings)
    spoilt = framing._decoding("Lines", 16, 1, lambda chunks: iter([[b"x"]]))
    assert len(running.run(spoilt, 1).wrong) == 1
