"""The page on the protocol, the bot, and the demo say and do what they promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from chatting import HOST, Guest
from commands import environment

ROOT = Path(__file__).parent.parent


def test_the_session_of_the_page_is_what_happens(impl: ModuleType) -> None:
    page = (ROOT / "docs" / "chat-protocol.md").read_text()
    session = re.search(r"## A session.*?```\n(.*?)```", page, re.DOTALL)
    assert session is not None
    with impl.ChatServer(HOST, name="den") as server, Guest(server) as ann:
        expected = session[1].splitlines()
        assert expected.pop(0) == f"* welcome to den, you are {ann.nick}"
        bob: Guest | None = None
        for line in expected:
            if line.startswith("< "):
                ann.say(line[2:])
                continue
            if line == "* guest-2 joined":
                bob = Guest(server)
            elif line == "* guest-2 is now bob":
                assert bob is not None
                bob.say("/nick bob")
            elif line == "[bob] hi!":
                assert bob is not None
                bob.say("hi!")
            elif "so long" in line:
                assert bob is not None
                bob.say("/quit so long")
            assert ann.line() == line
        assert ann.line() == ""
        assert bob is not None
        bob.close()


def test_the_bot(impl: ModuleType) -> None:
    bot_program = ROOT / "examples" / "chat.py"
    with impl.ChatServer(HOST) as server, Guest(server, nick="ann") as ann:
        command = [sys.executable, bot_program, *map(str, server.address)]
        with subprocess.Popen(command, env=environment(OXISOCK_IMPL=impl.impl)) as bot:
            try:
                ann.until("[adder] Hello, I add: try 2 + 3")
                ann.say("2 + 3")
                ann.until("[adder] ann: 5")
                server.stop()
                assert bot.wait(30) == 0
            finally:
                bot.kill()
    done = subprocess.run([sys.executable, bot_program], capture_output=True, text=True, env=environment(), timeout=60)
    assert (done.returncode, done.stderr) == (1, "usage: chat.py HOST PORT\n")
