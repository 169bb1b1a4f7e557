"""Connecting and asking from a coroutine: names on a thread that may be left behind, sockets on the loop."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from .. import arguments
from ..serving.background import in_thread
from ..serving.requests import collect
from ..sockets.addresses import parse_address
from ..sockets.resolving import host_addresses
from ..udp.servers import Question, towards

_CHUNK = 1 << 16


async def addresses_of(host: str, timeout: float | None) -> list[str]:
    """Give every address of a host; raises as ``host_addresses`` does."""
    try:
        parse_address(host)
    except ValueError:
        stop = threading.Event()
        return await in_thread(lambda: host_addresses(host, timeout=timeout, cancelled=stop.is_set), stop=stop.set)
    return host_addresses(host)


@asynccontextmanager
async def within(deadline: float | None) -> AsyncIterator[None]:
    """Raise TimeoutError where the block is not over by a time of the loop's; None for no limit."""
    try:
        async with asyncio.timeout_at(deadline) as scope:
            yield
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError("timed out") from None
        raise error


def deadline_in(timeout: float | None) -> float | None:
    """Give the time of the loop's that is ``timeout`` seconds from now; None for no limit."""
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


async def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """Connect to a TCP server, trying every address of a name in turn; ``timeout`` covers all of it.

    Raises what ``oxisock.connect`` raises.
    """
    host, port, timeout = arguments.host(host), arguments.port(port), arguments.timeout(timeout, zero=True)
    deadline = deadline_in(timeout)
    failure: OSError = OSError(errno.EADDRNOTAVAIL, f"{host} has no address")
    for address in await addresses_of(host, timeout):
        try:
            async with within(deadline):
                return await _connect(address, port)
        except OSError as error:
            failure = error
            # asyncio says it in words of its own.
            if error.errno:
                failure = OSError(error.errno, os.strerror(error.errno))
            elif isinstance(error, TimeoutError):
                break
    raise failure


async def _connect(address: str, port: int) -> socket.socket:
    # Scoped addresses are the one thing that needs the resolver again, and it answers literals at once.
    family, kind, proto, _, target = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0]
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, target)
    except BaseException:
        sock.close()
        raise
    return sock


async def exchange(host: str, port: int, payload: bytes, timeout: float | None) -> bytes:
    """Connect, send, half-close, and give all that comes up to the end; raises what ``tcp_request`` raises."""
    deadline = deadline_in(timeout)
    loop = asyncio.get_running_loop()
    with await connect(host, port, timeout) as sock:
        async with within(deadline):
            await loop.sock_sendall(sock, payload)
            sock.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while data := await loop.sock_recv(sock, _CHUNK):
                collect(answer, data)
            return bytes(answer)


async def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram, and give the first one that comes back from the address it was sent to.

    Arguments and errors are those of ``oxisock.udp_request``.
    """
    question = Question.of(host, port, payload, timeout, retries)
    timeout = question.timeout
    deadline = deadline_in(timeout)
    try:
        addresses = await addresses_of(question.host, timeout)
    except TimeoutError as error:
        raise question.unresolved(error) from error
    refusal: OSError | None = None
    for address in sorted(addresses, key=lambda address: ":" in address):
        try:
            return await _ask(question, address, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            refusal = question.refused(error)
        deadline = deadline_in(timeout)
    assert refusal is not None
    raise refusal


async def _ask(question: Question, address: str, deadline: float | None) -> bytes:
    """Ask one address; the first try ends at ``deadline``, the others have their own."""
    loop = asyncio.get_running_loop()
    with towards(address, question.port) as sock:
        sock.setblocking(False)
        for number in range(question.retries + 1):
            if number:
                deadline = deadline_in(question.timeout)
            try:
                async with within(deadline):
                    # Not sock_sendall: it sends no empty datagram.
                    sock.send(question.payload)
                    return await loop.sock_recv(sock, 65535)
            except (TimeoutError, BlockingIOError):
                continue
    raise question.unanswered()
