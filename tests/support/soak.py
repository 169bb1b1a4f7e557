"""A soak: every server of both engines for as long as you like, among peers that misbehave, while good clients check.

    python tests/support/soak.py [--seconds 600] [--impl pure,native]

One process for each engine runs all servers. Prints memory, descriptors and threads over time. Ends with 1 where a good
client was not served or got a wrong answer, where a server's counters do not add up, and where anything grows: what is
held at the end, when all peers have gone, is compared with the beginning, by a generous margin.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ENGINES = ("pure", "native")
# Whoever floods a chat that has no limit makes all others too slow for it, who are cut: nobody good is in the mob.
TCP = ("echo", "message", "threaded", "chat", "mob")
HOSTILE_HOST = "127.0.0.2"  # chats turn away an address whose clients come and go all the time
LIMIT = 60.0  # seconds that a good client waits for an answer, on a machine that does other things too
GOOD, HOSTILE = 2, 6  # clients of each server at a time
MARGIN = 48 << 20  # bytes by which memory may grow, and by a quarter: allocators keep what was once needed
ASIDE = 12  # descriptors, and threads, that may be about to go


# --- the process with the servers ------------------------------------------------------------------------------------


def serve(name: str) -> None:
    """Run one server of each kind until the input ends, and say then what they counted."""
    import logging

    import oxisock.native
    import oxisock.pure

    logging.disable(logging.CRITICAL)  # what hostile peers do is told for each of them
    impl = getattr(oxisock, name)
    limits: dict[str, Any] = {"idle_timeout": 5.0, "write_timeout": 2.0, "max_buffered": 1 << 18}
    room: dict[str, Any] = {"idle_timeout": 5.0, "queue_limit": 1 << 16, "on_event": lambda event: None}
    codec = impl.Lines(max_frame=1 << 16)

    def handler(message: bytes, peer: object) -> bytes:
        if message == b"raise":
            raise ValueError("as asked")
        return message

    def thread(conn: Any, peer: object) -> None:
        for frame in conn.frames(codec):
            conn.send_frame(handler(frame, peer), codec)

    servers = {
        "echo": impl.EchoServer(workers=2, **limits),
        "message": impl.MessageServer(handler, codec=codec, dispatchers=2, **limits),
        "threaded": impl.ThreadedServer(thread, **limits),
        "chat": impl.ChatServer(rate=100.0, burst=50, **room),
        "mob": impl.ChatServer(rate=None, **room),
        "udp": impl.UdpServer(lambda datagram: datagram.data),
    }
    for server in servers.values():
        server.start()
    print(json.dumps({kind: server.address for kind, server in servers.items()}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({kind: server.stats()._asdict() for kind, server in servers.items()}), flush=True)
    for server in servers.values():
        server.stop()


class Held(NamedTuple):
    """What a process holds."""

    memory: int
    descriptors: int
    threads: int

    def __str__(self) -> str:
        return f"{self.memory / (1 << 20):7.1f} MiB {self.descriptors:5} descriptors {self.threads:4} threads"


class Servers:
    """The process that runs the servers of one engine."""

    def __init__(self, impl: str) -> None:
        self.impl = impl
        command = [sys.executable, __file__, "--serve", impl]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addresses = {kind: tuple(address) for kind, address in self._answer().items()}

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the {self.impl} servers have ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stats(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._answer()

    def held(self) -> Held:
        entry = Path(f"/proc/{self.process.pid}")
        pages = int((entry / "statm").read_text().split()[1])
        return Held(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(entry / "fd")), len(os.listdir(entry / "task")))

    def end(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(20)
        finally:
            self.process.kill()
            self.process.stdout.close()


# --- good clients ----------------------------------------------------------------------------------------------------


def good_stream(address: tuple[str, int], chance: random.Random) -> int:
    """Ask a server for a while, one line after the other, and check every answer."""
    with socket.create_connection(address, timeout=LIMIT) as sock, sock.makefile("rb") as answers:
        count = chance.randrange(1, 60)
        for number in range(count):
            line = b"%d %b\n" % (number, b"x" * chance.choice([0, 10, 1000, 40_000]))
            sock.sendall(line)
            answer = answers.readline()
            assert answer == line, f"{len(line)} bytes were answered by {answer[:60]!r}"
        return count


def good_member(address: tuple[str, int], chance: random.Random) -> int:
    """Join a chat, say something, and hear it once and in order."""
    with socket.create_connection(address, timeout=LIMIT) as sock, sock.makefile("rb") as lines:
        welcome = lines.readline()
        if welcome == b"! slow down\n":  # good ones come often, too
            return 0
        assert welcome.startswith(b"* welcome to "), welcome
        nick = welcome.split()[-1]
        count = chance.randrange(1, 30)
        for number in range(count):
            text = b"%d good" % number
            sock.sendall(text + b"\n")
            mine = b"[%b] %b\n" % (nick, text)
            for line in lines:
                assert not line.startswith(b"[%b]" % nick) or line == mine, f"{line!r} instead of {mine!r}"
                if line == mine:
                    break
            else:
                raise AssertionError("the chat has ended")
        return count


def good_datagrams(address: tuple[str, int], chance: random.Random) -> int:
    """Ask by datagrams until each is answered."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        sock.settimeout(0.5)
        count = chance.randrange(1, 60)
        for _ in range(count):
            asked, deadline = chance.randbytes(20), time.monotonic() + LIMIT
            while True:
                assert time.monotonic() < deadline, "no datagram is answered"
                with contextlib.suppress(TimeoutError):
                    sock.send(asked)
                    if sock.recv(2000) == asked:
                        break
        return count


