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


def call(client: Any, node: str, epoch: str, script: str, *arguments: Any) -> Any:
    text = driver.script(script)[0]
    common = (node, epoch, LEASE, 0, 1000)
    answer = client.eval(text, len(KEYS), *KEYS, *common, *arguments)
    return driver.understood(Call(script, list(arguments)), answer)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(STEPS, max_size=25))
def test_scripts_do_what_the_model_does(client: Any, steps: list[Any]) -> None:
    client.flushall()
    model = RoomLog()
    for step in steps:
        kind, node, *rest = step
        if kind == "append":
            batch, items = rest
            flat = [part for item in items for part in item]
            answer = call(client, node, "e", "append", batch, *flat)
            assert (answer.status, answer.letters) == model.append(node, "e", batch, LEASE, items)
        elif kind in ("enter", "carry"):
            carried = [(rest[0], rest[1], "here 1", 7)] if kind == "carry" else []
            answer = call(client, node, "e", "enter", 5, *(part for member in carried for part in member))
            epoch, serial, there = model.enter(node, "e", LEASE, carried)
            assert (answer.epoch, answer.serial) == (epoch, serial)
            found = {(member[1], member[2], member[3], member[4]) for member in answer.members}
            assert found == {(at, number, nick, where) for at, number, nick, _, where in there}
            wanted = [entry.fields[:5] for entry in model.entries[-5:]]
            assert [entry.fields[:5] for entry in answer.history] == wanted
        elif kind == "tend":
            assert call(client, node, "e", "tend").status == model.tend(node, "e", LEASE)
        else:
            call(client, node, "e", "leave")
            if node in model.nodes:
                model.leave(node, "e")
    log = entries(client)
    assert [(each.serial, *each.fields[:5]) for each in log] == [entry[:6] for entry in model.entries]


def test_time_is_that_of_redis_and_nobody_else_ends_a_lease(client: Any) -> None:
    client.flushall()
    for node in ("a/1", "b/1"):
        call(client, node, "e", "enter", 0)
    call(client, "a/1", "e", "append", 1, "join", 0, "", "here 1")
    seconds, micro = client.time()
    now = seconds * 1000 + micro // 1000
    assert 0 <= now + LEASE - int(client.zscore(KEYS[2], "a/1")) < 60_000
    client.zadd(KEYS[2], {"a/1": now - 1})
    assert call(client, "a/1", "e", "append", 2, "say", 0, "", "of the past").status == "fenced"
    for _ in range(2):
        assert call(client, "b/1", "e", "tend").status == "ok"
    kinds = [each.fields[0] for each in entries(client)]
    assert kinds == ["join", "leave"]
    assert call(client, "b/1", "other", "tend").status == "epoch"
    # Redis was away for an hour, as far as anybody can tell: whoever held his lease then holds it yet.
    client.zadd(KEYS[2], {"c/1": now - 3_590_000})
    client.hset(KEYS[1], "seen", now - 3_600_000)
    assert call(client, "b/1", "e", "tend").status == "ok"
    assert client.zscore(KEYS[2], "c/1") > now


def test_scripts_are_part_of_the_package() -> None:
    folder = Path(driver.__file__).parent / "scripts"
    assert sorted(path.stem for path in folder.glob("*.lua")) == ["append", "common", "enter", "leave", "tend"]
