"""A hostile user: everything that a user's own code may do in a hook, and servers with such code in each hook."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import ctypes
import logging
import os
import sys
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import oxisock
from support.certificates import contexts
from support.chatting import HOST
from support.served import Served, served

RAISED: dict[str, Callable[[], BaseException]] = {
    kind.__name__: kind
    for kind in (
        Exception,
        BaseException,
        KeyboardInterrupt,
        SystemExit,
        GeneratorExit,
        asyncio.CancelledError,
        MemoryError,
        RecursionError,
        StopIteration,
        StopAsyncIteration,
        ValueError,
        EOFError,
        TimeoutError,
        ConnectionResetError,
        BrokenPipeError,
        BlockingIOError,
    )
}


class Wordless(Exception):
    """An exception that has no words, no frames, and no copy."""

    def __str__(self) -> str:
        raise SystemExit("no words")

    __repr__ = __str__

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt("no copy")

    @property
    def frames(self) -> Any:
        raise GeneratorExit("no frames")


class Masked:
    """A value that does not say what it is."""

    @property
    def __class__(self) -> Any:
        raise SystemExit("no class")


class Trap(list[Any]):
    """A list that cannot be looked into."""

    def __iter__(self) -> Any:
        raise SystemExit("no items")

    __len__ = __getitem__ = __iter__


class Bytes(bytes):
    """Bytes that do not say how many."""

    def __len__(self) -> int:
        raise SystemExit("no length")


class Stage(NamedTuple):
    """Where a deed is done."""

    server: Served
    children: list[int]


class Deed(NamedTuple):
    """Something done in a hook, by a function that is told what it should give there."""

    do: Callable[[Stage, Any], Any]
    harmless: bool = False  # it gives what is right


def _raising(make: Callable[[], BaseException]) -> Deed:
    def do(stage: Stage, right: Any) -> Any:
        raise make()

    return Deed(do)


def _giving(make: Callable[[], Any]) -> Deed:
    return Deed(lambda stage, right: make())


def _too_deep(stage: Stage, right: Any) -> Any:
    return _too_deep(stage, right)


def forked() -> int:
    """Fork; the child aborts where it ends in another way than by os._exit, which leaves alone what is the parent's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from 3.12 on
        child = os.fork()
    if child == 0:
        _at_exit(_abort, None, None)
    return child


def _fork(stage: Stage, right: Any) -> Any:
    child = forked()
    if child:
        stage.children.append(child)
    return right


def _fork_and_raise(stage: Stage, right: Any) -> Any:
    child = forked()
    if child == 0:
        raise OSError("in the child")
    stage.children.append(child)
    return right


def _enter_again(stage: Stage, right: Any) -> Any:
    stage.server.knock()
    stage.server.stats()
    return right


def stop_from_within(stage: Stage, right: Any) -> Any:
    """Stop the server in which the hook is."""
    stage.server.stop_from_within()
    return right


async def _nobody_awaits() -> None:
    raise AssertionError("somebody has awaited it")


def _nobody_goes_through() -> Iterator[bytes]:
    yield b"never"


DEEDS: dict[str, Deed] = {
    **{f"raises {name}": _raising(make) for name, make in RAISED.items()},
    "raises an exception of oxisock": _raising(lambda: oxisock.FrameCorrupt("on purpose", 0)),
    "raises what has no words": _raising(Wordless),
    "recurs without end": Deed(_too_deep),
    "exits": Deed(lambda stage, right: sys.exit(3)),
    "exits the thread": Deed(lambda stage, right: _thread.exit()),
    "gives a coroutine": _giving(_nobody_awaits),
    "gives a generator": _giving(_nobody_goes_through),
    "gives an int": _giving(lambda: 5),
    "gives text": _giving(lambda: "text"),
    "gives a list of numbers": _giving(lambda: [1, 2, 3]),
    "gives a tuple": _giving(lambda: (b"x",)),
    "gives None": _giving(lambda: None),
    "gives a class": _giving(lambda: dict),
    "gives what has no class": _giving(Masked),
    "gives what cannot be looked into": _giving(lambda: Trap([b"x"])),
    "gives bytes without a length": _giving(lambda: Bytes(b"x")),
    "takes its time": Deed(lambda stage, right: time.sleep(0.02) or right, harmless=True),
    "enters again": Deed(_enter_again, harmless=True),
    "forks": Deed(_fork, harmless=True),
    "forks and raises in the child": Deed(_fork_and_raise, harmless=True),
}

