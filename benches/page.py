"""Writes what a benchmark across processes measured as a page of documentation."""

from __future__ import annotations

from pathlib import Path

from oxisock.bench.report import environment, figures


def write(path: Path, page: str, watch: environment.Watch, **fields: object) -> None:
    """Fill in a page: ``where`` it was measured, and the caller's own fields."""
    found = watch.environment(quick=False, interrupted=False)
    where = (
        f"**Where.** {figures.machine(found)}. {figures.versions(found)}. {found['date']}; load average "
        f"{found['load_average']['start']} at the start.\n"
    )
    if noise := environment.noise(found):
        where += f"\n> **{noise}**\n"
    path.write_text(page.format(where=where, **fields), encoding="utf-8")
