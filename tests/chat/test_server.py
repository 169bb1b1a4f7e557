"""The chat server: every line, every end of a connection, and nobody who can spoil it, on both engines."""

from __future__ import annotations

import errno
import pickle
import socket
import threading
import time
from types import ModuleType
from typing import Any

import pytest

import oxisock
from oxisock import ChatEvent, ChatMember, Peer
from support.addresses import HOST
from support.chatting import Guest
from support.processes import python
from support.talking import drop_all, reset
from support.waiting import wait_until


def test_a_conversation(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, name="den") as server:
        with Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
            assert ann.line() == "* guest-2 joined"
            assert ann.line() == "* guest-2 is now bob"
            ann.say("hello")
            assert ann.line() == bob.line() == "[ann] hello"
            bob.say("/me waves", "/msg ann psst", "/who", "/ping", "/nope")
            assert bob.line() == ann.line() == "[bob] ~ waves"
            assert bob.line() == ann.line() == "[bob -> ann] psst"
            assert [bob.line() for _ in range(3)] == ["* 2 online: ann, bob", "* pong", "! unknown command"]
            bob.say("/quit so long")
            assert bob.line() == ""
            assert ann.line() == "* bob left (quit: so long)"
        assert wait_until(lambda: server.stats().active == 0)
        stats = server.stats()
    assert (stats.accepted, stats.closed, stats.messages) == (2, 2, 9)
    assert stats.bytes_in == sum(
        len(line) + 1
        for line in ["/nick ann", "/nick bob", "hello", "/me waves", "/msg ann psst", "/who", "/ping", "/nope"]
    ) + len("/quit so long\n")


def test_members(impl: ModuleType) -> None:
    with impl.ChatServer(HOST) as server:
        assert server.members() == []
        before = time.time()
        with Guest(server) as ann, Guest(server) as bob:
            members = server.members()
            assert [member.nick for member in members] == ["guest-1", "guest-2"]
            assert [member.peer for member in members] == [guest.sock.getsockname() for guest in (ann, bob)]
            assert isinstance(members[0], ChatMember) and isinstance(members[0].peer, Peer)
            assert all(before - 1 <= member.joined_at <= time.time() + 1 for member in members)
            assert members[0].joined_at <= members[1].joined_at
            assert all((member.queued, member.skipped) == (0, 0) for member in members)
            assert server.members() == members
        assert wait_until(lambda: server.members() == [])
    assert server.members() == []


def test_broadcast_and_kick(impl: ModuleType) -> None:
    with impl.ChatServer(HOST) as server, Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
        ann.until("* guest-2 is now bob")
        server.broadcast("tea\x1b[2J is\n\nready \ud800")
        for guest in (ann, bob):
            assert [guest.line(), guest.line()] == ["* tea[2J is", "* ready ?"]
        assert server.kick("BOB", "spam\n")
        assert bob.all() == ["! you were kicked: spam"]
        assert ann.line() == "* bob left (kicked: spam)"
        assert not server.kick("bob")
        assert server.kick("ann")
        assert ann.all() == ["! you were kicked"]
    assert not server.kick("ann")
    server.broadcast("nobody hears this")
    with pytest.raises(RuntimeError, match="start"):
        impl.ChatServer(HOST).broadcast("hello")
    assert not impl.ChatServer(HOST).kick("ann")
    with pytest.raises(TypeError, match="text"):
        server.broadcast(b"bytes")


