"""TLS of every server with clients of others, whatever they say, leave out and break off."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock.sockets.closing import reset_on_close
from support.answering import SECURED, answering
from support.certificates import certified, contexts
from support.served import SECONDS, Client, Served, served
from support.tools import tool
from support.waiting import wait_until

trio = pytest.importorskip("trio")

LINES = b"".join(b"%d " % number * 100 + b"\n" for number in range(2000))


def clean(running: Served, closed: int) -> bool:
    """Say whether so many connections have ended, without a fault."""
    if not wait_until(lambda: running.stats().closed == closed):
        return False
    stats = running.stats()
    return not (stats.frame_errors or stats.handshake_errors or stats.handler_errors or stats.timeouts)


def hello() -> bytes:
    """Give what a client says first."""
    said = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        contexts().client.wrap_bio(ssl.MemoryBIO(), said, server_hostname="localhost").do_handshake()
    return said.read()


@pytest.mark.parametrize("kind", SECURED)
def test_a_reset_within_a_handshake_is_one_that_failed(impl: ModuleType, kind: str) -> None:
    whole = hello()
    with answering(impl, kind) as running:
        for number, (words, answered) in enumerate([(b"", False), (whole[:99], False), (whole, True)], 1):
            with running.connect() as sock:
                sock.sendall(words)
                if answered:
                    assert sock.recv(1)
                reset_on_close(sock)
            assert wait_until(lambda number=number: running.stats().closed == number)  # type: ignore[misc]
            assert running.stats().handshake_errors == number
        with Client(running) as good:
            assert good.is_served()
            reset_on_close(good.sock)
        assert wait_until(lambda: running.stats().closed == 4)
        stats = running.stats()
        assert (stats.handshake_errors, stats.timeouts, stats.handler_errors, stats.messages) == (3, 0, 0, 1)


@pytest.mark.parametrize("kind", SECURED)
def test_a_stop_is_no_fault_of_a_handshake(impl: ModuleType, kind: str) -> None:
    with answering(impl, kind) as running, running.connect() as sock:
        sock.sendall(hello()[:99])
        assert wait_until(lambda: running.stats().active == 1)
        running.stop()
        stats = running.stats()
        assert (stats.closed, stats.handshake_errors, stats.timeouts) == (1, 0, 0)


# --- who comes --------------------------------------------------------------------------------------------------------


def by_ssl(address: tuple[str, int]) -> bytes:
    raw = socket.create_connection(address, timeout=30)
    with contexts().client.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as sock:
        found = b""
        for at in range(0, len(LINES), 1 << 14):
            sock.sendall(LINES[at : at + (1 << 14)])
            while len(found) < at:
                found += sock.recv(1 << 16)
        while len(found) < len(LINES):
            found += sock.recv(1 << 16)
        sock.unwrap()  # the server's close_notify, too
    return found


def by_asyncio(address: tuple[str, int]) -> bytes:
    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(*address, ssl=contexts().client, server_hostname="localhost")
        writer.write(LINES)
        found = await reader.readexactly(len(LINES))
        writer.close()
        await writer.wait_closed()
        return found

    return asyncio.run(talk())


def by_trio(address: tuple[str, int]) -> bytes:
    async def talk() -> bytes:
        tcp = await trio.open_tcp_stream(*address)
        stream = trio.SSLStream(tcp, contexts().client, server_hostname="localhost", https_compatible=False)
        found = bytearray()

        async def hear() -> None:
            while len(found) < len(LINES):
                found.extend(await stream.receive_some(1 << 16))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear)
            await stream.send_all(LINES)
        await stream.aclose()
        return bytes(found)

    found: bytes = trio.run(talk)
    return found


@pytest.mark.parametrize("client", [by_ssl, by_asyncio, by_trio])
@pytest.mark.parametrize("kind", SECURED)
def test_clients_of_others(impl: ModuleType, kind: str, client: Callable[[tuple[str, int]], bytes]) -> None:
    with answering(impl, kind) as running:
        assert client(running.address) == LINES
        assert clean(running, 1)
        assert running.stats().messages == 2000


def s_client(running: Served, *options: str | Path) -> subprocess.Popen[bytes]:
    """Run OpenSSL's own client, whose input and output are pipes."""
    host, port = running.address
    command = [tool("openssl"), "s_client", "-connect", f"{host}:{port}", "-servername", "localhost", *options]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def talked(process: subprocess.Popen[bytes], last: bytes) -> bytes:
    """Say hello to who gives lines back, and then one last thing; give what the client printed."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"hello\n")
    process.stdin.flush()
    printed = b""
    while b"hello\n" not in printed:  # in the middle of anything: it prints by two ways
        piece = os.read(process.stdout.fileno(), 1 << 16)
        assert piece, printed
        printed += piece
    return printed + process.communicate(last, timeout=30)[0]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("kind", SECURED)
def test_openssl(impl: ModuleType, kind: str, version: str, tmp_path: Path) -> None:
    """Its client believes the server, is believed by it, and its end is a clean one."""
    both = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    context.load_verify_locations(both)
    context.verify_mode = ssl.CERT_REQUIRED
    seen: list[Any] = []
    trust: list[str | Path] = ["-CAfile", both, "-verify_return_error", "-verify_hostname", "localhost"]
    with answering(impl, kind, seen=seen, ssl=context) as running:
        with s_client(running, version, *trust, "-cert", both, "-key", both) as process:
            printed = talked(process, b"Q\n")
        assert b"Verification: OK" in printed
        assert clean(running, 1)
        assert running.stats().messages == 1
        with s_client(running, version, *trust) as process:  # nobody
            process.communicate(b"", timeout=30)
        assert wait_until(lambda: running.stats().handshake_errors == 1)
    if "messages" not in kind:
        assert [(("commonName", "localhost"),) in each["subject"] for each in seen] == [True]


@pytest.mark.parametrize("kind", SECURED)
def test_renegotiation_is_refused(impl: ModuleType, kind: str) -> None:
    with answering(impl, kind) as running:
        with s_client(running, "-tls1_2", "-crlf") as process:
            printed = talked(process, b"R\n")
        assert b"RENEGOTIATING" in printed
        assert b"no renegotiation" in printed.lower()
        assert wait_until(lambda: running.stats().closed == 1)
        assert running.stats().messages == 1


@pytest.mark.parametrize("kind", SECURED)
def test_the_certificate_is_that_of_the_name_that_was_asked_for(impl: ModuleType, kind: str, tmp_path: Path) -> None:
    """A context's ``sni_callback`` may choose another context, as it does with Python's own sockets."""
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    other.load_cert_chain(certified(tmp_path))
    first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # which has no certificate of its own

    def choose(tls: Any, name: str | None, context: ssl.SSLContext) -> int | None:
        if name != "localhost":
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        tls.context = other
        return None

    first.sni_callback = choose
    theirs = ssl.create_default_context(cafile=str(tmp_path / "both.pem"))
    with answering(impl, kind, ssl=first) as running:
        with theirs.wrap_socket(running.connect(), server_hostname="localhost") as sock:
            sock.sendall(b"hello\n")
            assert sock.recv(6) == b"hello\n"
        with running.connect() as raw, pytest.raises(ssl.SSLError, match="(?i)unrecognized.name"):
            theirs.wrap_socket(raw, server_hostname="else.example")
        assert wait_until(lambda: running.stats().handshake_errors == 1)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("kind", SECURED)
def test_the_versions_are_those_that_the_context_allows(
    impl: ModuleType, kind: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certified(tmp_path))
    ours.minimum_version = ours.maximum_version = version
    with answering(impl, kind, ssl=ours) as running:
        theirs = ssl.create_default_context(cafile=str(tmp_path / "both.pem"))
        with theirs.wrap_socket(running.connect(), server_hostname="localhost") as sock:
            assert sock.version() == version.name.replace("v1_", "v1.")
        other = {ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3} - {version}
        theirs.minimum_version = theirs.maximum_version = other.pop()
        with running.connect() as raw, pytest.raises(ssl.SSLError):
            theirs.wrap_socket(raw, server_hostname="localhost")
        assert wait_until(lambda: running.stats().handshake_errors == 1)


@pytest.mark.parametrize("kind", SECURED)
def test_byte_by_byte(impl: ModuleType, kind: str) -> None:
    with answering(impl, kind) as running, running.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = contexts().client.wrap_bio(incoming, outgoing, server_hostname="localhost")

        def do(call: Callable[[], Any]) -> Any:
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    say()
                    incoming.write(sock.recv(1))
                finally:
                    say()

        def say() -> None:
            while byte := outgoing.read(1):
                sock.sendall(byte)

        do(tls.do_handshake)
        do(lambda: tls.write(b"hello\n"))
        assert do(lambda: tls.read(6)) == b"hello\n"
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.unwrap()
        say()
        assert clean(running, 1)


@pytest.mark.parametrize("kind", ["coroutines over TLS", "threads over TLS"])
def test_a_server_that_has_said_all_goes_on_hearing(impl: ModuleType, kind: str) -> None:
    heard: list[bytes] = []

    def talk(conn: Any, peer: Any) -> None:
        conn.sendall(b"all\n")
        conn.shutdown_write()
        heard.extend(conn.frames(impl.Lines()))

    async def talk_too(stream: Any, peer: Any) -> None:
        await stream.send(b"all")
        stream.shutdown_write()
        heard.extend([line async for line in stream])

    options: dict[str, Any] = {"ssl": contexts().server}
    if kind.startswith("threads"):
        server = impl.ThreadedServer(talk, **options)
    else:
        server = impl.aio.start_server(talk_too, **options)
    options = {"timeout": 30, "ssl": contexts().client, "server_hostname": "localhost"}
    with served(server, kind) as running:
        with impl.connect(*running.address, impl.Lines(), **options) as framed:
            assert list(framed) == [b"all"]  # and then a clean end
            framed.send_many([b"%d" % number for number in range(50_000)])
        assert clean(running, 1)
    assert heard == [b"%d" % number for number in range(50_000)]


@contextlib.contextmanager
def asking_for_new_keys(sock: socket.socket) -> Iterator[Callable[[], bool]]:
    """Give what asks, over TLS on a socket that waits, for new keys; it says whether that could be sent."""
    try:
        import _ssl

        openssl = ctypes.CDLL(_ssl.__file__)
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(openssl, name).restype = ctypes.c_void_p
        update = openssl.SSL_key_update
    except (ImportError, AttributeError, OSError):
        pytest.skip("this Python does not lend its OpenSSL")
    context = ctypes.c_void_p(openssl.SSL_CTX_new(ctypes.c_void_p(openssl.TLS_client_method())))
    tls = ctypes.c_void_p(openssl.SSL_new(context))
    try:
        sock.settimeout(None)
        openssl.SSL_set_fd(tls, sock.fileno())
        assert openssl.SSL_connect(tls) == 1
        yield lambda: update(tls, 1) == 1 and openssl.SSL_do_handshake(tls) == 1
    finally:
        openssl.SSL_free(tls)
        openssl.SSL_CTX_free(context)


@pytest.mark.parametrize("kind", SECURED)
def test_who_keeps_tls_busy_and_says_nothing_is_cut(impl: ModuleType, kind: str) -> None:
    """TLS answers that by itself: there is much to reckon, and nothing is said."""
    with answering(impl, kind, idle_timeout=None) as running, running.connect() as sock:
        with asking_for_new_keys(sock) as ask:
            deadline = time.monotonic() + SECONDS
            while ask():
                assert time.monotonic() < deadline, "and is cut as late as never"
        assert wait_until(lambda: running.stats().closed == 1)


def test_what_a_message_server_has_no_time_for_is_opened_in_its_next_turn(
    impl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oxisock.serving.secured._SHARE", 0.0)
    lines = [b"%d" % number for number in range(100_000)]
    with answering(impl, "messages over TLS") as running, Client(running) as other:
        with impl.connect(*running.address, impl.Lines(), ssl=contexts().client, server_hostname="localhost") as framed:
            framed.settimeout(SECONDS)
            sender = threading.Thread(target=framed.send_many, args=(lines,), daemon=True)
            sender.start()
            for line in lines:
                assert framed.recv() == line
            sender.join()
        assert other.is_served()


@pytest.mark.parametrize("kind", SECURED)
def test_who_asks_for_new_keys_now_and_then_is_as_idle_as_who_is_silent(impl: ModuleType, kind: str) -> None:
    with answering(impl, kind, idle_timeout=0.3) as running, running.connect() as sock:
        with asking_for_new_keys(sock) as ask:
            deadline = time.monotonic() + SECONDS
            while ask() and running.stats().closed == 0:
                time.sleep(0.03)
                assert time.monotonic() < deadline, "and is cut as late as never"
        assert wait_until(lambda: running.stats().closed == 1)
        stats = running.stats()
        assert (stats.timeouts, stats.frame_errors, stats.handler_errors) == (1, 0, 0)
