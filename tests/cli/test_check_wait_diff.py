"""``oxisock check``, ``wait`` and ``diff``: answers as lines and as exit codes."""

from __future__ import annotations

import json
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from support.commands import environment, listening, oxisock, refusing, silent, terminal_text
from support.ipv6 import needs_ipv6
from support.processes import OXISOCK, python
from support.reports import NEW, OLD, OPEN, made

HOST = "127.0.0.1"


def test_check_says_what_each_port_is(impl: ModuleType) -> None:
    with listening(2) as (one, two), refusing() as shut:
        good = oxisock("check", f"{HOST}:{two}", f"localhost:{one}", "--impl", impl.impl)
        bad = oxisock("check", f"{HOST}:{one}", f"{HOST}:{shut}", "nothing.invalid:80", "--impl", impl.impl)
    assert (good.returncode, good.stdout, good.stderr) == (0, f"{HOST}:{two} open\nlocalhost:{one} open\n", "")
    assert bad.returncode == 1
    assert bad.stdout == f"{HOST}:{one} open\n{HOST}:{shut} closed\nnothing.invalid:80 unresolved\n"
    assert bad.stderr.startswith("oxisock: nothing.invalid:80: ")


@needs_ipv6
def test_check_knows_ipv6_and_names_of_services(impl: ModuleType) -> None:
    with listening(host="::1") as (port,):
        done = oxisock("check", f"[::1]:{port}", "--impl", impl.impl)
    assert (done.returncode, done.stdout) == (0, f"[::1]:{port} open\n")
    assert oxisock("check", f"{HOST}:tcpmux", "--impl", impl.impl).stdout == f"{HOST}:1 closed\n"


@pytest.mark.parametrize("host", ["127.0.0.010", "127.1", "10.0.0.0/8"])
def test_what_is_no_host_is_wrong_usage(host: str) -> None:
    done = oxisock("check", f"{host}:80")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{host}:80': host='{host}': expected" in done.stderr


def test_check_has_colours_on_a_terminal() -> None:
    with listening() as (port,):
        code, shown = terminal_text("check", f"{HOST}:{port}")
    assert (code, shown) == (0, f"{HOST}:{port} \x1b[32mopen\x1b[0m\n")


def test_wait_comes_back_when_the_port_opens(impl: ModuleType) -> None:
    with listening() as (port,):
        done = oxisock("wait", f"{HOST}:{port}", f"localhost:{port}", "--timeout", "20s", "--impl", impl.impl)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{HOST}:{port} open\nlocalhost:{port} open\n", "")


def test_wait_really_waits(impl: ModuleType) -> None:
    # Bound but not listening: the port refuses, and nobody else can take it meanwhile.
    with socket.socket() as server:
        server.bind((HOST, 0))
        port = server.getsockname()[1]
        words = ["wait", f"{HOST}:{port}", "--timeout", "1m", "--interval", "50ms", "--impl", impl.impl]
        with subprocess.Popen([sys.executable, "-m", "oxisock", *words], env=environment()) as process:
            try:
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(1.0)
                server.listen()
                assert process.wait(30) == 0
            finally:
                process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals and limits")
def test_the_command_after_wait_starts_as_from_a_shell(impl: ModuleType) -> None:
    with listening() as (port,):
        wait = f"ulimit -Sn 300; exec {shlex.join([*OXISOCK, 'wait', f'{HOST}:{port}', '--impl', impl.impl, '--'])}"
        options = {"capture_output": True, "text": True, "timeout": 60, "env": environment()}
        done = subprocess.run(["sh", "-c", f"{wait} sh -c 'ulimit -Sn; kill -PIPE $$; echo ignored'"], **options)
        assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")
        assert done.stdout.splitlines()[1:] == ["300"]
        done = subprocess.run(["sh", "-c", f"{wait} ''"], **options)
        assert (done.returncode, done.stderr) == (2, "oxisock: the command after -- is empty\n")


def test_wait_gives_up_with_the_last_error(impl: ModuleType) -> None:
    with listening() as (port,), refusing() as shut:
        for limit in ("0.3", "3", "30"):  # a busy machine may let no try end within a short time
            words = [f"{HOST}:{shut}", f"{HOST}:{port}", "--timeout", f"{limit}s", "--impl", impl.impl]
            done = oxisock("wait", *words)
            refused = f"did not open within {limit} s: Connection refused" in done.stderr
            if refused and done.stdout:
                break
    assert refused
    assert (done.returncode, done.stdout) == (1, f"{HOST}:{port} open\n")


