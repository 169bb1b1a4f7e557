"""TLS on event loops: who is believed, what fails, ends and cuts, on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from oxisock import IncompleteFrame, Peer
from oxisock.sockets.tls import Session
from support.addresses import HOST
from support.certificates import CLOSE_NOTIFY, client_hello, contexts
from support.coroutines import Run, until
from support.talking import adds_up


async def upper(stream: Any, peer: Peer) -> None:
    async for line in stream:
        await stream.send(line.upper())


@contextlib.asynccontextmanager
async def joined(impl: ModuleType, server: Any, trusting: ssl.SSLContext) -> AsyncIterator[Any]:
    async with impl.aio.open_framed(*server.address, timeout=30, ssl=trusting, server_hostname="localhost") as stream:
        yield stream


def test_a_conversation(impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, ssl=context) as server:
            async with joined(impl, server, trusting) as stream:
                assert (("commonName", "localhost"),) in stream.peer_certificate["subject"]
                for line in (b"hello", b"x" * 300_000):
                    await stream.send(line)
                    assert await stream.recv() == line.upper()
                await stream.send_many([b"a"] * 10_000)
                stream.shutdown_write()  # the other direction stays open
                assert [line async for line in stream] == [b"A"] * 10_000
            await until(lambda: server.stats().closed == 1)
            stats = server.stats()
            assert (stats.messages, stats.bytes_in) == (10_002, 320_007)
            assert (stats.handshake_errors, stats.frame_errors, stats.handler_errors) == (0, 0, 0)

    run(main())


def test_much_both_ways_and_a_reader_that_stops(
    impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    lines = [b"%d " % number + bytes(range(32, 96)) * 8192 for number in range(128)]  # 64 MiB: no system holds as much

    async def main() -> None:
        async with impl.aio.start_server(upper, ssl=context, max_buffered=1 << 16) as server:
            async with joined(impl, server, trusting) as stream:

                async def send() -> None:
                    for line in lines:
                        await stream.send(line)

                sending = asyncio.create_task(send())
                done, _ = await asyncio.wait([sending], timeout=0.3)
                assert not done
                for line in lines:
                    assert await stream.recv() == line.upper()
                await sending

    run(main())


def test_closing_gives_up_a_peer_that_takes_nothing(
    impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def deaf(stream: Any, peer: Peer) -> None:
            await over.wait()

        async with impl.aio.start_server(deaf, ssl=context, max_buffered=1 << 16) as server:
            try:
                with pytest.raises(TimeoutError, match=r"closed before \d+ bytes had arrived"):
                    async with asyncio.timeout(20), joined(impl, server, trusting) as stream:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.1):
                                for _ in range(640):
                                    await stream.send(b"x" * 100_000)
            finally:
                over.set()

    run(main())


def test_requests(impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    options: dict[str, Any] = {"ssl": trusting, "server_hostname": "localhost", "timeout": 30}
    payload = b"one\ntwo\n" + b"x" * 100_000

    async def main() -> None:
        async with impl.aio.start_server(upper, ssl=context) as server:
            assert await impl.aio.tcp_request(*server.address, b"a", codec=impl.Lines(), **options) == b"A"
            assert await impl.aio.tcp_request(*server.address, payload, **options) == payload.upper() + b"\n"

    run(main())
    with impl.MessageServer(lambda line, peer: line.upper(), ssl=context) as server:
        assert impl.tcp_request(*server.address, b"a", codec=impl.Lines(), **options) == b"A"
        assert impl.tcp_request(*server.address, payload, **options) == payload.upper() + b"\n"


def test_requests_that_fail(impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """The blocking ones and those of coroutines fail alike."""

    async def ask(port: int, **options: Any) -> None:
        await impl.aio.tcp_request("127.0.0.1", port, b"x", ssl=trusting, **options)

    def both(port: int, error: type[Exception], words: str, **options: Any) -> None:
        for codec in (None, impl.Lines()):
            with pytest.raises(error, match=words):
                impl.tcp_request("127.0.0.1", port, b"x", ssl=trusting, codec=codec, **options)
            with pytest.raises(error, match=words):
                run(ask(port, codec=codec, **options))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        both(port, TimeoutError, f"127.0.0.1:{port}: no .* within 0.1 s", timeout=0.1)
    with impl.ThreadedServer(lambda conn, peer: None, "127.0.0.1", ssl=context) as server:
        port = server.address.port
        words = rf"^127\.0\.0\.1:{port}: .*verif"
        both(port, ssl.SSLCertVerificationError, words, server_hostname="other.example", timeout=30)

    def cut(conn: Any, peer: Peer) -> None:
        conn.recv(100)
        conn.sendall(b"half an answer")
        conn.sock.shutdown(socket.SHUT_WR)  # and no close_notify

    with impl.ThreadedServer(cut, "127.0.0.1", ssl=context) as server:
        with pytest.raises(ssl.SSLEOFError):
            impl.tcp_request(*server.address, b"x", ssl=trusting, timeout=30)
        with pytest.raises(ssl.SSLEOFError):
            run(ask(server.address.port, timeout=30))


def test_a_cut_is_told_from_an_end(
    impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    raised: list[BaseException] = []

    async def handler(stream: Any, peer: Peer) -> None:
        try:
            await upper(stream, peer)
        except BaseException as error:
            raised.append(error)
            raise

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def say(address: Peer, words: bytes) -> None:
            raw = socket.create_connection(address, timeout=30)
            with trusting.wrap_socket(raw, server_hostname="localhost") as sock:
                sock.sendall(words)
                assert sock.recv(4) == b"ONE\n"
            # That was no close_notify.

        async with impl.aio.start_server(handler, ssl=context) as server:
            for number, (words, kind) in enumerate([(b"one\ntw", IncompleteFrame), (b"one\n", ssl.SSLEOFError)], 1):
                await loop.run_in_executor(None, say, server.address, words)
                await until(lambda number=number: server.stats().closed == number)
                assert type(raised[-1]) is kind
            assert (server.stats().frame_errors, server.stats().handler_errors) == (1, 0)

    run(main())


def test_a_client_is_told_of_a_cut(
    impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    def cut(conn: Any, peer: Peer) -> None:
        conn.sendall(b"one\ntw")
        conn.sock.shutdown(socket.SHUT_WR)

    async def main() -> None:
        async with joined(impl, server, trusting) as stream:
            assert await stream.recv() == b"one"
            for _ in range(2):
                with pytest.raises(IncompleteFrame) as caught:
                    await stream.recv()
                assert caught.value.offset == 4

    with impl.ThreadedServer(cut, ssl=context) as server:
        run(main())


def test_handshakes_that_fail_or_never_end(
    impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, ssl=context, handshake_timeout=1.5) as server:
            silent = [await asyncio.open_connection(*server.address) for _ in range(50)]
            silent[0][1].write(b"\x16\x03")
            for words in (b"GET / HTTP/1.1\r\n\r\n", b"", CLOSE_NOTIFY, client_hello() + CLOSE_NOTIFY):
                reader, writer = await asyncio.open_connection(*server.address)
                writer.write(words)
                writer.write_eof()
                with contextlib.suppress(ConnectionError):
                    await reader.read()
                writer.close()
            async with joined(impl, server, trusting) as stream:
                await stream.send(b"hello")
                assert await stream.recv() == b"HELLO"
            await until(lambda: server.stats().timeouts == 50)
            stats = server.stats()
            assert (stats.handshake_errors, stats.handler_errors, stats.messages) == (4, 0, 1)
            for _, writer in silent:
                writer.close()
            await until(lambda: server.stats().active == 0)
            assert adds_up(server.stats())

    run(main())


@contextlib.contextmanager
def saying(words: bytes) -> Iterator[Peer]:
    """Listen without TLS: a server that says ``words`` and ends its output, whatever it hears."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)

        def serve() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as sock:
                sock.settimeout(60)
                sock.sendall(words)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(1 << 16):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield Peer(*listener.getsockname())
        thread.join(60)


