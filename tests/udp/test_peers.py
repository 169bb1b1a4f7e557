"""UDP against programs that we did not write, and the examples as a user runs them."""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
from types import ModuleType

import pytest

from oxisock import Datagram
from support.dns import dns_answer
from support.pages import EXAMPLES
from support.processes import heeds_signals
from support.tools import needs
from support.waiting import wait_until


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@needs("nc")
def test_nc(impl: ModuleType) -> None:
    with impl.UdpServer(lambda datagram: datagram.data.upper()) as server:
        host, port = server.address
        # It goes on listening after the end of its input, so a reply ends it.
        with subprocess.Popen(
            ["nc", "-u", host, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as nc:
            assert nc.stdin is not None
            assert nc.stdout is not None
            for line in ("hello\n", "again\n"):
                nc.stdin.write(line)
                nc.stdin.flush()
                assert nc.stdout.readline() == line.upper()
            nc.terminate()


@needs("socat")
@pytest.mark.parametrize("size", [1, 1000, 8000])
def test_socat(impl: ModuleType, size: int) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server:
        host, port = server.address
        payload = "x" * size
        with subprocess.Popen(
            ["socat", "-b", "65536", "-", f"UDP4:{host}:{port}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as socat:
            assert socat.stdin is not None
            assert socat.stdout is not None
            socat.stdin.write(payload.encode())
            socat.stdin.flush()
            assert socat.stdout.read(5 + size) == b"ACK: " + payload.encode()
            socat.terminate()


@needs("dig")
def test_dig(impl: ModuleType) -> None:
    with impl.UdpServer(lambda datagram: dns_answer(datagram.data)) as server:
        host, port = server.address
        output = run(
            "dig", f"@{host}", "-p", str(port), "+short", "+noedns", "+tries=3", "+time=10", "example.org", "A"
        )
    assert output == "192.0.2.7\n"


def pong(datagram: Datagram) -> bytes:
    """Give a sockperf message back with its client flag cleared."""
    number, flags = struct.unpack_from("!QH", datagram.data)
    return struct.pack("!QH", number, flags & ~1) + datagram.data[10:]


@needs("sockperf")
def test_sockperf(impl: ModuleType) -> None:
    with impl.UdpServer(pong) as one, impl.UdpServer(lambda some: [pong(each) for each in some], batch=True) as batch:
        servers = (one, batch)
        commands = [
            ["sockperf", "ping-pong", "-i", server.address.host, "-p", str(server.address.port), "-t", "1", "-m", "64"]
            for server in servers
        ]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
        for process, server in zip(running, servers, strict=True):
            assert "Summary: Latency is" in process.communicate(timeout=60)[0]
            assert process.returncode == 0
            assert server.stats().messages > 0
            assert server.stats().handler_errors == 0


def test_the_first_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    page = (EXAMPLES.parent / "docs" / "udp.md").read_text()
    exec(page.partition("```python\n")[2].partition("```")[0], {})
    assert capsys.readouterr().out == "b'ACK: hello'\n"


def test_the_examples() -> None:
    python = sys.executable
    with subprocess.Popen([python, str(EXAMPLES / "udp_server.py")], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        host, port = server.stdout.readline().removeprefix("Listening on ").strip().rsplit(":", 1)
        client = [python, str(EXAMPLES / "udp_client.py"), host, port]
        assert run(*client, "hello", "there") == "ACK: hello there\n"
        assert server.stdout.readline().endswith("sent 11 bytes\n")
        assert wait_until(lambda: heeds_signals(server.pid))
        server.send_signal(signal.SIGINT)
        assert server.stdout.read() == "1 datagrams, 11 bytes in, 16 bytes out\n"
        assert server.wait(20) == 0
    gone = subprocess.run([*client, "x"], capture_output=True, text=True, timeout=60)
    assert (gone.returncode, gone.stderr) == (1, f"nobody listens on {host}:{port}\n")
