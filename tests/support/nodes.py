"""Nodes of a shared room for tests: chat servers of either engine on one Redis, here and in processes of their own."""

from __future__ import annotations

import contextlib
from types import ModuleType
from typing import Any

import oxisock.native
import oxisock.pure
from oxisock import RedisBackplane
from support.chatting import HOST, Guest
from support.processes import process, script
from support.redis_server import RedisServer


def end_lease(redis: RedisServer, nick: str) -> None:
    """Let the lease of the node that somebody is on be over: no test waits for it, and no busy machine loses one."""
    with redis.client() as client:
        key = {name.rpartition(b":")[2]: name for name in client.keys("oxisock:*")}
        node = client.hget(key[b"nicks"], nick).partition(b"@")[2]
        client.zadd(key[b"nodes"], {node: 1})


def other(impl: ModuleType) -> ModuleType:
    return oxisock.pure if impl is oxisock.native else oxisock.native


def node(impl: ModuleType, redis: RedisServer, *, lease: float = 600.0, room: str = "den", **more: Any) -> Any:
    usual = {"rate": None, "name": "den", "queue_limit": 64 << 20}
    notices: list[str] = []
    backplane = RedisBackplane(redis.url, room=room, lease=lease, on_notice=notices.append)
    server = impl.ChatServer(HOST, backplane=backplane, **{**usual, **more})
    server.notices = notices
    return server


def far_node(
    impl: ModuleType, redis: RedisServer, *, host: str = HOST, inside: tuple[str, ...] = (), patience: int = 60
) -> contextlib.AbstractContextManager[Any]:
    """Start a node in a process of its own, where redis-py has no parser but its own; give it and its address."""
    body = f"""
sys.modules["hiredis"] = None
from oxisock import RedisBackplane
from oxisock.chat.backplane import machine, redis
machine.PATIENCE, redis._SECONDS = {patience} * 10**9, {patience}.0
backplane = RedisBackplane({redis.url!r}, room="den", lease=600.0)
server = impl.ChatServer({host!r}, rate=None, name="den", backplane=backplane, queue_limit=64 << 20)
with server:
    listening(server)
    time.sleep(600)
"""
    return process(*inside, *script(impl, body))


def lines(guest: Guest) -> list[str]:
    """Give what has arrived before an answer that is asked for now."""
    guest.say("/ping")
    return guest.until("* pong")


def away(server: Any) -> bool:
    return any(notice.startswith("Redis is away") for notice in server.notices)


def is_back(server: Any) -> bool:
    return any(notice == "Redis is back" or "again" in notice for notice in server.notices)
