"""The scripts of a shared room alone, on a redis-server, beside the model of them that the machine is tried against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oxisock.chat.backplane import redis as driver
from oxisock.chat.backplane.machine import Call
from support.redis_server import RedisServer
from support.room_log import RoomLog

pytest.importorskip("redis")

LEASE = 600_000
KEYS = [f"room:{key}" for key in ("log", "facts", "nodes", "members", "nicks", "read", "done")]
NODES = st.sampled_from(["a/1", "b/1", "c@d/1"])
ITEMS = st.tuples(
    st.sampled_from(["join", "join", "nick", "say", "msg", "leave", "kick", "cast"]),
    st.integers(0, 3),
    st.sampled_from(["ann", "ANN", "bob", "guest-1", "-"]),
    st.sampled_from(["hi", "", "127.0.0.1 5", "x@y", "\u00e9 \U0001f600", "%d"]),
)
STEPS = st.one_of(
    st.tuples(st.just("append"), NODES, st.integers(1, 6), st.lists(ITEMS, max_size=4)),
    st.tuples(st.sampled_from(["enter", "tend", "leave"]), NODES),
    st.tuples(st.just("carry"), NODES, st.integers(0, 3), st.sampled_from(["ann", "Bob", "guest-2"])),
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Any]:
    server = RedisServer(tmp_path)
    with contextlib.closing(server), server.client() as client:
        yield client


def entries(client: Any) -> list[Any]:
    rows = client.eval("return redis.call('XRANGE', KEYS[1], '-', '+')", 1, KEYS[0])
    return [driver.entry(row) for row in rows]


def call(client: Any, node: str, epoch: str, script: str, *arguments: Any, known: tuple[str, int] | None = None) -> Any:
    text = driver.script(script)[0]
    if known is None:
        last, serial = client.hmget(KEYS[1], "last", "serial")
        known = (last or b"0-0").decode(), int(serial or 0)
    common = (node, epoch, LEASE, 1000, 0, *known)
    answer = client.eval(text, len(KEYS), *KEYS, *common, *arguments)
    return driver.understood(Call(script, list(arguments)), answer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_scripts_do_what_the_model_does(client: Any, steps: list[Any]) -> None:
    client.flushall()
    model = RoomLog()
    epochs: dict[str, str] = {}
    gone = ((99, 9), 9)
    for number, step in enumerate(steps, 1):
        kind, node, *rest = step
        epoch = epochs.get(node, "")
        if kind == "append":
            batch, items = rest
            flat = [part for item in items for part in item]
            answer = call(client, node, epoch, "append", batch, *flat)
            assert answer[:3] == model.append(node, epoch, batch, LEASE, items)[:3]
        elif kind in ("enter", "carry"):
            lost = kind == "carry"  # what the node knows of is not there
            here = [(rest[0], rest[1], "here 1", 7)] if lost else []
            known = ("99-9", 9) if lost else None
            flat = [part for member in here for part in member]
            answer = call(client, node, epoch, "enter", number, f"e{number}", 5, *flat, known=known)
            at = gone if lost else (model.last, model.serial)
            wanted = model.enter(node, number, LEASE, epoch=epoch, known=at, name=f"e{number}", here=here)
            if wanted.status != "ok":
                assert answer[:3] == wanted[:3]
                continue
            assert answer.answer[:3] == wanted[:3]
            assert (answer.epoch, answer.batch) == (wanted.epoch, wanted.batch)
            epochs[node] = answer.epoch
            found = {(member[1], member[2], member[3], member[4]) for member in answer.members}
            assert found == {(at, client, nick, where) for at, client, nick, _, where in wanted.there}
            assert [entry.fields[:5] for entry in answer.history] == [entry[1:6] for entry in model.entries[-5:]]
        elif kind == "tend":
            assert call(client, node, epoch, "tend")[:3] == model.tend(node, epoch, LEASE)[:3]
        else:
            assert call(client, node, epoch, "leave")[:3] == model.leave(node, epoch)[:3]
    log = entries(client)
    assert [(each.serial, *each.fields[:5]) for each in log] == [entry[:6] for entry in model.entries]
    assert [each.before for each in log] == ["0-0", *(each.id for each in log)][: len(log)]


def test_what_redis_lost_begins_a_new_epoch(client: Any) -> None:
    client.flushall()
    first, other = (call(client, node, "", "enter", 1, node, 0) for node in ("a/1", "b/1"))
    assert first.epoch == other.epoch == "1 a/1"
    assert call(client, "a/1", "1 a/1", "append", 2, "join", 0, "", "here 1").letters == "o"
    gone = ("99-9", 9)
    assert call(client, "a/1", "1 a/1", "append", 3, "say", 0, "", "hi", known=gone).status == "lost"
    again = call(client, "a/1", "1 a/1", "enter", 4, "a/2", 0, 5, "guest-1", "here 5", 7, known=gone)
    assert (again.epoch, again.whole, again.batch, again.answer.letters) == ("2 a/2", False, 2, "o")
    # Who is on the node is what the node says, and nobody who was removed, or has a nick already, is taken for another.
    assert [(member[1:4]) for member in again.members] == [("a/1", 5, "guest-1")]
    assert [entry.fields[:3] for entry in entries(client)[-3:]] == [
        ("leave", "a/1", 0),
        ("member", "a/1", 5),
        ("node", "a/1", 0),
    ]
    # The others begin anew as well, and nobody is lost: what they know of is there.
    assert call(client, "b/1", "1 a/1", "tend").status == "epoch"
    follows = call(client, "b/1", "1 a/1", "enter", 2, "b/2", 0)
    assert (follows.epoch, follows.whole) == ("2 a/2", True)
    # A call that comes late, from a connection that was given up, changes nothing.
    before = len(entries(client))
    assert call(client, "a/1", "1 a/1", "enter", 4, "a/3", 0, known=gone).status == "late"
    assert call(client, "a/1", "2 a/2", "append", 3, "say", 5, "", "late").status == "ok"
    assert len(entries(client)) == before
    # Guests are numbered past those who were there before.
    call(client, "a/1", "2 a/2", "append", 5, "join", 6, "", "here 6")
    assert entries(client)[-1].fields[3] == "guest-2"


def test_time_is_that_of_redis_and_nobody_else_ends_a_lease(client: Any) -> None:
    client.flushall()
    for node in ("a/1", "b/1"):
        epoch = call(client, node, "", "enter", 1, node, 0).epoch
    call(client, "a/1", epoch, "append", 2, "join", 0, "", "here 1")
    seconds, micro = client.time()
    now = seconds * 1000 + micro // 1000
    assert 0 <= now + LEASE - int(client.zscore(KEYS[2], "a/1")) < 60_000
    client.zadd(KEYS[2], {"a/1": now - 1})
    assert call(client, "a/1", epoch, "append", 3, "say", 0, "", "of the past").status == "fenced"
    for _ in range(2):
        assert call(client, "b/1", epoch, "tend").status == "ok"
    kinds = [each.fields[0] for each in entries(client)]
    assert kinds == ["node", "node", "join", "leave"]
    assert call(client, "a/1", epoch, "enter", 4, "a", 0).status == "fenced"
    # Redis was away for an hour, as far as anybody can tell: whoever held his lease then holds it yet.
    client.zadd(KEYS[2], {"c/1": now - 3_590_000})
    client.hset(KEYS[1], "seen", now - 3_600_000)
    assert call(client, "b/1", epoch, "tend").status == "ok"
    assert client.zscore(KEYS[2], "c/1") > now


def test_scripts_are_part_of_the_package() -> None:
    folder = Path(driver.__file__).parent / "scripts"
    assert sorted(path.stem for path in folder.glob("*.lua")) == ["append", "common", "enter", "leave", "tend"]
