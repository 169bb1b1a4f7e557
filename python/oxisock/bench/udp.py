"""The UDP benchmark: servers that answer "ACK: " and the datagram, under a native load that checks every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from . import Clocked, Scenario
from .stage import HOST, NOTE, Answers, contenders, on_loops

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from . import Contender

_PREFIX = b"ACK: "
_SIZE = 64
_PATIENCE = 10.0  # seconds of silence after which datagrams count as lost: a busy machine may let a server wait

_LOOP = """
import socket
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
sock.bind(("127.0.0.1", 0))
tell(sock.getsockname()[1])
while True:
    data, peer = sock.recvfrom(65535)
    sock.sendto(b"ACK: " + data, peer)
"""
_PROTOCOL = """
import asyncio, socket, LOOP
class Server(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    def datagram_received(self, data, peer):
        self.transport.sendto(b"ACK: " + data, peer)
async def main():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    tell(transport.get_extra_info("sockname")[1])
    await asyncio.Event().wait()
LOOP.run(main())
"""
_OURS = "from oxisock.{engine} import *\nserver = {make}.start()\ntell(server.address.port)\nwait()"
_ECHO = 'UdpEchoServer(prefix=b"ACK: ")'
_HANDLER = 'UdpServer(lambda datagram: b"ACK: " + datagram.data)'
_BATCH = 'UdpServer(lambda datagrams: [b"ACK: " + one.data for one in datagrams], batch=True)'
_CEILING = "from oxisock import _native\n_native.raw_datagram_loop(b'ACK: ', tell)"

_NOTES = (
    NOTE,
    f"Datagrams of {_SIZE} bytes. Ceiling: a loop of `recvmmsg` and `sendmmsg` in the native core, without a handler. "
    "It sleeps as soon as nothing waits; native polls for up to 20 µs first, so with 1 in flight it is faster. "
    "recvfrom: a plain loop of `recvfrom` and `sendto` in Python. Native batch: `UdpServer(handler, batch=True)`. "
    "asyncio and uvloop: a `DatagramProtocol`.",
)


class Datagrams(NamedTuple):
    """The load: how many datagrams are under way at a time, and how many there are in all."""

    window: int
    messages: int

    def ask(self, port: int) -> Answers:
        """Ask the server and compare each answer; a lost datagram is a wrong answer."""
        from .. import _native

        _, answered, wrong, seconds = _native.udp_load(
            (HOST, port), self.messages, self.window, _SIZE, _PATIENCE, _PREFIX
        )
        if wrong:
            raise ValueError(f"{wrong:,} of {self.messages:,} answers were wrong")
        return Answers(answered, Clocked(seconds))


def scenarios() -> list[Scenario]:
    """Return the echo server, and a handler for each number of datagrams under way at a time."""
    return [
        _scenario("echo", 32, 20_000),
        _scenario("handler", 1, 3_000),
        _scenario("handler", 32, 20_000, quick=8_000),
        _scenario("handler", 256, 20_000),
    ]


def _scenario(kind: str, window: int, amount: int, quick: int = 0) -> Scenario:
    return Scenario(
        group="udp",
        name=f"udp {kind}, {window} in flight",
        amount=amount,
        unit="datagrams",
        contenders=lambda amount: _contenders(kind, window, amount),
        quick=quick,
        cost=0.5 if kind == "echo" else 1.5,
        notes=_NOTES,
    )


def _contenders(kind: str, window: int, amount: int) -> AbstractContextManager[list[Contender]]:
    make = _ECHO if kind == "echo" else _HANDLER
    servers = {engine: _OURS.format(engine=engine, make=make) for engine in ("pure", "native")}
    servers["ceiling"] = _CEILING
    if kind == "handler":
        servers |= {"native batch": _OURS.format(engine="native", make=_BATCH), **on_loops(_PROTOCOL)}
    return contenders({**servers, "recvfrom": _LOOP}, Datagrams(window, amount))
