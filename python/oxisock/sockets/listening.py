"""Creates and checks the listening socket of a server, in the same way for both engines."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import Any

from .. import arguments
from ..errors import errno_words
from ..types import Peer
from .addresses import peer_of, reads_as_address, socket_address
from .resolving import ascii_name, checked_host


def bind(
    host: str,
    port: int,
    kind: int,
    *,
    reuse_port: bool = False,
    dual_stack: bool = False,
    backlog: int | None = None,
) -> socket.socket:
    """Bind a non-blocking socket of ``kind`` (SOCK_STREAM or SOCK_DGRAM) and, given a ``backlog``, listen on it.

    Raises OSError with host and port in its message and with its errno; errno is ENOTSUP if ``reuse_port`` is not
    available. Raises ValueError for a host that is neither a name nor an address.
    """
    where = Peer(host, port)
    if reuse_port and (sys.platform == "win32" or not hasattr(socket, "SO_REUSEPORT")):
        raise OSError(errno.ENOTSUP, f"cannot listen on {where}: this system has no SO_REUSEPORT")
    host, address = checked_host(host) if host else "", tuple[Any, ...]()
    if host and reads_as_address(host):
        family, address = socket_address(host, port)
    else:
        name = ascii_name(host) if host else None
        try:
            found = socket.getaddrinfo(name, port, type=kind, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise socket.gaierror(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        # Use the first IPv4 address of a name, or its first IPv6 address if it has no IPv4 address.
        family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    try:
        sock = socket.socket(family, kind)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {where}: {errno_words(error.errno or 0)}") from error
    try:
        # On Windows, this option lets another process steal the port, so use it only on POSIX. For datagrams, it would
        # let two servers bind one port, and only one of them would receive anything.
        if os.name == "posix" and kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port and sys.platform != "win32":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual_stack else 1)
        sock.setblocking(False)
        sock.bind(address)
        if backlog is not None:
            sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {where}: {errno_words(error.errno or 0)}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def adopt(given: socket.socket, kind: int, *, backlog: int | None = None) -> socket.socket:
    """Return a non-blocking duplicate of the user's bound socket. It listens if a ``backlog`` is given.

    Raises ValueError for a socket of another kind or family, or one that is not bound, and OSError with its errno.
    """
    name = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram"}[socket.SocketKind(kind)]
    if given.type != kind or given.family not in (socket.AF_INET, socket.AF_INET6):
        arguments.refuse(ValueError, "sock", given, f"an IPv4 or IPv6 {name} socket")
    if given.getsockname()[1] == 0:
        arguments.refuse(ValueError, "sock", given, "a socket that is bound to a port")
    sock = given.dup()
    try:
        sock.setblocking(False)
        if backlog is not None:
            sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def address_of(sock: socket.socket) -> Peer:
    """Return the address that a socket is bound to."""
    return peer_of(sock.getsockname())


def prepare(sock: socket.socket, nodelay: bool, keepalive: bool) -> None:
    """Set what a new connection needs. If the connection is already reset, its first read says so."""
    with suppress(OSError):
        if nodelay:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def is_loopback(host: str) -> bool:
    """Return whether an address in text form can be reached only from this machine."""
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"
