"""The command ``oxisock load``: every answer checked, every loss counted, latencies from when a message was meant."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from oxisock import EchoServer, Faults
from oxisock.framing.specs import parse_codec
from oxisock.load import plan as load
from support.commands import environment, listening, oxisock, refusing, silent
from support.ipv6 import has_ipv6
from support.loading import PATIENT, loaded, serving

LOCAL = "127.0.0.1"
SHORT = ("--duration", "100ms")


# --- servers that do well ------------------------------------------------------------------------------------------


def test_an_echo_server(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        code, told = loaded(server.address, "-c", 5, "--depth", 3, "--size", 100, *SHORT)
        accepted = server.stats().accepted
    assert (code, accepted, told["schema"], told["complete"]) == (0, 5, 1, True)
    assert told["sent"] == told["answered"] > 0
    assert {told[name] for name in ("lost", "wrong", "late", "duplicates", "pending", "unsent")} == {0}
    assert told["connections"] == {"asked": 5, "opened": 5, "alive": 5}
    assert (told["errors"], told["local_errors"], told["lag"]) == ({}, {}, None)
    assert told["bytes"] == {"sent": 100 * told["sent"], "received": 100 * told["sent"]}
    assert told["rate"]["asked"] is None
    assert told["rate"]["achieved"] == pytest.approx(told["answered"] / told["elapsed"])
    times = list(told["latency"].values())
    assert list(told["latency"]) == ["min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"]
    assert times[0] <= times[1] <= times[-1] and times[2:] == sorted(times[2:]) and times[0] > 0
    host, port = server.address
    name = f"{host}:{port}"
    assert told["target"] == {"name": name, "host": host, "address": host, "port": port, "protocol": "tcp"}
    assert told["options"] == {
        "connections": 5,
        "depth": 3,
        "size": 100,
        "rate": None,
        "duration": 0.1,
        "timeout": 60.0,
        "codec": None,
        "expect": "echo",
        "prefix": "",
    }


@pytest.mark.parametrize("codec", ["lines", "length:2:little", "netstring", "varint", r"delimiter:a:keep", "fixed:16"])
def test_frames(impl: ModuleType, codec: str) -> None:
    with impl.MessageServer(lambda message, peer: message, codec=parse_codec(codec.partition(":keep")[0])) as server:
        code, told = loaded(server.address, "--codec", codec, "-c", 2, "--depth", 20, "-d", "100ms")
    assert (code, told["wrong"], told["lost"]) == (0, 0, 0)
    assert told["options"]["size"] == (16 if codec == "fixed:16" else 64)


def test_what_the_command_serves(impl: ModuleType) -> None:
    words = [sys.executable, "-m", "oxisock", "serve", "upper", "--impl", impl.impl]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        try:
            code, told = loaded((LOCAL, port), "--codec", "lines", "--expect", "upper", *SHORT)
            assert (code, told["options"]["prefix"]) == (0, "Echo: ")
            assert loaded((LOCAL, port), "--codec", "lines", "--expect", "any", *SHORT)[0] == 0
            code, told = loaded((LOCAL, port), "--codec", "lines", "-c", 1, "-d", "50ms")
            assert code == 1 and told["wrong"] == told["sent"] > 0
        finally:
            server.terminate()
            server.communicate(timeout=30)


def test_datagrams(impl: ModuleType) -> None:
    with impl.UdpEchoServer(prefix=b"ACK: ") as server:
        code, told = loaded(server.address, "--udp", "--prefix", "ACK: ", "-c", 5, *SHORT)
        assert (code, told["target"]["protocol"], told["lost"], told["wrong"]) == (0, "udp", 0, 0)
        assert told["sent"] == told["answered"] > 0
        assert told["bytes"]["received"] == told["answered"] * (64 + 5)
    with impl.UdpServer(lambda datagram: datagram.data.upper()) as server:
        code, told = loaded(server.address, "--udp", "--expect", "upper", "--prefix", "", "--rate", 200, *SHORT)
        assert (code, told["sent"], told["answered"]) == (0, 20, 20)


def test_ipv6_and_names(impl: ModuleType) -> None:
    if has_ipv6():
        with impl.EchoServer("::1") as server:
            code, told = loaded(server.address, "-c", 2, "-d", "50ms")
            assert (code, told["target"]["address"]) == (0, "::1")
    with impl.EchoServer(LOCAL) as server:
        # Whichever address of the name comes first: where nobody is, the next one is tried.
        code, told = loaded(("localhost", server.address.port), "-c", 2, "-d", "50ms")
    assert (code, told["target"]["host"], told["target"]["address"]) == (0, "localhost", LOCAL)


# --- a constant rate -----------------------------------------------------------------------------------------------


def test_a_rate_is_all_that_was_due(impl: ModuleType) -> None:
    with impl.EchoServer() as server:
        code, told = loaded(server.address, "--rate", 200, "-c", 3, "-d", "500ms")
    assert (code, told["sent"], told["answered"], told["unsent"]) == (0, 100, 100, 0)
    assert told["rate"]["asked"] == 200
    assert told["lag"]["max"] >= told["lag"]["p50"] >= 0


@pytest.mark.parametrize("depth", [1, 64])
def test_who_stalls_once_is_found_out(depth: int) -> None:
    """A closed loop would see one slow message; at a constant rate all those count that were meant to be sent."""

    def stall_once(conn: socket.socket) -> None:
        heard = 0
        while data := conn.recv(65536):
            before, heard = heard, heard + len(data)
            if before < 64 * 50 <= heard:
                time.sleep(0.3)
            conn.sendall(data)

    with serving(stall_once) as address:
        _, told = loaded(address, "-c", 1, "--depth", depth, "--rate", 1000, "-d", "600ms")
    assert told["latency"]["max"] >= 0.25
    # Of the 600, all that were meant in the first 200 ms of the pause waited for 100 ms at least.
    assert told["latency"]["p75"] >= 0.1


def test_who_is_too_slow_is_told() -> None:
    with EchoServer(faults=Faults(delay=0.05)) as server:
        host, port = server.address
        done = oxisock("load", f"{host}:{port}", "-c", 1, "--depth", 1, "--rate", 1000, *SHORT, *PATIENT)
    assert done.returncode == 1
    figures = dict(line.split("\t") for line in done.stdout.splitlines())
    assert int(figures["unsent"]) + int(figures["sent"]) == 100
    assert "the rate was not kept" in done.stderr


# --- servers that do badly -----------------------------------------------------------------------------------------


def test_wrong_answers_are_counted_and_the_others_go_on(impl: ModuleType) -> None:
    answers = 0

    def third_is_wrong(message: bytes, peer: object) -> bytes:
        nonlocal answers
        answers += 1
        return b"nonsense" if answers % 3 == 0 else message

    with impl.MessageServer(third_is_wrong) as server:
        code, told = loaded(server.address, "--codec", "lines", "-c", 2, *SHORT)
    assert (code, told["lost"], told["connections"]["alive"]) == (1, 0, 2)
    assert told["wrong"] == told["sent"] // 3
    assert told["answered"] + told["wrong"] == told["sent"]


def test_resets_are_told_by_name(impl: ModuleType) -> None:
    with impl.EchoServer(faults=impl.Faults(reset_after=1000)) as server:
        code, told = loaded(server.address, "-c", 3, *SHORT)
    assert (code, sum(told["errors"].values()), told["connections"]["alive"]) == (1, 3, 0)
    assert set(told["errors"]) <= {"ECONNRESET", "EPIPE", "EOF"}
    assert not told["complete"]
    assert told["answered"] + told["lost"] == told["sent"]


def test_who_closes_is_told() -> None:
    with serving(lambda conn: conn.recv(1) and None) as address:
        code, told = loaded(address, "-c", 1, *SHORT)
    assert (code, told["sent"], told["lost"]) == (1, 1, 1)
    assert set(told["errors"]) <= {"EOF", "ECONNRESET"}


def test_what_nobody_asked_for_is_no_answer() -> None:
    with listening(1, b"220 hello\r\n") as (port,):
        code, told = loaded((LOCAL, port), "-c", 2, *SHORT)
    # Where the greeting comes after the first message it is a wrong answer; both end with the server's closing.
    assert code == 1 and told["answered"] == 0 and told["errors"]
    assert told["sent"] == told["wrong"] + told["lost"]


def test_what_is_no_frame_ends_a_connection() -> None:
    def babble(conn: socket.socket) -> None:
        conn.recv(65536)
        conn.sendall(b"no netstring")
        conn.recv(65536)

    with serving(babble) as address:
        code, told = loaded(address, "--codec", "netstring", "-c", 1, *SHORT)
    assert (code, told["errors"], told["wrong"]) == (1, {"BADFRAME": 1}, 1)


def test_silence_is_told() -> None:
    def say_nothing(conn: socket.socket) -> None:
        while conn.recv(65536):
            pass

    with serving(say_nothing) as address:
        code, told = loaded(address, "-c", 1, "--timeout", "1s", *SHORT)
    assert (code, told["errors"], told["sent"], told["lost"]) == (1, {"ETIMEDOUT": 1}, 1, 1)
    assert told["latency"] is None


def test_lost_datagrams_are_counted_exactly(impl: ModuleType) -> None:
    seen = dropped = 0

    def drop_some(datagram: Any) -> bytes | None:
        nonlocal seen, dropped
        seen += 1
        if seen % 5:
            return bytes(datagram.data)
        dropped += 1
        return None

    with impl.UdpServer(drop_some) as server:
        code, told = loaded(server.address, "--udp", "-c", 2, "--depth", 8, "--timeout", "3s", "-d", "100ms")
    assert code == 1 and dropped > 0
    assert told["sent"] == seen
    # One that came late counts as lost, too.
    assert told["lost"] - told["late"] == dropped
    assert told["answered"] == seen - told["lost"]


def test_datagrams_that_come_twice_or_from_elsewhere() -> None:
    def twice(sock: socket.socket) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            while True:
                data, peer = sock.recvfrom(65536)
                if not data:
                    return
                other.sendto(data, peer)
                sock.sendto(data, peer)
                sock.sendto(data, peer)

    with serving(twice, socket.SOCK_DGRAM) as address:
        try:
            code, told = loaded(address, "--udp", "-c", 1, *SHORT)
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(b"", address)
    assert (code, told["lost"]) == (1, 0)
    assert told["duplicates"] > 0 and told["wrong"] > 0


# --- nobody there, and faults of this machine ----------------------------------------------------------------------


def test_nobody_there_is_one_line() -> None:
    with refusing() as port:
        done = oxisock("load", f"{LOCAL}:{port}")
        assert (done.returncode, done.stdout) == (1, "")
        said = f"oxisock: {LOCAL}:{port}: no connection could be opened: Connection refused\n"
        assert done.stderr == said
        code, told = loaded((LOCAL, port), "-c", 3)
        assert (code, told["errors"], told["connections"]["opened"]) == (1, {"ECONNREFUSED": 3}, 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind((LOCAL, 0))
        port = held.getsockname()[1]
    done = oxisock("load", "--udp", f"{LOCAL}:{port}")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "nobody receives there: Connection refused" in done.stderr


def test_who_does_not_accept_is_told() -> None:
    with silent() as port:
        done = oxisock("load", f"{LOCAL}:{port}", "-c", 1, "--timeout", "300ms")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Connection timed out" in done.stderr


def test_too_few_descriptors_are_not_the_servers_fault() -> None:
    with EchoServer() as server:
        host, port = server.address
        options = shlex.join(["-c", "100", "-d", "100ms", "--json", *PATIENT])
        words = f"ulimit -n 40; exec '{sys.executable}' -m oxisock load {host}:{port} {options}"
        done = subprocess.run(["sh", "-c", words], capture_output=True, text=True, timeout=60, env=environment())
    told = json.loads(done.stdout)
    assert (done.returncode, told["errors"]) == (1, {})
    assert told["local_errors"] == {"EMFILE": 100 - told["connections"]["opened"]}
    assert told["answered"] == told["sent"] > 0
    assert "this machine is at fault, not the server: Too many open files" in done.stderr


# --- messages ------------------------------------------------------------------------------------------------------


def test_messages_differ_and_are_the_same_everywhere() -> None:
    requests, replies = load.messages(64, None, "echo", b"")
    assert requests == replies and len(set(requests)) == 64 and {len(each) for each in requests} == {64}
    assert load.messages(64, None, "echo", b"").requests == requests
    assert len(load.messages(1 << 20, None, "echo", b"").requests) == 2
    lines = parse_codec("lines")
    requests, replies = load.messages(10, lines, "upper", b"> ")
    assert replies == [b"> " + request[:-1].upper() for request in requests]
    assert load.messages(10, lines, "any", b"").replies is None
