"""The chat in ``oxisock demo``: three clients, one of which disappears."""

from __future__ import annotations

import sys
from typing import Any

from .chat import painted
from .output import folded


def conversation(face: Any) -> None:
    """Let three clients talk in a chat of one engine, and print what the first client sees."""
    with face.ChatServer(name="the demo") as server:
        print(folded(f"A chat, on the {face.impl} engine at {server.address}, as ann sees it:", sys.stdout))
        with face.ChatClient(*server.address, nick="ann") as ann:
            with face.ChatClient(*server.address, nick="bob") as bob:
                cleo = face.ChatClient(*server.address, nick="cleo")
                bob.send("hello, is anybody here?")
                _show_until(ann, "[bob] hello, is anybody here?")
                ann.send("/me waves")
                _show_until(ann, "[ann] ~ waves")
                cleo.send("I can stay for a min")
                _show_until(ann, "[cleo] I can stay for a min")
                # This client leaves with a reset, as if its machine lost power.
                cleo.abort()
                _show_until(ann, "* cleo left (lost)")
                bob.send("/who")
                bob.send("/quit dinner")
                _show_until(ann, "* bob left (quit: dinner)")
            server.stop()
            _show_until(ann, "* server is closing")


def _show_until(client: Any, last: str) -> None:
    while (line := client.recv(5.0)) is not None:
        print(f"  {painted(line)}", flush=True)
        if line == last:
            return
