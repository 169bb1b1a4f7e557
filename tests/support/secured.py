"""Servers with TLS of every kind, behind one face, for the tests of their clients and crowds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from support.certificates import contexts
from support.served import Served, served

SECURED = ["coroutines over TLS", "messages over TLS", "threads over TLS"]


@contextlib.contextmanager
def secured(impl: ModuleType, kind: str, seen: list[Any] | None = None, **options: Any) -> Iterator[Served]:
    """Run a server with TLS that gives lines back; ``seen`` gets what it knows of each client's certificate."""

    def talk(conn: Any, peer: Any) -> None:
        if seen is not None:
            seen.append(conn.peer_certificate)
        for line in conn.frames(impl.Lines()):
            conn.send_frame(line, impl.Lines())

    async def talk_too(stream: Any, peer: Any) -> None:
        if seen is not None:
            seen.append(stream.peer_certificate)
        async for line in stream:
            await stream.send(line)

    options = {"ssl": contexts().server, **options}
    if kind.startswith("coroutines"):
        server = impl.aio.start_server(talk_too, **options)
    elif kind.startswith("threads"):
        server = impl.ThreadedServer(talk, **options)
    else:
        server = impl.MessageServer(lambda line, peer: line, **options)
    with served(server, kind) as running:
        yield running
