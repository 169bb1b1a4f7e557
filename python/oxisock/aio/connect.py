"""Connecting and asking from a coroutine: names on a thread that may be left behind, sockets on the loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from ..serving.background import in_thread
from ..serving.requests import answering, collect
from ..sockets import secure
from ..sockets.addresses import reads_as_address
from ..sockets.connecting import Destination, LookUp, connecting, prepared, refused, unresolved
from ..sockets.resolving import checked_host, host_addresses
from ..udp.requests import Question, in_order, towards

if TYPE_CHECKING:
    from ssl import SSLContext

_CHUNK = 1 << 16


async def addresses_of(host: str, timeout: float | None) -> list[str]:
    """Give every address of a host; raises as ``host_addresses`` does."""
    if reads_as_address(checked_host(host)):
        return host_addresses(host)
    stop = threading.Event()
    return await in_thread(lambda: host_addresses(host, timeout=timeout, cancelled=stop.is_set), stop=stop.set)


@asynccontextmanager
async def within(deadline: float | None) -> AsyncIterator[None]:
    """Raise TimeoutError where the block is not over by a time of the loop's; None for no limit."""
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError("timed out") from None
        raise error


def deadline_in(timeout: float | None) -> float | None:
    """Give the time of the loop's that is ``timeout`` seconds from now; None for no limit."""
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


async def connect(destination: Destination) -> socket.socket:
    """Connect to a TCP server, as ``sockets.connecting`` says; raises what ``oxisock.connect`` raises."""
    deadline = deadline_in(destination.timeout)
    steps = connecting(destination)
    sock: socket.socket | None = None
    came: Any = None
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, LookUp):
                    came = await addresses_of(step.host, destination.timeout)
                else:
                    if sock is not None:
                        sock.close()
                    sock = socket.socket(step.family, socket.SOCK_STREAM)
                    sock.setblocking(False)
                    async with within(deadline):
                        await asyncio.get_running_loop().sock_connect(sock, step.address)
                    came = prepared(sock)
            except OSError as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration:
        assert sock is not None
        return sock
    except BaseException:
        if sock is not None:
            sock.close()
        raise


async def exchange(destination: Destination, payload: bytes, context: SSLContext | None, name: str | None) -> bytes:
    """Connect, send, half-close, and give all that comes up to the end; raises what ``tcp_request`` raises."""
    deadline = deadline_in(destination.timeout)
    loop = asyncio.get_running_loop()
    with await connect(destination) as sock, answering(destination):
        if context is not None:
            return await _exchange_tls(sock, context, name, destination, payload, deadline)
        async with within(deadline):
            await loop.sock_sendall(sock, payload)
            sock.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while data := await loop.sock_recv(sock, _CHUNK):
                collect(answer, data)
            return bytes(answer)


async def _exchange_tls(
    sock: socket.socket,
    context: SSLContext,
    name: str | None,
    destination: Destination,
    payload: bytes,
    deadline: float | None,
) -> bytes:
    from ..sockets.tls import Session, asking

    loop = asyncio.get_running_loop()
    answer = bytearray()
    session = Session(context, name)
    steps = asking(session, payload, partial(collect, answer))
    wire = next(steps)
    try:
        while True:
            with nullcontext() if session.begun else secure.shaking(destination.peer, destination.timeout):
                async with within(deadline):
                    await loop.sock_sendall(sock, wire)
                    came = await loop.sock_recv(sock, _CHUNK)
                wire = steps.send(came)
    except StopIteration:
        return bytes(answer)


async def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram, and give the first one that comes back from the address it was sent to.

    Arguments and errors are those of ``oxisock.udp_request``.
    """
    question = Question.of(host, port, payload, timeout, retries)
    timeout = question.timeout
    deadline = deadline_in(timeout)
    try:
        addresses = await addresses_of(question.peer.host, timeout)
    except OSError as error:
        raise unresolved(question.peer, timeout, error) from error
    refusal: OSError | None = None
    for address in in_order(addresses):
        try:
            return await _ask(question, address, deadline)
        except TimeoutError:
            raise
        except OSError as error:
            refusal = refused(question.peer, error)
        deadline = deadline_in(timeout)
    assert refusal is not None
    raise refusal


async def _ask(question: Question, address: str, deadline: float | None) -> bytes:
    """Ask one address; the first try ends at ``deadline``, the others have their own."""
    loop = asyncio.get_running_loop()
    with towards(address, question.peer.port) as sock:
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
