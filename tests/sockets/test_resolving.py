"""Names to addresses: which address is taken, what becomes of the rest, and that nobody waits for a stuck resolver."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from oxisock.sockets.resolving import checked_host, host_addresses, resolve
from support.processes import python

Answers = list[tuple[Any, ...]]


def answer(*addresses: str) -> Answers:
    """Give what getaddrinfo gives for these addresses; ``ADDRESS%N`` is in zone N, which Python tells apart."""
    found: Answers = []
    for address in addresses:
        if ":" in address:
            text, _, zone = address.partition("%")
            found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, 0, 0, int(zone or 0))))
        else:
            found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)))
    return found


class Resolver:
    """Stands in for the system's: a table, and names that hang until the test is over."""

    def __init__(self) -> None:
        self.table: dict[str, Answers | BaseException] = {}
        self.asked: list[tuple[str, int]] = []
        self.released = threading.Event()
        self.running = self.most_running = 0
        self._lock = threading.Lock()

    def __call__(
        self, host: str, port: object, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Answers:
        with self._lock:
            self.asked.append((host, family))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            if host.startswith("stuck"):
                self.released.wait(60)
            result = self.table.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        finally:
            with self._lock:
                self.running -= 1
        if isinstance(result, BaseException):
            raise result
        return result


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    fake = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", fake)
    yield fake
    fake.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("oxisock-resolve"):
            thread.join(20)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ({}, ["10.0.0.2"]),
        ({"family": 4}, ["10.0.0.2"]),
        ({"family": 6}, ["2001:db8::2"]),
        ({"resolve_all": True}, ["2001:db8::2", "10.0.0.2", "10.0.0.1", "2001:db8::1"]),
        ({"resolve_all": True, "family": 4}, ["10.0.0.2", "10.0.0.1"]),
        ({"resolve_all": True, "family": 6}, ["2001:db8::2", "2001:db8::1"]),
    ],
)
def test_which_addresses_are_taken(resolver: Resolver, options: dict[str, Any], taken: list[str]) -> None:
    resolver.table["both"] = answer("2001:db8::2", "10.0.0.2", "10.0.0.2", "10.0.0.1", "2001:db8::1")
    assert resolve(["both"], **options) == ({"both": taken}, {}, {})
    family = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[options.get("family")]
    assert resolver.asked == [("both", family)]


def test_ipv6_is_taken_where_there_is_no_ipv4(resolver: Resolver) -> None:
    resolver.table["six"] = answer("2001:db8::2", "2001:db8::1")
    resolver.table["local"] = answer("fe80::1%3")
    assert resolve(["six", "local"]).addresses == {"six": ["2001:db8::2"], "local": ["fe80::1%3"]}
    four = resolve(["six"], family=4)
    assert four.unresolved == {"six": "the name has no IPv4 address"}
    assert isinstance(four.errors["six"], socket.gaierror)


def test_the_resolver_s_own_errors_are_kept(resolver: Resolver) -> None:
    resolver.table["ok"] = answer("10.0.0.1")
    resolver.table["later"] = again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    resolver.table["idna"] = UnicodeError("label empty or too long")
    resolver.table["full"] = full = OSError(24, "Too many open files")
    found = resolve(["full", "later", "ok", "gone", "idna", "ok"])
    assert found.addresses == {"ok": ["10.0.0.1"]}
    assert found.unresolved == {
        "full": "Too many open files",
        "later": "Temporary failure in name resolution",
        "gone": "Name or service not known",
        "idna": "label empty or too long",
    }
    assert list(found.unresolved) == ["full", "later", "gone", "idna"], "in the order given"
    assert found.errors["later"] is again
    failure = found.error()
    assert isinstance(failure, socket.gaierror)
    assert failure.__cause__ is again
    assert (failure.errno, failure.strerror) == (socket.EAI_AGAIN, "later: Temporary failure in name resolution")
    assert found.errors["full"] is full
    assert found.errors["idna"].errno == socket.EAI_NONAME
    assert resolve(["ok"]).error() is None


def test_nothing_to_do(resolver: Resolver) -> None:
    assert resolve([], timeout=0) == ({}, {}, {})
    assert resolver.asked == []


@pytest.mark.parametrize("family", [0, 5, "4", socket.AF_INET6])
def test_bad_families(resolver: Resolver, family: Any) -> None:
    with pytest.raises(ValueError, match="expected 4, 6 or None"):
        resolve(["a"], family=family)


def test_many_names_side_by_side_on_few_threads(resolver: Resolver) -> None:
    names = [f"n{number}" for number in range(500)]
    stuck = [f"stuck{number}" for number in range(10)]
    for name in names:
        resolver.table[name] = answer("10.0.0.1")

    def release_the_stuck_once_all_others_are_done() -> bool:
        if len(resolver.asked) == 510 and resolver.running <= 10:
            resolver.released.set()
        return False

    found = resolve([*stuck, *names], cancelled=release_the_stuck_once_all_others_are_done)
    assert set(found.addresses) == set(names)
    assert set(found.unresolved) == set(stuck)
    assert 11 <= resolver.most_running <= 32


