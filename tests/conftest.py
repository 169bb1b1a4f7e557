"""Fixtures for all tests: both engines, Hypothesis profiles, and a watch for leaks."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import ssl
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import oxisock.aio
import oxisock.native
import oxisock.pure
from oxisock import (
    ChatClient,
    ChatServer,
    EchoServer,
    FramedSocket,
    MessageServer,
    ThreadedServer,
    UdpEchoServer,
    UdpServer,
)
from oxisock.aio.faces import Aio
from oxisock.serving.requests import Requests
from support.addresses import HOST
from support.certificates import certified
from support.coroutines import Run
from support.resources import descriptors, native_threads
from support.waiting import wait_until

try:
    import uvloop
except ImportError:
    uvloop = None

# Derandomized: the same examples everywhere, so a run cannot fail by chance.
_COMMON = {"deadline": None, "derandomize": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=40, **_COMMON)
settings.register_profile("thorough", max_examples=100, **_COMMON)
settings.load_profile("thorough" if os.environ.get("CI") else "quick")

pytest_plugins = ["pytester"]

# Started in the background of a script, a process ignores Ctrl-C, and by nohup the end of its terminal; so would every
# program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ENGINES = {"pure": oxisock.pure, "native": oxisock.native}


@pytest.fixture(params=sorted(ENGINES), scope="session")
def impl(request: pytest.FixtureRequest) -> ModuleType:
    """The face bound to one engine: every test of behaviour runs on both."""
    return ENGINES[request.param]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost, its key, and the authority that issued it."""
    return certified(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def context(certificate: Path) -> ssl.SSLContext:
    """A server's context with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def trusting(request: pytest.FixtureRequest, certificate: Path) -> ssl.SSLContext:
    """A client's context that believes the certificate, for one version of TLS."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.minimum_version = context.maximum_version = request.param
    return context


@pytest.fixture(autouse=True, scope="session")
def own_address() -> Iterator[None]:
    """Let servers that are not told where listen on an address of this run's own: whoever scans 127.0.0.1 meanwhile
    would be counted among their clients."""
    faces = (ChatServer, EchoServer, MessageServer, ThreadedServer, UdpEchoServer, UdpServer)
    with pytest.MonkeyPatch.context() as patch:
        for function in (*(face.__init__ for face in faces), Aio.start_server):
            defaults = tuple(HOST if value == "127.0.0.1" else value for value in function.__defaults__ or ())
            assert HOST in defaults
            patch.setattr(function, "__defaults__", defaults)
        yield


@pytest.fixture(autouse=True, scope="session")
def patient_clients() -> Iterator[None]:
    """Let clients that are not told how long wait for a minute: on a busy machine five seconds may be too short."""
    functions = (
        FramedSocket.connect.__func__,  # type: ignore[attr-defined]
        ChatClient.__init__,
        Requests.tcp_request,
        Aio.open_framed,
        Aio.tcp_request,
        oxisock.udp_request,
        oxisock.aio.udp_request,
    )
    with pytest.MonkeyPatch.context() as patch:
        for function in functions:
            defaults = function.__kwdefaults__
            assert 1 <= defaults["timeout"] <= 5
            patch.setattr(function, "__kwdefaults__", {**defaults, "timeout": 60.0})
        yield


@pytest.fixture(autouse=True, scope="module")
def old_objects_aside() -> None:
    """Set aside what lives between two modules: the watch for leaks collects garbage twice for each test, and that
    would take longer than most tests if it went through every module, example and report each time."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_leaks(old_objects_aside: None) -> Iterator[None]:
    """Fail any test that leaves a descriptor or a thread behind."""
    if not Path("/proc/self/fd").exists():
        yield
        return
    gc.collect()
    before_descriptors, before_threads, before_names = descriptors(), native_threads(), set(threading.enumerate())
    yield

    def clean() -> bool:
        gc.collect()
        return descriptors() <= before_descriptors and native_threads() <= before_threads

    if not wait_until(clean):
        left = sorted(descriptors() - before_descriptors)
        threads = sorted(t.name for t in set(threading.enumerate()) - before_names)
        pytest.fail(f"left open: {left}; threads {before_threads} -> {native_threads()}, of Python: {threads}")


# --- event loops ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def warm_uvloop() -> None:
    """Let libuv make its pool of threads, which it keeps for as long as the process lives, before leaks are watched."""

    async def look_up() -> None:
        await asyncio.get_running_loop().getaddrinfo("localhost", 1)

    if uvloop is not None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(look_up())


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, warm_uvloop: None) -> Run:
    """Run a coroutine to its end on an event loop of each kind, within a deadline."""
    if request.param == "uvloop" and uvloop is None:
        pytest.skip("uvloop is not installed")
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(work, 60))

    return to_the_end
