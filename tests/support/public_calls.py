"""Every public function and method that takes something: how to find it, and how to call it with what makes sense."""

from __future__ import annotations

import asyncio
import inspect
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import GeneratorType, ModuleType
from typing import Any

import oxisock
import oxisock.testing

# Values, and what only oxisock makes: whoever makes one by hand means it. Their methods are tried like all others.
NOT_MADE_BY_USERS = {
    "LoadReport",
    "Scan",
    "Targets",
    "ThreadConnection",
    "AsyncScan",
    "FramedServer",
    "FramedStream",
    "Aio",
}
FOR_ITSELF = {"Targets.excluding", "Targets.resolved"}


def parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    found = list(inspect.signature(function).parameters.values())
    return [each for each in found if each.name != "self" and each.kind is not inspect.Parameter.VAR_KEYWORD]


def public_functions(impl: ModuleType) -> Iterator[str]:
    """Give each public function and method that takes something, as a dotted name."""
    spaces = {"": impl, "aio.": impl.aio, "testing.": oxisock.testing, "presets.": impl.presets}
    names = {"": oxisock.__all__, "aio.": oxisock.aio.__all__, "testing.": oxisock.testing.__all__}
    names["presets."] = oxisock.presets.__all__
    seen = set()
    for prefix, space in spaces.items():
        for name in names[prefix]:
            thing = getattr(space, name, None)
            if not callable(thing) or (inspect.isclass(thing) and issubclass(thing, BaseException)):
                continue
            if not inspect.isclass(thing):
                if parameters(thing):
                    yield prefix + name
                continue
            value = hasattr(thing, "_fields") and issubclass(thing, tuple)
            protocol = getattr(thing, "_is_protocol", False)
            made = value or protocol or issubclass(thing, str) or name in NOT_MADE_BY_USERS
            if not made and parameters(thing):
                yield prefix + name
            if name == "Aio":  # its methods are the functions of oxisock.aio
                continue
            for method, function in inspect.getmembers(thing, callable):
                ours = getattr(function, "__module__", None) or ""
                home = getattr(function, "__qualname__", "")
                if method.startswith("_") or not ours.startswith("oxisock") or home in seen:
                    continue
                seen.add(home)
                if parameters(function) and f"{name}.{method}" not in FOR_ITSELF:
                    yield f"{prefix}{name}.{method}"


class World:
    """What there is to talk to, of one engine."""

    def __init__(self, impl: ModuleType, stack: ExitStack) -> None:
        self.impl = impl
        self.enter = stack.enter_context
        self.runner = self.enter(asyncio.Runner())
        listener = self.enter(socket.create_server(("127.0.0.1", 0), backlog=512))
        self.open = listener.getsockname()[1]
        closed = self.enter(socket.socket())
        closed.bind(("127.0.0.1", 0))
        self.closed = closed.getsockname()[1]
        self._chat: Any = None
        self._udp: Any = None
        self._conn: Any = None

    def sock(self) -> socket.socket:
        """Give a connected socket whose other end has said all that it will."""
        one, other = map(self.enter, socket.socketpair())
        other.shutdown(socket.SHUT_WR)
        return one

    def udp(self) -> int:
        """Give a port where somebody answers datagrams."""
        if self._udp is None:
            self._udp = self.enter(self.impl.UdpEchoServer())
        return self._udp.address.port

    def framed(self) -> Any:
        return self.enter(self.impl.FramedSocket(self.sock(), self.impl.Lines(), timeout=0.01))

    def scan(self) -> Any:
        return self.enter(self.impl.scan_iter("127.0.0.1", [self.closed], timeout=0.1))

    def chat(self) -> Any:
        """Give a chat that runs."""
        if self._chat is None:
            self._chat = self.enter(self.impl.ChatServer(rate=None))
        return self._chat

    def client(self) -> Any:
        """Give somebody in a chat who has said all that there is to say."""
        client = self.enter(self.impl.ChatClient(*self.chat().address, timeout=5.0))
        client.leave()
        return client

    def conn(self) -> Any:
        """Give a connection in the hands of a handler."""
        if self._conn is None:
            got, done = queue.SimpleQueue[Any](), threading.Event()

            def handle(conn: Any, peer: Any) -> None:
                got.put(conn)
                done.wait(60)

            server = self.enter(self.impl.ThreadedServer(handle, idle_timeout=0.01))
            sock = self.enter(socket.create_connection(server.address))
            sock.shutdown(socket.SHUT_WR)
            self.enter(_afterwards(done.set))
            self._conn = got.get(timeout=20)
        return self._conn

    def server(self) -> Any:
        """Give a server that somebody stops as soon as it runs."""
        server = self.impl.EchoServer()

        def stop() -> None:
            while server._running is None:
                time.sleep(0.001)
            server.stop()

        thread = threading.Thread(target=stop)
        thread.start()

        def end() -> None:
            if server._running is None:
                server.start()
            thread.join()

        self.enter(_afterwards(end))
        return server

    async def framed_server(self) -> Any:
        server = await self.impl.aio.start_server(_handler)
        asyncio.get_running_loop().call_later(0.01, lambda: asyncio.ensure_future(server.stop()))
        return server

    async def stream(self) -> Any:
        return await self.impl.aio.open_framed("127.0.0.1", self.open)

    async def answered(self) -> Any:
        """Give a stream whose messages come back."""
        return await self.impl.aio.open_framed(*self.enter(self.impl.EchoServer()).address)


