"""Certificates for the tests of TLS."""

from __future__ import annotations

import atexit
import shutil
import socket
import ssl
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import trustme

from oxisock.sockets.secure_socket import SecureSocket

CLOSE_NOTIFY = bytes.fromhex("15030300020100")
"""The end of a TLS stream, as anybody can say it before there are keys."""


def client_hello() -> bytes:
    """Give what a client says first."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


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
    certificate = certified(folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=str(certificate))
    return Contexts(server, client)


def certified(folder: Path) -> Path:
    """Make a certificate for localhost: its key, the certificate, and that of the authority, in one file."""
    authority = trustme.CA()
    path = folder / "both.pem"
    issued = authority.issue_cert("localhost", "127.0.0.1", common_name="localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(path)
    authority.cert_pem.write_to_path(path, append=True)
    return path
