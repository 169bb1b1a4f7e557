"""The page on scanning: every example is run."""

from __future__ import annotations

import doctest
import socket
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "scanning.md"


def test_the_examples_run() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {"port": server.getsockname()[1]}
        failed, tried = doctest.testfile(str(PAGE), module_relative=False, globs=names)
    assert tried >= 8
    assert failed == 0
