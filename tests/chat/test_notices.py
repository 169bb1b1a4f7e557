"""Whatever user code does when a shared room tells it something, the node goes on. A failure ends the server."""

from __future__ import annotations

import contextlib
import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from oxisock import RedisBackplane
from oxisock.chat.backplane import machine
from oxisock.chat.backplane import redis as driver
from support.chatting import HOST
from support.hostile_user import DEEDS, NEVER_RUN, Deed, Hostile, is_wrong, logged_by, stop_from_within
from support.nodes import node
from support.processes import ended_well
from support.redis_server import RedisServer
from support.served import SECONDS, Client, Served, served
from support.talking import adds_up
from support.waiting import wait_until

pytest.importorskip("redis")
pytestmark = pytest.mark.usefixtures("patience")


@contextlib.contextmanager
def hostile_node(impl: ModuleType, redis: RedisServer) -> Iterator[tuple[Hostile, Served]]:
    """Run a node with a hostile user until the block ends."""
    user = Hostile()
    backplane = RedisBackplane(redis.url, lease=600.0, on_notice=user.on_notice)
    with logged_by(user), served(impl.ChatServer(HOST, backplane=backplane, rate=None), "chat") as server:
        user.server = server
        assert wait_until(lambda: bool(user.notices))  # it is in the room
        yield user, server
        user.server = None


@pytest.fixture
def quick(patience: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a node find out at once that its connection is cut."""
    monkeypatch.setattr(machine, "_SECOND", 20_000_000)
    monkeypatch.setattr(machine, "RETRY", 10_000_000)


def cut(redis: RedisServer) -> None:
    """Cut the connection on which a node calls scripts."""
    with redis.client() as client:
        for each in client.client_list():
            if each["cmd"].partition("|")[0] in ("evalsha", "eval", "ping"):
                client.client_kill_filter(_id=each["id"])


def is_back(user: Hostile) -> int:
    """Say how often the node found Redis again."""
    return user.notices.count("Redis is back")


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hook", ["notice", "log"])
def test_what_user_code_does_costs_nothing(
    impl: ModuleType, redis_server: RedisServer, hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with hostile_node(impl, redis_server) as (user, server), Client(server) as good:
        assert good.is_served()
        for name in DEEDS:
            if hook == "log" and name in NEVER_RUN:  # nobody can know that a log wants to be awaited
                continue
            wrong = is_wrong("chat", hook, name)
            errors, back = server.stats().handler_errors, is_back(user)
            user.arm(hook, DEEDS[name])
            cut(redis_server)
            assert wait_until(lambda: user.done), f"{name}: it was not called"
            assert wait_until(lambda: is_back(user) > back), f"{name}: the node has ended"  # noqa: B023
            while user.children:
                assert ended_well(user.children.pop()), f"{name}: a child did not end, or in another way"
            assert good.is_served(), f"{name}: a client is not served"
            assert server.stats().handler_errors == errors + wrong, f"{name}: it was counted otherwise"
        report = server.stop(drain=SECONDS)
        assert report.stuck_handlers == 0
        assert adds_up(server.stats())


def test_a_child_of_the_first_notice_ends(impl: ModuleType, redis_server: RedisServer) -> None:
    user = Hostile()
    backplane = RedisBackplane(redis_server.url, lease=600.0, on_notice=user.on_notice)
    server = impl.ChatServer(HOST, backplane=backplane)
    user.server = Served(server, "chat")
    user.arm("notice", DEEDS["forks"])
    with logged_by(user), server:
        assert wait_until(lambda: user.done)
        assert ended_well(user.children.pop())
        with Client(user.server) as good:
            assert good.is_served()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("hook", ["notice", "log"])
def test_a_stop_from_within(impl: ModuleType, redis_server: RedisServer, hook: str) -> None:
    with hostile_node(impl, redis_server) as (user, server), Client(server) as good:
        assert good.is_served()
        user.arm(hook, Deed(stop_from_within))
        cut(redis_server)
        assert wait_until(lambda: user.done)
        while good.line():
            pass
        assert server.stop(drain=SECONDS).stuck_handlers == 0
        assert server.stats().handler_errors == 0
        assert not any("failed" in each for each in user.told)


def test_a_stop_waits_for_a_hook_at_work(impl: ModuleType, redis_server: RedisServer) -> None:
    with hostile_node(impl, redis_server) as (user, server), Client(server) as good:
        assert good.is_served()
        # Whatever is told first: that the node is away, or of its end.
        user.arm("notice", Deed(lambda stage, right: time.sleep(1)))
        cut(redis_server)
        assert wait_until(lambda: user.doing)
        assert server.stop(drain=SECONDS).stuck_handlers == 0
        assert user.done


def test_a_failure_of_the_backplane_is_one_of_the_server(
    impl: ModuleType, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = node(impl, redis_server)

    def fail() -> None:
        def read_on(*_: object) -> None:
            raise OSError("on purpose")

        monkeypatch.setattr(driver.Driver, "_read_on", read_on)

    with pytest.raises(OSError, match="on purpose"):
        server.serve_forever(on_start=fail)


def test_a_server_that_is_dropped_with_its_hook_stops(impl: ModuleType, tmp_path: Path) -> None:
    class Owner:
        def __init__(self) -> None:
            backplane = RedisBackplane(f"unix://{tmp_path}/nobody.sock", on_notice=self.note)
            self.server = impl.ChatServer(HOST, backplane=backplane).start()

        def note(self, notice: str) -> None: ...

    owner = Owner()
    gone = weakref.ref(owner)

    def is_gone() -> bool:
        gc.collect()
        return gone() is None

    with pytest.warns(ResourceWarning, match="dropped while running"):
        del owner
        assert wait_until(is_gone)
