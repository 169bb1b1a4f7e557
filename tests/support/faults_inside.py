"""Runs in a process of its own with faults.c preloaded: one server and what it does when system calls fail.

    faults_inside.py pure|native KIND start|serve|end

"start": the n-th call of each kind fails while a server starts, for every n; a start that fails leaves no descriptor,
no thread and nobody who answers, and the port can be had at once. "serve": calls fail while a server serves; at most as
many clients as calls are lost, none of them is left waiting, and the server goes on and ends as ever. "end": a call
fails that a loop cannot do without, or that makes it panic; the server ends, its owner is told, and nothing is left.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from addresses import HOST  # the folder of this program is where Python looks
from waiting import wait_until

import oxisock.native
import oxisock.pure

LIMIT = 20.0
SERVED = b"x" * 200_000  # so that buffers are large enough for "malloc" to count
CALLS = ("epoll_ctl", "pthread_create", "malloc")
FAULTS = [
    ("epoll_ctl", errno.ENOSPC),
    ("epoll_ctl", errno.ENOMEM),
    ("accept4", errno.EMFILE),
    ("accept4", errno.ENFILE),
    ("accept4", errno.ENOBUFS),
    ("accept4", errno.ENOMEM),
    ("accept4", errno.ECONNABORTED),
    ("accept4", errno.EPERM),
    ("accept4", errno.EPROTO),
    ("pthread_create", errno.EAGAIN),
    ("send", errno.ENOBUFS),
    ("send", errno.ENOMEM),
    ("sendmsg", errno.ENOBUFS),
    ("sendmsg", errno.EPERM),
    ("sendmmsg", errno.ENOBUFS),
    ("sendmmsg", errno.EPERM),
    ("ppoll", errno.ENOMEM),
    ("malloc", errno.ENOMEM),
]
LARGE = 100_000  # bytes from which "malloc" counts: what input decides, not the odds and ends of a library

inside = ctypes.CDLL(None)


def arm(call: str, nth: int, times: int, code: int, others: bool = False) -> None:
    """Let calls fail from the n-th on; with ``others``, not those of this thread, which is the clients' then."""
    nth_, times_, least = ctypes.c_long(nth), ctypes.c_long(times), ctypes.c_size_t(LARGE)
    assert inside.fault_arm(call.encode(), nth_, times_, code, least, others) == 0


def disarm(call: str) -> int:
    """Give how many calls have failed since `arm`."""
    hits: int = inside.fault_hits(call.encode())
    arm(call, 1, 0, 0)
    return hits


def handler_of_threads(conn: Any, peer: Any) -> None:
    codec = oxisock.Lines(max_frame=1 << 20)
    for frame in conn.frames(codec):
        conn.send_frame(frame, codec)


def maker(impl: Any, kind: str) -> Callable[..., Any]:
    codec = impl.Lines(max_frame=1 << 20)
    makers: dict[str, Callable[..., Any]] = {
        "echo": impl.EchoServer,
        "echo-3": lambda **more: impl.EchoServer(workers=3, **more),
        "message": lambda **more: impl.MessageServer(lambda m, p: m, codec=codec, **more),
        "message-3": lambda **more: impl.MessageServer(lambda m, p: m, codec=codec, dispatchers=3, **more),
        "threaded": lambda **more: impl.ThreadedServer(handler_of_threads, **more),
        "chat": lambda **more: impl.ChatServer(on_event=lambda event: None, rate=None, **more),
        "udp": lambda **more: impl.UdpServer(lambda datagram: datagram.data, **more),
        "udp-echo": impl.UdpEchoServer,
    }
    return makers[kind]


class Client:
    """A client of any of the TCP servers."""

    def __init__(self, kind: str, address: tuple[str, int]) -> None:
        self.line = b"/ping\n" if kind == "chat" else SERVED + b"\n"
        self.answer = b"* pong\n" if kind == "chat" else self.line
        self.sock = socket.create_connection(address, timeout=LIMIT)
        self.file = self.sock.makefile("rb")

    def asks(self) -> bool:
        """Say whether it is answered; False where the connection ends instead. To be left waiting is an error."""
        try:
            self.sock.sendall(self.line)
            while line := self.file.readline():
                if line == self.answer:
                    return True
        except TimeoutError:
            raise
        except OSError:
            pass
        return False

    def close(self) -> None:
        self.file.close()
        self.sock.close()


def served(kind: str, address: tuple[str, int]) -> bool:
    """Say whether a new client is served."""
    if kind.startswith("udp"):
        return oxisock.udp_request(*address, b"hello", timeout=0.1, retries=200) == b"hello"
    try:
        client = Client(kind, address)
    except ConnectionError:
        return False
    try:
        return client.asks()
    finally:
        client.close()


def held() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))


def until(condition: Callable[[], bool], words: Callable[[], str]) -> None:
    assert wait_until(condition, LIMIT), words()


def back_to(before: tuple[int, int], what: str) -> None:
    """Wait until this process holds what it held before."""
    until(lambda: held() == before, lambda: f"{what}: {held()} descriptors and threads instead of {before}")


def nobody_answers(kind: str, port: int) -> bool:
    """Say whether the port is free, for anybody."""
    with socket.socket(type=socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0 if kind.startswith("udp") else 1)
        try:
            sock.bind((HOST, port))
            if not kind.startswith("udp"):
                sock.listen()
        except OSError:
            return False
    return True


