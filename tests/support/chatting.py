"""A plain socket as a client of a chat, for the tests of it."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterable
from typing import Any

from support.addresses import HOST as HOST


class Guest:
    """A connection that reads lines, with deadlines; the welcome is read and its nick known."""

    def __init__(
        self, server: Any, *, nick: str | None = None, receive_buffer: int | None = None, welcomed: bool = True
    ) -> None:
        self.sock = socket.socket()
        if receive_buffer is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(30)
        self.sock.connect(getattr(server, "address", server))
        self.rest = b""
        if not welcomed:
            return
        welcome = self.line()
        assert welcome.startswith("* welcome to "), welcome
        self.nick = welcome.rpartition(" ")[2]
        if nick is not None:
            self.say(f"/nick {nick}")
            self.until(f"* {self.nick} is now {nick}")
            self.nick = nick

    def say(self, *lines: str) -> None:
        self.sock.sendall("".join(f"{line}\n" for line in lines).encode())

    def line(self) -> str:
        """Give the next line; "" at the end of the stream."""
        while b"\n" not in self.rest:
            piece = self.sock.recv(1 << 16)
            if not piece:
                assert not self.rest
                return ""
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return line.decode()

    def until(self, wanted: str) -> list[str]:
        """Give the lines up to the one that is wanted."""
        lines = []
        while (line := self.line()) != wanted:
            assert line, f"{wanted!r} did not come, but {lines[-20:]}"
            lines.append(line)
        return lines

    def all(self) -> list[str]:
        """Give every line up to the end."""
        lines = []
        while line := self.line():
            lines.append(line)
        return lines

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hear(guests: Iterable[Guest], wanted: int, marker: bytes, seconds: float = 60) -> None:
    """Read for all guests at once into their ``rest``, until each has so many markers."""
    with selectors.DefaultSelector() as selector:
        missing = set()
        for guest in guests:
            if guest.rest.count(marker) < wanted:
                selector.register(guest.sock, selectors.EVENT_READ, guest)
                missing.add(guest)
        counts = {guest: guest.rest.count(marker) for guest in missing}
        pieces: dict[Guest, list[bytes]] = {guest: [guest.rest] for guest in missing}
        deadline = time.monotonic() + seconds
        while missing:
            assert time.monotonic() < deadline, f"{len(missing)} have not heard everything"
            for key, _ in selector.select(1):
                piece = key.fileobj.recv(1 << 18)  # type: ignore[union-attr]
                guest = key.data
                # A marker may come in two pieces.
                tail = pieces[guest][-1][1 - len(marker) :] if len(marker) > 1 else b""
                counts[guest] += (tail + piece).count(marker)
                pieces[guest].append(piece if len(piece) >= len(marker) else pieces[guest].pop() + piece)
                if counts[guest] >= wanted or not piece:
                    assert piece, "the server closed the connection"
                    missing.discard(guest)
                    selector.unregister(key.fileobj)
        for guest, parts in pieces.items():
            guest.rest = b"".join(parts)
