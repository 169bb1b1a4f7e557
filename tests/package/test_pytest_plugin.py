"""The fixtures for pytest and the statements of oxisock.testing, used as a project would use them."""

from __future__ import annotations

from types import ModuleType

import pytest

from oxisock.testing import FaultyServer, assert_ports
from support.commands import listening, refusing
from support.processes import python

USE = """
import socket
import pytest
import oxisock
from oxisock.testing import assert_ports

def test_echo(oxisock_echo_server):
    assert oxisock.tcp_request(*oxisock_echo_server.address, b"hello") == b"hello"
    assert oxisock_echo_server.impl == "{impl}"

def test_udp(oxisock_udp_echo_server):
    assert oxisock.udp_request(*oxisock_udp_echo_server.address, b"hello") == b"hello"

def test_messages(oxisock_message_server):
    lines = oxisock_message_server(lambda message, peer: message.upper())
    nets = oxisock_message_server(lambda message, peer: message, codec=oxisock.Netstring(), idle_timeout=5)
    assert oxisock.tcp_request(*lines.address, b"hello") == b"HELLO\\n"
    assert oxisock.tcp_request(*nets.address, b"hello", codec=oxisock.Netstring()) == b"hello"

def test_faults(oxisock_faulty_server):
    with oxisock.connect(*oxisock_faulty_server.address, oxisock.Netstring()) as framed:
        framed.send(b"hello")
        assert framed.recv() == b"hello"
    with oxisock.connect(*oxisock_faulty_server(reset_after=10).address, oxisock.Netstring()) as framed:
        with pytest.raises(ConnectionResetError):
            framed.send(b"longer than ten bytes")
            framed.recv()

def test_chat(oxisock_chat_server):
    with oxisock.ChatClient(*oxisock_chat_server.address, nick="ada") as client:
        assert client.nick == "ada"
        assert [member.nick for member in oxisock_chat_server.members()] == ["ada"]

def test_ports(oxisock_echo_server, free_port):
    assert_ports("127.0.0.1", open=oxisock_echo_server.address.port, closed=free_port)
    with oxisock.EchoServer(port=free_port):
        assert oxisock.check_host("127.0.0.1", free_port)

def test_a_failure_is_shown(free_port):
    assert_ports("127.0.0.1", open=free_port)
"""


def run_pytest(folder: pytest.Pytester, *words: str, impl: str = "native") -> pytest.RunResult:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OXISOCK_IMPL", impl)
        return folder.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *words, timeout=100)


def test_the_fixtures_in_a_project(impl: ModuleType, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(USE.replace("{impl}", impl.impl))
    result = run_pytest(pytester, impl=impl.impl)
    result.assert_outcomes(passed=6, failed=1)
    result.stdout.fnmatch_lines(["E *AssertionError: 127.0.0.1: 1 of 1 ports are not as expected: * is closed (*"])


def test_the_fixtures_are_listed_with_what_they_are(pytester: pytest.Pytester) -> None:
    out = run_pytest(pytester, "--fixtures").stdout.str()
    for name in ("free_port", "oxisock_echo_server", "oxisock_message_server", "oxisock_faulty_server"):
        assert name in out
    assert "A running ``EchoServer``, which sends back every byte" in out


def test_nothing_of_oxisock_is_imported_until_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_nothing(request):
            assert request.config.pluginmanager.hasplugin("oxisock")
            assert not [name for name in sys.modules if name == "oxisock" or name.startswith("oxisock.")]
        """
    )
    run_pytest(pytester).assert_outcomes(passed=1)


def test_the_testing_module_imports_no_hypothesis() -> None:
    code = (
        "import sys, oxisock.testing as t; t.assert_ports; assert 'hypothesis' not in sys.modules;"
        "assert 'pytest' not in sys.modules; print('lean')"
    )
    done = python(code)
    assert (done.stdout, done.stderr) == ("lean\n", "")


def test_assert_ports() -> None:
    with listening(2) as ports, refusing() as shut:
        assert_ports("127.0.0.1", open=ports, closed=[shut])
        assert_ports("localhost", open=f"{ports[0]},{ports[1]}")
        assert_ports("127.0.0.1", closed=shut, open=[])
        with pytest.raises(AssertionError) as caught:
            assert_ports("127.0.0.1", open=[shut, ports[0]], closed=ports[1])
        words = str(caught.value)
        assert words.startswith("127.0.0.1: 2 of 3 ports are not as expected: ")
        assert f"{shut} is closed (conn-refused), expected open" in words
        assert f"{ports[1]} is open (syn-ack), expected closed" in words
        with pytest.raises(ValueError, match=f"port {shut} cannot be both"):
            assert_ports("127.0.0.1", open=shut, closed=shut)
        with pytest.raises(ValueError, match="expected some ports"):
            assert_ports("127.0.0.1")
        with pytest.raises(ValueError, match="open: 'x'"):
            assert_ports("127.0.0.1", open="x")


def test_a_faulty_server_stops_those_it_started() -> None:
    with FaultyServer(cut=2) as server:
        other = server(drop=1.0)
        assert other.address != server.address
    assert "stopped" in repr(other) and "stopped" in repr(server)
