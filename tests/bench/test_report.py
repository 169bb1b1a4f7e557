"""What is made of benchmarks: the document, the table, the pages and the chart; and the command that writes them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from oxisock.bench import Scenario
from oxisock.bench.report import comparison, document, figures, html, markdown, text
from oxisock.bench.report.document import Document
from oxisock.bench.report.environment import Environment, Watch, noise
from oxisock.bench.running import Measured, Timing
from oxisock.cli import bench as command
from support.commands import environment, on_terminal, oxisock, terminal_text
from support.pages import DOCS
from support.waiting import wait_until

WHERE: Environment = {
    "oxisock": "1.2.3",
    "python": "CPython 3.11.7",
    "rustc": "1.95.0",
    "system": "Linux 6.18",
    "machine": "x86_64",
    "processor": "Chip <fast> & cheap",
    "cores": 2,
    "date": "2026-01-02",
    "uvloop": "0.23.0",
    "nmap": None,
    "quick": False,
    "interrupted": False,
    "elapsed": 12.3,
    "load_average": {"start": 0.1, "end": 1.0},
    "others": 0.01,
    "steal": 0.0,
}


def timings(*seconds: float, wrong: str | None = None) -> list[Timing]:
    return [Timing(each, each / 2, wrong, (each / 1000, each / 100)) for each in seconds]


def measured(name: str = "paper", **contenders: list[Timing]) -> Measured:
    unstaged: Any = None
    shown = {key.replace("_", " "): each for key, each in contenders.items()}
    return Measured(Scenario("echo", name, 1000, "messages", unstaged, notes=("A <note>.",)), shown)


def sample() -> Document:
    return document.document(
        [
            measured(
                "echo, 64 bytes",
                pure=timings(2.0, 30.0, 4.0),
                native=timings(1.0, 10.0, 1.0),
                ceiling=timings(0.5, 0.5, 0.5),
                asyncio=timings(4.0, 40.0, 4.0),
                threads=timings(1.0, 5.0, 2.0),
            ),
            measured(
                "<b>spoilt</b>|", pure=timings(2.0), native=timings(1.0, wrong="a <wrong> answer"), nmap=timings(1.0)
            ),
            measured("slower", pure=timings(1.0), native=timings(2.0)),
        ],
        WHERE,
    )


def test_the_document_has_medians_and_paired_ratios() -> None:
    first, spoilt, _ = sample()["scenarios"]
    assert (first["pure"], first["native"]) == (250.0, 1000.0)
    assert (first["ratio"], first["ratio_range"]) == (3.0, (2.0, 4.0))
    assert first["cpu_us"] == {"pure": 2000.0, "native": 500.0}
    assert first["others"]["asyncio"] == {
        "rate": 250.0,
        "cpu_us": 2000.0,
        "ratio": 0.75,
        "ratio_range": (0.5, 1.0),
    }
    assert first["seconds"]["pure"] == [2.0, 30.0, 4.0] and first["rounds"] == 3
    assert first["latency_ms"]["native"] == (1.0, 10.0)
    assert (spoilt["pure"], spoilt["native"], spoilt["ratio"], spoilt["ratio_range"]) == (500.0, None, None, None)
    assert spoilt["cpu_us"] == {"pure": 1000.0, "native": None}
    assert spoilt["wrong"] == {"native": "round 1: a <wrong> answer"}


def test_the_document_is_read_back() -> None:
    assert document.read(document.write(sample())) == json.loads(document.write(sample()))
    keys = list(json.loads(document.write(sample())))
    assert keys == ["schema", "environment", "scenarios"]
    for bad, told in (
        ("nonsense", "this is not the JSON of a benchmark"),
        ("[]", "this is not the JSON of a benchmark"),
        ('{"schema": 2}', "schema 2 of the JSON is not known"),
        ('{"schema": 1}', "this is not the JSON of a benchmark"),
        ('{"schema": 1, "environment": {"date": ""}, "scenarios": [{"name": "x"}]}', "a scenario lacks cpu_us"),
    ):
        with pytest.raises(ValueError, match=told):
            document.read(bad)


def test_where_processor_time_is_unknown() -> None:
    unknown = [Timing(1.0, None)]
    result = document.document([measured(pure=unknown, native=unknown)], WHERE)["scenarios"][0]
    assert result["cpu_us"] == {"pure": None, "native": None} and "latency_ms" not in result
    assert text.row(result)[4:7] == ("1.00", "-", "-")


@pytest.mark.parametrize(
    ("value", "rate", "micros"),
    [
        (0.0198, "0.02", "19.8 ns"),
        (5.9312, "5.93", "5.93 µs"),
        (27.71, "27.7", "27.7 µs"),
        (999.6, "1.00 k", "1.00 ms"),
        (184_211, "184 k", "184 ms"),
        (2_684_700, "2.68 M", "2.68 s"),
        (None, "-", "-"),
    ],
)
def test_figures_have_three_digits(value: float | None, rate: str, micros: str) -> None:
    assert (figures.rate(value), figures.micros(value)) == (rate, micros)


def test_the_table() -> None:
    rows = [text.HEADING, *map(text.row, sample()["scenarios"])]
    assert rows[1] == (
        "echo, 64 bytes",
        "messages",
        "250",
        "1.00 k",
        "3.00 (2.00-4.00)",
        "2.00 ms",
        "500 µs",
        "ceiling 2.00 k, asyncio 250, threads 500",
    )
    assert rows[2][3:5] == ("wrong answer", "-")
    for width, lines in ((None, 4), (160, 4), (100, 6), (70, 6)):
        shown = [line for line, _ in command._layout(rows, width)]
        assert len(shown) == lines
        assert not width or max(map(len, shown)) <= width
    assert command._layout(rows, 100)[2] == ("    ceiling 2.00 k, asyncio 250, threads 500", "dim")
    assert command._layout(rows, 40)[1:5] == [
        ("echo, 64 bytes", "cyan"),
        ("     250        1.00 k  3.00 (2.00-4.00)", ""),
        ("    ceiling 2.00 k, asyncio 250,", "dim"),
        ("    threads 500", "dim"),
    ]


def test_the_details() -> None:
    rows = text.details(sample()["scenarios"][0])
    assert rows[0] == ("", "messages/s", "fastest", "slowest", "CPU", "times pure", "50 % within", "99 % within")
    assert rows[1] == ("pure", "250", "500", "33.3", "2.00 ms", "1", "4.00 ms", "40.0 ms")
    assert [row[0] for row in rows[1:]] == ["pure", "native", "ceiling", "asyncio", "threads"]
    for width in 200, 80, 60, 40, 36:
        lines = command._details(rows, width).splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.startswith("native") and "3.00" in line for line in lines)
    spoilt = text.details(sample()["scenarios"][1])
    assert spoilt[2][:6] == ("native", "wrong answer", "", "", "", "-")


def test_a_busy_machine_is_told() -> None:
    assert noise(WHERE) is None
    busy = noise({**WHERE, "others": 0.31, "steal": 0.04, "load_average": {"start": 1.4, "end": 2.0}})
    assert busy is not None
    assert "other programs used 31%" in busy and "its hypervisor kept 4%" in busy and "load" not in busy
    unknown: Environment = {**WHERE, "others": None, "load_average": {"start": 1.4, "end": 2.0}}
    assert "load average was 1.4 at the start" in str(noise(unknown))
    assert noise({**WHERE, "others": None, "steal": None, "load_average": {"start": None, "end": None}}) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells all of it")
def test_the_machine_is_known() -> None:
    watch = Watch()
    deadline = time.monotonic() + 30
    while (found := watch.environment(quick=True, interrupted=False))["others"] is None:
        assert time.monotonic() < deadline, "the clock of the machine stands still"
    assert found["quick"] and not found["interrupted"]
    assert 0 <= found["others"] <= 1 and found["cores"] >= 1
    assert re.fullmatch(r"\d+\.\d+\.\d+", found["rustc"] or "")
    assert set(found) == set(Environment.__annotations__)


def test_the_axis_holds_everything() -> None:
    shown = comparison.bars(sample())
    axis = comparison.axis(shown)
    assert 0 < axis.place(0.5) < axis.place(1) < axis.place(4.0) < 1
    assert axis.place(2) - axis.place(1) == pytest.approx(axis.place(1) - axis.place(0.5)), "logarithmic"
    assert axis.ticks == [0.5, 1, 2, 5]
    assert len(comparison.Axis(0.01, 1000).ticks) <= 12
    assert [mark.kind for mark in shown[0].marks] == ["ceiling", "asyncio", "other"]
    assert shown[1].ratio is None
    assert comparison.kinds(shown) == ["native", "ceiling", "asyncio", "nmap", "other"]


def test_the_chart_is_the_same_for_the_same_figures(tmp_path: Path) -> None:
    if find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    (tmp_path / "run.json").write_text(document.write(sample()))
    # In processes of their own: matplotlib and numpy keep files and threads for ever.
    for name in ("once.svg", "again.svg", "chart.png"):
        done = oxisock(
            "bench", "--from", tmp_path / "run.json", "--plot", tmp_path / name, env={"PYTHONHASHSEED": "random"}
        )
        assert done.returncode == 1 and "Traceback" not in done.stderr
    once = (tmp_path / "once.svg").read_bytes()
    assert once == (tmp_path / "again.svg").read_bytes() and len(once) < 60_000
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
    root = ElementTree.fromstring(once)
    words = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}text"))
    for part in (comparison.TITLE, "3.00×", "0.50×", "wrong answer", "<b>spoilt</b>|", "asyncio", "oxisock bench"):
        assert part in words
    assert "<dc:date>" not in once.decode()


class Page(HTMLParser):
    """Reads a page: what it shows, and what it would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_loads_nothing_and_escapes_everything() -> None:
    page = html.page(sample())
    read = Page(page)
    assert read.loads == [] and not {"script", "link", "img", "iframe", "b>spoilt"} & set(read.tags)
    assert "url(" not in page and "@import" not in page and "http" not in page
    shown = "".join(read.words)
    for part in ("<b>spoilt</b>|", "Chip <fast> & cheap", "a <wrong> answer", "3.00 (2.00-4.00)", "A <note>."):
        assert part in shown
    assert "<b>spoilt" not in page and "<wrong>" not in page
    assert 'name="viewport"' in page and "prefers-color-scheme: dark" in page
    assert shown.count("wrong answer") >= 3, "in the chart, in the table and in the details"


