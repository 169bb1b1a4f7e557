"""The command ``oxisock``."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv`` (default: the process's arguments) and give its exit code."""
    raise SystemExit("no commands yet")