def test_ctrl_c_ends_waiting_quietly(impl: ModuleType) -> None:
    with listening() as (port,), refusing() as shut:
        words = ["wait", f"{HOST}:{port}", f"{HOST}:{shut}", "--timeout", "1m", "--impl", impl.impl]
        with subprocess.Popen(
            [sys.executable, "-m", "oxisock", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            try:
                assert process.stdout.readline() == f"{HOST}:{port} open\n"
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=30) == ("", "")
            finally:
                process.kill()
    assert process.returncode == 130


def test_ctrl_c_ends_checking_at_once(impl: ModuleType) -> None:
    with listening() as (port,), silent() as mute:
        words = ["check", f"{HOST}:{port}", f"{HOST}:{mute}", "--timeout", "1m", "--impl", impl.impl]
        with subprocess.Popen(
            [sys.executable, "-m", "oxisock", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
        ) as process:
            try:
                assert process.stdout.readline() == f"{HOST}:{port} open\n".encode()
                process.send_signal(signal.SIGINT)
                assert process.communicate(timeout=30) == (b"", b"")
            finally:
                process.kill()
    assert process.returncode == 130


def test_check_asks_once_and_tells_a_slow_name_from_a_fault(impl: ModuleType) -> None:
    code = f"""
import sys, socket, time
asked = []
def stuck(*_, **__):
    asked.append(1)
    time.sleep(100)
socket.getaddrinfo = stuck
from oxisock.cli import main
code = main(["check", "db.example:5432", "--timeout", "500ms", "--impl", {impl.impl!r}])
print(code, len(asked), flush=True)
"""
    done = python(code, env=environment())
    assert done.stdout == "db.example:5432 unresolved\n1 1\n"
    assert "db.example:5432: the name was not resolved within 0.5 s" in done.stderr


def test_check_looks_at_all_side_by_side(impl: ModuleType) -> None:
    with silent() as mute:
        start = time.monotonic()
        done = oxisock("check", *[f"{HOST}:{mute}"] * 100, "--timeout", "3s", "--impl", impl.impl)
        # 32 at a time, and each asked twice, would take 24 s.
        assert time.monotonic() - start < 20
    assert (done.returncode, done.stdout) == (1, f"{HOST}:{mute} filtered\n" * 100)


def test_wait_looks_at_all_side_by_side(impl: ModuleType) -> None:
    with socket.create_server((HOST, 0)) as early, socket.socket() as late:
        late.bind((HOST, 0))
        early.settimeout(30)
        words = [f"{HOST}:{server.getsockname()[1]}" for server in (late, early)]
        with subprocess.Popen(
            [sys.executable, "-m", "oxisock", "wait", *words, "--timeout", "1m", "--impl", impl.impl],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        ) as process:
            try:
                early.accept()[0].close()
                early.close()
                # What opened is told, though the one before it has not.
                assert process.stdout.readline() == f"{words[1]} open\n"
                late.listen()
                assert process.communicate(timeout=30)[0] == f"{words[0]} open\n"
            finally:
                process.kill()
    assert process.returncode == 0


def test_endpoints_stand_in_files_and_on_standard_input(impl: ModuleType, tmp_path: Path) -> None:
    with listening(3) as ports:
        one, two, three = (f"{HOST}:{port}" for port in ports)
        (tmp_path / "some list").write_bytes(f"\ufeff{one} # the first\r\n\r\n# none\r\n{two}\r\n".encode())
        for command in "check", "wait":
            done = oxisock(command, f"@{tmp_path}/some list", "@-", "--impl", impl.impl, input=f"{three}\n")
            assert (done.returncode, done.stdout) == (0, f"{one} open\n{two} open\n{three} open\n")
    (tmp_path / "bad").write_text(f"{one}\nno-port\n")
    done = oxisock("check", f"@{tmp_path}/bad")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"oxisock: {tmp_path}/bad:2: 'no-port' is not HOST:PORT")
    assert oxisock("check", "@-", input="# nothing\n").stderr == "oxisock: no HOST:PORT in @-\n"
    assert oxisock("check", f"@{tmp_path}/none").stderr == f"oxisock: {tmp_path}/none: No such file or directory\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "old.json").write_text(OLD.to_json(indent=1))
    (tmp_path / "new.json").write_text(NEW.to_json())
    (tmp_path / "new.ndjson").write_text(NEW.to_ndjson())
    return tmp_path


def test_diff_prints_lines_and_exits_with_1(files: Path) -> None:
    for new in ("new.json", "new.ndjson"):
        done = oxisock("diff", files / "old.json", files / new)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout == (
            f"opened\t{HOST}\t443\tclosed\topen\t-\n"
            f"closed\t{HOST}\t80\topen\tclosed\t-\n"
            f"changed\t{HOST}\t8080\tclosed\tfiltered\t-\n"
        )


def test_diff_of_like_reports_is_0_and_silent(files: Path) -> None:
    done = oxisock("diff", files / "new.json", "-", input=(files / "new.ndjson").read_text())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    code, shown = terminal_text("diff", files / "new.json", files / "new.json")
    assert (code, shown) == (0, "no difference\n")


def test_diff_as_json_and_as_a_table(files: Path) -> None:
    document = json.loads(oxisock("diff", files / "old.json", files / "new.json", "--format", "json").stdout)
    assert [result["port"] for result in document["opened"]] == [443]
    assert document["changed"][0]["before"]["state"] == "closed"
    code, shown = terminal_text("diff", files / "old.json", files / "new.json")
    assert code == 1
    assert [line.split() for line in shown.splitlines()][1] == [
        "\x1b[32mopened", HOST, "443", "closed", "open", "-", "a\x1b[0m",
    ]  # fmt: skip


def test_diff_names_a_new_banner_and_a_partial_report(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(made((22, OPEN), (80, OPEN), banner=b"a").to_json())
    (tmp_path / "b").write_text(made((22, OPEN), banner=b"b", partial=True).to_json())
    done = oxisock("diff", tmp_path / "a", tmp_path / "b")
    assert done.stdout == f"changed\t{HOST}\t22\told banner\tnew banner\t-\n"
    assert done.stderr == f"oxisock: {tmp_path}/b is partial: ports that it does not mention are not compared\n"


def test_diff_tells_what_it_does_not_compare(tmp_path: Path) -> None:
    before, after = json.loads(made((22, OPEN), (80, OPEN)).to_json()), json.loads(made((22, OPEN)).to_json())
    (tmp_path / "a").write_text(json.dumps(before))
    for change, why in (
        ({"targets": [HOST], "ports": "22"}, "did not ask it"),
        ({"unresolved": {HOST: "no"}}, "could not resolve its name"),
        ({"counts": after["counts"] | {"error": 5}}, "does not say which ports could not be asked"),
    ):
        (tmp_path / "b").write_text(json.dumps(after | change))
        for old, new in ("a", "b"), ("b", "a"):
            done = oxisock("diff", tmp_path / old, tmp_path / new)
            assert (done.returncode, done.stdout) == (0, "")
            assert done.stderr == f"oxisock: 1 open port of the other report not compared: {tmp_path}/b {why}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not JSON"), ("{}", "'results' is missing"), ('{"type": "result"}\n', "results[0].host: expected")],
)
def test_diff_refuses_what_is_no_report(files: Path, text: str, message: str) -> None:
    (files / "bad").write_text(text)
    done = oxisock("diff", files / "bad", files / "new.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"oxisock: {files}/bad: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (
        oxisock("diff", files / "none", files / "bad").stderr == f"oxisock: {files}/none: No such file or directory\n"
    )
    assert oxisock("diff", "-", "-").stderr == "oxisock: only one of the reports can come from stdin\n"


def test_scans_before_and_after_differ_by_what_opened(impl: ModuleType, tmp_path: Path) -> None:
    with listening(1) as (one,):
        with listening(1) as (two,):
            words = ("scan", HOST, "-p", f"{one},{two}", "--impl", impl.impl, "-o")
            assert oxisock(*words, tmp_path / "old.json").returncode == 0
        assert oxisock(*words, tmp_path / "new.json").returncode == 0
    done = oxisock("diff", tmp_path / "old.json", tmp_path / "new.json")
    assert [line.split("\t")[:3] for line in done.stdout.splitlines()] == [["closed", HOST, str(two)]]
    assert done.returncode == 1


def test_an_address_in_other_notations_is_no_endpoint(impl: ModuleType) -> None:
    for command in ("check", "wait"):
        done = oxisock(command, "127.0.0.010:80", "--impl", impl.impl)
        assert (done.returncode, done.stdout) == (2, "")
        assert "expected an IPv4 address" in done.stderr


def test_a_command_runs_when_the_port_is_open(impl: ModuleType) -> None:
    with listening() as (port,), refusing() as shut:
        there = f"{HOST}:{port}"
        done = oxisock(
            "wait", there, "--impl", impl.impl, "--", sys.executable, "-c", "print('up'); raise SystemExit(7)"
        )
        late = oxisock("wait", f"{HOST}:{shut}", "--timeout", "100ms", "--", "echo", "up")
        none = oxisock("wait", there, "--", "/no/such/command")
    assert (done.returncode, done.stdout) == (7, f"{there} open\nup\n")
    assert (late.returncode, late.stdout) == (1, "")
    assert (none.returncode, none.stderr) == (2, "oxisock: /no/such/command: No such file or directory\n")
