"""``oxisock scan``: formats, files, colours, exit codes, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from libnmap.parser import NmapParser

from oxisock import ScanReport
from support.commands import environment, listening, oxisock, refusing, terminal_text
from support.waiting import wait_until

HOST = "127.0.0.1"


def spec(ports: list[int]) -> str:
    return ",".join(map(str, ports))


def test_piped_lines_are_plain_and_in_order(impl: ModuleType) -> None:
    with listening(3) as ports, refusing() as shut:
        done = oxisock("scan", HOST, "-p", spec([*ports, shut]), "--impl", impl.impl)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:3] for row in rows] == [[HOST, str(port), "open"] for port in ports]
    assert all(re.fullmatch(r"\d+\.\d{3}", row[4]) for row in rows)
    assert all(len(row) == 5 for row in rows)


def test_who_pipes_the_output_is_told_that_nothing_was_found() -> None:
    with refusing() as shut:
        words = ("scan", HOST, "-p", shut)
        code, told = terminal_text(*words, stdout=subprocess.DEVNULL, TERM="xterm")
        assert (code, f"No open ports. Scanned {shut}; -p - scans all 65,535." in told) == (0, True)
        done = oxisock(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "no terminal, nobody who looks"


def test_all_states_and_none_for_what_is_not_known(impl: ModuleType) -> None:
    with refusing() as port:
        done = oxisock("scan", HOST, "-p", port, "--all", "--impl", impl.impl)
        without = oxisock("scan", HOST, "-p", port, "--keep", "open,filtered", "--impl", impl.impl)
    assert re.fullmatch(rf"{HOST}\t{port}\tclosed\t\S+\t(-|\d+\.\d+)\n", done.stdout)
    assert (without.returncode, without.stdout) == (0, "")


def test_every_format_holds_the_same(impl: ModuleType) -> None:
    with listening(2) as ports:
        words = ("scan", HOST, "-p", spec(ports), "--impl", impl.impl, "--format")
        made = {name: oxisock(*words, name) for name in ("table", "plain", "json", "ndjson", "csv", "xml")}
    assert {done.returncode for done in made.values()} == {0}
    assert {done.stderr for done in made.values()} == {""}
    found = {name: done.stdout for name, done in made.items()}
    assert [r.port for r in ScanReport.from_json(found["json"])] == ports
    assert [r.port for r in ScanReport.from_ndjson(found["ndjson"])] == ports
    assert [int(row["port"]) for row in csv.DictReader(io.StringIO(found["csv"]))] == ports
    assert NmapParser.parse_fromstring(found["xml"]).hosts[0].get_open_ports() == [(port, "tcp") for port in ports]
    heading, *lines, summary = found["table"].splitlines()
    assert heading.split() == ["HOST", "PORT", "STATE", "SERVICE", "RTT", "ms"]
    assert [line.split()[1:3] for line in lines] == [[str(port), "open"] for port in ports]
    assert re.match(r"2 ports in \d+\.\d\d s \(\d+ probes\): 2 open", summary)


def test_a_banner_is_shown_escaped(impl: ModuleType) -> None:
    with listening(banner=b"SSH-2.0-\x1b[31mx\tv\r\n") as (port,):
        words = ("scan", HOST, "-p", port, "--banner", "--impl", impl.impl)
        plain, shown = oxisock(*words).stdout, oxisock(*words, "--format", "table").stdout
    assert plain.rstrip("\n").split("\t")[5] == "SSH-2.0-\\x1b[31mx\\tv\\r\\n"
    assert "SSH-2.0-\\x1b[31mx\\tv\n" in shown
    assert "\x1b" not in shown


def test_a_terminal_gets_a_table_and_no_color_is_honoured(impl: ModuleType) -> None:
    with listening(banner=b"[red]hi[/red]\x1b[2J") as (port,):
        words = ("scan", HOST, "-p", port, "--banner", "--impl", impl.impl)
        code, colour = terminal_text(*words)
        _, grey = terminal_text(*words, NO_COLOR="1")
        _, dumb = terminal_text(*words, TERM="dumb")
    assert code == 0
    assert "\x1b[32mopen" in colour
    assert "[red]hi[/red]\\x1b[2J" in colour
    assert "\x1b[2J" not in colour
    for shown in (grey, dumb):
        assert not re.search(r"\x1b\[[\d;]*m", shown)
        assert re.search(rf"{HOST} +{port} +(\x1b\[32m)?open", shown)


def test_the_table_and_the_progress_line_do_without_rich(impl: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ImportError('not installed')")
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['rich'] = None")
    with listening() as (port,):
        code, shown = terminal_text("scan", HOST, "-p", port, "--impl", impl.impl, PYTHONPATH=str(tmp_path))
    assert code == 0, shown
    assert "1 of 1 ports, 1 open" in shown
    assert re.search(rf"{HOST} +{port} +(\x1b\[32m)?open", shown)


def test_a_file_is_written_whole_in_the_format_of_its_name(impl: ModuleType, tmp_path: Path) -> None:
    with listening() as (port,):
        for name in ("scan.json", "scan.ndjson", "scan.csv", "scan.xml", "scan.txt"):
            done = oxisock("scan", HOST, "-p", port, "-o", tmp_path / name, "--impl", impl.impl)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(ScanReport.from_json((tmp_path / "scan.json").read_text())) == 1
    assert len(ScanReport.from_ndjson((tmp_path / "scan.ndjson").read_text())) == 1
    assert (tmp_path / "scan.csv").read_text().startswith("host,address,port,")
    assert (tmp_path / "scan.xml").read_text().startswith("<?xml")
    assert (tmp_path / "scan.txt").read_text().startswith(f"{HOST}\t{port}\topen\t")
    assert len(list(tmp_path.iterdir())) == 5


def test_a_file_keeps_its_mode_and_survives_a_failed_scan(tmp_path: Path) -> None:
    path = tmp_path / "scan.json"
    path.write_text("precious")
    path.chmod(0o640)
    for words in (["nothing.invalid"], [HOST, "-p", "1-2-3"]):
        assert oxisock("scan", *words, "-o", path).returncode in (1, 2)
        assert path.read_text() == "precious"
    link = tmp_path / "link.json"
    link.symlink_to(path)
    assert oxisock("scan", HOST, "-p", 1, "-o", link).returncode == 0
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert ScanReport.from_json(path.read_text()).counts
    assert sorted(tmp_path.iterdir()) == [link, path]
    assert oxisock("scan", HOST, "-p", 1, "-o", "/dev/null").returncode == 0
    missing = oxisock("scan", HOST, "-p", 1, "-o", tmp_path / "no" / "x")
    assert (missing.returncode, missing.stderr) == (2, f"oxisock: {tmp_path}/no/x: No such file or directory\n")


def test_ndjson_streams_and_ctrl_c_leaves_a_valid_part(impl: ModuleType) -> None:
    words = ["scan", HOST, "-p", "1-20000", "--rate", "400", "--all", "--format", "ndjson", "--impl", impl.impl]
    with subprocess.Popen(
        [sys.executable, "-m", "oxisock", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            first = process.stdout.readline()  # it came while the scan runs: that takes 50 s
            process.send_signal(signal.SIGINT)
            rest, complaints = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    report = ScanReport.from_ndjson(first + rest)
    assert report.partial
    assert 1 <= len(report) < 20000
    assert "oxisock: the scan ended early" in complaints


def test_ctrl_c_leaves_a_valid_part_in_a_file(impl: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "part.ndjson"
    words = ["scan", HOST, "-p", "1-20000", "--rate", "400", "--all", "-o", path, "--impl", impl.impl]
    with subprocess.Popen(
        [sys.executable, "-m", "oxisock", *map(str, words)], stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert wait_until(lambda: any(file.stat().st_size for file in tmp_path.iterdir()))
            assert not path.exists()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 130
    assert ScanReport.from_ndjson(path.read_text()).partial
    assert list(tmp_path.iterdir()) == [path]


def test_a_closed_pipe_is_quiet(impl: ModuleType) -> None:
    command = f"{sys.executable} -m oxisock scan {HOST} -p 1-5000 --all --format ndjson --impl {impl.impl} | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["type"] == "result"


def test_both_engines_are_compared() -> None:
    with listening(2) as ports, refusing() as shut:
        done = oxisock("scan", HOST, "-p", spec([*ports, shut]), "--impl", "both")
    assert done.returncode == 0
    assert [line.split("\t")[1] for line in done.stdout.splitlines()] == list(map(str, ports))
    native, pure, verdict = done.stderr.splitlines()
    assert native.startswith("oxisock: native 3 ports in")
    assert pure.startswith("oxisock: pure   3 ports in")
    assert verdict == "oxisock: the engines agree"


def test_why_tells_the_story_of_a_port(impl: ModuleType) -> None:
    with listening() as (port,):
        words = ("scan", HOST, "-p", port, "--impl", impl.impl)
        done = oxisock(*words, "--why", f"{HOST}:{port}")
        trace = oxisock(*words, "--trace")
        other = oxisock(*words, "--why", f"{HOST}:1")
    assert re.fullmatch(
        rf"why {HOST}:{port}:\n +\d+\.\d+ s  probe 1  sent\n +\d+\.\d+ s  probe 1  -> syn-ack\n", done.stderr
    )
    assert re.match(rf"{HOST}:{port} +\d+\.\d+ s  probe 1  sent\n", trace.stderr)
    with refusing() as shut:
        closed = oxisock("scan", "localhost", "-4", "-p", shut, "--impl", impl.impl, "--why", f"localhost:{shut}")
    assert closed.stdout == ""
    assert closed.stderr.startswith(f"why localhost:{shut}:\n")
    assert closed.stderr.endswith("-> conn-refused\n")
    assert other.stderr == f"oxisock: {HOST}:1 was not asked\n"


def test_what_does_not_resolve(impl: ModuleType) -> None:
    none = oxisock("scan", "nothing.invalid", "-p", 1, "--impl", impl.impl)
    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr.startswith("oxisock: no target resolves: ")
    with listening() as (port,):
        some = oxisock("scan", HOST, "nothing.invalid", "-p", port, "--impl", impl.impl)
    assert some.returncode == 0
    assert some.stdout.startswith(f"{HOST}\t{port}\topen")
    assert some.stderr.startswith("oxisock: nothing.invalid does not resolve: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "COMMAND is missing: expected one of scan, check"),
        (["scan"], "the following arguments are required: TARGET"),
        (["scna", "x"], "argument COMMAND: invalid choice: 'scna'"),
        (["scan", HOST, "-p", "1-2-3"], "ports: '1-2-3'"),
        (["scan", HOST, "-p", "65536"], "ports: '65536'"),
        (["scan", "256.1.1.1"], "targets: "),
        (["scan", HOST, "--timeout", "5 parsecs"], "argument --timeout: '5 parsecs' is no duration"),
        (["scan", HOST, "--timeout", "0"], "argument --timeout: '0' is no time at all"),
        (["scan", HOST, "--timeout", "٣"], "argument --timeout: '٣' is no duration"),
        (["scan", HOST, "--retries", "x"], "argument --retries: invalid int value: 'x'"),
        (["scan", HOST, "--shard", "3/2"], "shard="),
        (["scan", HOST, "--keep", "shut"], "--keep: 'shut' is no state: there are open, closed, filtered, error"),
        (["scan", HOST, "--keep", "open", "--all"], "argument --all: not allowed with argument --keep"),
        (["scan", HOST, "--why", "::1:80"], "argument --why: '::1:80': write an IPv6 address in brackets"),
        (["scan", "@/nothing/here"], "/nothing/here"),
        (["bench", "--only", "sleep"], "no scenarios are called 'sleep'"),
        (["check", "localhost"], "argument HOST:PORT: 'localhost' is not HOST:PORT"),
        (["check", "localhost:1-2"], "argument HOST:PORT: 'localhost:1-2': one port is asked for, and '1-2' is 2"),
    ],
)
def test_wrong_usage_is_one_clear_line(words: list[str], message: str) -> None:
    done = oxisock(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("oxisock: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_port_specs_may_begin_with_a_minus(impl: ModuleType) -> None:
    for words in (["-p", "-100"], ["-p-100"], ["--ports=-100"], ["--ports", "-100,!50"]):
        done = oxisock("scan", HOST, *words, "--format", "json", "--impl", impl.impl)
        assert sum(json.loads(done.stdout)["counts"].values()) == (99 if "!" in words[-1] else 100), done.stderr
    done = oxisock("scan", HOST, "-p", "1-100", "--exclude-ports", "-90", "--format", "json", "--impl", impl.impl)
    assert sum(json.loads(done.stdout)["counts"].values()) == 10


def test_the_options_reach_the_scanner(impl: ModuleType) -> None:
    words = "--seed 7 --retries 0 --no-adaptive --concurrency 10 --threads 1 --order sequential --timeout 200ms -4"
    with listening() as (port,):
        base = ("scan", "127.0.0.0/30", "-p", port, "--exclude", "127.0.0.2", "--format", "json", "--impl", impl.impl)
        report = ScanReport.from_json(oxisock(*base, *words.split()).stdout)
        shards = [ScanReport.from_json(oxisock(*base, "--seed", 7, "--shard", f"{i}/2").stdout) for i in (1, 2)]
    assert report.seed == 7
    assert [r.address for r in report] == [HOST]
    assert sum(report.counts.values()) == 3
    assert sorted(sum(shard.counts.values()) for shard in shards) == [1, 2]


def test_the_command_raises_the_soft_limit_of_descriptors() -> None:
    code = (
        "import resource, sys; from oxisock.cli import main;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard));"
        f"main(['scan', '{HOST}', '-p', '1']);"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_end_a_scan_as_ctrl_c_does(impl: ModuleType, tmp_path: Path, name: str) -> None:
    number = getattr(signal, name)
    words = ["scan", HOST, "-p", "-", "--all", "--rate", "500", "--impl", impl.impl]
    ndjson = [sys.executable, "-m", "oxisock", *words, "--format", "ndjson"]
    with subprocess.Popen(ndjson, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        try:
            assert process.stdout.readline()
            process.send_signal(number)
            out, err = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    summary = json.loads(out.splitlines()[-1])
    assert (summary["type"], summary["partial"]) == ("summary", True)
    assert b"ended early" in err
    with subprocess.Popen(
        [sys.executable, "-m", "oxisock", *words, "--format", "ndjson", "-o", tmp_path / "x.ndjson"],
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        try:
            # The file that is to take its place has its first lines.
            assert wait_until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        finally:
            process.kill()
    assert [path.name for path in tmp_path.iterdir()] == ["x.ndjson"]
    assert ScanReport.from_ndjson((tmp_path / "x.ndjson").read_text()).partial


def test_what_was_written_of_a_killed_scan_is_a_partial_report(impl: ModuleType) -> None:
    words = ["scan", HOST, "-p", "-", "--all", "--rate", "500", "--impl", impl.impl, "--format", "ndjson"]
    with subprocess.Popen(
        [sys.executable, "-m", "oxisock", *words], stdout=subprocess.PIPE, env=environment()
    ) as process:
        lines = [process.stdout.readline() for _ in range(20)]
        process.kill()
    torn = b"".join(lines)[:-10]
    report = ScanReport.from_ndjson(torn)
    assert report.partial
    assert len(report) == sum(report.counts.values()) == 19
    with pytest.raises(ValueError, match="line 2"):
        ScanReport.from_ndjson(lines[0] + b"{" + b"\n" + lines[1])


def test_max_time_is_told_by_the_exit_code(impl: ModuleType) -> None:
    done = oxisock(
        "scan", HOST, "-p", "-", "--rate", "50", "--max-time", "500ms", "--format", "json", "--impl", impl.impl
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["partial"] is True
    assert "ended early" in done.stderr


def test_no_port_that_could_be_asked_is_no_success(impl: ModuleType) -> None:
    done = oxisock("scan", "224.0.0.1", "-p", "1-3", "--impl", impl.impl)
    assert (done.returncode, done.stdout) == (1, "")
    assert "3 ports could not be asked" in done.stderr


def test_an_exclude_that_does_not_resolve_ends_it(impl: ModuleType) -> None:
    done = oxisock("scan", HOST, "-p", "1", "--exclude", "not-this.invalid", "--impl", impl.impl)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("oxisock: exclude: 'not-this.invalid' does not resolve: ")


def test_the_command_has_every_option_of_a_scan() -> None:
    from oxisock.cli import build_parser
    from oxisock.cli.scan import FLAGS
    from oxisock.scanning.options import ScanKeywords, ScanOptions

    assert list(ScanKeywords.__annotations__) == list(ScanOptions._fields)
    missing = set(ScanOptions._fields) - FLAGS.keys()
    assert missing == {"executor"}, "--processes and --dask give one"
    assert build_parser().parse_args(["scan", HOST, "--skip-silent"]).skip_silent
    args = build_parser().parse_args(["scan", HOST])
    assert {name: getattr(args, name) for name in FLAGS} == {
        name: [] if name == "exclude" else ScanOptions._field_defaults[name] for name in FLAGS
    }


def test_targets_and_ports_come_from_standard_input_and_files(impl: ModuleType, tmp_path: Path) -> None:
    with listening(1) as (port,):
        (tmp_path / "ports").write_text(f"1\n{port} # ours\n")
        done = oxisock("scan", "@-", "-p", f"@{tmp_path}/ports", "--impl", impl.impl, input=f"{HOST}\r\n")
    assert (done.returncode, done.stdout.split("\t")[:3]) == (0, [HOST, str(port), "open"])


def test_a_page_for_a_browser_shows_what_changed(impl: ModuleType, tmp_path: Path) -> None:
    with listening(2) as ports:
        words = ("scan", HOST, "-p", spec(ports), "--impl", impl.impl)
        old = json.loads(oxisock(*words, "--format", "json").stdout)
        old["results"], old["counts"]["open"] = old["results"][:1], 1
        (tmp_path / "old.json").write_text(json.dumps(old))
        done = oxisock(*words, "-o", tmp_path / "page.html", "--diff", tmp_path / "old.json")
        shown = oxisock(*words, "--format", "table", "--diff", tmp_path / "old.json")
        wrong = oxisock(*words, "--format", "json", "--diff", tmp_path / "old.json")
    assert (done.returncode, done.stderr) == (0, "")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert all(str(port) in page for port in ports)
    assert re.search(rf"opened +{HOST} +{ports[1]} +- +open", shown.stdout)
    assert ">opened<" in page
    assert (wrong.returncode, "--diff is for the formats html and table" in wrong.stderr) == (2, True)
