"""TLS for those who connect: who is believed, how long that takes, and what the end of a stream says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import IncompleteFrame
from oxisock.sockets.secure_socket import SecureSocket
from support.threads import beside


@contextlib.contextmanager
def serving(certificate: Path, talk: Callable[[ssl.SSLSocket], Any]) -> Iterator[tuple[int, list[Any]]]:
    """Let one client in over TLS and talk to it on a thread beside; give the port, and what came of the talk."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve() -> Any:
        sock = listener.accept()[0]
        with sock:
            sock.settimeout(30)
            try:
                secure = context.wrap_socket(sock, server_side=True, suppress_ragged_eofs=False)
            except OSError as error:
                return error
            with secure:
                return talk(secure)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        with beside(serve) as results:
            yield listener.getsockname()[1], results


def until_the_end(sock: ssl.SSLSocket) -> bytes:
    """Read to the end; a peer that checks raises where there is no close_notify."""
    data = b""
    while piece := sock.recv(100):
        data += piece
    return data


def test_a_conversation_ends_cleanly_for_a_peer_that_checks(
    impl: ModuleType, certificate: Path, trusting: ssl.SSLContext
) -> None:
    for host in ("localhost", "127.0.0.1"):

        def talk(sock: ssl.SSLSocket) -> bytes:
            sock.sendall(b"hello\n")
            return until_the_end(sock)

        with serving(certificate, talk) as (port, results):
            with impl.connect(host, port, impl.Lines(), timeout=30, ssl=trusting) as framed:
                assert framed.sock.version() == trusting.maximum_version.name.replace("v1_", "v1.")
                assert framed.recv() == b"hello"
                framed.send(b"bye")
        assert results == [b"bye\n"]