def test_the_page_of_documentation() -> None:
    page = markdown.page(sample(), "chart.svg", {"scale": "scale.md"})
    assert "](chart.svg)" in page and "[scale](scale.md)" in page
    assert "| echo, 64 bytes | messages | 250 | 1.00\N{NO-BREAK SPACE}k | 3.00 (2.00-4.00) |" in page
    assert "&lt;b>spoilt&lt;/b>\\| | messages | 500 | wrong answer | - |" in page
    assert "> **Wrong answer: " in page and "load average 0.1 at the start" in " ".join(page.split())
    for key in (
        *sample()["scenarios"][0],
        *("elapsed", "quick", "interrupted", "load_average", "steal"),
    ):
        assert f"`{key}`" in page, "the page says what is in the JSON"
    assert "![" not in markdown.page(sample())


def test_quick_and_interrupted_runs_are_told() -> None:
    partial: Document = {**sample(), "environment": {**WHERE, "quick": True, "interrupted": True}}
    for page in (html.page(partial), markdown.page(partial)):
        assert "quick run" in page and "was interrupted" in page


def test_the_documentation_is_what_was_measured() -> None:
    if not (DOCS / "benchmarks.json").exists():
        pytest.skip("the documentation is not here")
    found = document.read((DOCS / "benchmarks.json").read_text())
    beside = {title: name for title, name in command._BESIDE.items() if (DOCS / name).exists()}
    assert (DOCS / "benchmarks.md").read_text() == markdown.page(found, "benchmarks.svg", beside)
    assert not any(scenario["wrong"] for scenario in found["scenarios"])
    assert comparison.TITLE in (DOCS / "benchmarks.svg").read_text()


