"""UDP servers: one that calls a handler for each datagram, and one that echoes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Literal, TypeAlias, overload
from weakref import ref

from .. import arguments, hooks
from ..engines.udp import UdpPlan
from ..serving import log as server_log
from ..serving.lifecycle import Server
from ..sockets import listening as binding
from ..types import Answer, Datagram, Peer
from .handling import UdpEchoRunning, UdpRunning
from .requests import LONGEST

DatagramHandler: TypeAlias = Callable[[Datagram], "bytes | None"]
"""``handler(datagram)`` returns the reply as bytes, or None for no reply."""

DatagramBatchHandler: TypeAlias = Callable[[list[Datagram]], list[Answer]]
"""``handler([datagram, ...])`` returns a list of the same length, of bytes, None or an Exception."""

# Bursts wait in the system while a handler runs; its own default holds some 270 small datagrams.
_RECEIVE_BUFFER = 4 << 20
_ANY = ("0.0.0.0", "::")


class _UdpBase(Server):
    """The base of both UDP servers: the arguments for listening."""

    def __init__(
        self,
        host: str,
        port: int,
        sock: socket.socket | None,
        max_datagram: int,
        reuse_port: bool,
        answer_low_ports: bool,
    ) -> None:
        super().__init__(host, port, sock)
        self._max_datagram = arguments.size(max_datagram, "max_datagram", 1, 65535)
        self._reuse_port = arguments.flag(reuse_port, "reuse_port")
        self._answer_low_ports = arguments.flag(answer_low_ports, "answer_low_ports")

    def _bind(self) -> tuple[int, UdpPlan, Peer]:
        """Return a bound descriptor for the engine, the plan for the engine, and the address."""
        if self._sock is not None:
            sock = binding.adopt(self._sock, socket.SOCK_DGRAM)
        else:
            sock = binding.bind(self._host, self._port, socket.SOCK_DGRAM, reuse_port=self._reuse_port)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # the system may limit it
        address = binding.address_of(sock)
        server_log.listens(self._kind, address)
        plan = UdpPlan(self._max_datagram, self._answer_low_ports, address.host in _ANY)
        return sock.detach(), plan, address


class UdpServer(_UdpBase):
    """A UDP server that calls a handler for every datagram and sends the reply back to the sender."""

    @overload
    def __init__(
        self,
        handler: DatagramHandler,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: Literal[False] = False,
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        handler: DatagramBatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: Literal[True],
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None: ...
    def __init__(
        self,
        handler: DatagramHandler | DatagramBatchHandler[Answer],
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        batch: bool = False,
        max_datagram: int = 65535,
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None:
        """Create a server. It begins to listen on ``start`` or ``with``.

        Arguments:
            handler: ``handler(datagram)`` gets a Datagram and returns the reply as bytes, or None for no reply. All
                calls run on one thread, one after the other.
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            batch: call the handler with a list of up to 64 Datagrams. It returns a list of the same length, of bytes,
                None or an Exception.
            max_datagram: 1 to 65535 bytes. A longer datagram is cut to this length and marked ``truncated``.
            reuse_port: let several processes listen on this port, if all of them ask for it.
            answer_low_ports: handle datagrams from source ports below 1024. By default they are only counted as
                ``ignored``, because a forged source address could make two servers answer each other for ever.

        If a handler raises, returns another type, or returns a reply that is too long for a datagram (65,507 bytes over
        IPv4), the server logs that with the peer, counts it in ``stats().handler_errors``, and goes on. A reply has the
        address that the datagram was sent to as its source. Empty datagrams are handled like others. If the system has
        no room for a reply for one second, the server drops the reply and counts it in ``stats().timeouts``.

        Raises ValueError or TypeError for a bad argument. ``start`` raises the errors of binding.
        """
        super().__init__(host, port, sock, max_datagram, reuse_port, answer_low_ports)
        self._handler = hooks.Lent(arguments.function(handler, "handler"))
        self._batch = arguments.flag(batch, "batch")

    def _launch(self) -> tuple[UdpRunning, Peer]:
        fd, plan, address = self._bind()
        return UdpRunning(self._engine.udp.udp_reactor(fd, plan), ref(self._handler), self._batch), address


class UdpEchoServer(_UdpBase):
    """A UDP server that sends every datagram back to its sender, after a prefix."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        prefix: bytes = b"",
        reuse_port: bool = False,
        answer_low_ports: bool = False,
    ) -> None:
        """Create a server. It begins to listen on ``start`` or ``with``.

        Arguments:
            host: the address or name to listen on.
            port: the port to listen on; 0 lets the system choose.
            sock: a bound socket to listen on instead. The server owns it, and ``stop`` closes it.
            prefix: bytes to put before each datagram. If the two are too long for one datagram (65,507 bytes over
                IPv4), the server sends nothing and counts that in ``stats().handler_errors``.
            reuse_port: as for UdpServer.
            answer_low_ports: as for UdpServer.

        Raises ValueError or TypeError for a bad argument. ``start`` raises the errors of binding.
        """
        super().__init__(host, port, sock, 65535, reuse_port, answer_low_ports)
        self._prefix = arguments.bytes_like(prefix, "prefix", 0, LONGEST)

    def _launch(self) -> tuple[UdpEchoRunning, Peer]:
        fd, plan, address = self._bind()
        return UdpEchoRunning(self._engine.udp.start_udp_echo(fd, plan, self._prefix)), address