# --- the others ------------------------------------------------------------------------------------------------------


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=5, source_address=(HOSTILE_HOST, 0))


def resets(address: tuple[str, int], chance: random.Random) -> None:
    """Say half of something and reset."""
    with connected(address) as sock:
        sock.sendall(b"half" * chance.randrange(1000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def vanishes(address: tuple[str, int], chance: random.Random) -> None:
    """Connect and go, with or without a word."""
    with connected(address) as sock:
        if chance.random() < 0.5:
            sock.sendall(b"so long\n" * chance.randrange(100))


def never_reads(address: tuple[str, int], chance: random.Random) -> None:
    """Write for as long as anything is taken, and read nothing."""
    with connected(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(1)
        for _ in range(200):
            sock.sendall(b"never read, ever\n" * 1000)


def reads_slowly(address: tuple[str, int], chance: random.Random) -> None:
    """Read in small pieces what is much."""
    with connected(address) as sock:
        sock.settimeout(1)
        sock.sendall(b"slowly\n" * 4000)
        for _ in range(chance.randrange(200)):
            if not sock.recv(20):
                break
            time.sleep(0.002)


def speaks_noise(address: tuple[str, int], chance: random.Random) -> None:
    """Send what means nothing, in pieces of any size."""
    with connected(address) as sock:
        for _ in range(chance.randrange(30)):
            sock.sendall(chance.randbytes(chance.randrange(1, 5000)))


def says_too_much(address: tuple[str, int], chance: random.Random) -> None:
    """Send a line longer than any may be, and raise an exception in a handler."""
    with connected(address) as sock:
        sock.sendall(b"raise\n" if chance.random() < 0.5 else b"y" * 200_000)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 16):
            pass


def says_nothing(address: tuple[str, int], chance: random.Random) -> None:
    """Keep a connection without a word, or with a byte now and then, until the server parts with it."""
    with connected(address) as sock:
        sock.settimeout(20)
        if chance.random() < 0.5:
            sock.sendall(b"x")
        while sock.recv(1 << 16):
            pass


def throws_datagrams(address: tuple[str, int], chance: random.Random) -> None:
    """Send datagrams of any size and never listen."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        for _ in range(chance.randrange(200)):
            sock.send(chance.randbytes(chance.choice([0, 1, 1000, 9000])))


HABITS = (resets, vanishes, never_reads, reads_slowly, speaks_noise, says_too_much, says_nothing)


class Crowd:
    """The threads of all clients, and what came of the good ones."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.answers = 0
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def add(self, client: Callable[[tuple[str, int], random.Random], Any], address: Any, seed: str, good: bool) -> None:
        thread = threading.Thread(target=self._live, args=(client, address, random.Random(seed), seed, good))
        self._threads.append(thread)
        thread.start()

    def _live(self, client: Callable[..., Any], address: Any, chance: random.Random, who: str, good: bool) -> None:
        while not self.over.is_set():
            try:
                answers = client(address, chance)
                with self._lock:
                    self.answers += answers or 0
            except (OSError, AssertionError) as error:
                if good:
                    with self._lock:
                        self.failures.append(f"{who}: {type(error).__name__}: {error}")
                    return
            if not good:
                self.over.wait(0.02 * chance.random())

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(LIMIT + 30)


def misbehaves(address: tuple[str, int], chance: random.Random) -> None:
    chance.choice(HABITS)(address, chance)


# --- the whole -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(impls: list[str]) -> Iterator[list[Servers]]:
    with contextlib.ExitStack() as stack:
        servers = []
        for impl in impls:
            servers.append(Servers(impl))
            stack.callback(servers[-1].end)
        yield servers


def crowded(servers: list[Servers], crowd: Crowd) -> None:
    for each in servers:
        for kind, address in each.addresses.items():
            good = {"chat": good_member, "udp": good_datagrams}.get(kind, good_stream)
            bad = throws_datagrams if kind == "udp" else misbehaves
            for number in range(0 if kind == "mob" else GOOD):
                crowd.add(good, address, f"good {each.impl} {kind} {number}", True)
            for number in range(HOSTILE):
                crowd.add(bad, address, f"hostile {each.impl} {kind} {number}", False)


def soak(seconds: float, impls: list[str], say: Callable[[str], None] = print) -> list[str]:
    """Soak for so long; give what is wrong."""
    wrong: list[str] = []
    with running(impls) as servers:
        for each in servers:  # every server has been used once
            for kind in TCP:
                with contextlib.suppress(OSError):
                    vanishes(each.addresses[kind], random.Random(1))
        first = {each.impl: each.held() for each in servers}
        # Memory is compared from when everything has happened for a while.
        warm = {impl: held.memory for impl, held in first.items()}
        crowd, began = Crowd(), time.monotonic()
        crowded(servers, crowd)
        step = max(1.0, seconds / 40)
        while (passed := time.monotonic() - began) < seconds and not crowd.failures:
            time.sleep(step)
            for each in servers:
                held = each.held()
                say(f"{passed:6.0f} s {each.impl:6} {held} {crowd.answers:9} good answers")
                if passed < seconds / 2:
                    warm[each.impl] = max(warm[each.impl], held.memory)
        crowd.end()
        wrong += crowd.failures
        if not crowd.answers:
            wrong.append("no good client was served")
        for each in servers:
            wrong += settled(each, first[each.impl], warm[each.impl], say)
    return wrong


def settled(each: Servers, first: Held, warm: int, say: Callable[[str], None]) -> list[str]:
    """Wait until the peers that have gone are gone for the servers too; give what is left of them."""
    deadline = time.monotonic() + 60
    while True:
        stats, held = each.stats(), each.held()
        idle = all(stats[kind]["active"] == 0 for kind in TCP)
        few = held.descriptors <= first.descriptors + ASIDE and held.threads <= first.threads + ASIDE
        if (idle and few) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    say(f"at the end {each.impl:6} {held}, at the beginning {first}")
    wrong = [f"{each.impl}: at the end {held}, at the beginning {first}"] if not few else []
    if held.memory > warm + warm // 4 + MARGIN:
        wrong.append(f"{each.impl}: memory has grown from {warm >> 20} to {held.memory >> 20} MiB")
    for kind in TCP:
        counted = stats[kind]
        if counted["active"] or counted["accepted"] != counted["closed"]:
            wrong.append(f"{each.impl} {kind}: {counted}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--impl", default=",".join(ENGINES))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return 0
    wrong = soak(options.seconds, options.impl.split(","), lambda line: print(line, flush=True))
    for words in wrong:
        print(words, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