# --- the command ---------------------------------------------------------------------------------------------------


def test_all_of_it(tmp_path: Path) -> None:
    files = {name: tmp_path / f"run.{name}" for name in ("json", "html", "svg", "md")}
    options = ["--json", files["json"], "--html", files["html"], "--plot", files["svg"], "--markdown", files["md"]]
    done = oxisock("bench", "--quick", "--only", "framing", "--rounds", 1, *options)
    assert done.returncode == 0, done.stderr
    found = document.read(files["json"].read_text())
    assert [scenario["name"] for scenario in found["scenarios"]] == [
        "decode LengthPrefix, 16 bytes",
        "decode Lines, 16 bytes",
        "encode LengthPrefix, 16 bytes",
    ]
    assert found["environment"]["quick"] and all(scenario["ratio"] for scenario in found["scenarios"])
    lines = done.stdout.splitlines()
    assert lines[0].split() == " ".join(text.HEADING).split()
    assert re.match(r"decode Lines, 16 bytes +frames +\S+ . +\S+ . +\d", lines[2])
    assert "\x1b" not in done.stdout + done.stderr and "round 1" not in done.stderr
    assert "without --quick there are 10 rather than 3, and more rounds\n" in done.stderr
    assert "](run.svg)" in files["md"].read_text()
    # The same once more, without measuring.
    copy = tmp_path / "copy.html"
    again = oxisock("bench", "--from", files["json"], "--html", copy, "--details")
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith(done.stdout) and "\ndecode Lines, 16 bytes: " in again.stdout
    assert copy.read_text() == files["html"].read_text()


