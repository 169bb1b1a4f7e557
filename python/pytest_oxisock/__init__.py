"""oxisock's fixtures for pytest: servers to test clients against, and a port where nobody listens.

pytest loads this by its entry point; a package of its own, so that nothing of oxisock is imported before a test asks
for one of these.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import oxisock
    from oxisock.testing import FaultyServer


@pytest.fixture
def free_port() -> int:
    """A free TCP port of 127.0.0.1: for a server that your test starts, or to get a refused connection."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def oxisock_echo_server() -> Iterator[oxisock.EchoServer]:
    """A running ``EchoServer``, which sends back every byte; ``.address`` is where it listens."""
    import oxisock

    with oxisock.EchoServer() as server:
        yield server


@pytest.fixture
def oxisock_udp_echo_server() -> Iterator[oxisock.UdpEchoServer]:
    """A running ``UdpEchoServer``, which sends back every datagram; ``.address`` is where it listens."""
    import oxisock

    with oxisock.UdpEchoServer() as server:
        yield server


@pytest.fixture
def oxisock_message_server() -> Iterator[Callable[..., oxisock.MessageServer]]:
    """A function that starts a ``MessageServer`` with your handler and arguments. All of them stop after the test."""
    import oxisock

    with ExitStack() as started:

        def start(handler: Callable[..., Any], **arguments: Any) -> oxisock.MessageServer:
            return started.enter_context(oxisock.MessageServer(handler, **arguments))

        yield start


@pytest.fixture
def oxisock_chat_server() -> Iterator[Any]:
    """A running ``ChatServer``; ``.address`` is where it listens."""
    import oxisock

    package: Any = oxisock
    with package.ChatServer() as server:
        yield server


@pytest.fixture
def oxisock_faulty_server() -> Iterator[FaultyServer]:
    """A running echo server that answers byte by byte, to test whether your client joins the bytes of an answer.

    Call it with the fields of ``oxisock.Faults`` (``cut``, ``delay``, ``reset_after``, ``drop``, ``seed``) to start
    another server with these faults. All of them stop after the test.
    """
    from oxisock.testing import FaultyServer

    with FaultyServer(cut=1) as server:
        yield server
