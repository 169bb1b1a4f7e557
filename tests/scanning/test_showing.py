"""Reports as pages, in notebooks and in rich: all that was found, and nothing that acts."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console

from oxisock import PortResult, PortState, ScanReport
from oxisock.types import ScanStats

EVIL = '<script>alert(1)</script>"\x1b[2J'


class Page(HTMLParser):
    """What stands in a page: its elements, its text, and whether each element was closed."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def result(host: str, address: str, port: int, state: str, **more: object) -> PortResult:
    rtt = 0.001 if state == "open" else None
    found = {"reason": "syn-ack", "rtt": rtt, "service": None, "banner": None, **more}
    return PortResult(host, address, port, PortState(state), **found)  # type: ignore[arg-type]


def report(*results: PortResult, **more: object) -> ScanReport:
    counts = {str(state): sum(each.state is state for each in results) for state in PortState}
    given = {"targets": ["10.0.0.0/24"], "ports": "1-1024", "addresses": 256, "started": 1.79e9, **more}
    return ScanReport(results=results, counts=counts, stats=ScanStats(), **given)  # type: ignore[arg-type]


OLD = report(result("10.0.0.9", "10.0.0.9", 21, "open"), result("db", "10.0.0.5", 22, "open"))
NEW = report(
    result("db", "10.0.0.5", 22, "open", service="ssh", banner=EVIL.encode()),
    result("10.0.0.7", "10.0.0.7", 80, "filtered", reason="no-response"),
    result("10.0.0.7", "10.0.0.7", 443, "open", service=EVIL),
    unresolved={EVIL: EVIL},
)


def test_the_page_has_all_and_loads_nothing() -> None:
    page = Page(NEW.to_html(OLD))
    assert not page.names & {"script", "link", "img", "iframe"}
    assert all(name not in ("src", "style", "onerror") for name, _ in page.attributes)
    assert all((value or "").startswith("#h") for name, value in page.attributes if name == "href")
    assert "\x1b" not in page.text
    for words in (
        "db (10.0.0.5)",
        "22 ssh",
        "80",
        "443",
        "<script>alert(1)</script>",
        "does not resolve",
        "no-response",
    ):
        assert words in page.text
    changed = page.text.split("What changed since")[1].split("At a glance")[0]
    rows = [line.split() for line in re.sub(r"(opened|closed)", r"\n\1 ", changed).splitlines()]
    assert [row[0] for row in rows if row and row[0] in ("opened", "closed")] == ["opened", "closed"]
    targets = {value for name, value in page.attributes if name == "id"}
    assert {(value or "")[1:] for name, value in page.attributes if name == "href"} <= targets


def test_what_changed_is_shown_and_does_nothing() -> None:
    # An older report may come from anybody: its names, services and reasons are text as well.
    old = report(
        result(EVIL, "10.0.0.5", 22, "filtered", service=EVIL, reason=EVIL),
        result("<b>" + EVIL, "10.0.0.6", 21, "open", service=EVIL, banner=EVIL.encode()),
    )
    page = Page(NEW.to_html(old))
    assert not page.names & {"script", "link", "img", "iframe"}
    assert "\x1b" not in page.text
    changed = page.text.split("What changed since")[1].split("At a glance")[0]
    assert changed.count("<script>alert(1)</script>") >= 2
    assert all(words in changed for words in ("opened", "closed", "<b><script>"))


def test_a_page_names_hosts_that_came_or_went_and_both_banners() -> None:
    before = report(result("a", "10.0.0.1", 22, "open", banner=b"SSH-1\r\n"), result("b", "10.0.0.2", 23, "open"))
    after = report(result("a", "10.0.0.1", 22, "open", banner=b"SSH-2\r\n"), result("c", "10.0.0.3", 25, "open"))
    changed = Page(after.to_html(before)).text.split("What changed since")[1].split("At a glance")[0]
    assert "First open ports on c (10.0.0.3)." in changed
    assert "No open ports any more on b (10.0.0.2)." in changed
    assert "SSH-1 -> SSH-2" in changed
    many = [result("m", f"10.0.0.{host}", 22, "open") for host in range(1, 9)]
    assert " and 3 more hosts." in Page(report(*many).to_html(report())).text


def test_a_page_of_nothing_and_one_without_a_change() -> None:
    empty = Page(report().to_html()).text
    assert "No open ports. Scanned 1-1024; -p - scans all 65,535." in empty
    assert "What changed" not in empty
    assert "Nothing changed." in Page(NEW.to_html(NEW)).text
    with pytest.raises(TypeError, match="old"):
        NEW.to_html("old.json")  # type: ignore[arg-type]


@pytest.mark.parametrize("started", [None, 0.0, 1e300])
def test_any_time_will_do(started: float | None) -> None:
    assert "Scan of" in Page(report(started=started).to_html(OLD)).text


def test_a_notebook_shows_a_table() -> None:
    shown = Page(f"<div>{NEW._repr_html_()}</div>")
    assert not shown.names & {"script", "style"}
    assert all(words in shown.text for words in ("db (10.0.0.5)", "443", "filtered", "3 ports of 256 addresses"))
    many = report(*(result("a", "10.0.0.1", port, "open") for port in range(1, 301)))
    assert "and 100 more" in Page(f"<div>{many._repr_html_()}</div>").text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_rich_shows_every_port(width: int) -> None:
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None).print(NEW)
    text = stream.getvalue()
    assert re.search(r"\b22 +open\b", text)
    assert re.search(r"\b80 +filtered\b", text)
    assert "\x1b" not in text
