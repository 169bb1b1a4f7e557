"""The limits of every TCP server, and the base class of servers with limits."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypedDict

from .. import arguments
from ..engines.serving import NEVER, ServerPlan
from ..sockets import listening as binding
from ..sockets import proxies as proxy_headers
from ..types import Peer
from . import log as server_log
from .lifecycle import Server


class LimitKeywords(TypedDict, total=False):
    """The types of the limits, for ``**limits: Unpack[LimitKeywords]``. ``Limits`` explains each of them."""

    backlog: int
    max_connections: int
    max_per_address: int | None
    idle_timeout: float | None
    write_timeout: float | None
    max_buffered: int
    reuse_port: bool
    nodelay: bool
    keepalive: bool
    dual_stack: bool
    proxies: Iterable[str]


class Limits(NamedTuple):
    """The limits that every TCP server takes, by keyword.

    Attributes:
        backlog: the most connections that wait to be accepted. The system may allow fewer.
        max_connections: the most open connections. Others wait in the backlog.
        max_per_address: the most open connections from one address (IPv6: one /64); None: no limit. The server closes
            others at once and counts them in ``rejected``.
        idle_timeout: seconds since the last complete message (EchoServer: byte) after which a connection is closed;
            None: never.
        write_timeout: seconds without progress after which a peer that does not read is reset; None: never.
        max_buffered: bytes. If more bytes wait to be sent to a peer, the server stops reading from it.
        reuse_port: let several processes listen on this port, if all of them ask for it (SO_REUSEPORT).
        nodelay: send small answers at once (TCP_NODELAY).
        keepalive: let the system check whether silent peers are still there (SO_KEEPALIVE).
        dual_stack: with an IPv6 address such as "::", accept IPv4 too.
        proxies: addresses and networks of proxies, such as ``("10.0.0.7", "fd00::/8")``. A connection from a proxy
            begins with a PROXY header (version 1 or 2), which names the peer. The server closes a connection without a
            header and counts it in ``frame_errors``. The header must come within 5 seconds, or ``idle_timeout`` if that
            is less.
    """

    backlog: int = 1024
    max_connections: int = 10_000
    max_per_address: int | None = None
    idle_timeout: float | None = 300.0
    write_timeout: float | None = 30.0
    max_buffered: int = 1 << 20
    reuse_port: bool = False
    nodelay: bool = True
    keepalive: bool = False
    dual_stack: bool = False
    proxies: Iterable[str] = ()

    @classmethod
    def of(cls, function: str, given: Mapping[str, Any]) -> Limits:
        """Make the limits that ``function`` was called with.

        Raises TypeError for an unknown name, and TypeError or ValueError for a bad value.
        """
        arguments.unexpected(function, given, cls._fields)
        limits = cls(**given)
        return cls(
            backlog=arguments.count(limits.backlog, "backlog"),
            max_connections=arguments.count(limits.max_connections, "max_connections"),
            max_per_address=(
                None if limits.max_per_address is None else arguments.count(limits.max_per_address, "max_per_address")
            ),
            idle_timeout=arguments.timeout(limits.idle_timeout, "idle_timeout"),
            write_timeout=arguments.timeout(limits.write_timeout, "write_timeout"),
            max_buffered=arguments.size(limits.max_buffered, "max_buffered", highest=arguments.MOST),
            reuse_port=arguments.flag(limits.reuse_port, "reuse_port"),
            nodelay=arguments.flag(limits.nodelay, "nodelay"),
            keepalive=arguments.flag(limits.keepalive, "keepalive"),
            dual_stack=arguments.flag(limits.dual_stack, "dual_stack"),
            proxies=proxy_headers.checked(limits.proxies),
        )

    def plan(self) -> ServerPlan:
        """Return the limits as the engines take them; seconds become integer nanoseconds."""
        return ServerPlan(
            max_connections=self.max_connections,
            max_per_address=NEVER if self.max_per_address is None else self.max_per_address,
            idle_timeout=arguments.nanoseconds(self.idle_timeout, "idle_timeout"),
            write_timeout=arguments.nanoseconds(self.write_timeout, "write_timeout"),
            max_buffered=self.max_buffered,
            nodelay=self.nodelay,
            keepalive=self.keepalive,
            proxies=proxy_headers.ranges(self.proxies),
            header_timeout=min(arguments.nanoseconds(self.idle_timeout, "idle_timeout"), proxy_headers.PATIENCE),
        )

    def listen(self, host: str, port: int, sock: socket.socket | None) -> socket.socket:
        """Make the listener, or take over ``sock``. Raises as ``binding`` does."""
        if sock is not None:
            return binding.adopt(sock, socket.SOCK_STREAM, backlog=self.backlog)
        return binding.bind(
            host,
            port,
            socket.SOCK_STREAM,
            reuse_port=self.reuse_port,
            dual_stack=self.dual_stack,
            backlog=self.backlog,
        )


class StreamServer(Server):
    """What the TCP servers have in common: host, port or socket, and limits."""

    def __init__(self, host: str, port: int, sock: socket.socket | None, limits: Mapping[str, Any]) -> None:
        super().__init__(host, port, sock)
        self._limits = Limits.of(f"{self._kind}.__init__", limits)

    def _listen(self) -> tuple[socket.socket, Peer]:
        listener = self._limits.listen(self._host, self._port, self._sock)
        address = binding.address_of(listener)
        server_log.listens(self._kind, address)
        return listener, address
