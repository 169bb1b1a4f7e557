"""Where no descriptor is left, those who are in are served, timeouts close, and a stop ends."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from types import ModuleType

import pytest

from support.answering import PLAIN, SECURED, answering
from support.certificates import certified
from support.processes import python
from support.resources import no_descriptors
from support.served import Client, Served
from support.talking import adds_up, stuff_until_it_stops
from support.waiting import wait_until


def never_reads(running: Served, stack: contextlib.ExitStack) -> None:
    """Have answers wait for somebody."""
    sock = stack.enter_context(running.converse())
    sock.setblocking(False)
    with contextlib.suppress(ConnectionError):
        stuff_until_it_stops(sock, piece=b"x" * 1023 + b"\n")


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_timeouts_close_though_no_descriptor_is_left(impl: ModuleType, kind: str) -> None:
    limits = {"idle_timeout": 0.3, "write_timeout": 1.0, "max_buffered": 1 << 16}
    with contextlib.ExitStack() as stack, answering(impl, kind, **limits) as running:
        silent = stack.enter_context(running.converse())
        never_reads(running, stack)
        assert wait_until(lambda: running.stats().accepted == 2)
        with no_descriptors():
            assert wait_until(lambda: running.stats().closed == 2)
        with contextlib.suppress(ConnectionError):
            silent.settimeout(20)
            assert silent.recv(1) == b""
        assert running.stats().timeouts == 2

        def is_served() -> bool:
            """On a busy machine, somebody may be silent for too long before he has said a word."""
            with contextlib.suppress(ConnectionError, ssl.SSLEOFError), Client(running) as other:
                return other.is_served()
            return False

        assert wait_until(is_served)


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_a_stop_ends_though_no_descriptor_is_left(impl: ModuleType, kind: str) -> None:
    with contextlib.ExitStack() as stack, answering(impl, kind, max_buffered=1 << 16) as running:
        never_reads(running, stack)
        with Client(running) as other:
            assert other.is_served()
            with no_descriptors():
                assert other.is_served()
                report = running.stop()
        assert report.drained + report.aborted == 2
        assert wait_until(lambda: running.stats().active == 0)
        assert adds_up(running.stats())


@pytest.mark.parametrize("kind", PLAIN + SECURED)
def test_a_server_that_runs_reads_no_modules(impl: ModuleType, kind: str, tmp_path: Path) -> None:
    """It could not, without a descriptor: whatever it tells the log, and however a connection ends."""
    done = python(RUNS_WITHOUT_IMPORTS, impl.impl, kind, str(certified(tmp_path)))
    assert done.stdout == "[]\n", done.stderr


RUNS_WITHOUT_IMPORTS = """
import contextlib, socket, ssl, struct, sys, time
import oxisock
impl, kind, pem = getattr(oxisock, sys.argv[1]), sys.argv[2], sys.argv[3]
wanted = []
class Refuses:
    def find_spec(self, name, path=None, target=None):
        wanted.append(name)
        raise ImportError(name)
def answer(message, peer=None):
    if message == b"raise":
        raise ZeroDivisionError
    return message
def talk(conn, peer):
    for message in conn.frames(lines):
        conn.send_frame(answer(message), lines)
async def talk_too(stream, peer):
    async for message in stream:
        await stream.send(answer(message))
lines = impl.Lines(max_frame=99)
limits, client = {"idle_timeout": 0.2, "handshake_timeout": 5.0}, None
if "TLS" in kind:
    limits["ssl"] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    limits["ssl"].load_cert_chain(pem)
    client = ssl.create_default_context(cafile=pem)
def connect(plain=False):
    sock = socket.create_connection(server.address, 30)
    return sock if plain or client is None else client.wrap_socket(sock, server_hostname="localhost")
def deeds():
    sys.meta_path.insert(0, Refuses())
    for words in b"x" * 200, b"raise\\n", b"":
        with connect() as sock, contextlib.suppress(OSError):
            sock.sendall(words)
            while sock.recv(99):
                pass
    with connect(plain=True) as sock, contextlib.suppress(OSError):
        sock.sendall(b"no TLS\\n")
        sock.recv(99)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    answer = None
    while answer != b"good\\n":  # on a busy machine, whoever comes may be silent for too long
        with connect() as sock, contextlib.suppress(OSError):
            sock.sendall(b"good\\n")
            answer = sock.recv(99)
    while server.stats().active:
        time.sleep(0.01)
async def run():
    async with server:
        await asyncio.to_thread(int)
        await asyncio.to_thread(deeds)
"localhost".encode("idna")
if kind.startswith("coroutines"):
    import asyncio
    server = impl.aio.start_server(talk_too, codec=lines, **limits)
    asyncio.run(run())
else:
    server = impl.ThreadedServer(talk, **limits)
    if kind.startswith("messages"):
        server = impl.MessageServer(answer, codec=lines, **limits)
    with server:
        deeds()
sys.meta_path.pop(0)
print(wanted)
"""
