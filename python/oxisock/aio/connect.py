"""Connects and sends requests from coroutines. Names are looked up on a thread; sockets are on the event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ..serving.background import in_thread
from ..serving.requests import MOST_ENCRYPTED, answering, begin_sending, collect
from ..sockets import secure
from ..sockets.addresses import reads_as_address
from ..sockets.closing import end_output
from ..sockets.connecting import Destination, LookUp, Try, connecting, prepared
from ..sockets.resolving import checked_host, host_addresses
from ..udp.requests import Ask, Question, asking, towards

if TYPE_CHECKING:
    from ssl import SSLContext

S = TypeVar("S")
T = TypeVar("T")

_CHUNK = 1 << 16


async def addresses_of(host: str, timeout: float | None) -> list[str]:
    """Return every address of a host; raises as ``host_addresses`` does."""
    if reads_as_address(checked_host(host)):
        return host_addresses(host)
    stop = threading.Event()
    return await in_thread(lambda: host_addresses(host, timeout=timeout, cancelled=stop.is_set), stop=stop.set)


@asynccontextmanager
async def within(deadline: float | None) -> AsyncIterator[None]:
    """Raise TimeoutError if the block is not over by ``deadline``, a time of the event loop; None: no limit."""
    scope = asyncio.timeout_at(deadline)
    try:
        async with scope:
            yield
    except TimeoutError as error:
        if scope.expired():
            raise TimeoutError("timed out") from None
        raise error


def deadline_in(timeout: float | None) -> float | None:
    """Return the time of the event loop that is ``timeout`` seconds from now; None for no limit."""
    return None if timeout is None else asyncio.get_running_loop().time() + timeout


async def carry_out(steps: Generator[S, Any, T], step: S, do: Callable[[S], Awaitable[Any]]) -> T:
    """Do as ``sockets.calls.carry_out`` does, from the first ``step`` on, but await each step."""
    try:
        while True:
            try:
                came = await do(step)
            except BaseException as error:
                step = steps.throw(error)
            else:
                step = steps.send(came)
    except StopIteration as end:
        found: T = end.value
        return found


async def connect(destination: Destination) -> socket.socket:
    """Connect to a TCP server, as ``sockets.connecting`` says. Raises what ``oxisock.connect`` raises."""
    deadline = deadline_in(destination.timeout)
    steps = connecting(destination)
    sock: socket.socket | None = None

    async def do(step: LookUp | Try) -> Any:
        nonlocal sock
        if isinstance(step, LookUp):
            return await addresses_of(step.host, destination.timeout)
        if sock is not None:
            sock.close()
        sock = socket.socket(step.family, socket.SOCK_STREAM)
        sock.setblocking(False)
        async with within(deadline):
            await asyncio.get_running_loop().sock_connect(sock, step.address)
        return prepared(sock)

    try:
        await carry_out(steps, next(steps), do)
    except BaseException:
        if sock is not None:
            sock.close()
        raise
    assert sock is not None
    return sock


async def exchange(destination: Destination, payload: bytes, context: SSLContext | None, name: str | None) -> bytes:
    """Connect, send, half-close, and return everything that the peer sends. Raises what ``tcp_request`` raises."""
    deadline = deadline_in(destination.timeout)
    loop = asyncio.get_running_loop()
    with await connect(destination) as sock, answering(destination):
        if context is not None:
            return await _exchange_tls(sock, context, name, destination, payload, deadline)
        async with within(deadline):
            answer = bytearray()
            reading = await _send(sock, payload, partial(collect, answer))
            end_output(sock)  # if the peer has reset the connection, sock_recv says so
            while data := await (reading or loop.sock_recv(sock, _CHUNK)):
                reading = None
                collect(answer, data)
            return bytes(answer)


async def _send(sock: socket.socket, data: bytes, take: Callable[[bytes], None]) -> asyncio.Future[bytes] | None:
    """Send everything, and take what comes meanwhile: the peer may read on only when its answer is read.

    Return the read that is under way then, if there is one: if it were cancelled, it could lose what it has read.
    """
    rest = begin_sending(sock, data)
    if not rest:
        return None
    loop = asyncio.get_running_loop()
    sending = asyncio.ensure_future(loop.sock_sendall(sock, rest))
    reading: asyncio.Future[bytes] | None = None
    try:
        while not sending.done():
            reading = asyncio.ensure_future(loop.sock_recv(sock, _CHUNK))
            await asyncio.wait([sending, reading], return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                break
            came, reading = reading.result(), None
            if not came:  # the peer has ended its output, and may go on reading
                break
            take(came)
        await sending
    except BaseException:
        calls: list[asyncio.Future[Any]] = [sending] if reading is None else [sending, reading]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        raise
    return reading


async def _exchange_tls(
    sock: socket.socket,
    context: SSLContext,
    name: str | None,
    destination: Destination,
    payload: bytes,
    deadline: float | None,
) -> bytes:
    from ..sockets.tls import Session
    from ..sockets.tls import asking as asking_within

    loop = asyncio.get_running_loop()
    answer = bytearray()
    session = Session(context, name)
    steps = asking_within(session, payload, partial(collect, answer))
    wire = next(steps)
    try:
        while True:
            with nullcontext() if session.begun else secure.shaking(destination.peer, destination.timeout):
                if deadline is not None and loop.time() >= deadline:
                    raise TimeoutError("timed out")  # calls that need no waiting would never notice
                async with within(deadline):
                    heard = bytearray()
                    reading = await _send(sock, wire, partial(collect, heard, most=MOST_ENCRYPTED))
                    if reading or not heard:
                        heard += await (reading or loop.sock_recv(sock, _CHUNK))
                    came = bytes(heard)
                wire = steps.send(came)
    except StopIteration:
        return bytes(answer)


async def udp_request(host: str, port: int, payload: bytes, *, timeout: float | None = 1.0, retries: int = 0) -> bytes:
    """Send one datagram and return the first datagram that comes back from that address.

    Arguments and errors are those of ``oxisock.udp_request``.
    """
    question = Question.of(host, port, payload, timeout, retries)
    deadline = deadline_in(question.timeout)
    steps = asking(question)

    async def do(step: LookUp | Ask) -> Any:
        if isinstance(step, LookUp):
            return await addresses_of(step.host, question.timeout)
        return await _ask(question, step.address, deadline if step.first else deadline_in(question.timeout))

    return await carry_out(steps, next(steps), do)


async def _ask(question: Question, address: str, deadline: float | None) -> bytes:
    """Ask one address. The first try ends at ``deadline``; each of the others has a deadline of its own."""
    loop = asyncio.get_running_loop()
    with towards(address, question.peer.port) as sock:
        sock.setblocking(False)
        for number in range(question.retries + 1):
            if number:
                deadline = deadline_in(question.timeout)
            try:
                async with within(deadline):
                    # sock_sendall does not send an empty datagram.
                    sock.send(question.payload)
                    return await loop.sock_recv(sock, 65535)
            except (TimeoutError, BlockingIOError):
                continue
    raise question.unanswered()
