"""Certificates for the tests of TLS."""

from __future__ import annotations

import atexit
import shutil
import socket
import ssl
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from oxisock.sockets.secure_socket import SecureSocket

from .tools import tool


class Stranger(SecureSocket):
    """A client that speaks TLS, and is otherwise as rude as a plain socket may be."""

    def send(self, data: Any, flags: int = 0) -> int:
        if flags:  # past TLS
            return socket.socket.send(self, data, flags)
        try:
            return super().send(data)
        except ssl.SSLWantWriteError as error:
            raise BlockingIOError from error

    def recv(self, size: int, flags: int = 0) -> bytes:
        try:
            return super().recv(size)
        except ssl.SSLWantReadError as error:
            raise BlockingIOError from error

    def shutdown(self, how: int) -> None:
        if how == socket.SHUT_WR:
            with suppress(OSError):
                self.unwrap()
        super().shutdown(how)


class Contexts(NamedTuple):
    """Contexts of a server, and of a client who knows its certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@cache
def contexts() -> Contexts:
    """Give contexts for all tests that want some."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    certificate = self_signed(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=str(certificate))
    return Contexts(server, client)


def self_signed(folder: Path) -> Path:
    """Make a certificate for localhost that signs itself; it is in one file with its key."""
    tool("openssl")
    path = folder / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {path} -out {path}.crt"
        f" -addext subjectAltName=DNS:localhost,IP:127.0.0.1 && cat {path}.crt >> {path}",
        shell=True,
        check=True,
        capture_output=True,
        timeout=60,
    )
    return path
