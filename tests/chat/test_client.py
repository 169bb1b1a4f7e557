"""The chat client, and clients of others, on both engines."""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
from types import ModuleType

import pytest

import oxisock
from oxisock import ChatError
from support.addresses import HOST
from support.chatting import Guest
from support.tools import tool
from support.waiting import wait_until


def test_a_client(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, name="den") as server:
        with impl.ChatClient(*server.address) as ann:
            assert ann.nick == "guest-1"
            assert ann.peer == server.address
            with impl.ChatClient(*server.address, nick="bob") as bob:
                assert bob.nick == "bob"
                ann.send("h\u00e9llo")
                assert bob.recv(20) == "[guest-1] h\u00e9llo"
                assert [ann.recv(20) for _ in range(3)] == [
                    "* guest-2 joined",
                    "* guest-2 is now bob",
                    "[guest-1] h\u00e9llo",
                ]
                ann.send("/nick ann")
                assert ann.recv(20) == bob.recv(20) == "* guest-1 is now ann"
                assert ann.nick == "ann" and bob.nick == "bob"
                with pytest.raises(TimeoutError):
                    ann.recv(0.05)
                with pytest.raises(ValueError):
                    ann.send("two\nlines")
                bob.send("last")
                bob.leave()
                assert list(bob) == ["[bob] last"]
            assert ann.recv(20) == "[bob] last"
            assert ann.recv(20) == "* bob left (quit)"
            assert "ann" in repr(ann)
            with pytest.raises(TypeError, match="pickled"):
                pickle.dumps(ann)
            server.stop()
            assert list(ann) == ["* server is closing"]
        ann.close()
        with pytest.raises(OSError):
            ann.send("gone")


def test_what_was_said_before_one_is_called_is_kept(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, history=3) as server, Guest(server) as ann:
        ann.say("one", "two")
        ann.until("[guest-1] two")
        with impl.ChatClient(*server.address, nick="bob") as bob:
            assert [bob.recv(20), bob.recv(20)] == ["[guest-1] one", "[guest-1] two"]


@pytest.mark.parametrize("nick", ["ANN", "guest-7", "a b", "x" * 25, "", "two\nlines", "\u00e9"])
def test_nicks_that_are_not_granted(impl: ModuleType, nick: str) -> None:
    with impl.ChatServer(HOST) as server, Guest(server, nick="ann"):
        with pytest.raises(ChatError):
            impl.ChatClient(*server.address, nick=nick)
        assert wait_until(lambda: len(server.members()) == 1)


def test_a_server_that_is_none(impl: ModuleType) -> None:
    with impl.EchoServer(HOST) as server, pytest.raises(TimeoutError):
        impl.ChatClient(*server.address, timeout=0.1)
    with impl.ThreadedServer(lambda conn, peer: conn.sendall(b"220 smtp\r\n"), HOST) as server:
        with pytest.raises(ChatError, match="220 smtp"):
            impl.ChatClient(*server.address)
    for said, heard in ("! \x1b[2Jfull", "[2Jfull"), ("* welcome to x, you are \x1b[2Jbob", "not a chat server"):
        line = f"{said}\n".encode()
        with impl.ThreadedServer(lambda conn, peer, line=line: conn.sendall(line), HOST) as server:
            with pytest.raises(ChatError) as caught:
                impl.ChatClient(*server.address)
        assert heard in str(caught.value)
        assert str(caught.value).isprintable(), "what a bad server hides in its words reaches no terminal"
    with impl.ThreadedServer(lambda conn, peer: None, HOST) as server, pytest.raises(ChatError, match="closed"):
        impl.ChatClient(*server.address)
    with pytest.raises(ConnectionRefusedError):
        impl.ChatClient(*server.address)
    with pytest.raises(ValueError):
        impl.ChatClient(HOST, 0)


def test_one_thread_listens_and_another_speaks(impl: ModuleType) -> None:
    heard: list[str] = []
    with impl.ChatServer(HOST, rate=None) as server, impl.ChatClient(*server.address) as ann:
        listener = threading.Thread(target=lambda: heard.extend(ann))
        listener.start()
        for number in range(200):
            ann.send(str(number))
        ann.leave()
        listener.join(30)
    assert heard == [f"[guest-1] {number}" for number in range(200)]


