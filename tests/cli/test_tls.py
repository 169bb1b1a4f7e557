"""The commands that speak TLS: who is believed, and what is said of files that are of no use."""

from __future__ import annotations

import argparse
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from oxisock.cli.tls import of_server
from support.certificates import certified
from support.commands import oxisock
from support.processes import ended, process, serve
from support.tools import tool


def test_serve_and_send(impl: ModuleType, certificate: Path) -> None:
    with process(*serve(impl, "upper", "-v", "--tls-cert", str(certificate))) as (server, (host, port)):
        options = ["--impl", impl.impl, "--timeout", "30", f"{host}:{port}"]
        believing = ["--tls", "--ca", certificate, "--server-name", "localhost"]
        for codec in ([], ["--codec", "none"]):
            sent = oxisock("send", *believing, *codec, *options, "hello")
            assert (sent.returncode, sent.stdout, sent.stderr) == (0, "Echo: HELLO\n", "")
        for doubting in (
            ["--tls", "--server-name", "localhost"],
            ["--tls", "--ca", certificate, "--server-name", "x.example"],
        ):
            sent = oxisock("send", *doubting, *options, "hello")
            assert (sent.returncode, sent.stdout) == (1, "")
            assert f"{host}:{port}: " in sent.stderr
            assert "verif" in sent.stderr
        server.terminate()
        code, _, err = ended(server)
        assert code == 0
        assert "messages 2" in err
        assert "handshake_errors" in err


@pytest.mark.skipif(not hasattr(ssl, "OP_NO_RENEGOTIATION"), reason="this ssl has no such option")
def test_serve_refuses_a_second_handshake(certificate: Path) -> None:
    context = of_server(argparse.Namespace(tls_cert=str(certificate), tls_key=None))
    assert context is not None
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_openssl_talks_to_serve(impl: ModuleType, certificate: Path) -> None:
    tool("openssl")
    with process(*serve(impl, "upper", "--tls-cert", str(certificate), "--tls-key", str(certificate))) as (_, address):
        host, port = address
        for version in ("-tls1_2", "-tls1_3"):
            command = ["openssl", "s_client", "-connect", f"{host}:{port}", version, "-quiet", "-verify_return_error"]
            with subprocess.Popen(
                [*command, "-CAfile", str(certificate)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            ) as client:
                assert client.stdin is not None and client.stdout is not None
                client.stdin.write(b"hello\n")
                client.stdin.flush()
                assert client.stdout.readline() == b"Echo: HELLO\n"
                client.kill()


@contextlib.contextmanager
def chat_behind_tls(impl: ModuleType, certificate: Path) -> Iterator[tuple[str, int]]:
    """Give where to find a chat: in front of it a thread ends TLS, as a proxy does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def move() -> None:
        sock = listener.accept()[0]
        with context.wrap_socket(sock, server_side=True) as outside, socket.create_connection(chat.address) as inside:

            def inwards() -> None:
                with contextlib.suppress(OSError):
                    while data := outside.recv(1 << 16):
                        inside.sendall(data)
                    inside.shutdown(socket.SHUT_WR)

            outside.settimeout(30)
            inwards_thread = threading.Thread(target=inwards)
            # One direction first: of a TLS socket, only one thread may have hold.
            outside.sendall(inside.recv(1 << 16))
            inwards_thread.start()
            inwards_thread.join()
            with contextlib.suppress(OSError):
                while data := inside.recv(1 << 16):
                    outside.sendall(data)
                outside.unwrap()

    with impl.ChatServer() as chat, socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        thread = threading.Thread(target=move)
        thread.start()
        try:
            yield listener.getsockname()[:2]
        finally:
            thread.join(30)


def test_chat(impl: ModuleType, certificate: Path) -> None:
    with chat_behind_tls(impl, certificate) as (host, port):
        said = oxisock(
            "chat", "--tls", "--ca", certificate, "--server-name", "localhost", "--impl", impl.impl, f"{host}:{port}",
            input="hello\n",
        )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "[guest-1] hello\n" in said.stdout


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "text.pem").write_text("no certificate\n")
    other = folder / "other"
    other.mkdir()
    certified(other)
    tool("openssl")
    subprocess.run(
        ["openssl", "pkey", "-aes256", "-passout", "pass:secret", "-in", certificate, "-out", folder / "locked.pem"],
        check=True,
        capture_output=True,
    )
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("serve upper --tls-cert {files}/none.pem", "--tls-cert {files}/none.pem: No such file"),
        ("serve upper --tls-cert {files}/text.pem", "--tls-cert {files}/text.pem: expected a certificate"),
        ("serve upper --tls-cert {certificate} --tls-key {files}/none.pem", "--tls-key {files}/none.pem: No such file"),
        (
            "serve upper --tls-cert {certificate} --tls-key {files}/text.pem",
            "expected a certificate and its key in PEM",
        ),
        (
            "serve upper --tls-cert {certificate} --tls-key {files}/other/both.pem",
            "--tls-key {files}/other/both.pem: not the key of the certificate",
        ),
        ("serve upper --tls-cert {certificate} --tls-key {files}/locked.pem", "the key has a password"),
        ("serve upper --tls-key {certificate}", "--tls-key needs --tls-cert"),
        ("send --tls --ca {files}/none.pem 127.0.0.1:9 x", "--ca {files}/none.pem: No such file"),
        ("send --tls --ca {files}/text.pem 127.0.0.1:9 x", "--ca {files}/text.pem: expected certificates in PEM"),
        ("send --ca {certificate} 127.0.0.1:9 x", "--ca needs --tls"),
        ("chat --server-name localhost 127.0.0.1:9", "--server-name needs --tls"),
        ("send --udp --tls 127.0.0.1:9 x", "--tls is for connections"),
    ],
)
def test_what_makes_no_sense(command: str, words: str, files: Path, certificate: Path) -> None:
    places = {"files": files, "certificate": certificate}
    said = oxisock(*command.format(**places).split(), stdin=subprocess.DEVNULL)
    assert (said.returncode, said.stdout) == (2, "")
    assert words.format(**places) in said.stderr
    assert "Traceback" not in said.stderr