def test_the_end_that_the_peer_makes_is_clean(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    def talk(sock: ssl.SSLSocket) -> None:
        sock.sendall(b"one\n")
        with contextlib.suppress(OSError):
            sock.unwrap()

    with serving(certificate, talk) as (port, _):
        with impl.connect("localhost", port, impl.Lines(), timeout=30, ssl=trusting) as framed:
            assert list(framed) == [b"one"]
            assert framed.recv() is None


def test_the_end_is_clean_although_there_is_no_room_for_it_at_once(
    impl: ModuleType, certificate: Path, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = [True]
    unwrap = SecureSocket.unwrap

    def no_room_at_first(sock: SecureSocket) -> None:
        if full:
            full.clear()
            raise ssl.SSLWantWriteError(ssl.SSL_ERROR_WANT_WRITE, "no room")
        unwrap(sock)

    monkeypatch.setattr(SecureSocket, "unwrap", no_room_at_first)
    with serving(certificate, until_the_end) as (port, results):
        with impl.connect("localhost", port, impl.Lines(), timeout=30, ssl=trusting) as framed:
            framed.send(b"bye")
    assert results == [b"bye\n"]


@pytest.mark.parametrize("eof_frame", [False, True])
def test_a_cut_within_a_frame_is_incomplete(
    impl: ModuleType, certificate: Path, trusting: ssl.SSLContext, eof_frame: bool
) -> None:
    with serving(certificate, lambda sock: sock.sendall(b"one\ntw")) as (port, _):  # and no close_notify
        with impl.connect("localhost", port, impl.Lines(eof_frame=eof_frame), timeout=30, ssl=trusting) as framed:
            assert framed.recv() == b"one"
            for _ in range(2):
                with pytest.raises(IncompleteFrame) as caught:
                    framed.recv()
                assert caught.value.offset == 4


def test_a_cut_between_frames_is_no_clean_end(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    with serving(certificate, lambda sock: sock.sendall(b"one\n")) as (port, _):
        with impl.connect("localhost", port, impl.Lines(eof_frame=True), timeout=30, ssl=trusting) as framed:
            assert framed.recv() == b"one"
            for _ in range(2):
                with pytest.raises(ssl.SSLEOFError):
                    framed.recv()


def test_a_sock_of_ones_own_is_told_of_cuts_too(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    # Which Debian's 3.11.2 sets.
    trusting.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    with serving(certificate, lambda sock: sock.sendall(b"one\ntw")) as (port, _):
        mine = trusting.wrap_socket(socket.create_connection(("127.0.0.1", port), 30), server_hostname="localhost")
        with impl.FramedSocket(mine, impl.Lines(eof_frame=True), timeout=30) as framed:
            assert framed.recv() == b"one"
            with pytest.raises(IncompleteFrame):
                framed.recv()


@pytest.mark.skipif(not hasattr(ssl, "OP_IGNORE_UNEXPECTED_EOF"), reason="this OpenSSL always tells of cuts")
def test_who_brings_only_a_context_is_told_of_cuts_whatever_it_ignores(
    impl: ModuleType, certificate: Path, trusting: ssl.SSLContext
) -> None:
    trusting.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    with serving(certificate, lambda sock: sock.sendall(b"one\ntw")) as (port, _):
        with impl.connect("localhost", port, impl.Lines(eof_frame=True), timeout=30, ssl=trusting) as framed:
            assert framed.recv() == b"one"
            with pytest.raises(IncompleteFrame):
                framed.recv()


def test_each_direction_ends_for_itself(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    """What the peer said before it heard of the end, and what it says after that, is received."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(conn: Any, peer: Any) -> None:
        conn.sendall(b"before\n")
        for line in conn.frames(impl.Lines()):
            conn.send_frame(line.upper(), impl.Lines())
        conn.sendall(b"after\n" * 50_000)
        conn.shutdown_write()
        assert conn.recv(1) == b""

    with impl.ThreadedServer(talk, ssl=context) as server:
        options = {"timeout": 30, "ssl": trusting, "server_hostname": "localhost"}
        with impl.connect(*server.address, impl.Lines(), **options) as framed:
            framed.send_many([b"one", b"two"])
            framed.shutdown_write()
            assert list(framed) == [b"before", b"ONE", b"TWO"] + [b"after"] * 50_000
            with pytest.raises(OSError):
                framed.send(b"more")
    assert (server.stats().handler_errors, server.stats().frame_errors) == (0, 0)


def test_who_is_not_believed(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    for context, more in ((trusting, {"server_hostname": "other.example"}), (ssl.create_default_context(), {})):
        with serving(certificate, until_the_end) as (port, results):
            with pytest.raises(ssl.SSLCertVerificationError, match=rf"^localhost:{port}: .*verif"):
                impl.connect("localhost", port, impl.Lines(), timeout=30, ssl=context, **more)
        assert isinstance(results[0], OSError)


def test_a_handshake_that_does_not_end(impl: ModuleType, trusting: ssl.SSLContext) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(TimeoutError, match=rf"127\.0\.0\.1:{port}: no TLS handshake within 0.2 s"):
            impl.connect("127.0.0.1", port, impl.Lines(), timeout=0.2, ssl=trusting)


def test_a_peer_without_tls(impl: ModuleType, trusting: ssl.SSLContext) -> None:
    def answer() -> None:
        with listener.accept()[0] as sock:
            sock.sendall(b"220 mail.example says hello\r\n")
            with contextlib.suppress(OSError):
                while sock.recv(1000):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener, beside(answer):
        port = listener.getsockname()[1]
        with pytest.raises(ssl.SSLError, match=rf"^127\.0\.0\.1:{port}: "):
            impl.connect("127.0.0.1", port, impl.Lines(), timeout=30, ssl=trusting)


def test_a_chat_client(impl: ModuleType, certificate: Path, trusting: ssl.SSLContext) -> None:
    def talk(sock: ssl.SSLSocket) -> bytes:
        sock.sendall(b"* welcome to somewhere, you are guest-1\n[ada] hello\n")
        return until_the_end(sock)

    with serving(certificate, talk) as (port, results):
        with impl.ChatClient("127.0.0.1", port, timeout=30, ssl=trusting, server_hostname="localhost") as client:
            assert (client.nick, client.recv()) == ("guest-1", "[ada] hello")
            client.send("hi")
    assert results == [b"hi\n"]


@pytest.mark.parametrize(
    ("options", "error", "name"),
    [
        ({"ssl": 5}, TypeError, "ssl"),
        ({"ssl": ssl.SSLContext}, TypeError, "ssl"),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, ValueError, "ssl"),
        ({"server_hostname": "localhost"}, ValueError, "server_hostname"),
        ({"ssl": ssl.create_default_context(), "server_hostname": "a..b"}, ValueError, "server_hostname"),
        ({"ssl": ssl.create_default_context(), "server_hostname": "127.1"}, ValueError, "server_hostname"),
    ],
)
def test_what_makes_no_sense(impl: ModuleType, options: Any, error: type[Exception], name: str) -> None:
    async def on_a_loop(call: Callable[[], Any]) -> None:
        await call()

    clients: list[Callable[[], Any]] = [
        lambda: impl.connect("127.0.0.1", 9, impl.Lines(), **options),
        lambda: impl.tcp_request("127.0.0.1", 9, b"x", **options),
        lambda: impl.tcp_request("127.0.0.1", 9, b"x", codec=impl.Lines(), **options),
        lambda: impl.ChatClient("127.0.0.1", 9, **options),
        lambda: asyncio.run(on_a_loop(lambda: impl.aio.open_framed("127.0.0.1", 9, **options))),
        lambda: asyncio.run(on_a_loop(lambda: impl.aio.tcp_request("127.0.0.1", 9, b"x", **options))),
    ]
    for client in clients:
        with pytest.raises(error, match=f"^{name}="):
            client()
