"""The commands ``oxisock serve chat`` and ``oxisock chat``, on both engines, piped and on a terminal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from types import ModuleType

import pytest

from oxisock.cli.chat import painted
from support.addresses import HOST
from support.chatting import Guest
from support.commands import environment
from support.processes import OXISOCK, ended, process, serve


def chat(impl: ModuleType, address: tuple[str, int], *words: str) -> list[str]:
    return [*OXISOCK, "chat", f"{address[0]}:{address[1]}", "--impl", impl.impl, *words]


def test_words_that_are_not_utf_8_get_through(impl: ModuleType) -> None:
    with process(*serve(impl, "chat", "--host", HOST)) as (_, address):
        for words in ([], ["--tls", "--server-name", "a b"]):
            done = subprocess.run(
                chat(impl, address, *words),
                input=b"first\ncaf\xe9\n",
                capture_output=True,
                timeout=60,
                env=environment(),
            )
            if words:
                assert (done.returncode, done.stdout) == (2, b"")
                assert done.stderr.startswith(b"oxisock: --server-name='a b': expected a name"), done.stderr
            else:
                assert (done.returncode, done.stderr) == (0, b"")
                assert done.stdout.decode().splitlines() == ["[guest-1] first", "[guest-1] caf\ufffd"]


def test_the_commands(impl: ModuleType) -> None:
    with process(*serve(impl, "chat", "--host", HOST, "--name", "den", "--history", "2", "-v")) as (server, address):
        options = {"capture_output": True, "text": True, "timeout": 60, "env": environment()}
        done = subprocess.run(chat(impl, address, "--nick", "bot"), input="hi\n/msg bot psst\n", **options)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "[bot] hi\n[bot -> bot] psst\n"
        with Guest(address, nick="ann") as ann:
            assert ann.nick == "ann"
            done = subprocess.run(chat(impl, address, "--nick", "Ann"), input="", **options)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"oxisock: {HOST}:{address[1]}: Ann is taken\n"
            listener = subprocess.Popen(
                chat(impl, address), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            try:
                ann.until("* guest-4 joined")
                server.send_signal(signal.SIGINT)
                assert listener.wait(30) == 1  # its input is still open
            finally:
                listener.kill()
                out, err = listener.communicate()
            assert out.splitlines() == ["[bot] hi", "* server is closing"]
            assert err == "oxisock: the server closed the connection\n"
        code, _, err = ended(server)
        assert code == 0
        # Who has left by the time that this is told is known by the nick alone.
        assert re.search(r"\d\d:\d\d:\d\d\.\d{3}  (\S+:\d+|-)  \[bot\] hi\n", err) and "psst" not in err
    done = subprocess.run(chat(impl, address), input="", **options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"oxisock: {HOST}:{address[1]}: Connection refused\n"


@pytest.mark.parametrize(
    "wrong", [["--rate", "fast"], ["--rate", "-1"], ["--history", "x"], ["--slow-policy", "wait"], ["--name", ""]]
)
def test_wrong_usage(wrong: list[str]) -> None:
    done = subprocess.run([*OXISOCK, "serve", "chat", *wrong], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@contextlib.contextmanager
def in_a_terminal(*command: str) -> Iterator[int]:
    """Run a command with everything on a terminal of its own; give our end of it."""
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment(), start_new_session=True
    ) as child:
        os.close(theirs)
        try:
            yield ours
            os.write(ours, b"\x04")
            child.wait(30)
            assert child.returncode == 0
        finally:
            child.kill()
            os.close(ours)


def test_on_a_terminal(impl: ModuleType) -> None:
    pytest.importorskip("prompt_toolkit")
    shown = b""
    answered = 0

    def show(until: bytes) -> None:
        nonlocal shown, answered
        deadline = time.monotonic() + 40
        while until not in shown:
            assert time.monotonic() < deadline, shown
            with contextlib.suppress(BlockingIOError):
                shown += os.read(ours, 1 << 16)
            # prompt_toolkit asks where the cursor is, and waits for the terminal's answer.
            while shown.count(b"\x1b[6n") > answered:
                os.write(ours, b"\x1b[1;1R")
                answered += 1
            time.sleep(0.01)

    with impl.ChatServer(HOST) as server, Guest(server, nick="ann") as ann:
        with in_a_terminal(*chat(impl, server.address, "--nick", "bob")) as ours:
            os.set_blocking(ours, False)
            ann.until("* guest-2 is now bob")
            show(b"bob>")
            os.write(ours, b"half a sentence")
            show(b"sentence")
            ann.say("meanwhile")
            show(b"meanwhile")
            os.write(ours, b" and the rest\r")
            assert ann.until("[bob] half a sentence and the rest") == ["[ann] meanwhile"]
            server.broadcast("the end")
            show(b"the end")
        ann.until("* bob left (quit)")


def test_what_a_bad_server_says_does_not_reach_the_terminal() -> None:
    assert painted("[ann] \x1b[2Jgone\u202e") == "[ann] [2Jgone"
