"""Peers: what the other end is called, as text, with its zone, and where it is a Unix socket."""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import Lines, Peer
from oxisock.sockets.addresses import peer_of, socket_address
from support.commands import environment

NO_ZONE = 4294967295  # no interface has this number


@pytest.mark.parametrize(
    ("peer", "text"),
    [
        (Peer("127.0.0.1", 80), "127.0.0.1:80"),
        (Peer("::1", 80), "[::1]:80"),
        (Peer("fe80::1%eth0", 65535), "[fe80::1%eth0]:65535"),
        (Peer("example.com", 1), "example.com:1"),
    ],
)
def test_a_peer_as_text_is_host_and_port(peer: Peer, text: str) -> None:
    assert str(peer) == f"{peer}" == "%s" % (peer,) == text  # noqa: UP031


def test_a_peer_is_a_pair() -> None:
    peer = Peer("::1", 80)
    assert peer == ("::1", 80)
    assert hash(peer) == hash(("::1", 80))
    assert repr(peer) == "Peer(host='::1', port=80)"
    assert pickle.loads(pickle.dumps(peer)) == peer


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        (("10.0.0.1", 80), ("10.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("fe80::1", 80, 7, NO_ZONE), (f"fe80::1%{NO_ZONE}", 80)),
        (("fe80::1%eth0", 80, 0, 3), ("fe80::1%eth0", 80)),
        ("/run/a socket", ("/run/a socket", 0)),
        ("", ("", 0)),
        (b"\0abstract", ("\0abstract", 0)),
        ((2, 1024), ("2", 1024)),  # AF_VSOCK
    ],
)
def test_what_the_system_calls_it(name: Any, peer: tuple[str, int]) -> None:
    assert peer_of(name) == peer


@pytest.mark.skipif(sys.platform != "linux", reason="needs the name of an interface")
def test_a_zone_goes_by_its_name() -> None:
    loopback = socket.if_indextoname(1)
    assert peer_of(("fe80::1", 80, 0, 1)) == (f"fe80::1%{loopback}", 80)
    assert socket_address(f"fe80::1%{loopback}", 80) == (socket.AF_INET6, ("fe80::1", 80, 0, 1))


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
def test_the_peer_of_a_unix_socket_is_its_path(impl: ModuleType) -> None:
    one, other = socket.socketpair()
    with other, impl.FramedSocket(one, Lines()) as framed:
        assert framed.peer == ("", 0)
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = str(Path(folder, "s"))
        listener.bind(path)
        listener.listen()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        with impl.FramedSocket(sock, Lines()) as framed:
            assert framed.peer == (path, 0)
            assert isinstance(framed.peer, Peer)


LINK_LOCAL = """
import asyncio, logging, sys
from importlib import import_module
from oxisock import Lines
impl = import_module("oxisock." + sys.argv[1])
HOST = "fe80::7%d0"
peers, logged = [], []
logging.getLogger("oxisock").addFilter(lambda record: logged.append(record.getMessage()))

def handler(message, peer):
    peers.append(peer)
    return message

def batch(pairs):
    peers.extend(peer for _, peer in pairs)
    return [message for message, _ in pairs]

def thread(conn, peer):
    peers.append(peer)
    conn.sendall(conn.recv(100))

def datagram(datagram):
    peers.append(datagram.peer)
    return datagram.data

for make in (lambda: impl.MessageServer(handler, HOST), lambda: impl.MessageServer(batch, HOST, batch=True),
             lambda: impl.ThreadedServer(thread, HOST), lambda: impl.EchoServer(HOST)):
    with make() as server:
        assert server.address.host == HOST, server.address
        assert repr(server).endswith(f"listening [{HOST}]:{server.address.port}>"), server
        assert logged.pop().endswith(f"listens on {server.address}, which other machines may reach")
        assert impl.tcp_request(*server.address, b"hi\\n", timeout=30).strip() == b"hi"
        with impl.connect(*server.address, Lines(), timeout=30) as framed:
            assert framed.peer == server.address, framed.peer
            framed.send(b"hi")
            assert framed.recv() == b"hi"
assert len(peers) == 6

with impl.UdpServer(datagram, HOST) as server:
    assert server.address.host == HOST
    assert impl.udp_request(*server.address, b"hi", timeout=30) == b"hi"
assert len(peers) == 7

with impl.ChatServer(HOST) as server, impl.ChatClient(*server.address, timeout=30) as client:
    assert client.peer == server.address
    peers.append(server.members()[0].peer)

async def main():
    async def serve(stream, peer):
        assert stream.peer == peer
        peers.append(peer)
        async for message in stream:
            await stream.send(message)

    async with await impl.aio.start_server(serve, HOST, codec=Lines()) as server:
        assert server.address.host == HOST
        assert await impl.aio.tcp_request(*server.address, b"hi", codec=Lines(), timeout=30) == b"hi"
        async with await impl.aio.open_framed(*server.address, Lines(), timeout=30) as stream:
            assert stream.peer == server.address
            assert repr(stream).startswith(f"<FramedStream [{HOST}]:{server.address.port} ")
asyncio.run(main())

assert len(peers) == 10
assert {peer.host for peer in peers} == {HOST}, peers
assert impl.scan_port(HOST, 9, timeout=30).address == HOST
print("all with their zone")
"""

NETWORK = """ip link set lo up && ip link add d0 type veth peer name d1 && ip link set d0 up && ip link set d1 up &&
ip addr add fe80::7/64 dev d0 nodad && exec "$@" """


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"),
    reason="a network of its own needs root on Linux",
)
def test_link_local_addresses_keep_their_zone(impl: ModuleType) -> None:
    command = ["unshare", "--net", "sh", "-c", NETWORK, "sh", sys.executable, "-c", LINK_LOCAL, impl.impl]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment())
    if "RTNETLINK" in done.stderr or "Operation not" in done.stderr:
        pytest.skip(f"no such network here: {done.stderr}")
    assert (done.stdout, done.stderr, done.returncode) == ("all with their zone\n", "", 0)