async def _handler(stream: Any, peer: Any) -> None:
    return None


def _plain_handler(*given: Any) -> None:
    return None


@contextmanager
def _afterwards(call: Callable[[], object]) -> Iterator[None]:
    yield
    call()


_REPORT = oxisock.ScanReport(results=[], counts={}, stats=oxisock.ScanStats(), trace=[])
_REPORT_METHODS = ("diff", "left_out", "from_json", "from_ndjson", "to_csv", "to_html", "to_json", "to_ndjson")
_REPORT_METHODS += ("to_nmap_xml",)
_HERE = {"host": "127.0.0.1"}

# How to call each of them with what makes sense: the object that a method is one of, and arguments.
HOW: dict[str, tuple[Callable[[World], Any] | None, Callable[[World], dict[str, Any]]]] = {
    **dict.fromkeys(("check_host", "scan_port"), (None, lambda w: {**_HERE, "port": w.closed, "timeout": 0.05})),
    "wait_for_port": (None, lambda w: {**_HERE, "port": w.open, "timeout": 0.05}),
    "scan_host": (None, lambda w: {**_HERE, "start": w.closed, "end": w.closed}),
    # With them a shard has a seed, and what is excluded is not all that there is.
    **dict.fromkeys(
        ("scan", "scan_iter"),
        (None, lambda w: {"targets": ["127.0.0.1", "127.0.0.2"], "ports": [w.closed], "timeout": 0.1, "seed": 1}),
    ),
    "parse_ports": (None, lambda w: {"spec": "80"}),
    "parse_targets": (None, lambda w: {"targets": "127.0.0.1,127.0.0.2"}),
    "service_name": (None, lambda w: {"port": 80}),
    "Scan.advance": (World.scan, lambda w: {}),
    **dict.fromkeys(("Targets.address", "Targets.host"), (lambda w: w.impl.parse_targets("127.0.0.1"), lambda w: {})),
    "Delimiter": (None, lambda w: {"delimiters": b"\n"}),
    "Fixed": (None, lambda w: {"size": 1}),
    "LengthPrefix.decoder": (lambda w: w.impl.Lines(), lambda w: {}),
    **dict.fromkeys(
        ("LengthPrefix.decode", "LengthPrefix.encode", "LengthPrefix.encode_many", "LengthPrefix.explain"),
        (lambda w: w.impl.Lines(), lambda w: {}),
    ),
    "Codec.encode": (lambda w: w.impl.Lines(), lambda w: {}),
    **dict.fromkeys(
        ("Decoder.feed", "Decoder.get_buffer", "Decoder.buffer_updated"),
        (lambda w: w.impl.Lines().decoder(), lambda w: {}),
    ),
    **dict.fromkeys(
        ("connect", "FramedSocket.connect", "open_framed"),
        (None, lambda w: {**_HERE, "port": w.open, "codec": w.impl.Lines(), "timeout": 0.05}),
    ),
    "FramedSocket": (None, lambda w: {"sock": w.sock(), "codec": w.impl.Lines(), "timeout": 0.05}),
    **dict.fromkeys(
        [f"FramedSocket.{name}" for name in ("send", "send_many", "request", "settimeout", "close")],
        (World.framed, lambda w: {}),
    ),
    **dict.fromkeys(("MessageServer", "ThreadedServer", "UdpServer"), (None, lambda w: {"handler": _plain_handler})),
    "start_server": (None, lambda w: {"handler": _handler}),
    "EchoServer.serve_forever": (World.server, lambda w: {"drain": 0.0}),
    "EchoServer.stop": (lambda w: w.enter(w.impl.EchoServer()), lambda w: {}),
    "FramedServer.serve_forever": (World.framed_server, lambda w: {}),
    "FramedServer.stop": (World.framed_server, lambda w: {}),
    **dict.fromkeys(
        ("FramedStream.send", "FramedStream.send_many", "FramedStream.close"), (World.stream, lambda w: {})
    ),
    "FramedStream.request": (World.answered, lambda w: {}),
    "AsyncScan.run": (
        lambda w: w.impl.aio.scan_iter("127.0.0.1", [w.closed], timeout=0.1),
        lambda w: {"on_result": None, "on_progress": None},
    ),
    "ThreadConnection.send_frame": (World.conn, lambda w: {"payload": b"x", "codec": w.impl.Lines()}),
    **dict.fromkeys(
        [f"ThreadConnection.{name}" for name in ("frames", "recv", "recv_exactly", "sendall", "settimeout")],
        (World.conn, lambda w: {}),
    ),
    "tcp_request": (None, lambda w: {**_HERE, "port": w.closed, "payload": b"x", "timeout": 0.05}),
    "load_test": (lambda w: oxisock.native, lambda w: {**_HERE, "port": w.closed, "duration": 0.01, "timeout": 0.05}),
    "udp_request": (None, lambda w: {**_HERE, "port": w.udp(), "payload": b"x", "timeout": 5.0}),
    "ChatClient": (None, lambda w: {**_HERE, "port": w.chat().address.port, "timeout": 5.0}),
    "ChatClient.recv": (World.client, lambda w: {"timeout": 0.01}),
    "ChatClient.send": (lambda w: w.enter(w.impl.ChatClient(*w.chat().address)), lambda w: {}),
    "RedisBackplane": (None, lambda w: {"url": "redis://127.0.0.1:1"}),
    "ChatServer.broadcast": (World.chat, lambda w: {}),
    "ChatServer.kick": (World.chat, lambda w: {"nick": "nobody"}),
    "ScanReport": (None, lambda w: {"results": [], "counts": {}, "stats": oxisock.ScanStats()}),
    "ScanReport.why": (lambda w: _REPORT, lambda w: {"address": "127.0.0.1", "port": 80}),
    **dict.fromkeys(
        [f"ScanReport.{name}" for name in _REPORT_METHODS],
        (lambda w: _REPORT, lambda w: {}),
    ),
    "FaultyServer.stop": (lambda w: w.enter(oxisock.testing.FaultyServer()), lambda w: {}),
    "assert_ports": (None, lambda w: {**_HERE, "closed": [w.closed], "timeout": 0.1}),
    "check_codec": (None, lambda w: {"codec": w.impl.Lines(max_frame=9), "max_examples": 1}),
    "chunkings": (None, lambda w: {}),
    "payloads": (None, lambda w: {"codec": w.impl.Lines()}),
    "erlang": (None, lambda w: {"n": 4}),
}


