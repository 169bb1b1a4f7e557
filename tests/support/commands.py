"""Running the command ``oxisock`` in a process of its own, for the tests of it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


def environment(**more: str) -> dict[str, str]:
    """Give the environment of a child: that of the tests, without what changes how output looks."""
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")}
    return {**kept, "TERM": "xterm-256color", "PYTHONWARNINGS": "error", **more}


def oxisock(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
    """Run ``python -m oxisock WORDS``, piped, and give what came of it."""
    env = environment(**more.pop("env", {}))  # type: ignore[arg-type]
    command = [sys.executable, "-m", "oxisock", *map(str, words)]
    if more.pop("isolated", False):
        command = alone(*command)
    options = {"capture_output": True, "text": True, "timeout": 60, "env": env, **more}
    return subprocess.run(command, **options)  # type: ignore[call-overload,no-any-return]


@contextmanager
def on_terminal(
    *words: object, stdout: int | None = None, **env: str
) -> Iterator[tuple[subprocess.Popen[bytes], list[bytes]]]:
    """Run the command with stdout and stderr on a terminal of 100 columns; its output is in the list at the end.

    ``stdout``: a descriptor, or DEVNULL, to have stdout elsewhere.
    """
    import fcntl
    import pty
    import struct
    import termios

    output: list[bytes] = []
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "oxisock", *map(str, words)]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout is None else stdout,
        stderr=theirs,
        env=environment(**env),
    ) as process:
        os.close(theirs)
        try:
            yield process, output
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # Linux says EIO where the last writer has gone
                    break
                if not piece:
                    break
                output.append(piece)
            process.wait(30)
        finally:
            process.kill()
            os.close(ours)


def terminal_text(*words: object, stdout: int | None = None, **env: str) -> tuple[int, str]:
    """Run the command on a terminal; give its exit code and all that was shown."""
    with on_terminal(*words, stdout=stdout, **env) as (process, output):
        pass
    return process.returncode, b"".join(output).decode().replace("\r\n", "\n")


@contextmanager
def listening(count: int = 1, banner: bytes | None = None, host: str = "127.0.0.1") -> Iterator[list[int]]:
    """Listen on some free ports; with a banner, say it to everybody who connects."""
    import threading

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    servers = [socket.create_server((host, 0), family=family, backlog=64) for _ in range(count)]
    ending = threading.Event()

    def greet(server: socket.socket) -> None:
        while not ending.is_set():
            try:
                conn, _ = server.accept()
            except OSError:  # shut down
                return
            with conn:
                try:
                    conn.sendall(banner or b"")
                    conn.settimeout(5)
                    conn.recv(1)  # the scanner's end of stream
                except OSError:
                    continue

    threads = [threading.Thread(target=greet, args=(server,)) for server in servers] if banner is not None else []
    for thread in threads:
        thread.start()
    try:
        yield sorted(server.getsockname()[1] for server in servers)
    finally:
        ending.set()
        for server in servers:
            if threads:
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for thread in threads:
            thread.join(10)


@contextmanager
def refusing() -> Iterator[int]:
    """Hold a port of 127.0.0.1 that refuses: bound, so that nobody else can take it, and not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    """Hold a port of 127.0.0.1 that does not answer: its queue of connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.2)
            try:
                client.connect(address)
            except TimeoutError:
                break
        yield address[1]


def alone(*words: str) -> list[str]:
    """Give a command that runs in a network of its own, where nobody else opens ports; as it is, without root."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return list(words)
    return ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *words]
