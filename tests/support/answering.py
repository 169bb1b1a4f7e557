"""Servers of every kind that answer line by line, behind one face, for the tests of their clients and crowds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from support.certificates import contexts
from support.served import Served, served

PLAIN = ["coroutines", "messages", "threads"]
SECURED = [kind + " over TLS" for kind in PLAIN]


def same(line: bytes) -> bytes:
    return line


@contextlib.contextmanager
def answering(
    impl: ModuleType,
    kind: str,
    answer: Callable[[bytes], bytes] = same,
    *,
    codec: Any = None,
    seen: list[Any] | None = None,
    **options: Any,
) -> Iterator[Served]:
    """Run a server that answers lines, with TLS where its kind says so; ``seen`` gets what it knows of each client's
    certificate.
    """
    lines = codec or impl.Lines()

    def talk(conn: Any, peer: Any) -> None:
        if seen is not None:
            seen.append(conn.peer_certificate)
        for line in conn.frames(lines):
            conn.send_frame(answer(line), lines)

    async def talk_too(stream: Any, peer: Any) -> None:
        if seen is not None:
            seen.append(stream.peer_certificate)
        async for line in stream:
            await stream.send(answer(line))

    if kind.endswith("over TLS"):
        options = {"ssl": contexts().server, **options}
    if kind.startswith("coroutines"):
        server = impl.aio.start_server(talk_too, codec=codec, **options)
    elif kind.startswith("threads"):
        server = impl.ThreadedServer(talk, **options)
    else:
        server = impl.MessageServer(lambda line, peer: answer(line), codec=codec, **options)
    with served(server, kind) as running:
        yield running
