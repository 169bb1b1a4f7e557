"""Whatever user code does in a hook costs one connection, or one datagram; it is logged and counted."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
from types import ModuleType

import pytest

from support.hostile_user import DEEDS, NEVER_RUN, SERVERS, Deed, Hostile, hostile_server, is_wrong, stop_from_within
from support.processes import ended_well
from support.served import SECONDS, Client, Served
from support.talking import adds_up, until_the_end
from support.waiting import wait_until

PLACES = [(kind, hook) for kind, (_, hooks) in SERVERS.items() for hook in hooks]


def provoke(server: Served, hook: str) -> socket.socket:
    """Make a server call a hook; give the connection, which has said all that it will say."""
    sock = server.converse()
    words = {"log": b"bad", "eof": b"x"}.get(hook, b"hello")
    if server.datagrams:
        sock.send(words)
    else:
        with contextlib.suppress(OSError):  # it was cut when it came
            sock.sendall(words if hook == "eof" else words + b"\n")
            sock.shutdown(socket.SHUT_WR)
    return sock


def said(server: Served, sock: socket.socket) -> bytes:
    """Give all that is answered, up to the end."""
    data = b""
    if server.datagrams:
        return sock.recv(100)
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        data = until_the_end(sock)
    return data


def errors(server: Served) -> int:
    stats = server.stats()
    return stats.handler_errors + stats.frame_errors


def suffer(server: Served, user: Hostile, good: Client, kind: str, hook: str, name: str) -> None:
    """Let user code do something once, and see what it costs."""
    wrong = is_wrong(kind, hook, name) or hook == "log"
    before, told = errors(server), len(user.told)
    user.arm(hook, DEEDS[name])
    with provoke(server, hook) as sock:
        assert wait_until(lambda: user.done), "the hook was not called"
        if wrong:
            assert wait_until(lambda: errors(server) == before + 1), "it was not counted"
            assert wait_until(lambda: len(user.told) > told), "it was not logged"
        if not server.datagrams:
            answer = said(server, sock)
        if DEEDS[name].harmless and hook != "log" and not server.chat:
            if server.datagrams:
                answer = said(server, sock)
            assert answer.rstrip(b"\n") == (b"x" if hook == "eof" else b"hello"), "the answer is another"
    while user.children:
        assert ended_well(user.children.pop()), "a child did not end, or in another way"
    assert good.is_served(), "another client is not served"
    assert errors(server) == before + wrong, "it was counted otherwise"


@pytest.mark.parametrize(("kind", "hook"), PLACES)
def test_what_user_code_does_costs_one_connection(
    impl: ModuleType, kind: str, hook: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with hostile_server(impl, kind) as (user, server):
        with Client(server) as good:
            assert good.is_served()
            for name in DEEDS:
                if not (hook == "log" and name in NEVER_RUN):  # nobody can know that a log wants to be awaited
                    try:
                        suffer(server, user, good, kind, hook, name)
                    except BaseException as error:
                        error.add_note(f"user code {name}")
                        raise
            if not server.datagrams:
                assert wait_until(lambda: server.stats().active == 1)

            def is_forgotten() -> bool:
                gc.collect()
                return len(user.decoders) <= 1

            assert wait_until(is_forgotten), "decoders of closed connections are kept"
        report = server.stop(drain=SECONDS)
        assert report.stuck_handlers == 0
        stats = server.stats()
        assert adds_up(stats)
        assert stats.active == 0


@pytest.mark.parametrize(("kind", "hook"), PLACES)
def test_a_stop_from_any_hook(impl: ModuleType, kind: str, hook: str) -> None:
    with hostile_server(impl, kind) as (user, server), Client(server) as good:
        assert good.is_served()
        user.arm(hook, Deed(stop_from_within))
        with provoke(server, hook) as sock:
            assert wait_until(lambda: user.done)
            if not server.datagrams:
                said(server, sock)
                said(server, good.sock)
        report = server.stop(drain=SECONDS)
        assert report.stuck_handlers == 0
        assert adds_up(server.stats())
        again = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if server.datagrams else socket.SOCK_STREAM)
        with again:
            if not server.datagrams:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(server.address)
