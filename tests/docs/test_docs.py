"""The README and the documentation say what is so: their code runs, their commands are taken, their links lead
somewhere, and what is generated in them is up to date.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import oxisock as package
from oxisock.cli import COMMANDS, build_parser
from support.addresses import HOST
from support.chatting import Guest
from support.commands import environment, oxisock
from support.pages import DOCS, EXAMPLES, ROOT, Block, blocks, check_output, pages

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")

PAGES = pages()
README = ROOT / "README.md"
GENERATED = set(DOCS.glob("benchmarks*.md"))  # by the command itself, which has tests of its own
COMMAND = re.compile(rf"\boxisock (?:{'|'.join(COMMANDS)})\b.*")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def python(*words: str, impl: ModuleType, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a reader would, with every warning an error."""
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=100,
        env=environment(OXISOCK_IMPL=impl.impl),
        cwd=cwd,
    )


# --- Python ----------------------------------------------------------------------------------------------------------


def test_the_python_of_every_page_runs(impl: ModuleType, tmp_path: Path) -> None:
    done = python(str(ROOT / "tests" / "support" / "pages.py"), *map(str, PAGES), impl=impl, cwd=tmp_path)
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def test_the_tests_of_every_page_pass(impl: ModuleType, tmp_path: Path) -> None:
    found = [(page, block) for page in PAGES for block in blocks(page, "python") if block.kind == "pytest"]
    for page, block in found:
        (tmp_path / f"test_{page.stem}_line_{block.line}.py").write_text(block.text)
    done = python("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", ".", impl=impl, cwd=tmp_path)
    assert len(found) >= 3
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr


def servers() -> list[object]:
    return [
        pytest.param(block, id=f"{name_of(page)}:{block.line}")
        for page in PAGES
        for block in blocks(page, "python")
        if block.kind == "server"
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there, SIGTERM ends a process without a word")
@pytest.mark.parametrize("block", servers())
def test_the_servers_of_a_page_serve_until_they_are_stopped(impl: ModuleType, block: Block, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", block.text],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(OXISOCK_IMPL=impl.impl, PYTHONUNBUFFERED="1"),
        cwd=tmp_path,
    ) as server:
        try:
            assert server.stdout is not None
            listening = server.stdout.readline()
            assert listening.lower().startswith("listening on "), listening
            server.send_signal(signal.SIGTERM)
            out, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, err) == (0, "")
    check_output(block.text, listening + out)


def test_no_block_is_overlooked() -> None:
    for page in set(PAGES) - GENERATED:
        text = page.read_text()
        fences = re.findall(r"^[ \t]*```", text, re.MULTILINE)
        languages = re.findall(r"^```(\w+)", text, re.MULTILINE)
        assert len(fences) == 2 * len(languages), f"{page}: a fence that is indented, or names no language"
        assert set(languages) <= {"python", "py", "sh", "text", "ini", "yaml", "dockerfile"}, page


def test_the_page_of_examples_shows_them_all() -> None:
    # "py" is a file that stands elsewhere, where it has tests of its own.
    shown = [block.text for page in PAGES for block in blocks(page, "py")]
    assert sorted(shown) == sorted(f'--8<-- "examples/{path.name}"\n' for path in EXAMPLES.glob("*.py"))


# --- commands --------------------------------------------------------------------------------------------------------


