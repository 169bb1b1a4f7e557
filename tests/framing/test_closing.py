"""How conversations end: after all has arrived, or by a reset, so that nobody takes a part for the whole."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oxisock.sockets.closing import LINGER, Parting
from support.coroutines import Run, until
from support.talking import connect
from support.waiting import wait_until

BIG = b"x" * (16 << 20)  # more than the buffers of two systems hold


class Peer:
    """Somebody who listens, and reads when told to; ``end`` is how the stream ended, and ``got`` what was in it."""

    def __init__(self, talk: bool = False) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = self._listener.getsockname()
        self._talk, self._go = talk, threading.Event()
        self.got, self.end = bytearray(), ""
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        self._listener.settimeout(30)
        sock, _ = self._listener.accept()
        over = threading.Event()
        with sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            talking = threading.Thread(target=self._say, args=(sock, over))
            talking.start()
            sock.settimeout(30)
            self._go.wait(30)
            try:
                while piece := sock.recv(1 << 16):
                    self.got += piece
                self.end = "clean"
            except ConnectionResetError:
                self.end = "reset"
            over.set()
            talking.join(30)

    def _say(self, sock: socket.socket, over: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while self._talk and not over.wait(0.002):
                sock.sendall(b"news\n")

    def read(self) -> None:
        self._go.set()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self._go.set()
        self._thread.join(30)
        self._listener.close()


@contextlib.contextmanager
def later(seconds: float, work: Callable[[], object]) -> Iterator[None]:
    timer = threading.Timer(seconds, work)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def open_framed(impl: ModuleType, peer: Peer, timeout: float | None = 30.0) -> Any:
    return impl.connect(*peer.address, impl.Lines(max_frame=len(BIG)), timeout=timeout)


# --- giving up is a reset --------------------------------------------------------------------------------------------


def send_that_times_out(impl: ModuleType, peer: Peer) -> None:
    client = open_framed(impl, peer, 0.2)
    with pytest.raises(TimeoutError):
        client.send(BIG)
    client.close()


def send_that_times_out_and_is_dropped(impl: ModuleType, peer: Peer) -> None:
    client = open_framed(impl, peer, 0.2)
    with pytest.raises(TimeoutError):
        client.send(BIG)
    client.sock.close()  # whoever does it


def block_left_by_an_exception(impl: ModuleType, peer: Peer) -> None:
    with pytest.raises(ZeroDivisionError), open_framed(impl, peer) as client:
        client.sock.send(b"half")
        raise ZeroDivisionError


def abort(impl: ModuleType, peer: Peer) -> None:
    client = open_framed(impl, peer)
    client.sock.send(b"half")
    client.abort()


def close_while_another_thread_sends(impl: ModuleType, peer: Peer) -> None:
    client = open_framed(impl, peer, None)
    failures: list[Any] = []

    def send() -> None:
        try:
            client.send(BIG)
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    assert wait_until(client._sending.locked)
    assert wait_until(lambda: not select.select([], [client.sock], [], 0)[1])  # the buffers are full
    client.close()
    thread.join(30)
    assert [error.errno for error in failures] == [errno.EBADF]


GIVING_UP = [
    send_that_times_out,
    send_that_times_out_and_is_dropped,
    block_left_by_an_exception,
    abort,
    close_while_another_thread_sends,
]


@pytest.mark.parametrize("give_up", GIVING_UP, ids=lambda way: way.__name__)
def test_giving_up_is_a_reset(impl: ModuleType, give_up: Callable[[ModuleType, Peer], None]) -> None:
    with Peer() as peer:
        give_up(impl, peer)
    assert peer.end == "reset"
    assert b"\n" not in peer.got


@pytest.mark.parametrize("way", ["exception", "abort", "cancelled", "dropped"])
def test_giving_up_on_a_loop_is_a_reset(impl: ModuleType, run: Run, way: str) -> None:
    async def main(peer: Peer) -> None:
        stream = await impl.aio.open_framed(*peer.address, impl.Lines(max_frame=len(BIG)))
        if way == "exception":
            with pytest.raises(TimeoutError):
                async with stream, asyncio.timeout(0.2):
                    await stream.send(BIG)
            return
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await stream.send(BIG)
        if way == "abort":
            stream.abort()
            await stream.wait_closed()
        elif way == "cancelled":
            stream.close()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await stream.wait_closed()
        else:
            gone = stream._gone
            with pytest.warns(ResourceWarning, match="dropped while open"):
                del stream
                await gone

    with Peer() as peer:
        run(main(peer))
    assert peer.end == "reset"
    assert b"\n" not in peer.got


def test_a_chat_client_that_gives_up_is_lost_and_one_that_leaves_has_quit(impl: ModuleType) -> None:
    with impl.ChatServer(rate=None) as server, impl.ChatClient(*server.address, nick="watch") as watch:
        for number in range(10):
            with impl.ChatClient(*server.address, nick="bot") as bot:
                for line in range(20):
                    bot.send(f"line {number}.{line}")
            assert wait_until(lambda: len(server.members()) == 1)
        with pytest.raises(ZeroDivisionError), impl.ChatClient(*server.address, nick="bot"):
            raise ZeroDivisionError
        said = []
        while "* bot left (lost)" not in said:
            said.append(watch.recv(30))
        assert [line for line in said if "] line" in line] == [
            f"[bot] line {number}.{line}" for number in range(10) for line in range(20)
        ]
        assert said.count("* bot left (quit)") == 10


def test_an_answer_that_a_thread_gave_up_ends_in_a_reset_whoever_closes(impl: ModuleType) -> None:
    def handler(conn: Any, peer: Any) -> None:
        conn.settimeout(0.2)
        with pytest.raises(TimeoutError):
            conn.sendall(BIG)
        conn.close()

    with impl.ThreadedServer(handler) as server, connect(server) as sock:
        assert wait_until(lambda: server.stats().closed == 1)
        with pytest.raises(ConnectionResetError):
            while sock.recv(1 << 20):
                pass


# --- closing loses nothing -------------------------------------------------------------------------------------------


def test_closing_waits_for_what_was_sent_though_the_peer_talks(impl: ModuleType) -> None:
    sent = b"y" * 20_000 + b"\n"
    with Peer(talk=True) as peer:
        with open_framed(impl, peer) as client, later(0.2, peer.read):
            assert client.recv() == b"news"
            for _ in range(20):
                client.send(sent[:-1])
            client.close()
    assert (peer.end, bytes(peer.got)) == ("clean", sent * 20)


def test_closing_on_a_loop_waits_for_what_was_sent_though_the_peer_talks(impl: ModuleType, run: Run) -> None:
    sent = b"y" * 20_000 + b"\n"

    async def main(peer: Peer) -> None:
        async with impl.aio.open_framed(*peer.address, impl.Lines()) as stream:
            assert await stream.recv() == b"news"
            with later(0.2, peer.read):
                for _ in range(20):
                    await stream.send(sent[:-1])
                stream.close()

    with Peer(talk=True) as peer:
        run(main(peer))
    assert (peer.end, bytes(peer.got)) == ("clean", sent * 20)


def test_closing_says_so_where_what_was_sent_may_be_lost(impl: ModuleType, run: Run) -> None:
    words = r"closed before \d+ bytes had arrived at the peer"
    with Peer(talk=True) as peer:
        client = open_framed(impl, peer)
        assert client.recv() == b"news"
        client.send(b"y" * 300_000)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError, match=words):
            client.close()
        assert client.sock.fileno() == -1
        client.close()

    async def main(peer: Peer) -> None:
        with pytest.raises(TimeoutError, match=words):
            async with impl.aio.open_framed(*peer.address, impl.Lines()) as stream:
                assert await stream.recv() == b"news"
                await stream.send(b"y" * 300_000)

    with Peer(talk=True) as peer:
        run(main(peer))


def test_closing_while_another_thread_receives_loses_nothing(impl: ModuleType) -> None:
    with Peer() as peer:
        client = open_framed(impl, peer)
        failures: list[Any] = []

        def receive() -> None:
            try:
                client.recv()
            except OSError as error:
                failures.append(error)

        thread = threading.Thread(target=receive)
        thread.start()
        assert wait_until(client._receiving.locked)
        client.send(b"y" * 300_000)
        with later(0.1, peer.read):
            client.close()
        thread.join(30)
        assert [error.errno for error in failures] == [errno.EBADF]
    assert (peer.end, len(peer.got)) == ("clean", 300_001)


# --- a stream's output -----------------------------------------------------------------------------------------------


def test_nothing_is_sent_after_the_output_has_ended(impl: ModuleType, run: Run) -> None:
    async def main(peer: Peer) -> None:
        async with impl.aio.open_framed(*peer.address, impl.Lines()) as stream:
            await stream.send(b"one")
            stream.shutdown_write()
            for call in (stream.send(b"two"), stream.send_many([b"two"])):
                with pytest.raises(BrokenPipeError) as caught:
                    await call
                assert caught.value.errno == errno.EPIPE
            stream.shutdown_write()

    with Peer() as peer:
        peer.read()
        run(main(peer))
    assert (peer.end, bytes(peer.got)) == ("clean", b"one\n")
    with Peer() as peer:
        peer.read()
        with open_framed(impl, peer) as client:
            client.send(b"one")
            client.shutdown_write()
            with pytest.raises(BrokenPipeError):
                client.send(b"two")
    assert bytes(peer.got) == b"one\n"


@pytest.mark.parametrize("way", ["given up", "many tasks"])
def test_sends_that_wait_hold_no_frames(impl: ModuleType, run: Run, way: str) -> None:
    frame, limit = bytes(100_000), 1 << 18

    async def main() -> None:
        streams: list[Any] = []

        async def handler(stream: Any, peer: Any) -> None:
            streams.append(stream)
            await stream.recv()

        async def send(number: int) -> None:
            await streams[0].send(b"%d" % number + frame)

        async with impl.aio.start_server(handler, codec=impl.LengthPrefix(), max_buffered=limit) as server:
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                await asyncio.to_thread(client.connect, server.address)
                await until(lambda: bool(streams))
                if way == "given up":
                    for _ in range(200):
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(0.002):
                                await send(0)
                    tasks = []
                else:
                    tasks = [asyncio.create_task(send(number)) for number in range(300)]
                    await until(lambda: streams[0]._room is not None)
                    await asyncio.sleep(0.05)
                assert streams[0]._transport.get_write_buffer_size() <= limit + 2 * len(frame)
                if tasks:  # and they keep their order
                    client.settimeout(30)
                    decoder, got = impl.LengthPrefix().decoder(), []
                    while len(got) < 300:
                        got += decoder.feed(await asyncio.to_thread(client.recv, 1 << 20))
                    assert got == [b"%d" % number + frame for number in range(300)]
                    await asyncio.gather(*tasks)

    run(main())


def test_a_reset_as_the_handler_returns_is_no_error_of_the_loop(impl: ModuleType, run: Run) -> None:
    async def main() -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

        async def handler(stream: Any, peer: Any) -> None:
            await stream.recv()
            reset.set()
            busy.wait(30)  # and with it the loop: the reset comes meanwhile

        def client(address: Any) -> None:
            with socket.create_connection(address, timeout=30) as sock:
                sock.sendall(b"hi\n")
                reset.wait(30)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            busy.set()

        async with impl.aio.start_server(handler) as server:
            for _ in range(5):
                reset, busy = threading.Event(), threading.Event()
                await asyncio.to_thread(client, server.address)
            await until(lambda: server.stats().active == 0)
        assert told == []

    run(main())


# --- the machine -----------------------------------------------------------------------------------------------------

SEEN = st.lists(st.tuples(st.integers(0, LINGER), st.booleans(), st.integers(0, 5)), max_size=30)


@given(seen=SEEN, linger=st.integers(0, 2 * LINGER), patience=st.integers(0, 2 * LINGER), ends=st.integers(0, 40))
def test_parting_ends_in_time_and_loses_only_what_it_says(
    seen: list[tuple[int, bool, int]], linger: int, patience: int, ends: int
) -> None:
    now, parting, least = 0, Parting(0, linger, patience), 5
    progress, arrived, talked = 0, None, False
    for number, (step, heard, unsent) in enumerate(itertools.chain(seen, itertools.repeat((LINGER, False, least)))):
        now += step
        unsent = min(least, unsent)
        if unsent < least or number == 0:
            least, progress = unsent, now
        talked |= heard
        over = parting.over(now, heard, number == ends, unsent)
        if over:
            break
        assert number < len(seen) + 3
        if unsent <= 1:
            arrived = now if arrived is None else arrived
            assert now < arrived + LINGER
        else:
            assert now < progress + min(patience, LINGER)
    if number == ends or unsent <= 1:
        assert parting.lost == 0
    else:
        assert parting.lost == (unsent - 1 if talked else 0)