SPOILT = """
import sys
from oxisock.bench import framing
framing._plain_lines = lambda chunks: iter([[b"x"]])
from oxisock.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_wrong_answer_is_told_everywhere(tmp_path: Path) -> None:
    spoilt = tmp_path / "run.json"
    spoilt.write_text(document.write(sample()))
    done = oxisock("bench", "--from", spoilt)
    assert done.returncode == 1
    assert "oxisock: wrong answer: <b>spoilt</b>|, native, round 1: a <wrong> answer\n" in done.stderr
    words = ["bench", "--quick", "--only", "framing", "--rounds", "1", "--json", "-"]
    run = subprocess.run(
        [sys.executable, "-c", SPOILT, *words], capture_output=True, text=True, env=environment(), timeout=60
    )
    assert run.returncode == 1, run.stderr
    lines = json.loads(run.stdout)["scenarios"][1]
    assert lines["others"]["plain"] == {"rate": None, "cpu_us": None, "ratio": None, "ratio_range": None}
    assert lines["ratio"] and lines["wrong"] == {"plain": "round 1: other frames than went in"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["--only", "scan,sleep"],
            "no scenarios are called 'sleep': there are scan, echo, udp, framing, message, tls, chat",
        ),
        (["--only", ""], "no scenarios are called ''"),
        (["--rounds", "0"], "expected a whole number from 1"),
        (["--plot", "chart.jpg"], "expected a name that ends with .svg or .png"),
        (["--json", "-", "--html", "-"], "only one file can be stdout"),
        (["--html", "absent/page.html"], "absent/page.html: No such file or directory"),
        (["--json", "."], ".: Is a directory"),
        (["--from", "absent.json"], "absent.json: No such file or directory"),
        (["--from", "absent.json", "--quick"], "--quick, --only and --rounds do not go with it"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_timed(words: list[str], told: str, tmp_path: Path) -> None:
    done = oxisock("bench", *words, cwd=tmp_path, timeout=20)
    assert done.returncode == 2 and done.stdout == ""
    assert told in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_chart_without_matplotlib_names_the_extra(tmp_path: Path) -> None:
    code = "import sys; sys.modules['matplotlib'] = None; from oxisock.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", code, "bench", "--plot", tmp_path / "chart.svg"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment(), timeout=20)
    assert done.returncode == 2
    assert 'pip install "oxisock[bench]"' in done.stderr and done.stderr.count("\n") == 1


def test_progress_is_shown_and_gone() -> None:
    code, shown = terminal_text("bench", "--quick", "--only", "framing", "--rounds", 1)
    assert code == 0
    assert "decode LengthPrefix, 16 bytes · round 1 of 1 · native" in shown
    rows = [line for line in shown.splitlines() if line.startswith("encode LengthPrefix, 16 bytes ")]
    assert len(rows) == 1 and "\x1b" not in rows[0]


@pytest.mark.skipif(sys.platform != "linux", reason="children are seen in /proc")
def test_ctrl_c_gives_what_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    with on_terminal("bench", "--only", "framing,message", "--rounds", 1, "--json", path) as (process, output):
        # Servers are there when framing is complete.
        deadline = time.monotonic() + 60
        while not (servers := _children(process.pid)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGINT)
    shown = b"".join(output).decode()
    assert process.returncode == 130, shown
    found = document.read(path.read_text())
    assert found["environment"]["interrupted"] and found["scenarios"][0]["group"] == "framing"
    assert "the run was interrupted" in shown and "Traceback" not in shown
    assert wait_until(lambda: not any(map(_runs, servers)))


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
