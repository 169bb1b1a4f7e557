"""What the command makes of words: options anywhere, slips of the finger, URLs, other programs' habits."""

from __future__ import annotations

import pytest

from oxisock.cli import build_parser
from support.commands import listening, oxisock, refusing


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["send", "a:1", "--codec", "none", "hello", "--timeout", "2", "you"],
            {"text": ["hello", "you"], "codec": "none"},
        ),
        (["scan", "a", "-p", "22", "b", "--all", "c"], {"targets": ["a", "b", "c"], "ports": "22"}),
        (["check", "a:1", "--timeout", "1s", "b:2"], {"endpoints": ["a:1", "b:2"], "timeout": 1.0}),
        (["send", "a:1", "--", "-x", "--codec"], {"text": ["-x", "--codec"], "codec": "lines"}),
        (["send", "--udp", "a:1", "x", "--", "-y"], {"text": ["x", "-y"], "udp": True}),
        (["scan", "a", "-p", "-100", "b"], {"targets": ["a", "b"], "ports": "-100"}),
        (["scan", "a", "--exclude=-Pn"], {"exclude": ["-Pn"]}),
        (["serve", "echo", "--port", "7"], {"server": "echo", "port": 7}),
    ],
)
def test_options_stand_anywhere(words: list[str], expected: dict[str, object]) -> None:
    args = vars(build_parser().parse_args(words))
    assert {name: args[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("scna x", "did you mean 'scan'?"),
        ("--verison", "did you mean '--version'?"),
        ("serve ecoh", "did you mean 'echo'?"),
        ("scan localhost --prots 22", "did you mean '--ports'?"),
        ("check localhost:1 --timeuot=3", "did you mean '--timeout'?"),
        ("scan localhost -p htpp", "did you mean 'http'?"),
        ("scan localhost --keep opne", "did you mean 'open'?"),
        ("scan localhost --format jsn", "did you mean 'json'?"),
        ("scan localhost --impl nativ", "did you mean 'native'?"),
        ("scan localhost --order sequental", "did you mean 'sequential'?"),
        ("scan localhost:80", "write oxisock scan localhost -p 80"),
        ("scan [::1]:80", "write oxisock scan ::1 -p 80"),
        ("scan https://example.com/x", "write oxisock scan example.com -p https"),
        ("scan http://example.com:8080", "write oxisock scan example.com -p 8080"),
        ("check https://example.com", "expected HOST:PORT, as in example.com:https"),
        ("wait localhost 22", "'localhost' is not HOST:PORT, as in localhost:22"),
        ("check :80", "':80' is not HOST:PORT, as in localhost:80"),
        ("scan localhost 80", "write a port behind -p, as in -p 80"),
        ("scan -sV localhost", "--banner shows"),
        ("scan localhost -oX x", "write -o FILE.xml"),
        ("scan localhost --top-ports 10", "write -p top:N"),
        ("serve echo -p 7000", "write --port N"),
        ("send localhost:7 -u x", "write --udp"),
        ("--impl pure scan", "options of a command stand after it"),
    ],
)
def test_what_was_meant_is_said(words: str, hint: str) -> None:
    done = oxisock(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert done.stderr.startswith("oxisock: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("scan localhost --rate -5", "rate=-5.0: expected"),
        ("load localhost:1 -c -5", "'-5': expected a whole number"),
        ("explain --codec lenght:4 /dev/null", "did you mean 'length'?"),
        ("source reactr", "did you mean 'reactor'?"),
        ("bench --only ech", "did you mean 'echo'?"),
    ],
)
def test_values_are_told_apart_from_options(words: str, said: str) -> None:
    done = oxisock(*words.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_without_a_command_the_commands_are_named() -> None:
    done = oxisock()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected one of scan, check, wait" in done.stderr


def test_help_is_a_word_as_well() -> None:
    assert oxisock("help", "check").stdout == oxisock("check", "--help").stdout != ""
    assert oxisock("help").stdout == oxisock("--help").stdout != ""
    assert oxisock("-V").stdout == oxisock("--version").stdout != ""


def test_what_is_not_needed_is_not_asked_for() -> None:
    assert "arguments are required: HOST:PORT (" in oxisock("send").stderr


def test_what_looks_like_nothing_has_no_hint() -> None:
    assert "did you mean" not in oxisock("zzzzzz").stderr


def test_habits_that_change_nothing_get_a_sentence_each() -> None:
    with listening() as (port,):
        done = oxisock("scan", "-Pn", "--open", "-sT", "-T4", "127.0.0.1", "-v", "-p", port)
        assert done.returncode == 0
        assert done.stdout.startswith(f"127.0.0.1\t{port}\topen\t")
        assert [line.split()[1] for line in done.stderr.splitlines()] == ["-Pn", "--open", "-sT", "-T4", "-v"]
        looked = oxisock("check", "-zv", f"127.0.0.1:{port}")
    assert (looked.returncode, looked.stdout) == (0, f"127.0.0.1:{port} open\n")


@pytest.mark.parametrize("words", [["send", "hello"], ["chat"], ["load", "-d", "1s"]])
def test_a_refused_connection_is_the_same_for_all(words: list[str]) -> None:
    with refusing() as port:
        done = oxisock(words[0], f"127.0.0.1:{port}", *words[1:], stdin=-3)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"oxisock: 127.0.0.1:{port}: ")
    assert done.stderr.endswith("Connection refused\n")


@pytest.mark.parametrize("words", [["send", "hello"], ["chat"], ["load", "-d", "1s", "--yes"]])
def test_a_name_that_does_not_resolve_is_the_same_for_all(words: list[str]) -> None:
    done = oxisock(words[0], "no.such.name.invalid:7", *words[1:], stdin=-3)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("oxisock: no.such.name.invalid:7: ")


def test_a_number_of_things_is_written_as_people_do() -> None:
    with refusing() as port:
        done = oxisock("scan", "127.0.0.1", "-p", port, "--format", "table")
    assert done.stdout.splitlines()[0] == f"No open ports. Scanned {port}; -p - scans all 65,535."
    assert "1 port in " in done.stdout
    assert "(1 probe)" in done.stdout


def test_a_broadcast_address_is_named() -> None:
    done = oxisock("scan", "127.255.255.255", "-p", "1,2")
    assert done.returncode == 1
    assert done.stderr == "oxisock: 127.255.255.255: 2 ports could not be asked: local-error: broadcast address\n"