def raised_by(call: Callable[[], Any], patience: float = 20.0) -> BaseException | None:
    """Give what a call raises; None if it returns. The call fails the test, and no more, if it never ends."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(patience)
    assert not thread.is_alive(), "the call hangs"
    return raised[0] if raised else None


JOINING = ["connect", "chat", "tcp_request", "framed tcp_request", "aio.open_framed", "aio.tcp_request"]


def joining(impl: ModuleType, run: Run, how: str, address: Peer, context: ssl.SSLContext, timeout: float) -> Any:
    """Begin a conversation over TLS, as any of the clients."""
    options: dict[str, Any] = {"ssl": context, "server_hostname": "localhost", "timeout": timeout}

    async def main() -> None:
        if how == "aio.tcp_request":
            await impl.aio.tcp_request(*address, b"x", **options)
        else:
            async with impl.aio.open_framed(*address, **options):
                pass

    if how.startswith("aio"):
        run(main())
    elif how == "connect":
        impl.connect(*address, impl.Lines(), **options).close()
    elif how == "chat":
        impl.ChatClient(*address, nick="ann", **options).close()
    else:
        impl.tcp_request(*address, b"x", codec=impl.Lines() if how.startswith("framed") else None, **options)


@pytest.mark.parametrize("how", JOINING)
def test_a_server_that_ends_tls_in_the_handshake(
    impl: ModuleType, run: Run, trusting: ssl.SSLContext, how: str
) -> None:
    with saying(CLOSE_NOTIFY) as address:
        error = raised_by(lambda: joining(impl, run, how, address, trusting, 60.0))
    assert isinstance(error, ssl.SSLError)


@pytest.mark.parametrize("how", [how for how in JOINING if how != "aio.open_framed"])  # which waits beside TLS
def test_a_handshake_that_gets_nowhere_is_ended_on_time(
    impl: ModuleType, run: Run, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """However TLS may be stuck: here it takes whatever comes, even the end, for no reason to say anything."""
    monkeypatch.setattr(Session, "received", lambda session, data: b"")
    monkeypatch.setattr(Session, "cut", lambda session: None)
    with saying(b"") as address:
        error = raised_by(lambda: joining(impl, run, how, address, trusting, 0.3))
    assert isinstance(error, TimeoutError)
    assert f"{address}: no TLS handshake within 0.3 s" in str(error)


@pytest.mark.parametrize("waits_for", ["a handshake", "a header"])
def test_a_stop_does_not_wait_for_what_is_to_come_first(
    impl: ModuleType, run: Run, context: ssl.SSLContext, waits_for: str
) -> None:
    options: dict[str, Any] = {"ssl": context, "handshake_timeout": None}
    if waits_for == "a header":
        options = {"proxies": [HOST, "127.0.0.1"], "idle_timeout": None}

    async def main() -> None:
        async with impl.aio.start_server(upper, **options) as server:
            _, writer = await asyncio.open_connection(*server.address)
            writer.write(b"\x16\x03\x01" if waits_for == "a handshake" else b"PROX")
            await until(lambda: server.stats().active == 1)
            await asyncio.sleep(0)
            began = time.monotonic()
            report = await server.stop(drain=15.0)
            assert time.monotonic() - began < 15.0
            assert (report.drained, report.aborted, report.stuck_handlers) == (1, 0, 0)
            stats = server.stats()
            assert (stats.frame_errors, stats.handshake_errors, stats.timeouts) == (0, 0, 0)
            writer.close()

    run(main())


def test_a_stop_ends_cleanly(impl: ModuleType, run: Run, context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    async def main() -> None:
        async with impl.aio.start_server(upper, ssl=context) as server, joined(impl, server, trusting) as stream:
            await stream.send(b"one")
            assert await stream.recv() == b"ONE"
            report = await server.stop(drain=20.0)
            assert (report.drained, report.aborted) == (1, 0)
            assert await stream.recv() is None

    run(main())


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ssl": 5}, "ssl"),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, "ssl"),
        ({"handshake_timeout": 0}, "handshake_timeout"),
    ],
)
def test_what_makes_no_sense(impl: ModuleType, options: Any, name: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name}="):
        impl.aio.start_server(upper, **options)
    with pytest.raises(ValueError, match="^server_hostname="):
        impl.aio.open_framed("127.0.0.1", 1, server_hostname="x")


def test_the_answer_is_read_while_the_payload_is_sent_over_tls(impl: ModuleType, run: Run) -> None:
    # The server reads on only when its answers are read.
    payload = bytes(15 << 20)

    def echo(conn: Any, peer: Any) -> None:
        while data := conn.recv(1 << 16):
            conn.sendall(data)

    with impl.ThreadedServer(echo, ssl=contexts().server) as server:
        how = {"timeout": 60.0, "ssl": contexts().client, "server_hostname": "localhost"}
        assert impl.tcp_request(*server.address, payload, **how) == payload
        assert run(impl.aio.tcp_request(*server.address, payload, **how)) == payload
