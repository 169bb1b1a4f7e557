"""Servers of every kind behind one face: how to ask one something, whatever it speaks and wherever it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

from oxisock import Peer, ServerStats, StopReport
from support.certificates import Stranger, contexts

SECONDS = 20.0
"""How long anything may take here, on a busy machine."""


class Served:
    """A server that runs, on a thread of its own where it is one of coroutines."""

    def __init__(self, server: Any, kind: str) -> None:
        self.server = server
        self.datagrams = "datagrams" in kind
        self.chat = kind == "chat"
        self.secured = kind.endswith("over TLS")
        self._stopping: asyncio.Task[StopReport] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> Peer:
        found: Peer = self.server.address
        return found

    def stats(self) -> ServerStats:
        found: ServerStats = self.server.stats()
        return found

    def stop(self, drain: float = 0.0) -> StopReport:
        if self._loop is not None:
            stopping = asyncio.run_coroutine_threadsafe(self.server.stop(drain), self._loop)
            return stopping.result(SECONDS)
        found: StopReport = self.server.stop(drain)
        return found

    def stop_from_within(self) -> None:
        """Begin a stop on one of its own threads."""
        if self._loop is None:
            self.server.stop()
        else:
            self._stopping = self._loop.create_task(self.server.stop())

    def connect(self) -> socket.socket:
        """Give a plain socket that is connected to it."""
        kind = socket.SOCK_DGRAM if self.datagrams else socket.SOCK_STREAM
        sock = socket.socket(socket.AF_INET, kind)
        sock.settimeout(SECONDS)
        try:
            sock.connect(self.address)
        except BaseException:
            sock.close()
            raise
        return sock

    def converse(self) -> socket.socket:
        """Give a socket that is connected to it, after the handshake where it wants one."""
        sock = self.connect()
        if self.secured:
            sock = secured = Stranger(sock, contexts().client, "localhost")
            try:
                # Who is cut as he comes hears of it when he asks, as on a plain socket.
                with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
                    secured.do_handshake()
            except BaseException:
                sock.close()
                raise
        return sock

    def knock(self) -> None:
        """Come and go."""
        with self.connect() as sock:
            if self.datagrams:
                sock.send(b"knock")

    def run(self) -> contextlib.AbstractContextManager[Any]:
        """Let it run until the block ends."""
        return self._on_a_loop() if hasattr(self.server, "__await__") else self.server

    @contextlib.contextmanager
    def _on_a_loop(self) -> Iterator[None]:
        started, over = threading.Event(), asyncio.Event()
        failure: list[BaseException] = []

        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            async with self.server:
                started.set()
                await over.wait()

        def run() -> None:
            try:
                asyncio.run(serve())
            except BaseException as error:
                failure.append(error)
            finally:
                started.set()

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        assert started.wait(SECONDS)
        try:
            yield
        finally:
            assert self._loop is not None
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(over.set)
            thread.join(SECONDS)
        assert not thread.is_alive()
        assert not failure, failure


class Client:
    """A good client, who is served whatever others do."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self.sock = server.converse()
        self._rest = b""
        self._said = 0
        if server.chat:
            self.nick = self.line().rpartition(b" ")[2]

    def line(self) -> bytes:
        """Give the next line, or datagram; b"" at the end."""
        if self._server.datagrams:
            return self.sock.recv(65535).removesuffix(b"\n")
        while b"\n" not in self._rest:
            piece = self.sock.recv(1 << 16)
            if not piece:
                return b""
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def is_served(self) -> bool:
        """Say something, and whether it is answered."""
        self._said += 1
        words = b"good %d" % self._said
        self.sock.sendall(words if self._server.datagrams else words + b"\n")
        wanted = b"[%s] %s" % (self.nick, words) if self._server.chat else words
        while (line := self.line()) != wanted:
            if not line or not (self._server.chat or self._server.datagrams):
                return False
        return True

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def served(server: Any, kind: str) -> Iterator[Served]:
    """Run a server until the block ends."""
    found = Served(server, kind)
    with found.run():
        yield found
