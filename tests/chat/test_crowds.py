"""Chats of many, and those who would spoil one: everybody hears everything, in one order; vandals are ended alone."""

from __future__ import annotations

import contextlib
import random
import re
import resource
import socket
import threading
import time
from contextlib import ExitStack
from types import ModuleType

import pytest

import oxisock.pure
from support.addresses import HOST
from support.chatting import Guest, hear
from support.talking import reset
from support.threads import beside
from support.waiting import wait_until


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
            else:
                pytest.fail("a client that does not read is never too slow")
            if policy == "disconnect":
                assert gone == ["* guest-1 left (too slow)"]
                with contextlib.suppress(ConnectionResetError):
                    stuck.all()
                assert [member.nick for member in server.members()] == ["ann", "guest-3"]
            else:
                # It may have been told before that it missed lines, and missed others since.
                skipped, told, number = server.members()[0].skipped, 0, 0
                while told < skipped:
                    line = stuck.line()
                    if line.startswith("[ann] "):
                        assert int(line.split()[2]) == number
                        number += 1
                    elif line.endswith(" lines skipped"):
                        told += int(line.split()[1])
                        number += int(line.split()[1])
                assert told == skipped
                assert number <= said
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
        # Everybody had come before anybody spoke.
        transcript = said(guests[0])
        assert all(said(guest) == transcript for guest in guests)
        spoken = transcript.decode().splitlines()
        assert len(set(spoken)) == len(spoken) == people * lines
        for guest in guests[:: people // 10]:
            own = [line for line in spoken if line.startswith(f"[{guest.nick}]")]
            assert own == [f"[{guest.nick}] line {number} of {guest.nick}" for number in range(lines)]
        for place, guest in enumerate(guests):
            news = guest.rest.removesuffix(transcript).decode().splitlines()
            assert news == [f"* {later.nick} joined" for later in guests[place + 1 :]]
        first, *others = guests
        for guest in others:
            guest.close()
        first.rest = b""
        hear([first], people - 1, b" left (")
        assert wait_until(lambda: server.stats().active == 1)


def said(guest: Guest) -> bytes:
    """Give what a guest heard from the first line on that somebody spoke."""
    return guest.rest[guest.rest.index(b"[") :]


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
        with beside(ann.sock.sendall, b"~ and on\n" * count):
            hear([ann, bob], count, b"~ and on\n", 100)
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
            assert took < 60  # they would talk for ever


def test_a_stop_counts_those_whom_a_busy_loop_is_yet_to_cut() -> None:
    server = oxisock.pure.ChatServer(HOST).start()
    with Guest(server), Guest(server):
        running = server._running
        # The loop can do nothing for as long as the stop lasts.
        with running.reactor._reactor.lock:  # type: ignore[union-attr]
            report = server.stop()
        assert (report.drained, report.aborted) == (0, 2)
        assert wait_until(lambda: server.stats().active == 0)


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