def test_events_come_one_at_a_time_on_a_thread_of_their_own(impl: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    events: list[ChatEvent] = []
    threads: set[str] = set()
    inside: list[int] = []

    def on_event(event: ChatEvent) -> None:
        inside.append(1)
        assert len(inside) == 1
        threads.add(threading.current_thread().name)
        events.append(event)
        if event.text == "kick me":
            assert server.kick(event.nick, "as asked")
            assert [member.nick for member in server.members()] == ["bob"]
            server.broadcast("done")
        inside.pop()
        if event.text == "oops":
            raise ValueError("not mine")

    with impl.ChatServer(HOST, on_event=on_event) as server:
        with Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
            bob.say("oops", "hi", "/me waves", "/msg ann psst", "/who")
            bob.until("* 2 online: ann, bob")
            ann.say("kick me")
            assert ann.all()[-1] == "! you were kicked: as asked"
            bob.until("* done")
        assert wait_until(lambda: len(events) == 11)
        assert server.stats().handler_errors == 1
    assert events == [
        ("join", "guest-1", ""),
        ("nick", "guest-1", "ann"),
        ("join", "guest-2", ""),
        ("nick", "guest-2", "bob"),
        ("message", "bob", "oops"),
        ("message", "bob", "hi"),
        ("message", "bob", "~ waves"),
        ("private", "bob", "psst"),
        ("message", "ann", "kick me"),
        ("leave", "ann", "kicked: as asked"),
        ("leave", "bob", "quit"),
    ]
    assert threads == {"oxisock-chat-events"}
    assert "not mine" in caplog.text and "oops" in caplog.text


def test_a_slow_listener_of_events_stalls_nobody(impl: ModuleType) -> None:
    release = threading.Event()
    with impl.ChatServer(HOST, on_event=lambda event: release.wait(90), rate=None) as server:
        with Guest(server) as ann:
            for number in range(50):
                ann.say(str(number))
                assert ann.line() == f"[guest-1] {number}"
            assert len(server.members()) == 1
        began = time.monotonic()
        report = server.stop(0.2)
        assert time.monotonic() - began < 60  # the listener takes longer
        assert report.stuck_handlers == 1
        release.set()


def test_stop_from_an_event(impl: ModuleType) -> None:
    reports = []
    server = impl.ChatServer(
        HOST, on_event=lambda event: reports.append(server.stop()) if event.kind == "message" else None
    )
    with server, Guest(server) as ann:
        ann.say("stop")
        assert ann.all() == ["[guest-1] stop", "* server is closing"]
        assert wait_until(lambda: len(reports) == 1)


@pytest.mark.parametrize("drain", [0.0, 90.0])
def test_closing_is_said(impl: ModuleType, drain: float) -> None:
    events: list[ChatEvent] = []
    with impl.ChatServer(HOST, on_event=events.append) as server, Guest(server) as ann, Guest(server) as bob:
        ann.until("* guest-2 joined")
        ann.sock.sendall(b"half a line")
        report = server.stop(drain)
        assert report.elapsed < 60
        assert report.drained + report.aborted == 2
        # Without a drain, a busy machine may report before the threads have had their turn.
        assert not drain or (report.aborted, report.stuck_handlers) == (0, 0)
        assert ann.all() == bob.all() == ["* server is closing"]
    assert events[-2:] == [("leave", "guest-1", "closing"), ("leave", "guest-2", "closing")]


def test_how_connections_end(impl: ModuleType) -> None:
    with impl.ChatServer(HOST) as server, Guest(server) as ann:
        with Guest(server) as quitter:
            quitter.sock.sendall(b"hello\nunfinished")
            quitter.until("[guest-2] hello")
        assert ann.until("* guest-2 left (quit)")[-1] == "[guest-2] hello"
        lost = Guest(server)
        lost.sock.sendall(b"mid-li")
        reset(lost.sock)
        ann.until("* guest-3 left (lost)")
        with Guest(server) as half:
            half.say("last words")
            half.sock.shutdown(socket.SHUT_WR)
            assert half.all() == ["[guest-4] last words"]
        ann.until("* guest-4 left (quit)")
        assert [member.nick for member in server.members()] == ["guest-1"]


def test_a_full_server(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, max_clients=2) as server:
        with Guest(server) as ann, Guest(server):
            for _ in range(20):
                with socket.create_connection(server.address, timeout=30) as refused:
                    refused.sendall(b"hello\n")
                    assert refused.makefile("rb").read() == b"! server is full\n"
            with pytest.raises(oxisock.ChatError, match="^server is full$"):
                impl.ChatClient(*server.address)
            stats = server.stats()
            assert (stats.accepted, stats.rejected, stats.active) == (2, 21, 2)
            ann.say("/quit")
            assert ann.all()[-1:] in ([], ["* guest-2 joined"])
            with Guest(server) as late:
                assert late.nick == "guest-3"


def test_idle_clients_leave(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, idle_timeout=0.3) as server, Guest(server) as silent:
        assert silent.all() == ["! you have been idle for too long"]
        assert wait_until(lambda: server.stats().timeouts == 1)


def test_the_rate_is_limited(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, rate=0.001, burst=3) as server, Guest(server) as ann, Guest(server) as bob:
        ann.say(*map(str, range(100)))
        heard = [*bob.until("[guest-1] 2"), "[guest-1] 2"]  # two connections have no order between them
        bob.say("still here")
        heard += bob.until("[guest-2] still here")
        assert [line for line in heard if line.startswith("[")] == [f"[guest-1] {number}" for number in range(3)]
        heard = ann.until("[guest-2] still here")
        assert heard.count("! slow down") >= 1


def test_lines_that_are_too_long_are_told_of_in_their_place(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, max_line=10, rate=None) as server, Guest(server) as ann:
        script = b"0123456789\n0123456789\r\n01234567890\nshort\n" + b"x" * 100_000 + b"\nlast\n"
        expected = ["[guest-1] 0123456789"] * 2 + ["! line too long", "[guest-1] short", "! line too long"]
        for size in (1, 7, 1000, 1 << 20):
            for at in range(0, len(script), size):
                ann.sock.sendall(script[at : at + size])
            assert ann.until("[guest-1] last") == expected
        assert server.stats().frame_errors == 8


def test_what_one_says_need_not_come_back(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, echo=False) as server, Guest(server) as ann, Guest(server) as bob:
        ann.say("hello", "/me waves", "/msg guest-1 me", "/ping")
        assert ann.until("* pong") == ["* guest-2 joined", "[guest-1 -> guest-1] me"]
        assert [bob.line(), bob.line()] == ["[guest-1] hello", "[guest-1] ~ waves"]


def test_history(impl: ModuleType) -> None:
    with impl.ChatServer(HOST, history=2) as server, Guest(server) as ann:
        ann.say("one", "two", "/me waves", "/msg guest-1 secret", "/ping")
        ann.until("* pong")
        with Guest(server) as bob:
            assert [bob.line(), bob.line()] == ["[guest-1] two", "[guest-1] ~ waves"]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"max_clients": 0}, ValueError),
        ({"max_line": 0}, ValueError),
        ({"history": -1}, ValueError),
        ({"queue_limit": 0}, ValueError),
        ({"slow_policy": "wait"}, ValueError),
        ({"rate": 0}, ValueError),
        ({"rate": float("nan")}, ValueError),
        ({"burst": 0}, ValueError),
        ({"idle_timeout": 0}, ValueError),
        ({"name": "two\nlines"}, ValueError),
        ({"name": ""}, ValueError),
        ({"port": 70000}, ValueError),
        ({"on_event": 3}, TypeError),
        ({"max_connections": 3}, TypeError),
    ],
)
def test_arguments_are_checked(impl: ModuleType, wrong: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        impl.ChatServer(**wrong)


def test_values(impl: ModuleType) -> None:
    event = ChatEvent("join", "ann", "")
    assert pickle.loads(pickle.dumps(event)) == event == ("join", "ann", "")
    with impl.ChatServer(HOST) as server:
        assert server.impl == impl.impl
        assert repr(server) == f"<{impl.impl} ChatServer listening {HOST}:{server.address.port}>"
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(server)
        with pytest.raises(OSError) as caught:
            impl.ChatServer(*server.address).start()
    assert caught.value.errno == errno.EADDRINUSE


def test_a_server_that_is_dropped_warns_and_ends(impl: ModuleType) -> None:
    kept = [impl.ChatServer(HOST, on_event=lambda event: None).start()]
    guest = Guest(kept[0])
    with pytest.warns(ResourceWarning, match="dropped while running"):
        drop_all(kept)
    assert guest.all()[-1:] == ["* server is closing"]
    guest.close()


def test_the_interpreter_ends_cleanly_without_stop(impl: ModuleType) -> None:
    code = f"""
from oxisock import {impl.impl} as impl
server = impl.ChatServer({HOST!r}, on_event=print).start()
client = impl.ChatClient(*server.address, nick="ann")
client.send("hello")
assert client.recv(20) == "[ann] hello"
client.sock.detach()  # it stays open, and nobody complains
"""
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ChatEvent(kind='leave', nick='ann', text='closing')" in done.stdout
