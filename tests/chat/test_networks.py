"""Nodes of one room whose way to Redis is cut, slow, full or closed to strangers."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from types import ModuleType

import pytest

from oxisock import RedisBackplane
from support.addresses import HOST
from support.chatting import Guest
from support.far_host import DistantHost, FarHost, why_not
from support.nodes import away, end_lease, far_node, lines, node, other
from support.redis_server import RedisServer
from support.waiting import wait_until

pytest.importorskip("redis")
pytestmark = [pytest.mark.usefixtures("patience"), pytest.mark.timeout(180)]

_WHY = why_not()
needs_namespaces = pytest.mark.skipif(bool(_WHY), reason=_WHY or "-")


def free_port(address: str) -> str:
    with socket.create_server((address, 0)) as free:
        return str(free.getsockname()[1])


def reachable(folder: Path, address: str, inside: tuple[str, ...] = ()) -> tuple[RedisServer, str]:
    """Start a redis-server that listens on an address; give it and its port."""
    port = free_port("")
    options = ("--port", port, "--bind", address, "--protected-mode", "no")
    return RedisServer(folder, *options, inside=inside, url=f"redis://{address}:{port}"), port


@pytest.mark.namespace
@needs_namespaces
@pytest.mark.parametrize("longer", [True, False], ids=["longer than its lease", "for a while"])
def test_a_node_that_is_cut_off_from_redis(impl: ModuleType, tmp_path: Path, longer: bool) -> None:
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(FarHost())
        redis_server, port = reachable(tmp_path, far.near_address)
        stack.enter_context(contextlib.closing(redis_server))
        one = stack.enter_context(node(other(impl), redis_server))
        inside = ("ip", "netns", "exec", far.name)
        cut_off = far_node(impl, redis_server, host=far.address, inside=inside, patience=2)
        _, address = stack.enter_context(cut_off)
        ann, bob = stack.enter_context(Guest(one)), stack.enter_context(Guest(address))
        ann.until(f"* {bob.nick} joined")
        far.rule(f"tcp sport {port} drop")
        far.rule(f"tcp dport {port} drop", "output")
        bob.say("of the past")
        assert bob.until("! not delivered") == []
        ann.say("meanwhile")
        assert ann.until(f"[{ann.nick}] meanwhile") == []
        if longer:
            end_lease(redis_server, bob.nick)
            assert ann.until(f"* {bob.nick} left (lost)") == []
        far.flush()
        if longer:
            assert bob.all() == ["* server is closing"]
            bob = stack.enter_context(Guest(address))
            assert ann.until(f"* {bob.nick} joined") == []
        else:
            assert bob.until(f"[{ann.nick}] meanwhile") == []
        bob.say("now")
        assert ann.until(f"[{bob.nick}] now") == []


@pytest.mark.namespace
@needs_namespaces
@pytest.mark.skipif(bool(DistantHost.why_not()), reason=DistantHost.why_not() or "-")
def test_a_slow_way_to_redis(impl: ModuleType, tmp_path: Path) -> None:
    said = 150
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(DistantHost("-d 25"))
        redis_server, _ = reachable(tmp_path, far.address, ("ip", "netns", "exec", far.name))
        stack.enter_context(contextlib.closing(redis_server))
        nodes = [stack.enter_context(node(kind, redis_server)) for kind in (impl, other(impl))]
        guests = [stack.enter_context(Guest(server)) for server in nodes for _ in range(3)]
        for guest in guests[:-1]:
            guest.until(f"* {guests[-1].nick} joined")
        talkers = [
            threading.Thread(target=guest.say, args=[f"said {number}" for number in range(said)]) for guest in guests
        ]
        for talker in talkers:
            talker.start()
        transcripts = [[guest.line() for _ in range(said * len(guests))] for guest in guests]
        for talker in talkers:
            talker.join()
        assert all(transcript == transcripts[0] for transcript in transcripts)
        for guest in guests:
            own = [line for line in transcripts[0] if line.startswith(f"[{guest.nick}]")]
            assert own == [f"[{guest.nick}] said {number}" for number in range(said)]


def test_what_waits_for_redis_is_bounded(impl: ModuleType, redis_server: RedisServer) -> None:
    # 16 MiB may wait, and a batch under way. The rest is refused, and what waited is shown once Redis answers.
    said, size = 6000, 4000
    with node(impl, redis_server, max_line=size) as one, Guest(one) as ann:
        ann.say("before")
        ann.until(f"[{ann.nick}] before")
        # An answer that is taken while lines wait sends for them at once: who writes to one that is frozen waits, too.
        machine = one._running._driver._machine
        assert wait_until(lambda: machine._call is None and not machine._fresh)
        redis_server.freeze()
        try:
            sent = [f"{number} ".ljust(size, "x") for number in range(said)]
            talker = threading.Thread(target=ann.say, args=sent)
            talker.start()
            refused = 500
            assert {ann.line() for _ in range(refused)} == {"! not delivered"}
        finally:
            redis_server.thaw()
        rest = [ann.line() for _ in range(said - refused)]
        talker.join()
        shown = [line.partition("] ")[2] for line in rest if line != "! not delivered"]
        kept = set(shown)
        assert shown == [line for line in sent if line in kept]
        # Each counts 64 bytes more than its text.
        assert sum(map(len, shown)) >= 15 << 20


def test_a_redis_that_asks_for_a_password_and_speaks_tls(impl: ModuleType, tmp_path: Path, certificate: Path) -> None:
    port = free_port(HOST)
    tls = ("--tls-port", port, "--bind", HOST, "--tls-cert-file", str(certificate), "--tls-key-file", str(certificate))
    tls += ("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    at, trust = f"{HOST}:{port}", f"ssl_ca_certs={certificate}&ssl_check_hostname=false"
    url = f"rediss://:sesame@{at}/0?{trust}"
    with contextlib.closing(RedisServer(tmp_path, *tls, password="sesame", url=url)) as redis_server:
        with node(impl, redis_server) as one, node(other(impl), redis_server) as two, Guest(one) as ann:
            with Guest(two) as bob:
                ann.until(f"* {bob.nick} joined")
                ann.say("hello")
                assert bob.until(f"[{ann.nick}] hello") == lines(bob) == []
        for wrong, words in (
            (f"rediss://:open@{at}/0?{trust}", "password"),
            (f"rediss://{at}/0?{trust}", "it asks for a password, and the URL has none"),
            (f"rediss://:sesame@{at}/0", "certificate verify failed"),
        ):
            notices: list[str] = []
            server = impl.ChatServer(HOST, backplane=RedisBackplane(wrong, on_notice=notices.append))
            server.notices = notices
            with server:
                assert wait_until(lambda server=server: away(server))
            assert words in str(notices), notices
            assert "sesame" not in str(notices) and "open" not in str(notices)
