"""Framing against peers that we did not write, over real sockets; those that are missing are skipped."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Client, Listener
from types import ModuleType
from typing import Any

import pytest

import oxisock
from support.dns import dns_answer
from support.threads import beside
from support.tools import needs

MESSAGES = [b"hello", b"", b"\0\n\r\n\xff" * 7, b"x" * 70_000]


@contextlib.contextmanager
def serving(listener: socket.socket, codec: Any, answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """Answer the frames of one connection in a thread."""
    listener.settimeout(60.0)

    def serve() -> None:
        connection = listener.accept()[0]
        with oxisock.FramedSocket(connection, codec, timeout=60.0) as framed:
            for frame in framed:
                framed.send(answer(frame))

    with beside(serve):
        yield listener.getsockname()[1]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


# --- multiprocessing.connection ------------------------------------------------------------------------------------


def test_multiprocessing_connects_to_us(impl: ModuleType, listener: socket.socket) -> None:
    with serving(listener, impl.presets.multiprocessing(), bytes.upper) as port:
        with Client(("127.0.0.1", port)) as client:
            for message in MESSAGES:
                client.send_bytes(message)
                assert client.recv_bytes() == message.upper()


def test_we_connect_to_multiprocessing(impl: ModuleType) -> None:
    with Listener(("127.0.0.1", 0)) as server:
        with impl.connect("127.0.0.1", server.address[1], impl.presets.multiprocessing(), timeout=60.0) as framed:
            with server.accept() as connection:
                for message in MESSAGES:
                    connection.send_bytes(message)
                    assert framed.recv() == message
                    framed.send(message[::-1])
                    assert connection.recv_bytes() == message[::-1]
            assert framed.recv() is None


# --- Twisted -------------------------------------------------------------------------------------------------------

# A server that echoes what its own framing makes of the stream, run beside us.
TWISTED = """
import sys
from twisted.internet import endpoints, protocol, reactor
from twisted.protocols import basic

class Int32(basic.Int32StringReceiver):
    def stringReceived(self, string):
        self.sendString(string[::-1])

class Net(basic.NetstringReceiver):
    MAX_LENGTH = 1 << 20
    def stringReceived(self, string):
        self.sendString(string[::-1])

class Line(basic.LineReceiver):
    MAX_LENGTH = 1 << 20
    def lineReceived(self, line):
        self.sendLine(line[::-1])

factory = protocol.Factory.forProtocol(globals()[sys.argv[1]])
endpoint = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
endpoint.listen(factory).addCallback(lambda port: print(port.getHost().port, flush=True))
reactor.run()
"""


@contextlib.contextmanager
def program(*command: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a server that prints its port first."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    with process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.parametrize("protocol", ["Int32", "Net", "Line"])
def test_twisted(impl: ModuleType, protocol: str) -> None:
    pytest.importorskip("twisted", reason="needs Twisted")
    codec = {
        "Int32": impl.LengthPrefix(4),
        "Net": impl.Netstring(),
        "Line": impl.Delimiter(b"\r\n"),
    }[protocol]
    messages = [message.replace(b"\n", b"") for message in MESSAGES]
    with program(sys.executable, "-c", TWISTED, protocol) as (_, port):
        with impl.connect("127.0.0.1", port, codec, timeout=60.0) as framed:
            for message in messages:
                framed.send(message)
                assert framed.recv() == message[::-1]
            framed.send_many(messages)
            assert [framed.recv() for _ in messages] == [message[::-1] for message in messages]


# --- Erlang --------------------------------------------------------------------------------------------------------

ERLANG = """
    {ok, Listener} = gen_tcp:listen(0, [binary, {packet, 4}, {active, false}, {ip, {127,0,0,1}}]),
    {ok, Port} = inet:port(Listener),
    io:format("~b~n", [Port]),
    {ok, Socket} = gen_tcp:accept(Listener),
    Loop = fun Again() ->
        case gen_tcp:recv(Socket, 0) of
            {ok, Packet} -> ok = gen_tcp:send(Socket, <<"got ", Packet/binary>>), Again();
            {error, closed} -> init:stop()
        end
    end,
    Loop().
"""


@needs("erl")
def test_erlang(impl: ModuleType) -> None:
    with program("erl", "-noshell", "-eval", ERLANG) as (_, port):
        with impl.connect("127.0.0.1", port, impl.presets.erlang(4), timeout=60.0) as framed:
            framed.send_many(MESSAGES)
            assert [framed.recv() for _ in MESSAGES] == [b"got " + message for message in MESSAGES]


# --- dig -----------------------------------------------------------------------------------------------------------


@needs("dig")
def test_dig(impl: ModuleType, listener: socket.socket) -> None:
    with serving(listener, impl.presets.dns_tcp(), dns_answer) as port:
        done = subprocess.run(
            ["dig", "+tcp", "+short", "+tries=1", "+time=30", "-p", str(port), "@127.0.0.1", "example.test", "A"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.stdout.strip() == "192.0.2.7", done.stdout + done.stderr
