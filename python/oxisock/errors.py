"""The exceptions that oxisock adds to the built-in ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .report import ScanReport


class ScanInterrupted(KeyboardInterrupt):
    """Ctrl-C ended a scan; ``report`` holds what was known by then, marked partial."""

    def __init__(self, report: ScanReport) -> None:
        super().__init__("the scan was interrupted")
        self.report = report
