"""One room on many nodes of both engines, on a redis-server that is killed, stopped and lied to."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import oxisock.native
import oxisock.pure
from oxisock import RedisBackplane
from support.chatting import HOST, Guest, hear
from support.nodes import away, end_lease, far_node, is_back, lines, node, other
from support.processes import stop
from support.redis_server import RedisServer
from support.waiting import wait_until

pytest.importorskip("redis")
pytestmark = pytest.mark.usefixtures("patience")

Start = Callable[..., Any]
NEWS = re.compile(r"\* (\S+) (joined|left \(.*\)|is now \S+)")


def test_one_order_for_all_clients_of_all_nodes(redis_server: RedisServer) -> None:
    each, said = 20, 200
    kinds = [oxisock.native, oxisock.pure, oxisock.native]
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(node(kind, redis_server)) for kind in kinds]
        guests = [stack.enter_context(Guest(server)) for server in nodes for _ in range(each)]
        talkers = [
            threading.Thread(target=guest.say, args=[f"said {number} of {guest.nick}" for number in range(said)])
            for guest in guests
        ]
        for talker in talkers:
            talker.start()
        hear(guests, len(guests) * said, b"] said ", 110)
        for talker in talkers:
            talker.join()
        transcripts = []
        for guest in guests:
            heard = [line for line in guest.rest.decode().split("\n") if "] said " in line]
            assert len(heard) == len(set(heard)) == len(guests) * said
            transcripts.append(heard)
            own = [line for line in heard if line.startswith(f"[{guest.nick}]")]
            assert own == [f"[{guest.nick}] said {number} of {guest.nick}" for number in range(said)]
        assert all(heard == transcripts[0] for heard in transcripts)


def test_the_room_spans_its_nodes(impl: ModuleType, redis_server: RedisServer) -> None:
    told: list[Any] = []
    with node(impl, redis_server, on_event=told.append) as one, node(other(impl), redis_server, history=5) as two:
        with Guest(one, nick="ann") as ann:
            ann.say("said before")
            ann.until("[ann] said before")
            with Guest(two) as bob:
                assert bob.line() == "[ann] said before"
                bob.say("/nick bob", "/who", "/msg ANN psst", "hello")
                assert bob.until("[bob] hello")[-2:] == ["* guest-2 is now bob", "[bob -> ann] psst"]
                ann.until("[bob -> ann] psst")
                ann.until("[bob] hello")
                members = one.members()
                assert [(member.nick, member.node) for member in members] == [
                    ("ann", f"{os.uname().nodename}:{one.address.port}"),
                    ("bob", f"{os.uname().nodename}:{two.address.port}"),
                ]
                assert [member.peer for member in members] == [ann.sock.getsockname(), bob.sock.getsockname()]
                assert [member.nick for member in two.members()] == ["ann", "bob"]
                assert abs(members[0].joined_at - time.time()) < 60
                one.broadcast("fire")
                ann.until("* fire")
                bob.until("* fire")
                assert one.kick("BOB", "spam") and not one.kick("zoe")
                assert bob.until("! you were kicked: spam") == []
                assert bob.line() == ""
                ann.until("* bob left (kicked: spam)")
        assert wait_until(lambda: two.members() == [])
    assert ("private", "bob", "psst") in told and ("leave", "bob", "kicked: spam") in told


def test_a_nick_that_two_nodes_are_asked_for_at_once_goes_to_one(impl: ModuleType, redis_server: RedisServer) -> None:
    with (
        node(impl, redis_server) as one,
        node(other(impl), redis_server) as two,
        Guest(one) as ann,
        Guest(two) as bob,
    ):
        ann.until(f"* {bob.nick} joined")
        for number in range(1000):
            nick = f"n{number}"
            ann.say(f"/nick {nick}")
            bob.say(f"/nick {nick}")
            outcomes = {}
            for guest in (ann, bob):
                while (line := guest.line()) not in (f"* {guest.nick} is now {nick}", f"! {nick} is taken"):
                    assert " is now n" in line, line
                outcomes[guest] = line.startswith("*")
            assert sorted(outcomes.values()) == [False, True]
            winner = ann if outcomes[ann] else bob
            winner.nick = nick


def test_a_node_that_is_killed_leaves_once(impl: ModuleType, redis_server: RedisServer) -> None:
    with node(other(impl), redis_server) as one, node(impl, redis_server) as two:
        with far_node(impl, redis_server) as (killed, address), Guest(one) as ann, Guest(two) as bob:
            lost = [Guest(address) for _ in range(3)]
            lost[0].say("/nick carl")
            lost[0].until(f"* {lost[0].nick} is now carl")
            stop = threading.Event()

            def talk(guest: Guest) -> None:
                with contextlib.suppress(OSError):
                    for number in range(1 << 30):
                        if stop.is_set():
                            break
                        guest.say(f"full load {number}")

            talkers = [threading.Thread(target=talk, args=[guest]) for guest in lost]
            for talker in talkers:
                talker.start()
            assert wait_until(lambda: "full load 50" in lost[0].line())
            killed.kill()
            killed.wait()
            end_lease(redis_server, "carl")
            names = ["carl", lost[1].nick, lost[2].nick]
            heard = {guest: guest.until(f"* {names[2]} left (lost)") for guest in (ann, bob)}
            stop.set()
            for talker in talkers:
                talker.join()
            for guest in (ann, bob):
                heard[guest] += [f"* {names[2]} left (lost)", *lines(guest)]
                assert [line for line in heard[guest] if " left (" in line] == [
                    f"* {name} left (lost)" for name in names
                ]
            # What was shown to one is in the transcript of the other, in the same order.
            said = [[line for line in heard[guest] if "] full load " in line] for guest in (ann, bob)]
            assert said[0] == said[1] and len(set(said[0])) == len(said[0])
            with Guest(two) as again:
                again.say("/nick carl")
                again.until(f"* {again.nick} is now carl")
            for guest in lost:
                guest.close()


@pytest.mark.parametrize("stopped_for", ["longer", "shorter"])
def test_a_node_that_is_stopped(impl: ModuleType, redis_server: RedisServer, stopped_for: str) -> None:
    longer = stopped_for == "longer"
    with node(other(impl), redis_server) as one, far_node(impl, redis_server) as (far, address):
        with Guest(one) as ann, Guest(address) as bob:
            ann.until(f"* {bob.nick} joined")
            stop(far.pid)
            try:
                bob.say("of the past")
                ann.say("meanwhile")
                ann.until("[guest-1] meanwhile")
                if longer:
                    end_lease(redis_server, bob.nick)
                    assert ann.until(f"* {bob.nick} left (lost)") == []
                else:
                    time.sleep(1.5)
            finally:
                os.kill(far.pid, signal.SIGCONT)
            if longer:
                heard = bob.all()
                assert heard[-1] == "* server is closing" and "of the past" not in str(heard)
                with Guest(address) as carl:
                    assert ann.until(f"* {carl.nick} joined") == []
                    carl.say("anew")
                    assert ann.line() == f"[{carl.nick}] anew"
            else:
                assert ann.line() == f"[{bob.nick}] of the past"
                assert bob.until(f"[{bob.nick}] of the past") == ["[guest-1] meanwhile"]
                assert len(one.members()) == 2


def test_while_redis_does_not_answer(
    impl: ModuleType, redis_server: RedisServer, patience: Callable[[float], None]
) -> None:
    patience(2)
    with node(impl, redis_server) as one, node(other(impl), redis_server) as two:
        with Guest(one) as ann, Guest(two) as bob:
            ann.until(f"* {bob.nick} joined")
            ann.say("before")
            for guest in (ann, bob):
                guest.until(f"[{ann.nick}] before")
            redis_server.freeze()
            try:
                for number in range(3):
                    ann.say(f"lost {number}")
                heard = ann.until("! not delivered") + ann.until("! not delivered") + ann.until("! not delivered")
                assert heard == []
                assert wait_until(lambda: away(one))
                bob.say("/quit")  # nobody is kept
                assert bob.line() == ""
                with Guest(one, welcomed=False) as carl:
                    assert wait_until(lambda: away(two))
                    redis_server.thaw()
                    assert carl.line().startswith("* welcome to den")
                    ann.say("after")
                    heard = ann.until(f"[{ann.nick}] after")
                    left = f"* {bob.nick} left (quit)"
                    heard += [] if left in heard else [*ann.until(left), left]
                    assert sorted(heard) == sorted([left, "* guest-3 joined"])
                    assert "lost" not in str(heard)
            finally:
                redis_server.thaw()


def test_a_line_that_was_sent_as_redis_stopped_is_delivered_once_or_refused(
    impl: ModuleType, redis_server: RedisServer, patience: Callable[[float], None]
) -> None:
    patience(2)
    said = 4000
    with node(impl, redis_server) as one, node(other(impl), redis_server) as two:
        with Guest(one) as ann, Guest(two) as bob:
            talker = threading.Thread(target=ann.say, args=[f"said {number}" for number in range(said)])
            talker.start()
            assert wait_until(lambda: "said 100" in bob.line())
            redis_server.freeze()
            assert wait_until(lambda: away(one))
            redis_server.thaw()
            talker.join()
            assert wait_until(lambda: is_back(one))
            ann.say("the end")
            heard = ann.until(f"[{ann.nick}] the end")
            shown = [line for line in heard if "] said " in line]
            assert len(set(shown)) == len(shown)
            assert len(shown) + heard.count("! not delivered") == said
            rest = bob.until(f"[{ann.nick}] the end")
            tail = [line for line in rest if "] said " in line]
            assert tail == shown[len(shown) - len(tail) :]


@pytest.mark.parametrize("how", ["kept", "empty", "without the last entries"])
def test_redis_is_started_again(impl: ModuleType, tmp_path: Path, how: str) -> None:
    with (
        contextlib.closing(RedisServer(tmp_path, keep=how == "kept")) as redis_server,
        node(impl, redis_server) as one,
        node(other(impl), redis_server) as two,
        Guest(one, nick="ann") as ann,
        Guest(two) as bob,
    ):
        bob.say("/nick bob")
        ann.until(f"* {bob.nick} is now bob")
        ann.say("before")
        bob.until("[ann] before")
        ann.until("[ann] before")
        if how == "without the last entries":
            with redis_server.client() as client:
                client.save()  # a replica is as far as this
            bob.say("/nick ben", "/nick bob", "this will be gone")
            for guest in (ann, bob):
                guest.until("[bob] this will be gone")
            zoe = Guest(two)
            for guest in (ann, bob):
                guest.until(f"* {zoe.nick} joined")
            zoe.close()
            for guest in (ann, bob):
                guest.until(f"* {zoe.nick} left (quit)")
        redis_server.kill()
        ann.say("lost")
        assert ann.until("! not delivered") == []
        redis_server.start()
        assert wait_until(lambda: is_back(one) and is_back(two))
        # Who is there is what has been read back, and each node is back when it is.
        assert wait_until(lambda: len(one.members()) == len(two.members()) == 2)
        if how != "kept":
            assert ann.until("* lines may be missing") == []
            assert bob.until("* lines may be missing") == []
        ann.say("/who", "after")
        assert ann.until("[ann] after") in (["* 2 online: ann, bob"], ["* 2 online: bob, ann"])
        assert bob.until("[ann] after") == []
        bob.say("/msg ann both are here")
        assert ann.line() == "[bob -> ann] both are here"


def test_entries_that_no_oxisock_wrote(impl: ModuleType, redis_server: RedisServer) -> None:
    with node(impl, redis_server) as one, node(other(impl), redis_server) as two:
        with Guest(one) as ann, Guest(two) as bob, redis_server.client() as client:
            ann.until(f"* {bob.nick} joined")
            log = next(key for key in client.keys("oxisock:*") if key.endswith(b":log"))
            template = {b"s": b"1", b"k": b"say", b"n": b"x/1", b"c": b"1", b"a": b"ann", b"b": b"hi", b"t": b"5"}
            template[b"p"] = b"0-0"
            for number in range(600):
                client.xadd(log, {b"field %d" % number: bytes([number % 256]) * 9})
            for key in template:
                for bad in (b"", b"\xff", b"-1", b"9" * 30, b"two\nlines", b"{}"):
                    client.xadd(log, {**template, key: bad} if key != b"b" else {**template, b"b": b"\xff"})
                client.xadd(log, {other: value for other, value in template.items() if other != key})
            ann.say("still here")
            assert ann.until(f"[{ann.nick}] still here") == []
            assert bob.until(f"[{ann.nick}] still here") == []
            assert any("no oxisock wrote" in note for note in one.notices)


def test_members_that_no_oxisock_wrote(impl: ModuleType, redis_server: RedisServer) -> None:
    with node(other(impl), redis_server) as one, Guest(one) as ann, redis_server.client() as client:
        members = next(key for key in client.keys("oxisock:*") if key.endswith(b":members"))
        good, fields = b"7@elsewhere/1", b"zoe\n5\n127.0.0.1 9"
        bad = {
            b"": fields,
            b"nonsense": fields,
            b"@elsewhere/1": fields,
            b"8@": fields,
            b"-8@elsewhere/1": fields,
            b"9" * 30 + b"@elsewhere/1": fields,
            b"8@elsewhere/1": b"",
            b"9@elsewhere/1": b"zoe",
            b"10@elsewhere/1": b"zoe\nnow\n127.0.0.1 9",
            b"11@elsewhere/1": b"zoe\n" + b"9" * 30 + b"\n127.0.0.1 9",
            b"12@elsewhere/1": b"\n5\n127.0.0.1 9",
            b"13@elsewhere/1": b"zoe\n5\n127.0.0.1 9\nmore",
        }
        client.hset(members, mapping={good: fields, **bad})
        with node(impl, redis_server) as two, Guest(two) as bob:
            bob.say("hello")
            bob.until(f"[{bob.nick}] hello")
            ann.until(f"[{bob.nick}] hello")
            assert sorted(each.nick for each in two.members()) == sorted([ann.nick, bob.nick, "zoe"])
            assert f"{len(bad)} members that no oxisock wrote were ignored" in two.notices


def test_an_answer_that_makes_no_sense_is_no_answer(impl: ModuleType, redis_server: RedisServer) -> None:
    with node(other(impl), redis_server) as one, Guest(one), redis_server.client() as client:
        facts = next(key for key in client.keys("oxisock:*") if key.endswith(b":facts"))
        epoch = client.hget(facts, "epoch")
        client.hset(facts, "epoch", b"7 \xff")
        with node(impl, redis_server) as two, Guest(two, welcomed=False) as bob:
            assert wait_until(lambda: away(two))
            client.hset(facts, "epoch", epoch)
            assert bob.line().startswith("* welcome to den")


def test_any_text_and_any_name_of_a_room(impl: ModuleType, redis_server: RedisServer) -> None:
    room = "".join(map(chr, range(256))) + "\u2028{}\U0001f600"
    with node(impl, redis_server, room=room) as one, node(other(impl), redis_server, room=room) as two:
        with Guest(one) as ann, Guest(two) as bob, node(impl, redis_server, room="den") as apart, Guest(apart) as zoe:
            ann.until(f"* {bob.nick} joined")
            ann.sock.sendall(bytes(byte for byte in range(256) if byte not in b"\n/") + b"\n")
            line = ann.line()
            assert line.startswith(f"[{ann.nick}]   !\"#$%&'()*+,-.0123") and line.endswith("\ufffd" * 128)
            assert bob.line() == line
            assert lines(zoe) == []


def test_a_server_that_stops_says_so_to_the_others(impl: ModuleType, redis_server: RedisServer) -> None:
    with node(impl, redis_server) as one, Guest(one) as ann:
        with node(other(impl), redis_server) as two:
            bob = Guest(two)
            bob.say("bye")
            bob.until(f"[{bob.nick}] bye")
            two.stop()
            assert bob.all() == ["* server is closing"]
            bob.close()
        assert ann.until(f"* {bob.nick} left (closing)") == [f"* {bob.nick} joined", f"[{bob.nick}] bye"]


def test_without_redis_clients_wait_and_stopping_does_not(impl: ModuleType, tmp_path: Path) -> None:
    backplane = RedisBackplane(f"unix://{tmp_path}/nobody.sock")
    with impl.ChatServer(HOST, backplane=backplane) as server:
        with Guest(server, welcomed=False) as guest:
            guest.say("/ping")
            assert server.members() == []
            report = server.stop()
            assert report.elapsed < 20  # not for ever
            assert guest.all() == ["* server is closing"]


def test_what_makes_no_sense_is_refused(impl: ModuleType) -> None:
    for url in ("", "localhost", "http://localhost", "redis://localhost:port", "redis://localhost?nonsense=1"):
        with pytest.raises(ValueError, match=r"^url: expected redis://HOST:PORT/DATABASE"):
            RedisBackplane(url)
    for more in ({"lease": 0.1}, {"lease": None}, {"lease": 1e6}, {"history": 0}, {"history": 1 << 20}, {"room": ""}):
        with pytest.raises((ValueError, TypeError)):
            RedisBackplane("redis://localhost", **more)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        impl.ChatServer(backplane="redis://localhost")
    assert "secret" not in repr(RedisBackplane("redis://:secret@localhost"))
