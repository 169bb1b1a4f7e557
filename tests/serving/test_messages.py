"""Handlers: one call for each message, in order, never two at once for one connection, whatever they do."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections import Counter, deque
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import Peer, StopReport
from oxisock.serving import threads
from support.handlers import upper, upper_batch
from support.talking import adds_up, ask, connect, exactly
from support.users_codecs import Reversed
from support.waiting import wait_until


class Raided(deque[Any]):
    """A queue where another thread takes the last that is seen, once after each time that it becomes empty."""

    raid = False

    def popleft(self) -> Any:
        item = super().popleft()
        self.raid = not len(self)
        return item

    def __bool__(self) -> bool:
        raided, self.raid = self.raid, False
        return raided or len(self) > 0


def test_a_batch_is_answered_though_another_thread_takes_what_it_would_have_taken_too(
    impl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "deque", Raided)
    with impl.MessageServer(upper_batch, batch=True, dispatchers=2) as server, connect(server) as sock:
        assert ask(sock) == b"HELLO\n"


@pytest.mark.parametrize("batch", [False, True])
def test_lines_are_answered_also_the_last_without_an_end(impl: ModuleType, batch: bool) -> None:
    with impl.MessageServer(upper_batch if batch else upper, batch=batch) as server, connect(server) as sock:
        sock.sendall(b"one\r\ntw")
        assert exactly(sock, 4) == b"ONE\n"
        sock.sendall(b"o\n\nthree")
        sock.shutdown(socket.SHUT_WR)
        assert exactly(sock, 100) == b"TWO\n\nTHREE\n"
        assert wait_until(lambda: server.stats().closed == 1)
        assert server.stats().messages == 4
        assert server.stats().frame_errors == 0


@pytest.mark.parametrize("engine", ["pure", "native"])
def test_each_engine_takes_the_codecs_of_both(impl: ModuleType, engine: str) -> None:
    codec = {"pure": oxisock.pure, "native": oxisock.native}[engine].LengthPrefix(2)
    with impl.MessageServer(upper, codec=codec) as server:
        assert impl.tcp_request(*server.address, b"a\nb", codec=codec) == b"A\nB"


def test_a_codec_of_ones_own(impl: ModuleType) -> None:
    with impl.MessageServer(upper, codec=Reversed()) as server:
        with connect(server) as sock:
            sock.sendall(b"cba\0fed\0ih")
            assert exactly(sock, 8) == b"CBA\0FED\0"
            sock.sendall(b"g\0")
            assert exactly(sock, 4) == b"IHG\0"
            sock.sendall(b"zyx\0!")
            assert exactly(sock, 10) == b"ZYX\0"
        with connect(server) as sock:
            sock.sendall(b"half")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(10) == b""
        assert wait_until(lambda: server.stats().closed == 2)
        assert (server.stats().messages, server.stats().frame_errors) == (4, 2)


def test_a_codec_must_be_one(impl: ModuleType) -> None:
    with pytest.raises(TypeError, match="codec"):
        impl.MessageServer(upper, codec="lines")
    with pytest.raises(TypeError, match="handler"):
        impl.MessageServer(b"upper")
    with pytest.raises(ValueError, match="dispatchers"):
        impl.MessageServer(upper, dispatchers=0)


def test_broken_framing_is_answered_as_far_as_it_was_good(impl: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    with impl.MessageServer(upper, codec=impl.Lines(max_frame=10)) as server:
        with connect(server) as sock:
            sock.sendall(b"good\n" + b"x" * 50 + b"\nlost\n")
            assert exactly(sock, 100) == b"GOOD\n"
        with connect(server) as sock:
            sock.sendall(b"good\nhalf")
            sock.shutdown(socket.SHUT_WR)
            assert exactly(sock, 100) == b"GOOD\n"
        assert wait_until(lambda: server.stats().closed == 2)
        assert server.stats().frame_errors == 2
        assert server.stats().handler_errors == 0
    assert "over the limit of 10" in caplog.text


def test_answers_keep_their_order_and_calls_of_one_connection_never_overlap(impl: ModuleType) -> None:
    inside: Counter[Peer] = Counter()
    overlaps: list[Peer] = []
    most = [0]
    lock = threading.Lock()

    def handler(message: bytes, peer: Peer) -> bytes | None:
        with lock:
            inside[peer] += 1
            most[0] = max(most[0], sum(inside.values()))
            if inside[peer] > 1:
                overlaps.append(peer)
        if message.endswith(b"7"):
            time.sleep(0.02)
        with lock:
            inside[peer] -= 1
        return None if message.endswith(b"3") else message

    numbers = [str(number).encode() for number in range(60)]
    expected = b"".join(number + b"\n" for number in numbers if not number.endswith(b"3"))
    with impl.MessageServer(handler, dispatchers=3) as server, ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(8)]
        for number in numbers:
            for sock in socks:
                sock.sendall(number + b"\n")
        for sock in socks:
            assert exactly(sock, len(expected)) == expected
    assert not overlaps
    assert 1 <= most[0] <= 3


@pytest.mark.parametrize("dispatchers", [1, 4])
def test_at_most_so_many_handlers_run_at_once_and_so_many_can(impl: ModuleType, dispatchers: int) -> None:
    together = threading.Barrier(dispatchers)
    running, most, lock = [0], [0], threading.Lock()

    def handler(message: bytes, peer: Peer) -> bytes:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait(20)
        with lock:
            running[0] -= 1
        return message

    with impl.MessageServer(handler, dispatchers=dispatchers) as server, ExitStack() as stack:
        socks = [stack.enter_context(connect(server)) for _ in range(dispatchers * 2)]
        for sock in socks:
            sock.sendall(b"x\n")
        for sock in socks:
            assert exactly(sock, 2) == b"x\n"
    assert most[0] == dispatchers


def test_a_slow_handler_holds_up_neither_answers_made_nor_others(impl: ModuleType) -> None:
    go = threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        if message == b"slow":
            assert go.wait(20)
        return message

    with impl.MessageServer(handler, dispatchers=2) as server, ExitStack() as stack:
        slow, *quick = (stack.enter_context(connect(server)) for _ in range(5))
        slow.sendall(b"slow\n")
        for sock in quick:
            assert ask(sock, b"quick\n") == b"quick\n"
        go.set()
        assert exactly(slow, 5) == b"slow\n"


def test_with_one_dispatcher_stuck_the_loop_goes_on(impl: ModuleType) -> None:
    go = threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        assert go.wait(20)
        return message

    with impl.MessageServer(handler, idle_timeout=1.0) as server, connect(server) as stuck:
        stuck.sendall(b"one\n")
        with connect(server) as silent:
            assert silent.recv(1) == b""  # its timer ran, and connections are accepted
            assert server.stats().accepted == 2
            go.set()
            assert exactly(stuck, 4) == b"one\n"


@pytest.mark.parametrize("batch", [False, True])
def test_a_handler_that_raises_closes_that_connection_alone(
    impl: ModuleType, batch: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(message: bytes) -> Any:
        if message == b"raise":
            if batch:
                return KeyError("on purpose")
            raise KeyError("on purpose")
        return {b"int": 5, b"str": "no", b"bytearray": bytearray(b"no")}.get(message, message)

    def handler(message: bytes, peer: Peer) -> Any:
        return answer(message)

    def batch_handler(messages: list[tuple[bytes, Peer]]) -> list[Any]:
        return [answer(message) for message, _ in messages]

    with impl.MessageServer(batch_handler if batch else handler, batch=batch) as server, connect(server) as other:
        for count, wrong in enumerate([b"raise", b"int", b"str", b"bytearray"], 1):
            with connect(server) as sock:
                sock.sendall(b"before\n" + wrong + b"\nafter\n")
                assert exactly(sock, 100) == b"before\n"
                assert wait_until(lambda: server.stats().handler_errors == count)  # noqa: B023
                assert str(sock.getsockname()[1]) in caplog.text
            assert ask(other) == b"hello\n"
        assert wait_until(lambda: server.stats().closed == 4)
        assert adds_up(server.stats())
    assert "on purpose" in caplog.text


@pytest.mark.parametrize("how", ["raises", "too short", "no list"])
def test_a_batch_that_fails_closes_all_in_it(impl: ModuleType, how: str) -> None:
    def handler(batch: list[tuple[bytes, Peer]]) -> Any:
        if any(message == b"bad" for message, _ in batch):
            if how == "raises":
                raise RuntimeError("on purpose")
            return [] if how == "too short" else tuple(message for message, _ in batch)
        return [message for message, _ in batch]

    with impl.MessageServer(handler, batch=True) as server, connect(server) as good:
        assert ask(good) == b"hello\n"
        with connect(server) as sock:
            sock.sendall(b"bad\n")
            assert sock.recv(10) == b""
        assert ask(good) == b"hello\n"
        assert server.stats().handler_errors == 1


def test_handlers_that_raise_one_time_in_ten(impl: ModuleType) -> None:
    generator = random.Random(1)

    def handler(message: bytes, peer: Peer) -> bytes:
        if generator.random() < 0.1:
            raise RuntimeError("one in ten")
        return message

    answered = 0
    logging.getLogger("oxisock").setLevel(logging.CRITICAL)
    try:
        with impl.MessageServer(handler) as server:
            for _ in range(60):
                with connect(server) as sock:
                    while answered < 10_000:
                        try:
                            if ask(sock) != b"hello\n":
                                break
                        except ConnectionError:
                            break
                        answered += 1
            stats = server.stats()
            assert wait_until(lambda: server.stats().closed == 60)
            assert stats.handler_errors == 60
            assert stats.messages == answered + 60
    finally:
        logging.getLogger("oxisock").setLevel(logging.NOTSET)


def test_an_answer_that_the_codec_refuses_is_the_handlers_fault(
    impl: ModuleType, caplog: pytest.LogCaptureFixture
) -> None:
    with impl.MessageServer(lambda message, peer: message.replace(b"-", b"\n")) as server, connect(server) as sock:
        sock.sendall(b"good\nb-ad\nlost\n")
        assert exactly(sock, 100) == b"good\n"
        assert wait_until(lambda: server.stats().handler_errors == 1)


def test_stop_from_a_handler_begins_it_and_returns_at_once(impl: ModuleType) -> None:
    reports: list[StopReport] = []

    def handler(message: bytes, peer: Peer) -> bytes:
        reports.append(server.stop(drain=5))
        return b"bye"

    server = impl.MessageServer(handler).start()
    with connect(server) as sock:
        sock.sendall(b"stop\n")
        assert exactly(sock, 100) == b"bye\n"
    report = server.stop(drain=5)
    assert reports == [StopReport()]
    assert report[:3] == (1, 0, 0)


@pytest.mark.parametrize("kind", ["messages", "threads"])
def test_stop_is_on_time_with_a_stuck_handler(impl: ModuleType, kind: str) -> None:
    go, began = threading.Event(), threading.Event()

    def stuck(*_: Any) -> None:
        began.set()
        go.wait(90)

    server = (impl.MessageServer if kind == "messages" else impl.ThreadedServer)(stuck).start()
    with connect(server) as sock:
        sock.sendall(b"x\n")
        assert began.wait(20)
        before = time.monotonic()
        report = server.stop(drain=0.2)
        took = time.monotonic() - before
        assert report[:3] == (0, 1, 1)
        assert 0.2 <= took < 60  # the handler takes longer
        if kind == "messages":
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        else:  # a thread that is stuck holds its socket; its peer sees the end all the same
            assert sock.recv(1) == b""
        go.set()
    assert adds_up(server.stats())


def test_what_was_read_is_answered_within_the_drain(impl: ModuleType) -> None:
    began = threading.Event()

    def handler(message: bytes, peer: Peer) -> bytes:
        began.set()
        time.sleep(0.01)
        return message

    server = impl.MessageServer(handler).start()
    with connect(server) as sock:
        sock.sendall(b"x\n" * 20)
        assert began.wait(20)
        report = server.stop(drain=20)
        assert exactly(sock, 100) == b"x\n" * 20
    assert report[:3] == (1, 0, 0)
