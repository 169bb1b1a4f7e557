"""The chat server: every line, every end of a connection, and nobody who can spoil it, on both engines."""

from __future__ import annotations

import contextlib
import errno
import pickle
import random
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from types import ModuleType
from typing import Any

import pytest

import oxisock
from chatting import HOST, Guest, hear
from conftest import wait_until
from oxisock import ChatEvent, ChatMember, Peer
from test_servers import drop_all, reset


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
    with pytest.raises(TypeError, match="str"):
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
    with impl.ChatServer(HOST, on_event=lambda event: release.wait(30), rate=None) as server:
        with Guest(server) as ann:
            for number in range(50):
                ann.say(str(number))
                assert ann.line() == f"[guest-1] {number}"
            assert len(server.members()) == 1
        began = time.monotonic()
        report = server.stop(0.2)
        assert time.monotonic() - began < 5
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


@pytest.mark.parametrize("drain", [0.0, 5.0])
def test_closing_is_said(impl: ModuleType, drain: float) -> None:
    events: list[ChatEvent] = []
    with impl.ChatServer(HOST, on_event=events.append) as server, Guest(server) as ann, Guest(server) as bob:
        ann.until("* guest-2 joined")
        ann.sock.sendall(b"half a line")
        report = server.stop(drain)
        assert report.elapsed < 4
        assert (report.drained, report.aborted, report.stuck_handlers) == (2, 0, 0)
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
        bob.say("still here")
        heard = bob.until("[guest-2] still here")
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


# --- nobody who can spoil it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["disconnect", "drop"])
def test_who_does_not_read_slows_nobody(impl: ModuleType, policy: str) -> None:
    with impl.ChatServer(HOST, rate=None, queue_limit=50_000, slow_policy=policy) as server:
        with Guest(server, receive_buffer=4096) as stuck, Guest(server, nick="ann") as ann, Guest(server) as bob:
            text = "x" * 2000
            said = 0

            def spoken() -> bool:
                nonlocal said
                ann.say(*[f"{text} {said + number}" for number in range(10)])
                said += 10
                heard = bob.until(f"[ann] {text} {said - 1}")
                ann.until(f"[ann] {text} {said - 1}")
                gone.extend(line for line in heard if line.startswith("* guest-1 left"))
                members = {member.nick: member for member in server.members()}
                assert policy == "disconnect" or members["guest-1"].queued <= 50_000 + 3000
                return bool(gone) if policy == "disconnect" else members["guest-1"].skipped > 100

            gone: list[str] = []
            for _ in range(10_000):
                if spoken():
                    break
            if policy == "disconnect":
                assert gone == ["* guest-1 left (too slow)"]
                with contextlib.suppress(ConnectionResetError):
                    stuck.all()
                assert [member.nick for member in server.members()] == ["ann", "guest-3"]
            else:
                heard: list[str] = []
                while not heard or not heard[-1].endswith(" lines skipped"):
                    heard.append(stuck.line())
                skipped = int(heard[-1].split()[1])
                lines = [line for line in heard if line.startswith("[ann] ")]
                assert [int(line.split()[2]) for line in lines] == list(range(len(lines)))
                assert len(lines) + skipped <= said
                assert server.members()[0].skipped == skipped
                ann.say("back?")
                stuck.until("[ann] back?")


def test_everybody_sees_everything_once_and_in_one_order(impl: ModuleType) -> None:
    people, lines = (100, 20) if impl.impl == "pure" else (500, 20)
    need_descriptors(2 * people + 200)
    with impl.ChatServer(HOST, rate=None, queue_limit=64 << 20) as server, ExitStack() as stack:
        guests = [stack.enter_context(Guest(server)) for _ in range(people)]
        orders = random.Random(6)
        script = guests * lines
        orders.shuffle(script)
        next_number = dict.fromkeys(guests, 0)
        for guest in script:
            guest.say(f"line {next_number[guest]} of {guest.nick}")
            next_number[guest] += 1
        hear(guests, people * lines, b"] line ", seconds=100)
        transcripts = [said(guest) for guest in guests]
        assert all(transcript == transcripts[0] for transcript in transcripts)
        assert len(set(transcripts[0])) == people * lines
        for guest in guests[:: people // 10]:
            own = [line for line in transcripts[0] if line.startswith(f"[{guest.nick}]")]
            assert own == [f"[{guest.nick}] line {number} of {guest.nick}" for number in range(lines)]
        for place, guest in enumerate(guests):
            news = [line for line in guest.rest.decode().split("\n") if line.endswith(" joined")]
            assert news == [f"* {later.nick} joined" for later in guests[place + 1 :]]
        first, *others = guests
        for guest in others:
            guest.close()
        first.rest = b""
        hear([first], people - 1, b" left (")
        assert wait_until(lambda: server.stats().active == 1)


def said(guest: Guest) -> list[str]:
    return [line for line in guest.rest.decode().split("\n") if "] line " in line]


def need_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            pytest.skip(f"{count} descriptors are needed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def test_two_thousand_connected_and_a_few_talking(impl: ModuleType) -> None:
    people = 2000 if impl.impl == "native" else 300
    need_descriptors(2 * people + 200)
    with impl.ChatServer(HOST, max_clients=people) as server, ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(server.address, timeout=30)) for _ in range(people - 2)]
        with Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
            assert len(server.members()) == people
            ann.say("anybody?")
            bob.until("[ann] anybody?")
            bob.say("me")
            ann.until("[bob] me")
        for sock in random.Random(2).sample(socks, 20):
            data = b""
            while b"* ann left (quit)\n" not in data:
                piece = sock.recv(1 << 16)
                assert piece
                data += piece
            assert data.count(b"[ann] anybody?\n") == data.count(b"[bob] me\n") == 1