NEVER_RUN = ("gives a coroutine", "gives a generator")
"""What is an error also where the result of a hook does not matter."""

if hasattr(os, "fork"):
    _system: Any = ctypes.CDLL(None)
    _at_exit, _abort = _system.__cxa_atexit, _system.abort
else:
    DEEDS = {name: deed for name, deed in DEEDS.items() if "forks" not in name}


class Hostile:
    """User code in every hook, good until it is told to do a deed in one of them, once."""

    def __init__(self) -> None:
        self.hook = ""
        self.deed: Deed | None = None
        self.doing = False
        self.server: Served | None = None
        self.children: list[int] = []
        self.told: list[str] = []  # what stands in the log
        self.notices: list[str] = []  # what a backplane has told
        self.decoders: weakref.WeakSet[Any] = weakref.WeakSet()

    def arm(self, hook: str, deed: Deed) -> None:
        """Do a deed when a hook is called next."""
        self.hook, self.deed = hook, deed

    @property
    def done(self) -> bool:
        """Whether the deed is done."""
        return self.deed is None and not self.doing

    def at(self, hook: str, right: Any) -> Any:
        """Do a deed in a hook, or give what is right."""
        if hook != self.hook or self.deed is None:
            return right
        self.doing = True
        deed, self.deed = self.deed, None
        assert self.server is not None
        try:
            return deed.do(Stage(self.server, self.children), right)
        finally:
            self.doing = False

    # --- hooks -----------------------------------------------------------------------------------------------------

    def handler(self, message: bytes, peer: Any = None) -> Any:
        if message == b"bad":
            raise ValueError("a bad message")
        return self.at("handler", message)

    def batch(self, batch: list[Any]) -> Any:
        answers = [ValueError("a bad message") if message == b"bad" else message for message, *_ in batch]
        return self.at("handler", [self.at("item", answer) for answer in answers])

    def datagram(self, datagram: Any) -> Any:
        return self.handler(datagram.data)

    def thread(self, conn: Any, peer: Any) -> Any:
        result = None
        for message in conn.frames(self):
            result = self.handler(message)
            conn.send_frame(message, self)
            if result is not message:
                break
        return result

    async def coroutine(self, stream: Any, peer: Any) -> Any:
        async for message in stream:
            result = self.handler(message)
            await stream.send(message)
            if result is not message:
                return result
        return None

    def no_coroutine(self, stream: Any, peer: Any) -> Any:
        if self.hook == "call" and self.deed is not None and not self.deed.harmless:
            return self.at("call", None)
        return self.at("call", self.coroutine(stream, peer))

    def on_event(self, event: Any) -> Any:
        if event.text == "bad":
            raise ValueError("a bad message")
        # Events come later: those of the good client are not what the deed waits for.
        provoked = event.kind == "message" and not event.text.startswith("good")
        return self.at("handler", None) if provoked else None

    def on_notice(self, notice: str) -> Any:
        self.notices.append(notice)
        return self.at("notice", None)

    def encode(self, payload: bytes) -> Any:
        return self.at("encode", payload + b"\n")

    def decoder(self) -> Any:
        decoder = _Decoder(self)
        self.decoders.add(decoder)
        return self.at("decoder", decoder)


class _Decoder:
    """Lines, and the last one needs no end."""

    def __init__(self, user: Hostile) -> None:
        self._user = user
        self._rest = b""

    def feed(self, data: bytes) -> Any:
        *frames, self._rest = (self._rest + data).split(b"\n")
        return self._user.at("feed", frames)

    def eof(self) -> Any:
        return self._user.at("eof", [self._rest] if self._rest else [])