def free_port(kind: str) -> int:
    with socket.socket(type=socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM) as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
        return port


def all_leave(server: Any, what: str) -> None:
    """Wait until a server has seen its clients go."""
    until(lambda: server.stats().active == 0, lambda: f"{what}: {server.stats()}")


def starts(kind: str, make: Callable[..., Any]) -> None:
    before = held()
    errors = []  # held, as a debugger or a log record holds them
    for call in CALLS:
        nth = 1
        while nth < 40:
            port = free_port(kind)
            server = make(port=port)
            arm(call, nth, 1, errno.EAGAIN if call == "pthread_create" else errno.ENOMEM)
            try:
                server.start()
                failed = False
            except (OSError, MemoryError, RuntimeError) as error:
                errors.append(error)
                failed = True
            hits = disarm(call)
            what = f"{call} {nth} fails"
            if failed and not hits and getattr(errors[-1], "errno", None) == errno.EADDRINUSE:
                continue  # another process was faster
            if failed:
                assert hits, f"{what}: start fails without it: {errors[-1]!r}"
                assert nobody_answers(kind, port), f"{what}: the port is still taken"
                back_to(before, what)
                server = make(port=port).start()
            assert served(kind, server.address), f"{what}: not served"
            server.stop()
            back_to(before, f"{what}, and a stop")
            if not hits:
                break
            nth += 1
        else:
            raise AssertionError(f"{call}: called without end")


def serves(kind: str, make: Callable[..., Any]) -> None:
    before = held()
    udp = kind.startswith("udp")
    for call, code in FAULTS:
        for nth in (1, 2):
            what = f"{call} {nth} is {errno.errorcode[code]}"
            server = make().start()
            good = None if udp else Client(kind, server.address)
            assert good is None or good.asks()
            lost = 0
            arm(call, nth, 3, code, others=True)
            try:
                for _ in range(10):
                    lost += not served(kind, server.address)
            except TimeoutError:
                raise AssertionError(f"{what}: a client is left waiting, {server.stats()}") from None
            hits = disarm(call)
            assert served(kind, server.address), f"{what}: the server does not go on"
            if good is not None:
                # Its calls may have been among those that failed.
                lost += not good.asks()
                good.close()
            assert lost <= hits, f"{what}: {lost} clients are lost to {hits} faults"
            if not udp:
                all_leave(server, what)
            stats = server.stats()
            assert stats.accepted == stats.active + stats.closed, f"{what}: {stats}"
            server.stop()
            back_to(before, f"{what}, and a stop")


def knocks(kind: str, address: tuple[str, int], over: threading.Event) -> None:
    """Wake a server until it is over."""
    while not over.wait(0.01):
        with socket.socket(type=socket.SOCK_DGRAM if kind.startswith("udp") else socket.SOCK_STREAM) as sock:
            with contextlib.suppress(OSError):
                sock.connect(address)
                sock.send(b"x")


def ends(impl: str, kind: str, make: Callable[..., Any]) -> None:
    before = held()
    vital = [("epoll_wait", "Bad file descriptor", True)]
    if impl == "native" and kind != "threaded":
        vital.append(("clock_gettime", "a native thread panicked", True))
    if impl == "native" and kind == "chat":
        # With nobody there it is the thread of on_event that looks at the clock.
        vital.append(("clock_gettime", "a native thread panicked", False))
    for call, words, with_clients in vital:
        server = make().start()
        assert served(kind, server.address)
        log, over = Log(), threading.Event()
        knocking = threading.Thread(target=knocks, args=(kind, server.address, over))
        if with_clients:
            knocking.start()
        arm(call, 1, 1, errno.EBADF, others=True)
        try:
            server.serve_forever()
            raise AssertionError(f"{call} fails, and nobody is told")
        except (OSError, RuntimeError) as error:
            assert words in str(error), f"{call} fails: {error!r}"
        over.set()
        if with_clients:
            knocking.join()
        assert disarm(call) == 1, call
        assert log.told == ["a server ended because one of its threads failed"], log.told
        assert nobody_answers(kind, server.address[1]), f"{call} fails: the port is still taken"
        stats = server.stats()
        assert stats.active == 0 and stats.accepted == stats.closed, f"{call} fails: {stats}"
        server.stop()
        back_to(before, f"{call} fails")
        log.close()


class Log(logging.Handler):
    """What is critical in the log."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.told: list[str] = []
        logging.disable(logging.NOTSET)
        logging.getLogger("oxisock").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())

    def close(self) -> None:
        logging.getLogger("oxisock").removeHandler(self)
        super().close()


def main() -> None:
    name, kind, when = sys.argv[1:]
    impl = {"pure": oxisock.pure, "native": oxisock.native}[name]
    logging.disable(logging.CRITICAL)
    threading.excepthook = lambda args: os._exit(f"a thread died: {args}" and 3)
    make = maker(impl, kind)
    # What is imported, and what libraries set up once, is there before anything is counted.
    alone = held()
    with make() as server:
        assert served(kind, server.address)
    until(lambda: held()[1] == alone[1], lambda: f"{held()} instead of {alone}")
    {"start": starts, "serve": serves, "end": functools.partial(ends, name)}[when](kind, make)
    print("done", flush=True)


if __name__ == "__main__":
    main()