def find(world: World, name: str) -> tuple[Callable[..., Any], Callable[[], dict[str, Any]]]:
    """Give what is to be called, and what makes arguments for it that make sense."""
    prefix, _, rest = name.rpartition(".") if "." in name and name.split(".")[0].islower() else ("", "", name)
    if name.split(".")[0] in ("aio", "testing", "presets"):
        prefix, rest = name.split(".", 1)
    made, good = HOW.get(rest, (None, lambda w: {}))
    space = {"aio": world.impl.aio, "testing": oxisock.testing, "presets": world.impl.presets}.get(prefix, world.impl)

    def function(*given: Any, **named: Any) -> Any:
        owner: Any = space
        *owners, last = rest.split(".")
        if made is not None:
            owner = made(world)
            if inspect.iscoroutine(owner):
                return _awaiting(owner, last, given, named)
        else:
            for each in owners:
                owner = getattr(owner, each)
        return getattr(owner, last)(*given, **named)

    return function, lambda: good(world)


async def _awaiting(owner: Any, last: str, given: Any, named: Any) -> Any:
    owner = await owner
    try:
        result = getattr(owner, last)(*given, **named)
        return await result if inspect.isawaitable(result) else result
    finally:
        if hasattr(owner, "abort"):
            owner.abort()
            await owner.wait_closed()
        else:
            await owner.stop()


async def see(result: Any) -> None:
    """Go to the end of what a call has begun."""
    if inspect.isawaitable(result) and not hasattr(result, "stop"):
        result = await result
    if isinstance(result, GeneratorType):
        list(result)
    elif hasattr(result, "wait_closed"):  # of asyncio: a stream, a scan
        if hasattr(result, "__anext__") and hasattr(result, "report"):
            async for _ in result:
                pass
        result.close()
        await result.wait_closed()
    elif inspect.isawaitable(result):  # its server
        await result
        await result.stop()
    elif hasattr(result, "stop"):
        result.start()
        result.stop()
    elif hasattr(result, "close"):
        result.close()


def drive(result: Any) -> None:
    """Go to the end of what a call outside of asyncio has begun."""
    with suppress(StopIteration):
        see(result).send(None)