class Log(logging.Handler):
    """A log that notes what it is told, and then does a deed."""

    def __init__(self, user: Hostile) -> None:
        super().__init__()
        self._user = user

    def handle(self, record: logging.LogRecord) -> Any:
        # Without the lock of logging.Handler, which a child would inherit.
        self._user.told.append(record.getMessage())
        self._user.at("log", None)


@contextlib.contextmanager
def logged_by(user: Hostile) -> Iterator[None]:
    """Let the log of the servers be a user's, and nobody else's."""
    log, handler = logging.getLogger("oxisock"), Log(user)
    log.addHandler(handler)
    log.propagate, before = False, log.propagate
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = before


CODEC = ["encode", "decoder", "feed", "eof"]

SERVERS: dict[str, tuple[Callable[[ModuleType, Hostile], Any], list[str]]] = {
    "messages": (lambda impl, user: impl.MessageServer(user.handler, codec=user), ["handler", *CODEC, "log"]),
    "messages framed by the engine": (lambda impl, user: impl.MessageServer(user.handler), ["handler", "log"]),
    "three dispatchers": (
        lambda impl, user: impl.MessageServer(user.handler, codec=user, dispatchers=3),
        ["handler", *CODEC, "log"],
    ),
    "batches": (
        lambda impl, user: impl.MessageServer(user.batch, codec=user, batch=True),
        ["handler", "item", *CODEC, "log"],
    ),
    "threads": (lambda impl, user: impl.ThreadedServer(user.thread), ["handler", *CODEC, "log"]),
    "datagrams": (lambda impl, user: impl.UdpServer(user.datagram), ["handler", "log"]),
    "batches of datagrams": (lambda impl, user: impl.UdpServer(user.batch, batch=True), ["handler", "item", "log"]),
    "chat": (lambda impl, user: impl.ChatServer(HOST, on_event=user.on_event, rate=None), ["handler", "log"]),
    "coroutines": (lambda impl, user: impl.aio.start_server(user.coroutine, codec=user), ["handler", *CODEC, "log"]),
    "messages over TLS": (
        lambda impl, user: impl.MessageServer(user.handler, codec=user, ssl=contexts().server),
        ["handler", *CODEC, "log"],
    ),
    "threads over TLS": (
        lambda impl, user: impl.ThreadedServer(user.thread, ssl=contexts().server),
        ["handler", *CODEC, "log"],
    ),
    "coroutines over TLS": (
        lambda impl, user: impl.aio.start_server(user.coroutine, codec=user, ssl=contexts().server),
        ["handler", *CODEC, "log"],
    ),
    "functions that give coroutines": (
        lambda impl, user: impl.aio.start_server(user.no_coroutine, codec=user),
        ["call"],
    ),
}
"""Servers by what they call, and the hooks that they have."""


def is_wrong(kind: str, hook: str, name: str) -> bool:
    """Say whether a deed is an error in a hook, to be logged and counted."""
    if DEEDS[name].harmless or hook == "log":
        return False
    if name.startswith(("raises", "recurs", "exits")) or name in NEVER_RUN:
        return True
    if hook == "notice" or (hook == "handler" and kind.removesuffix(" over TLS") in ("threads", "chat", "coroutines")):
        return False  # its result does not matter
    answers = hook == "item" or (hook == "handler" and "batches" not in kind)
    return not (
        (name == "gives None" and answers) or (name == "gives bytes without a length" and (answers or hook == "encode"))
    )


@contextlib.contextmanager
def hostile_server(impl: ModuleType, kind: str) -> Iterator[tuple[Hostile, Served]]:
    """Run a server with hostile user code until the block ends."""
    user = Hostile()
    with logged_by(user), served(SERVERS[kind][0](impl, user), kind) as server:
        user.server = server
        yield user, server
        user.server = None
