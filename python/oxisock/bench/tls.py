"""The TLS benchmark: handshakes, and lines in capitals from a Python handler over TLS."""

from __future__ import annotations

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, NamedTuple

from . import Clocked, Scenario
from .message import LINE, servers
from .stage import HOST, NOTE, Answers, contenders

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from . import Contender

_CONTEXT = """
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain({certificate!r})
"""
_AT_ONCE = 8  # clients that shake hands side by side
_NOTES = (
    NOTE,
    "TLS 1.3 with a key on P-256; no session is resumed. All use OpenSSL through Python's `ssl`, the load too. asyncio "
    "and uvloop: a hand-written `Protocol`. Streams: `asyncio.start_server` with `readline`. oxisock.aio: "
    "`aio.start_server`, on asyncio's loop.",
)


class Handshakes(NamedTuple):
    """The load: connections, one after the other by some clients, each of which asks once."""

    messages: int

    def ask(self, port: int) -> Answers:
        """Ask the server and compare each answer."""
        context = _trusting()

        def one(_: int) -> bool:
            with _connected(port, context) as sock:
                sock.sendall(LINE)
                return sock.recv(100) == LINE.upper()

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            began = time.perf_counter()
            right = sum(pool.map(one, range(self.messages)))
            return Answers(right, Clocked(time.perf_counter() - began))


class Volleys(NamedTuple):
    """The load: lines over some connections, so many in flight on each."""

    connections: int
    depth: int
    messages: int

    def ask(self, port: int) -> Answers:
        """Ask the server and compare each answer."""
        context, volley = _trusting(), LINE * self.depth
        wanted, right = volley.upper(), 0
        with contextlib.ExitStack() as stack:
            socks = [stack.enter_context(_connected(port, context)) for _ in range(self.connections)]
            rounds = -(-self.messages // (self.connections * self.depth))
            began = time.perf_counter()
            for _ in range(rounds):
                for sock in socks:
                    sock.sendall(volley)
                for sock in socks:
                    answer = sock.recv(len(wanted))
                    while len(answer) < len(wanted) and (more := sock.recv(len(wanted) - len(answer))):
                        answer += more
                    if answer != wanted:
                        raise ValueError(f"{answer[:40]!r} instead of {wanted[:40]!r}")
                    right += self.depth
            seconds = time.perf_counter() - began
        return Answers(right, Clocked(seconds * self.messages / right))


def scenarios() -> list[Scenario]:
    """Return the handshakes, and one scenario for each number of connections and of lines in flight."""
    return [
        Scenario(
            group="tls",
            name="tls handshakes",
            amount=400,
            unit="handshakes",
            contenders=lambda amount: _contenders(Handshakes(amount)),
            cost=3.0,
            notes=_NOTES,
        ),
        *(_scenario(*each) for each in ((50, 32, 60_000, 16_000), (50, 1, 6_000, 0), (1, 1, 2_000, 0))),
    ]


def _scenario(connections: int, depth: int, amount: int, quick: int) -> Scenario:
    return Scenario(
        group="tls",
        name=f"tls message, {connections} × {depth} in flight",
        amount=amount,
        unit="lines",
        contenders=lambda amount: _contenders(Volleys(connections, depth, amount)),
        quick=quick,
        cost=1.5,
        notes=_NOTES,
    )


@contextlib.contextmanager
def _contenders(load: Handshakes | Volleys) -> Iterator[list[Contender]]:
    with _certificate() as path:
        context = _CONTEXT.format(certificate=path)
        with contenders({name: context + code for name, code in servers().items()}, load) as found:
            yield found


@contextlib.contextmanager
def _certificate() -> Iterator[str]:
    """Return the file with the certificate and its key."""
    with as_file(files(__name__.rpartition(".")[0]) / "localhost.pem") as path:
        yield str(path)


def _trusting() -> ssl.SSLContext:
    """Return a client's context that knows the certificate."""
    import ssl

    with _certificate() as path:
        return ssl.create_default_context(cafile=path)


def _connected(port: int, context: ssl.SSLContext) -> AbstractContextManager[ssl.SSLSocket]:
    sock = socket.create_connection((HOST, port))
    try:
        return context.wrap_socket(sock, server_hostname=HOST)
    except BaseException:
        sock.close()
        raise