@pytest.mark.parametrize("program", ["nc -N", "socat -", "ncat"])
def test_clients_of_others(impl: ModuleType, program: str) -> None:
    name, *options = program.split()
    tool(name)
    with impl.ChatServer(HOST) as server, Guest(server, nick="ann") as ann:
        host, port = server.address
        target = [f"TCP:{host}:{port}"] if name == "socat" else [host, str(port)]
        done = subprocess.run(
            [name, *options, *target], input=b"hello\n/who\nunfinished", capture_output=True, timeout=60
        )
        assert done.stdout.decode().splitlines() == [
            "* welcome to oxisock, you are guest-2",
            *sorted(["[guest-2] hello", "* 2 online: ann, guest-2"], reverse=True),
        ]
        assert ann.until("* guest-2 left (quit)") == ["* guest-2 joined", "[guest-2] hello"]


# --- a client that is stopped ----------------------------------------------------------------------------------------

LISTENER = """
import socket, sys
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("there", flush=True)
while sock.recv(65536):
    pass
"""


def test_a_stopped_process_delays_nobody(impl: ModuleType) -> None:
    """Lines go on arriving while one client is stopped, until it is closed as too slow; nothing piles up."""
    with impl.ChatServer(HOST, rate=None, queue_limit=100_000) as server, Guest(server, nick="ann") as ann:
        with subprocess.Popen(
            [sys.executable, "-c", LISTENER, server.address[0], str(server.address[1])],
            stdout=subprocess.PIPE,
            text=True,
        ) as listener:
            try:
                assert listener.stdout is not None and listener.stdout.readline() == "there\n"
                ann.until("* guest-2 joined")
                listener.send_signal(signal.SIGSTOP)
                text = "y" * 4000
                for number in range(20_000):
                    ann.say(f"{number} {text}")
                    if "* guest-2 left (too slow)" in ann.until(f"[ann] {number} {text}"):
                        break
                    if number % 100 == 0:
                        assert all(member.queued <= 110_000 for member in server.members())
                else:
                    pytest.fail("the stopped client is still there")
                assert [member.nick for member in server.members()] == ["ann"]
                assert wait_until(lambda: server.stats().active == 1)
            finally:
                listener.kill()


def test_a_forked_child_cannot_use_it(impl: ModuleType) -> None:
    with impl.ChatServer(HOST) as server:
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    server.members()
                except RuntimeError:
                    code = 0
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with socket.create_connection(server.address, timeout=20) as sock:
            assert sock.recv(10) == b"* welcome "
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(server.address, timeout=20)


def test_the_public_names(impl: ModuleType) -> None:
    for name in ("ChatServer", "ChatClient"):
        assert (getattr(impl, name).impl, getattr(impl, name).__module__) == (impl.impl, f"oxisock.{impl.impl}")
        assert getattr(oxisock, name).impl == oxisock.impl


def test_lines_are_events_as_well(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, name="den") as server, impl.ChatClient(*server.address, nick="bot") as bot:
        with impl.ChatClient(*server.address) as guest:
            for line in ("/nick ann", "[x] hi -> there] !", "/me waves", "/msg bot psst: (x)", "/msg nobody x"):
                guest.send(line)
            guest.send("/quit so (long)")
            answers = list(guest.events())
        heard = bot.events()
        events = list(itertools.islice(heard, 6))
        bot.send("/nick b0t")
        events.append(next(heard))
        server.broadcast("tea [is] ready")
        events.append(next(heard))
        server.stop()
        events += heard
    assert events == [
        ("join", "guest-2", ""),
        ("nick", "guest-2", "ann"),
        ("message", "ann", "[x] hi -> there] !"),
        ("message", "ann", "~ waves"),
        ("private", "ann", "psst: (x)"),
        ("leave", "ann", "quit: so (long)"),
        ("nick", "bot", "b0t"),
        ("notice", "", "tea [is] ready"),
        ("notice", "", "server is closing"),
    ]
    assert all(isinstance(event, oxisock.ChatEvent) for event in events)
    assert ("error", "", "nobody is called nobody") in answers


def test_events_of_a_client_are_those_of_the_server(impl: ModuleType) -> None:
    told: queue.Queue[oxisock.ChatEvent] = queue.Queue()
    with impl.ChatServer(HOST, on_event=told.put) as server, impl.ChatClient(*server.address) as bot:
        with impl.ChatClient(*server.address) as guest:
            for line in ("/nick ann", "hello", "/me waves", "/msg guest-1 psst", "/quit bye"):
                guest.send(line)
            list(guest)
        heard = list(itertools.islice(bot.events(), 6))
        assert told.get(timeout=20) == ("join", "guest-1", "")
        assert [told.get(timeout=20) for _ in heard] == heard
