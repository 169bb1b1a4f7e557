"""Every example of the page on framing is run, on both engines; and so is the example program."""

from __future__ import annotations

import doctest
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import oxisock.native
import oxisock.pure

ROOT = Path(__file__).parent.parent


@pytest.fixture
def shouting() -> Iterator[int]:
    """A server that answers what it gets in capitals, until it is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            try:
                connection = listener.accept()[0]
            except OSError:
                return  # nobody came
            with connection:
                while data := connection.recv(1000):
                    connection.sendall(data.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(60)


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="needs the source tree")
def test_the_page(impl: ModuleType, shouting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "framing.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    for name in ("LengthPrefix", "Lines", "Netstring", "Delimiter", "connect"):
        monkeypatch.setattr(oxisock, name, getattr(impl, name))
    test = doctest.DocTestParser().get_doctest(code, {"port": shouting}, "docs/framing.md", None, 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    results = runner.run(test, out=said.append)
    assert results.failed == 0, "".join(said)
    assert results.attempted > 25


@pytest.mark.skipif(not (ROOT / "examples").exists(), reason="needs the source tree")
def test_the_example_program(shouting: int) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "framed_client.py", "127.0.0.1", str(shouting), "hello", "world"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "HELLO\nWORLD\n"), done.stderr
