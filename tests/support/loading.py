"""Loads for tests: the command in this process, and servers written for one test."""

from __future__ import annotations

import contextlib
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

from oxisock.cli import main

PATIENT = ("--timeout", "60s")  # so that no answer is too late where the machine is busy


def loaded(address: Any, *words: object) -> tuple[int, dict[str, Any]]:
    """Run the command with ``--json``, here, patiently if no timeout is named; give the exit code and the document."""
    host, port = address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(["load", name, "--json", *PATIENT, *map(str, words)])
    return code, json.loads(out.getvalue())


def upper(message: bytes, peer: object) -> bytes:
    return b"Echo: " + message.upper()


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None], kind: int = socket.SOCK_STREAM) -> Iterator[tuple[str, int]]:
    """Run a server written for one test: ``serve`` gets its one connection, or its datagram socket."""

    def run() -> None:
        with contextlib.suppress(OSError):
            if kind == socket.SOCK_DGRAM:
                serve(sock)
                return
            conn, _ = sock.accept()
            with conn:
                serve(conn)

    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        if kind == socket.SOCK_STREAM:
            sock.listen()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield sock.getsockname()
        finally:
            sock.shutdown(socket.SHUT_RDWR) if kind == socket.SOCK_STREAM else sock.close()
            thread.join(20)
