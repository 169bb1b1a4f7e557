"""The help, its examples, the version, and what the Tab key knows."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import oxisock as package
from oxisock.cli import COMMANDS, build_parser
from support.commands import environment, oxisock
from support.reports import NEW, OLD
from support.tools import tool

ROOT = Path(__file__).resolve().parent.parent.parent


def test_the_version() -> None:
    assert oxisock("--version").stdout == f"oxisock {package.__version__}\n"


def test_the_help_names_every_command() -> None:
    done = oxisock("--help")
    assert done.returncode == 0
    for name in COMMANDS:
        assert re.search(rf"^ +{name}\b", done.stdout, re.MULTILINE)


def examples() -> list[str]:
    """Give every example of every help."""
    subparsers = next(action for action in build_parser()._actions if action.dest == "command")
    texts = [build_parser().epilog, *(parser.epilog for parser in subparsers.choices.values())]
    return [line.strip() for text in texts if text for line in text.splitlines() if line.startswith("  oxisock ")]


def test_every_command_with_a_choice_has_examples() -> None:
    assert {line.split()[1] for line in examples()} == set(COMMANDS)


SERVING = ("serve", "chat", "send", "load")  # run until they are stopped, or need a server; their own tests run them


@pytest.mark.parametrize("line", [line for line in examples() if line.split()[1] in SERVING])
def test_the_examples_of_servers_can_be_read(line: str) -> None:
    assert build_parser().parse_args(shlex.split(line, comments=True)[1:]).command in SERVING


@pytest.mark.parametrize(
    "line",
    [line for line in examples() if "bench" not in line and line != "oxisock demo" and line.split()[1] not in SERVING],
)
def test_the_examples_work(line: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(OLD.to_json())
    (tmp_path / "new.json").write_text(NEW.to_json())
    (tmp_path / "services.txt").write_text("localhost:80\n")
    (tmp_path / "capture.bin").write_bytes(b"\0\0\0\5hello")
    (tmp_path / "oxisock").write_text(f'#!/bin/sh\nexec {sys.executable} -m oxisock "$@"\n')
    (tmp_path / "oxisock").chmod(0o755)
    # Waiting a minute for a port that may not open is not what is tested.
    short = re.sub(r"--timeout 1m", "--timeout 1", line)
    short = short if "--timeout" in short or " wait " not in short else short + " --timeout 1"
    env = environment(PATH=f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(short, shell=True, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env)
    # Which ports are open here is not for the test to say.
    answers = (0, 1) if line.split()[1] in ("check", "wait", "diff", "explain") or "oxisock diff" in line else (0,)
    assert done.returncode in answers, done.stderr
    assert "Traceback" not in done.stderr


def script(shell: str, tmp_path: Path) -> Path:
    path = tmp_path / f"oxisock.{shell}"
    done = oxisock("completion", shell)
    assert done.returncode == 0
    path.write_text(done.stdout)
    return path


def run_shell(shell: str, *words: str) -> str:
    done = subprocess.run([tool(shell), *words], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "fish", "zsh"])
def test_the_scripts_are_of_this_parser(shell: str) -> None:
    spec = importlib.util.spec_from_file_location("completions", ROOT / "tools" / "completions.py")
    assert spec is not None and spec.loader is not None
    writer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(writer)
    assert oxisock("completion", shell).stdout == writer.render(shell), "python tools/completions.py writes them anew"


FORMATS = {"table", "plain", "json", "ndjson", "csv", "xml", "html"}


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (["comp"], {"completion"}),
        (["sc"], {"scan"}),
        (["--v"], {"--version"}),
        (["scan", "--form"], {"--format"}),
        (["scan", "--format", ""], FORMATS),
        (["scan", "host", "--impl", "p"], {"pure"}),
        (["scan", "--timeout", ""], set()),
        (["scan", "--keep", "f"], {"filtered"}),
        (["scan", "host", "-o", "rep"], {"report.json"}),
        (["completion", ""], {"bash", "fish", "zsh"}),
        (["check", "--"], {"--help", "--timeout", "--impl"}),
        (["serve", ""], {"echo", "upper", "udp", "chat"}),
        (["serve", "echo", "--re"], {"--reuse-port", "--reset-after"}),
        (["serve", "chat", "--slow-policy", ""], {"disconnect", "drop"}),
        (["serve", "echo", "--impl", "n"], {"native"}),
        (["explain", "--codec", "len"], {"length"}),
        (["source", "--", "react"], {"reactor", "reactors"}),
        (["bench", "--only", "f"], {"framing"}),
    ],
)
def test_bash_completes(typed: list[str], expected: set[str], tmp_path: Path) -> None:
    (tmp_path / "report.json").touch()
    words = " ".join(f"'{word}'" for word in ["oxisock", *typed])
    code = f"source {script('bash', tmp_path)}; COMP_WORDS=({words}); COMP_CWORD={len(typed)}; _shtab_oxisock; "
    code = f"cd {tmp_path}; {code}"
    assert set(run_shell("bash", "-c", code + 'printf "%s\\n" "${COMPREPLY[@]}"').split()) == expected


def test_fish_completes(tmp_path: Path) -> None:
    path = script("fish", tmp_path)

    def complete(line: str) -> set[str]:
        shown = run_shell("fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
        return {candidate.split("\t")[0] for candidate in shown.splitlines()}

    assert complete("oxisock comp") == {"completion"}
    assert complete("oxisock scan --form") == {"--format"}
    assert complete("oxisock scan --format ") == FORMATS
    assert complete("oxisock serve ") == {"echo", "upper", "udp", "chat"}
    assert complete("oxisock serve echo --re") == {"--reuse-port", "--reset-after"}
    assert complete("oxisock completion ") == {"bash", "fish", "zsh"}


def test_zsh_reads_its_script(tmp_path: Path) -> None:
    path = script("zsh", tmp_path)
    assert path.read_text().startswith("#compdef oxisock\n")
    assert run_shell("zsh", "-n", str(path)) == ""
