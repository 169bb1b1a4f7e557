"""The functions of ``oxisock.aio``, bound to one engine."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from .. import arguments
from ..arguments import spelled_out
from ..engines.binding import Engine, Functions, engine
from ..engines.selection import Impl
from ..framing.bound import BoundCodec
from ..framing.codecs import Codec
from ..scanning.options import ScanKeywords, ScanOptions
from ..scanning.plan import make_job
from ..scanning.questions import Questions
from ..scanning.report import ScanReport
from ..scanning.running import Scan
from ..scanning.services import port_span
from ..scanning.specs import PortSpec, TargetSpec
from ..serving.limits import LimitKeywords, Limits
from ..serving.requests import answering
from ..sockets import secure
from ..sockets.connecting import Destination
from ..sockets.resolving import checked_host
from ..types import PortResult, Progress
from .connect import connect, deadline_in, exchange, udp_request, within
from .protocol import StreamProtocol
from .questions import answer
from .running import Handler
from .scanning import AsyncScan
from .server import FramedServer
from .stream import FramedStream

if TYPE_CHECKING:
    from ssl import SSLContext


class Aio(Functions):
    """The functions of ``oxisock.aio``, bound to one engine; made by ``bind``."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.impl: Impl = engine.impl
        self._questions = Questions(engine.scanning)
        self._lines: Codec = engine.names.Lines(eof_frame=True)
        self.AsyncScan = AsyncScan
        self.FramedServer = FramedServer
        self.FramedStream = FramedStream

    def __repr__(self) -> str:
        return f"<oxisock.aio, {self.impl}>"

    def _bound(self, codec: Codec | None) -> BoundCodec:
        return BoundCodec(self._lines if codec is None else codec, self._engine.framing)

    # --- scanning --------------------------------------------------------------------------------------------------

    async def check_host(self, host: str, port: int, timeout: float | None = 2.0) -> bool:
        """Return whether a TCP connection to a port succeeds; arguments and errors as for ``oxisock.check_host``."""
        return await answer(self._questions.check_host(host, port, timeout))

    async def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Ask one port and give all that was learned; arguments and errors are those of ``oxisock.scan_port``."""
        return await answer(self._questions.scan_port(host, port, timeout))

    async def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and give the seconds that it took.

        Arguments and errors are those of ``oxisock.wait_for_port``.
        """
        return await answer(self._questions.wait_for_port(host, port, timeout, interval))

    async def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Return the open ports of one host, sorted; arguments and errors are those of ``oxisock.scan_host``."""
        ports = port_span(start, end)
        workers = None if workers is None else arguments.count(workers, "workers")
        report = await self.scan(checked_host(host), ports, timeout=timeout, concurrency=workers)
        return [result.port for result in report.open]

    async def scan(
        self,
        targets: TargetSpec,
        ports: PortSpec = "1-1024",
        *,
        on_result: Callable[[PortResult], object] | None = None,
        on_progress: Callable[[Progress], object] | None = None,
        **options: Unpack[ScanKeywords],
    ) -> ScanReport:
        """Scan ports and give the report; arguments and errors are those of ``oxisock.scan``.

        The callbacks, plain functions, are called on the event loop; an exception in one ends the scan and carries
        the partial report as ``.report``. Cancelling the task ends the scan within a tenth of a second.
        """
        return await self.scan_iter(targets, ports, **options).run(on_result, on_progress)

    def scan_iter(self, targets: TargetSpec, ports: PortSpec = "1-1024", **options: Unpack[ScanKeywords]) -> AsyncScan:
        """Return a scan that is to be iterated over with ``async for``, as itself or under ``async with``.

        Arguments and errors are those of ``oxisock.scan_iter``; the errors come with the first result asked for.
        """
        how = ScanOptions.of("scan_iter", options)

        def begin(stop: threading.Event) -> Scan:
            job = make_job(targets, ports, how, cancelled=stop.is_set)
            return Scan(self._engine, job)

        return AsyncScan(begin)

    # --- framed streams and servers --------------------------------------------------------------------------------

    def open_framed(
        self,
        host: str,
        port: int,
        codec: Codec | None = None,
        *,
        timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> OpenFramed:
        """Connect to a TCP server: ``await`` gives a FramedStream, and so does ``async with``, which closes it.

        Every address of a name is tried in turn. ``timeout`` in seconds (None for no limit) covers finding the name
        and connecting, and nothing after that: ``asyncio.timeout`` is for the rest. ``codec`` None is
        ``Lines(eof_frame=True)``, as for the servers. ``ssl`` is the context of a connection with TLS, whose handshake
        is part of connecting, and ``server_hostname`` the name that the server's certificate is to bear: the host, if
        none is given.

        Raises ValueError for a bad host, port or timeout, ``socket.gaierror`` for a name without addresses,
        TimeoutError, ``ssl.SSLError`` if the handshake fails, and the OSError of the last address; host and
        port are in the message of each.
        """
        destination = Destination.of(host, port, timeout)
        name = secure.server_name(ssl, server_hostname, destination.peer.host)
        return OpenFramed(destination, self._bound(codec), ssl, name)

    @spelled_out(Limits)
    def start_server(
        self,
        handler: Handler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        codec: Codec | None = None,
        sock: socket.socket | None = None,
        ssl: SSLContext | None = None,
        handshake_timeout: float | None = 5.0,
        **limits: Unpack[LimitKeywords],
    ) -> FramedServer:
        """Listen, and call a coroutine for each connection.

        ``await start_server(...)`` gives the running FramedServer, and so does ``async with start_server(...) as
        server``, which stops it.

        Arguments:
            handler: ``async def handler(stream, peer)`` gets a FramedStream and the ``(host, port)`` at its other end;
                when it returns, what it sent is sent and the connection closed. One that raises is logged with its
                peer and ends its connection alone.
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            codec: how messages are framed; None is ``Lines(eof_frame=True)``.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            ssl: the context of a server with TLS; None: without.
            handshake_timeout: seconds that a TLS handshake may take; one that takes longer is cut and counted in
                ``timeouts``, one that fails in ``handshake_errors``, and the handler hears of neither. None: no limit.
            **limits: those of EchoServer. ``idle_timeout`` is the time since the last complete message while the
                handler waits for one, and ``write_timeout`` the time without progress of a peer that does not read;
                ``recv`` and ``send`` then raise TimeoutError, and the connection is closed. Past ``max_buffered``
                bytes under way ``send`` waits and nothing more is read.

        Raises ValueError or TypeError for a bad argument. Starting it raises the errors of binding.
        """
        return FramedServer(self.impl, handler, self._bound(codec), host, port, sock, ssl, handshake_timeout, limits)

    # --- one question, one answer ----------------------------------------------------------------------------------

    async def tcp_request(
        self,
        host: str,
        port: int,
        payload: bytes,
        *,
        codec: Codec | None = None,
        timeout: float | None = 5.0,
        ssl: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> bytes:
        """Connect, send ``payload``, and give the answer; arguments and errors are those of ``oxisock.tcp_request``."""
        destination = Destination.of(host, port, timeout)
        if codec is None:
            name = secure.server_name(ssl, server_hostname, destination.peer.host)
            return await exchange(destination, arguments.bytes_like(payload, "payload"), ssl, name)
        deadline = deadline_in(destination.timeout)
        opening = self.open_framed(host, port, codec, timeout=timeout, ssl=ssl, server_hostname=server_hostname)
        async with opening as stream:
            with answering(destination):
                async with within(deadline):
                    answer = await stream.request(payload)
            stream.close(linger=0)
        return answer

    udp_request = staticmethod(udp_request)


class OpenFramed:
    """A connection to be made: ``await`` it, or use it with ``async with``."""

    def __init__(
        self, destination: Destination, bound: BoundCodec, context: SSLContext | None, name: str | None
    ) -> None:
        self._open = partial(_open, destination, bound, context, name)

    def __await__(self) -> Generator[Any, None, FramedStream]:
        return self._open().__await__()

    async def __aenter__(self) -> FramedStream:
        self._stream = await self._open()
        return await self._stream.__aenter__()

    async def __aexit__(self, *details: Any) -> None:
        await self._stream.__aexit__(*details)


async def _open(
    destination: Destination, bound: BoundCodec, context: SSLContext | None, name: str | None
) -> FramedStream:
    stream = FramedStream(bound)
    deadline = deadline_in(destination.timeout)
    sock = await connect(destination)
    try:
        if context is None:
            await asyncio.get_running_loop().create_connection(partial(StreamProtocol, stream), sock=sock)
        else:
            from .secured import shake_hands

            with secure.shaking(destination.peer, destination.timeout):
                async with within(deadline):
                    await shake_hands(stream, sock, context, name)
    except BaseException:
        sock.close()
        raise
    return stream


def bind(impl: Impl) -> Aio:
    """Return the functions of ``oxisock.aio`` bound to the engine "pure" or "native"."""
    return Aio.of(engine(impl))