def test_what_takes_too_long_is_abandoned(resolver: Resolver) -> None:
    started = time.monotonic()
    found = resolve(["stuck"], timeout=0.3)
    assert 0.3 <= time.monotonic() - started < 20
    assert found.addresses == {}
    assert found.unresolved == {"stuck": "the name was not resolved within 0.3 s"}
    assert isinstance(found.errors["stuck"], TimeoutError)
    failure = found.error()
    assert isinstance(failure, socket.gaierror)
    assert failure.errno == socket.EAI_AGAIN
    assert failure.__cause__ is found.errors["stuck"]
    assert [thread.daemon for thread in threading.enumerate() if thread.name.startswith("oxisock-resolve")] == [True]


def test_after_the_timeout_no_further_name_is_asked(resolver: Resolver) -> None:
    names = [f"stuck{number}" for number in range(40)]
    assert len(resolve(names, timeout=0.1).errors) == 40
    resolver.released.set()
    for thread in threading.enumerate():
        if thread.name.startswith("oxisock-resolve"):
            thread.join(20)
    assert len(resolver.asked) <= 32


def test_what_was_resolved_before_a_cancel_counts(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oxisock.sockets.resolving._THREADS", 1)  # so that "ok" is answered once "stuck" is asked
    resolver.table["ok"] = answer("10.0.0.1")
    found = resolve(["ok", "stuck", "never"], cancelled=lambda: ("stuck", 0) in resolver.asked)
    assert found.addresses == {"ok": ["10.0.0.1"]}
    assert found.unresolved == dict.fromkeys(["stuck", "never"], "the look-up was cancelled")
    assert ("never", 0) not in resolver.asked


def test_ctrl_c_is_answered_while_the_resolver_hangs(resolver: Resolver) -> None:
    def interrupt() -> None:
        while not resolver.asked:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    helper = threading.Thread(target=interrupt)
    helper.start()
    with pytest.raises(KeyboardInterrupt):
        resolve(["stuck"], timeout=60)
    assert not resolver.released.is_set()
    helper.join()


def test_a_stuck_resolver_does_not_hold_up_the_interpreter_s_exit() -> None:
    code = (
        "import socket, time; socket.getaddrinfo = lambda *a, **k: time.sleep(600)\n"
        "from oxisock.sockets.resolving import resolve\n"
        "print(resolve(['a', 'b'], timeout=0.05).unresolved)"
    )
    done = python(code)
    assert done.returncode == 0
    assert done.stdout.count("not resolved within 0.05 s") == 2
    assert done.stderr == ""


def test_every_address_of_one_host(resolver: Resolver) -> None:
    resolver.table["both"] = answer("2001:db8::2", "10.0.0.2")
    assert host_addresses("both") == ["2001:db8::2", "10.0.0.2"]
    assert host_addresses("both", family=4) == ["10.0.0.2"]
    with pytest.raises(socket.gaierror, match="Name or service not known") as caught:
        host_addresses("gone")
    assert caught.value.errno == socket.EAI_NONAME
    with pytest.raises(TimeoutError, match=r"not resolved within 0\.05 s"):
        host_addresses("stuck", timeout=0.05)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        (" 0::1\t", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%4294967295", "fe80::1%4294967295"),
    ],
)
def test_literals_need_no_resolver(resolver: Resolver, host: str, address: str) -> None:
    assert host_addresses(host) == [address]
    assert resolver.asked == []


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("B\u00dcCHER.Example", "xn--bcher-kva.Example"),
        ("fa\u00df.example", "xn--fa-hia.example"),
        ("FA\u1e9e.example", "xn--fa-hia.example"),
        ("\u03b2\u03cc\u03bb\u03bf\u03c2.com", "xn--nxasmm1c.com"),
        ("\u0392\u038c\u039b\u039f\u03a3.com", "xn--nxasmq6b.com"),
        ("xn--fa-hia.example", "xn--fa-hia.example"),
        ("\uff45xample\u3002\uff43om", "example.com"),
        ("a.example.", "a.example."),
    ],
)
def test_the_name_asked_for_is_the_name_given(resolver: Resolver, name: str, asked: str) -> None:
    resolver.table[asked] = answer("10.0.0.1")
    assert resolve([name]).addresses == {name: ["10.0.0.1"]}
    assert host_addresses(f" {name} ") == ["10.0.0.1"]
    assert [host for host, _ in resolver.asked] == [asked, asked]


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.010",
        "127.1",
        "1",
        "0x7f.1",
        "1.2.3.4.",
        "::g",
        "a:80",
        "[a]",
        "10.0.0.0/8",
        "10.0.0.1-2",
        "::1-::2",
        "a..b",
        "a b",
        "-a",
        "a\0",
        "",
        " ",
        "\u0661",
        "fa\u200d\u00df",
        "x" * 64,
    ],
)
def test_what_is_no_host(resolver: Resolver, host: str) -> None:
    with pytest.raises(ValueError, match=r"^host=.*expected"):
        checked_host(host)
    with pytest.raises(ValueError, match=r"^host=.*expected"):
        host_addresses(host)
    assert resolver.asked == []


@pytest.mark.parametrize("host", [None, 5, b"localhost"])
def test_a_host_is_text(host: Any) -> None:
    with pytest.raises(TypeError, match="expected a name or an address as text"):
        checked_host(host)
