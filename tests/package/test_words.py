"""The code keeps to the glossary: words that it gives up for another, and that mean nothing else here, do not occur."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
GIVEN_UP = (
    "attempt",
    "backend",
    "broker",
    "client address",
    "front end",
    "judgement",
    "lobby",
    "notification",
    "participant",
    "pipeline",
    "quota",
    "remote",
    "runner",
    "shutdown timeout",
    "state machine",
    "username",
)


def test_given_up_words_do_not_occur_in_the_code() -> None:
    rows = (ROOT / "docs" / "glossary.md").read_text().splitlines()
    assert {word for word in GIVEN_UP if not any(word in row.rpartition(" | ")[2] for row in rows)} == set()
    files = [*ROOT.glob("src/**/*.rs"), *ROOT.glob("python/**/*.py"), *ROOT.glob("python/**/*.pyi")]
    assert len(files) > 200
    found = [
        f"{file.relative_to(ROOT)}:{number}: {word}"
        for file in files
        for number, line in enumerate(file.read_text().lower().replace("_", " ").splitlines(), 1)
        for word in GIVEN_UP
        if word in line
    ]
    assert found == []
