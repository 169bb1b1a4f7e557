"""Handlers and callbacks: which are refused before they are called, and who holds them."""

from __future__ import annotations

import asyncio
import functools
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import aio
from support.coroutines import Run, until
from support.served import Client, Served
from support.waiting import wait_until


async def coroutine(*given: Any) -> None:
    pass


def generator(*given: Any) -> Iterator[bytes]:
    yield b""


async def asynchronous_generator(*given: Any) -> AsyncIterator[bytes]:
    yield b""


class Asynchronous:
    async def __call__(self, *given: Any) -> None:
        pass

    async def method(self, *given: Any) -> None:
        pass

    def generator(self, *given: Any) -> Iterator[bytes]:
        yield b""


COROUTINES: list[Any] = [coroutine, functools.partial(coroutine, 1), Asynchronous(), Asynchronous().method]
GENERATORS: list[Any] = [generator, asynchronous_generator, functools.partial(generator, 1), Asynchronous().generator]

PLAIN: dict[str, Callable[[ModuleType, Any], object]] = {
    "handler of MessageServer": lambda impl, hook: impl.MessageServer(hook),
    "handler of MessageServer in batches": lambda impl, hook: impl.MessageServer(hook, batch=True),
    "handler of ThreadedServer": lambda impl, hook: impl.ThreadedServer(hook),
    "handler of UdpServer": lambda impl, hook: impl.UdpServer(hook),
    "on_event": lambda impl, hook: impl.ChatServer(on_event=hook),
    "on_start": lambda impl, hook: impl.EchoServer().serve_forever(on_start=hook),
    "on_result": lambda impl, hook: impl.scan("127.0.0.1", 1, on_result=hook),
    "on_progress": lambda impl, hook: impl.scan("127.0.0.1", 1, on_progress=hook),
}


@pytest.mark.parametrize("what", sorted(PLAIN))
def test_what_would_not_run_when_it_is_called_is_refused(impl: ModuleType, what: str) -> None:
    name = what.split()[0]
    for hooks, words in ((COROUTINES, "coroutine function"), (GENERATORS, "generator function")):
        for hook in hooks:
            with pytest.raises(TypeError, match=f"^{name}=.*: expected a plain function, not a {words}"):
                PLAIN[what](impl, hook)


def test_an_asyncio_handler_is_no_generator_function(impl: ModuleType) -> None:
    for hook in GENERATORS:
        with pytest.raises(TypeError, match="^handler=.*: expected a coroutine function, not a generator function"):
            impl.aio.start_server(hook)
    for hook in [*COROUTINES, lambda stream, peer: coroutine()]:
        impl.aio.start_server(hook)


# --- CancelledError in a coroutine -----------------------------------------------------------------------------------


def test_a_cancelled_error_of_the_handlers_own_is_an_error(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(stream: aio.FramedStream, peer: Any) -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    async def main() -> None:
        async with aio.start_server(handler) as server, aio.open_framed(*server.address) as stream:
            assert await stream.recv() is None
            await until(lambda: server.stats().closed == 1)
            assert server.stats().handler_errors == 1
        assert "the handler failed for 127.0.0.1" in caplog.text

    run(main())


def test_a_handler_that_others_cancel_is_none(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    tasks: list[Any] = []

    async def handler(stream: aio.FramedStream, peer: Any) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(60)

    async def main() -> None:
        async with aio.start_server(handler) as server, aio.open_framed(*server.address):
            await until(lambda: len(tasks) == 1)
            tasks[0].cancel()
            await until(lambda: server.stats().closed == 1)
            assert server.stats().handler_errors == 0
        assert caplog.text == ""

    run(main())


def test_ctrl_c_in_a_coroutine_is_for_who_runs_the_loop(run: Run) -> None:
    async def handler(stream: aio.FramedStream, peer: Any) -> None:
        raise KeyboardInterrupt

    async def main() -> None:
        async with aio.start_server(handler) as server, aio.open_framed(*server.address) as stream:
            await stream.recv()

    with pytest.raises(KeyboardInterrupt):
        run(main())


# --- who holds a handler ---------------------------------------------------------------------------------------------


class Owner:
    """An object around a server whose hooks are its own methods."""

    def __init__(self, impl: ModuleType, kind: str) -> None:
        self.kind = kind
        make: dict[str, Callable[[], Any]] = {
            "messages": lambda: impl.MessageServer(self.answer),
            "batches": lambda: impl.MessageServer(self.answer_all, batch=True, dispatchers=2),
            "threads": lambda: impl.ThreadedServer(self.talk),
            "datagrams": lambda: impl.UdpServer(self.reply),
            "chat": lambda: impl.ChatServer(on_event=self.hear, rate=None),
        }
        self.server = make[kind]().start()

    def answer(self, message: bytes, peer: Any) -> bytes:
        return message

    def answer_all(self, batch: list[Any]) -> list[bytes]:
        return [message for message, _ in batch]

    def talk(self, conn: Any, peer: Any) -> None:
        while data := conn.recv(100):
            conn.sendall(data)

    def reply(self, datagram: Any) -> Any:
        return datagram.data

    def hear(self, event: Any) -> None:
        pass


def use(server: Served) -> None:
    with Client(server) as client:
        assert client.is_served()
    assert wait_until(lambda: server.stats().active == 0)


@pytest.mark.parametrize("kind", ["messages", "batches", "threads", "datagrams", "chat"])
def test_a_server_dropped_with_the_owner_of_its_handler_warns_and_stops(impl: ModuleType, kind: str) -> None:
    owner = Owner(impl, kind)
    address = owner.server.address
    use(Served(owner.server, kind))

    def dropped() -> bool:
        gc.collect()
        try:
            again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "datagrams" else socket.SOCK_STREAM)
            with again:
                if kind != "datagrams":
                    again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                again.bind(address)
        except OSError:
            return False
        return True

    assert not dropped()
    with pytest.warns(ResourceWarning, match="was dropped while running"):
        del owner
        assert wait_until(dropped)


OWNED: dict[str, Callable[..., Any]] = {
    "messages": lambda impl, handle: impl.MessageServer(handle),
    "batch": lambda impl, handle: impl.MessageServer(handle, batch=True),
    "threads": lambda impl, handle: impl.ThreadedServer(handle),
    "udp": lambda impl, handle: impl.UdpServer(handle),
    "chat": lambda impl, handle: impl.ChatServer(on_event=handle),
}


@pytest.mark.parametrize("kind", sorted(OWNED))
@pytest.mark.parametrize("closure", [False, True])
def test_a_server_dropped_with_the_object_that_it_is_a_part_of(impl: ModuleType, kind: str, closure: bool) -> None:
    class Service:
        def __init__(self) -> None:
            handle = (lambda *arguments: self.handle(*arguments)) if closure else self.handle
            self.server = OWNED[kind](impl, handle).start()

        def handle(self, *arguments: Any) -> None:
            """Has its place here."""

    service = Service()
    address = service.server.address
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del service
        assert wait_until(lambda: bool(gc.collect() or caught))
    assert any("dropped while running" in str(each.message) for each in caught)

    def free() -> bool:
        udp = kind == "udp"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as sock:
            if not udp:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(address)
            except OSError:
                return False
        return True

    assert wait_until(free)
