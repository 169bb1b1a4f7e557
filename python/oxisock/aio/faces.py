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
    """The functions of ``oxisock.aio``, bound to one engine. ``bind`` returns it."""

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
        """Return whether a TCP connection to a port succeeds. Arguments and errors: see ``oxisock.check_host``."""
        return await answer(self._questions.check_host(host, port, timeout))

    async def scan_port(self, host: str, port: int, timeout: float | None = 1.0) -> PortResult:
        """Probe one port and return the result. Arguments and errors are those of ``oxisock.scan_port``."""
        return await answer(self._questions.scan_port(host, port, timeout))

    async def wait_for_port(self, host: str, port: int, timeout: float | None = 30.0, interval: float = 0.1) -> float:
        """Wait until a TCP connection to a port succeeds, and return how many seconds that took.

        Arguments and errors are those of ``oxisock.wait_for_port``.
        """
        return await answer(self._questions.wait_for_port(host, port, timeout, interval))

    async def scan_host(
        self, host: str, start: int = 1, end: int = 1024, *, workers: int | None = None, timeout: float | None = 1.0
    ) -> list[int]:
        """Return the sorted open ports of one host. Arguments and errors are those of ``oxisock.scan_host``."""
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
        """Scan ports and return the report. Arguments and errors are those of ``oxisock.scan``.

        Callbacks are plain functions, and run on the event loop. An exception in a callback ends the scan, and has the
        partial report as ``.report``. If the task is cancelled, the scan ends within 100 ms.
        """
        return await self.scan_iter(targets, ports, **options).run(on_result, on_progress)

    def scan_iter(self, targets: TargetSpec, ports: PortSpec = "1-1024", **options: Unpack[ScanKeywords]) -> AsyncScan:
        """Return a scan for ``async for``, on its own or inside ``async with``.

        Arguments and errors are those of ``oxisock.scan_iter``. Errors are raised when you enter ``async with`` or ask
        for the first result.
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
        """Connect to a TCP server. ``await`` returns a FramedStream; ``async with`` also closes it at the end.

        Arguments:
            host: a name or an address. All addresses of a name are tried in turn.
            port: 1 to 65535.
            codec: how messages are framed; None is ``Lines(eof_frame=True)``.
            timeout: the limit in seconds for name look-up, connecting and TLS handshake together; None: no limit. For
                later calls, use ``asyncio.timeout``.
            ssl: the context for a connection with TLS; None: no TLS.
            server_hostname: the name to look for in the certificate of the server; default ``host``.

        Raises ValueError for a bad host, port or timeout, ``socket.gaierror`` if the name has no address, TimeoutError,
        ``ssl.SSLError`` if the handshake fails, and the OSError of the last address. Each message has host and port.
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
        """Start a TCP server that calls a coroutine function for each connection.

        ``await start_server(...)`` returns the running FramedServer. ``async with start_server(...) as server`` also
        stops it at the end.

        Arguments:
            handler: ``async def handler(stream, peer)`` gets a FramedStream and its peer as ``(host, port)``. When it
                returns, the server sends what waits and closes the connection. If it raises, that is logged with the
                peer, and only its connection ends.
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            codec: how messages are framed; None is ``Lines(eof_frame=True)``.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            ssl: the context for a server with TLS; None: no TLS.
            handshake_timeout: as for MessageServer.
            **limits: those of EchoServer. ``idle_timeout`` counts from the last complete message while the handler
                waits for the next one, and ``write_timeout`` is the time without progress of a peer that does not
                read. After either, ``recv`` and ``send`` raise TimeoutError, and the connection is closed. If more than
                ``max_buffered`` bytes wait for a peer, ``send`` waits, and the server stops reading from the peer.

        Raises ValueError or TypeError for a bad argument. The start raises the errors of binding.
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
        """Send ``payload`` and return the answer. Arguments and errors are those of ``oxisock.tcp_request``."""
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
    """A connection that is not open yet, from ``aio.open_framed``. Use ``await`` or ``async with`` to open it."""

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