def test_vandals_are_answered_or_ended_alone(impl: ModuleType) -> None:
    """Two who talk all the time hear nothing of all this but news."""
    need_descriptors(3000)
    with impl.ChatServer(HOST, rate=None, history=5) as server:
        with Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
            random_bytes = random.Random(1).randbytes(300_000)

            def talk(number: int) -> None:
                ann.say(f"are you there {number}")
                heard = bob.until(f"[ann] are you there {number}")
                ann.until(f"[ann] are you there {number}")
                for line in heard:
                    assert re.match(r"\* [\w-]+ (joined|left \(.*\)|is now [\w-]+)$|\[[\w-]+\] ", line), line
                    assert not re.search("[\x00-\x1f\x7f-\x9f]", line)

            talk(0)
            with Guest(server) as shouter:
                shouter.sock.sendall(b"x" * 10_000_000 + b"\n")
                shouter.until("! line too long")
            talk(1)
            with ExitStack() as stack:
                for _ in range(700):
                    stack.enter_context(socket.create_connection(server.address, timeout=30))
                talk(2)
            with Guest(server) as noise, contextlib.suppress(OSError):
                noise.sock.sendall(random_bytes)
                noise.sock.shutdown(socket.SHUT_WR)
                while noise.sock.recv(1 << 16):
                    pass
            talk(3)
            with Guest(server) as terminal:
                terminal.say("\x1b[2J\x1b]0;title\x07 red \x1b[31m", "\u202egnp.exe", "a\r* ann left (quit)")
                terminal.until(f"[{terminal.nick}] a* ann left (quit)")
            talk(4)
            with Guest(server) as renamer:
                for number in range(1000):
                    renamer.say(f"/nick name-{number}")
                    renamer.until(f"* {renamer.nick} is now name-{number}")
                    renamer.nick = f"name-{number}"
            talk(5)
            for _ in range(50):
                mid = Guest(server)
                mid.sock.sendall(b"in the middle of a li")
                reset(mid.sock)
            talk(6)
            with Guest(server) as half:
                half.sock.shutdown(socket.SHUT_WR)
                half.all()
            talk(7)
            assert wait_until(lambda: len(server.members()) == 2)
        assert wait_until(lambda: server.stats().active == 0)


def test_a_flood(impl: ModuleType) -> None:
    """With the usual rate a flood is nearly all dropped; nobody notices."""
    with (
        impl.ChatServer(HOST) as server,
        Guest(server) as ann,
        Guest(server) as bob,
        Guest(server, nick="flood") as flood,
    ):
        flood.sock.sendall(b"all the same\n" * 100_000)
        flood.sock.shutdown(socket.SHUT_WR)
        assert "! slow down" in flood.all()
        heard = ann.until("* flood left (quit)")
        assert 19 <= heard.count("[flood] all the same") < 2000
        bob.say("calm")
        ann.until("[guest-2] calm")
        assert server.stats().messages >= 100_000


def test_a_flood_without_a_rate_is_heard_in_full(impl: ModuleType) -> None:
    count = 100_000 if impl.impl == "native" else 20_000
    with impl.ChatServer(HOST, rate=None) as server, Guest(server, nick="ann") as ann, Guest(server, nick="bob") as bob:
        sender = threading.Thread(target=lambda: ann.sock.sendall(b"~ and on\n" * count))
        sender.start()
        hear([ann, bob], count, b"~ and on\n", 100)
        sender.join()
        assert [member.skipped for member in server.members()] == [0, 0]


def test_everyone_leaves_at_once_and_a_stop_at_the_busiest_moment(impl: ModuleType) -> None:
    people = 100
    with impl.ChatServer(HOST, rate=None, queue_limit=1 << 24) as server:
        guests = [Guest(server) for _ in range(people)]
        for guest in guests:
            guest.close()
        assert wait_until(lambda: server.stats().active == 0)
        assert server.members() == []
        with ExitStack() as stack:
            guests = [stack.enter_context(Guest(server)) for _ in range(people)]
            over = threading.Event()

            def talk() -> None:
                while not over.is_set():
                    for guest in guests[:10]:
                        with contextlib.suppress(OSError):
                            guest.say(*["busy"] * 20)

            def listen() -> None:
                for guest in guests:
                    guest.sock.settimeout(0)
                while not over.is_set():
                    for guest in guests:
                        with contextlib.suppress(OSError):
                            guest.sock.recv(1 << 16)

            threads = [threading.Thread(target=talk), threading.Thread(target=listen)]
            for thread in threads:
                thread.start()
            assert wait_until(lambda: server.stats().messages > 300)
            began = time.monotonic()
            report = server.stop(0.5)
            took = time.monotonic() - began
            over.set()
            for thread in threads:
                thread.join()
            assert report.drained + report.aborted == people
            assert took < 5


def test_news_of_many_at_once_is_not_too_much_for_who_reads(impl: ModuleType) -> None:
    """Queues are judged one line at a time, also where a hundred leave within one turn."""
    with impl.ChatServer(HOST, queue_limit=100) as server, Guest(server) as ann:
        guests = [Guest(server) for _ in range(100)]
        for guest in guests:
            reset(guest.sock)
        for number in range(200):
            server.broadcast(f"line {number} of many, all of them together longer than a queue")
        heard = ann.until("* line 199 of many, all of them together longer than a queue")
        assert len([line for line in heard if line.startswith("* line ")]) == 199
        assert wait_until(lambda: len(server.members()) == 1)
        assert server.members()[0].nick == "guest-1"


def test_a_server_that_is_dropped_warns_and_ends(impl: ModuleType) -> None:
    kept = [impl.ChatServer(HOST, on_event=print).start()]
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
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ChatEvent(kind='leave', nick='ann', text='closing')" in done.stdout