def words_of(line: str) -> list[str]:
    """Give the words of a command, up to where the shell takes another one or a file."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if word and set(word) <= set("|&;<>()"):
            break
        words.append(word)
    return words


def commands(page: Path) -> list[str]:
    """Give every command of ours on a page: in blocks, and in the text where it can be taken as it stands."""
    text = page.read_text()
    blocked = [
        found[0]
        for language in ("sh", "ini", "yaml", "dockerfile")
        for block in blocks(page, language)
        for line in re.sub(r"\\\n *", "", block.text).splitlines()
        for found in COMMAND.finditer(line.partition(" #")[0])
    ]
    inline = [
        found
        for found in re.findall(r"`(oxisock [^`\n]+)`", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
        if COMMAND.fullmatch(found) and not re.search(r"\.\.\.|\b[A-Z]{2,}\b", found) and " " in found[8:]
    ]
    return blocked + inline


def test_every_command_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser()
    found = [(page, line) for page in PAGES for line in commands(page)]
    assert len(found) >= 70
    for page, line in found:
        try:
            parser.parse_args(words_of(line)[1:])
        except SystemExit:
            pytest.fail(f"{page}: {line}\n{capsys.readouterr().err}")


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    # Servers and what talks to them have tests of their own; a scan of all ports by both engines takes its time.
    found = [line for line in commands(README) if words_of(line)[1] in ("scan", "check") and "both" not in line]
    assert len(found) >= 2
    for line in found:
        done = oxisock(*words_of(line)[1:], cwd=tmp_path, timeout=100)
        # Which ports are open here is not for the test to say.
        assert done.returncode == 0 or words_of(line)[1] == "check", done.stderr
        assert "Traceback" not in done.stderr


def test_what_make_and_pip_are_asked_for_is_there() -> None:
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in PAGES:
        text = page.read_text()
        for target in re.findall(r"(?:^|`)make (\w+)(?:`| *#|$)", text, re.MULTILINE):
            assert target in targets, f"{page}: make {target}"
        for extra in re.findall(r"oxisock\[(\w+)\]", text):
            assert extra in extras, f"{page}: oxisock[{extra}]"


# --- links, navigation, reference ------------------------------------------------------------------------------------


def test_every_link_leads_somewhere() -> None:
    # Those of the site are checked once more, with their anchors, when it is built.
    found = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())]
    assert len(found) >= 50
    for page, link in found:
        assert (page.parent / link).exists(), f"{page}: {link}"


def test_the_navigation_has_every_page_once() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text())

    def leaves(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        values = item.values() if isinstance(item, dict) else item
        assert not isinstance(values, str)
        return [leaf for value in values for leaf in leaves(value)]  # type: ignore[attr-defined]

    listed = leaves(config["project"]["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES if page != README)


def test_the_site_names_the_version() -> None:
    config = tomllib.loads((ROOT / "zensical.toml").read_text())
    assert config["project"]["site_name"] == f"oxisock {package.__version__}"


def test_the_page_of_the_command_line_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("cli_reference", ROOT / "tools" / "cli_reference.py")
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert (DOCS / "cli.md").read_text() == tool.render(), "python tools/cli_reference.py writes it anew"


def test_every_public_name_is_in_the_reference() -> None:
    shown = {name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)}
    for module in (package, importlib.import_module("oxisock.aio"), importlib.import_module("oxisock.testing")):
        public = set(module.__all__) - {"__version__", "impl"}
        missing = public - {name.removeprefix(f"{module.__name__}.") for name in shown}
        assert not missing, f"{module.__name__}: {sorted(missing)}"
    for name in shown:
        where, _, last = name.rpartition(".")
        assert hasattr(importlib.import_module(where) if where else package, last) or importlib.util.find_spec(name)


def test_every_entry_of_the_reference_has_an_example() -> None:
    for page in (DOCS / "api").glob("*.md"):
        _, *parts = re.split(r"^::: (\S+)", page.read_text(), flags=re.MULTILINE)
        lacking = [name for name, text in zip(parts[::2], parts[1::2], strict=True) if "```python" not in text]
        assert not lacking, f"{page}: {lacking}"


# --- the chat protocol -----------------------------------------------------------------------------------------------


def test_the_session_of_the_chat_page_is_what_happens(impl: ModuleType) -> None:
    session = blocks(DOCS / "chat-protocol.md", "text")[0].text
    with impl.ChatServer(HOST, name="den") as server, Guest(server) as ann:
        expected = session.splitlines()
        assert expected.pop(0) == f"* welcome to den, you are {ann.nick}"
        bob: Guest | None = None
        # What bob does before ann sees the line that it leads to.
        says = {"* guest-2 is now bob": "/nick bob", "[bob] hi!": "hi!", "* bob left (quit: so long)": "/quit so long"}
        for line in expected:
            if line.startswith("< "):
                ann.say(line[2:])
                continue
            if line == "* guest-2 joined":
                bob = Guest(server)
            elif line in says:
                assert bob is not None
                bob.say(says[line])
            assert ann.line() == line
        assert ann.line() == ""
        assert bob is not None
        bob.close()
