"""The life of a server: what starting, stopping, forking, dropping and exiting do, the same for every server."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar, runtime_checkable

from .. import arguments
from ..engines.binding import Bound
from ..sockets import forks
from ..sockets.latch import Latch
from ..types import Peer, ServerStats, StopReport
from . import log

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from types import FrameType

    from ..engines.chat import ChatReactor
    from ..engines.selection import Impl
    from ..engines.serving import EchoReactors

_Self = TypeVar("_Self", bound="Server")

# `stop` promises to return a tenth of a second after its drain. Waits that oversleep must fit in it too.
_GRACE = 0.06
# A wait without a limit is done in slices of this length, so that signals are noticed.
_SLICE = 0.1
# At interpreter exit, all servers together have this long.
_EXIT_SECONDS = 1.0
# It is filled when the interpreter exits, after all servers were stopped. `forks.live` does not tell `__del__`: the
# garbage collector removes what it collects from weak sets first.
_exited: list[bool] = []


@runtime_checkable
class Running(forks.Forkable, Protocol):
    """A started server, as the lifecycle needs it, whichever engine runs it.

    The threads of the server hold this, never the user's handle. Any thread may call every method.
    """

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds (None: no limit). Never blocks.

        A second call may bring the end forward, but cannot delay it.
        """

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether everything has ended, handlers included. Never raises."""
        ...

    def failure(self) -> BaseException | None:
        """Return the error of a thread that could not go on, if that ended the server. It is logged by then."""
        ...

    def outcome(self) -> tuple[int, int, int]:
        """Return the connections drained and aborted by the stop, and the handlers that still run."""
        ...

    def stats(self) -> ServerStats:
        """Return the counters; works after the end too."""
        ...

    def inside(self) -> bool:
        """Return whether the calling thread is in one of the server's handlers."""
        ...


class Handle:
    """What every server offers, on threads or on an event loop: where it listens, and in which process."""

    def __init__(self, host: str, port: int, sock: socket.socket | None) -> None:
        self._host = arguments.host(host, empty=True)
        self._port = arguments.port(port, lowest=0)
        self._sock = None if sock is None else arguments.having(sock, "sock", "a bound socket", "getsockname", "dup")
        self._address: Peer | None = None
        self._pid = 0  # the process that started it

    @property
    def address(self) -> Peer:
        """Where the server listens, as ``(host, port)``; valid after ``stop``, too. RuntimeError before ``start``."""
        self._check_process()
        if self._address is None:
            raise RuntimeError(f"{self._kind} has no address before start()")
        return self._address

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled: a server is threads and sockets of one process."""
        raise TypeError(f"{self._kind} cannot be pickled")

    @property
    def _kind(self) -> str:
        return type(self).__name__

    def _shown(self, impl: Impl, stopped: bool) -> str:
        """Return what ``repr`` shows: the kind of server, and where it listens."""
        state = "not started"
        if self._address is not None:
            state = f"{'stopped' if stopped else 'listening'} {self._address}"
        return f"<{impl} {self._kind} {state}>"

    def _check_process(self) -> None:
        if self._pid not in (0, os.getpid()):
            raise RuntimeError(
                f"{self._kind} was started by process {self._pid} and cannot be used in its forked child {os.getpid()}"
            )


class Server(Handle, Bound):
    """The base of all servers: ``start``, ``stop``, ``serve_forever``, ``with``, ``address``, ``stats``, ``impl``."""

    # A subclass checks its arguments, calls ``super().__init__()``, and defines in ``_launch`` how it starts.

    def __init__(self, host: str, port: int, sock: socket.socket | None) -> None:
        super().__init__(host, port, sock)
        self._lock = threading.Lock()
        self._running: Running | None = None
        self._began: float | None = None  # when the stop began
        self._ended = False
        self._report = StopReport()

    def _launch(self) -> tuple[Running, Peer]:
        """Bind and begin to serve; return what runs, and where it listens."""
        raise NotImplementedError

    def start(self: _Self) -> _Self:
        """Bind, serve in the background, and return the server itself.

        Raises OSError if the server cannot bind; the message has host and port, and the error keeps its errno. Raises
        RuntimeError for a second start, or if gevent has replaced threads.
        """
        self._check_process()
        _check_threads(self._kind)
        with self._lock:
            if self._running is not None:
                raise RuntimeError(f"{self._kind} was started before: create a new one to serve again")
            self._running, self._address = self._launch()
            self._pid = os.getpid()
        forks.live.add(self._running)
        return self

    def stop(self, drain: float | None = 0.0) -> StopReport:
        """Stop listening, answer what was read for at most ``drain`` seconds (None: no limit), then cut the rest.

        Returns a StopReport within ``drain`` + 0.1 seconds. Before ``start`` it returns a report of zeros, and after
        the end the last report. If a handler calls this, the call begins the stop and returns at once. Raises
        ValueError for a negative ``drain``.
        """
        self._check_process()
        drain = arguments.timeout(drain, "drain", zero=True)
        running = self._running
        if running is None or self._ended:
            return self._report
        self._begin(running, drain)
        if running.inside():
            return self._report
        if drain is None:
            while not running.wait(_SLICE):
                pass
        else:
            running.wait(drain + _GRACE)
        return self._conclude(running)

    def serve_forever(self, drain: float | None = 5.0, *, on_start: Callable[[], object] | None = None) -> StopReport:
        """Serve until SIGTERM, Ctrl-C or a ``stop`` elsewhere, then return the report. Starts the server if necessary.

        ``on_start`` is called when the server listens and handles signals.

        The first signal stops the server with ``drain`` (seconds; None: no limit), the second one at once. Signals are
        handled in the main thread only, and the previous signal handlers are restored at the end.

        Raises as ``start`` does. An error in a thread of the server ends the server, and is logged and raised.
        """
        self._check_process()
        drain = arguments.timeout(drain, "drain", zero=True)
        if on_start is not None:
            arguments.function(on_start, "on_start")
        hits: list[int] = []
        with heeding_signals(lambda number, frame: hits.append(number)):
            if self._running is None:
                self.start()
            running = self._running
            assert running is not None
            if on_start is not None:
                on_start()
            heeded = 0
            while not self._ended and not running.wait(_SLICE):
                if len(hits) > heeded:
                    heeded = len(hits)
                    self._begin(running, drain if heeded == 1 else 0.0)
            report = self._report if self._ended else self._conclude(running)
            failure = running.failure()
            if failure is not None:
                raise failure
            return report

    def stats(self) -> ServerStats:
        """Return the counters: zeros before ``start``, the final counters after ``stop``."""
        self._check_process()
        return ServerStats() if self._running is None else self._running.stats()

    def __enter__(self: _Self) -> _Self:
        """Start the server, if it is not started. Leaving the block calls ``stop()``."""
        if self._running is None:
            self.start()
        self._check_process()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop at once."""
        self.stop()

    async def __aenter__(self: _Self) -> _Self:
        """Start the server without blocking the event loop."""
        from .background import in_thread

        return await in_thread(self.__enter__, undo=lambda server: server.stop())

    async def __aexit__(self, *_: object) -> None:
        """Stop at once, without blocking the event loop."""
        from .background import in_thread

        await in_thread(self.stop)

    def __repr__(self) -> str:
        """Show the kind of server, and where it listens."""
        return self._shown(self.impl, self._began is not None)

    def __del__(self, ending: Callable[[], bool] = sys.is_finalizing, exited: list[bool] = _exited) -> None:
        # This never joins a thread, because it may run on any thread, even the server's own. When the interpreter ends,
        # the server has been stopped, and names of modules may be gone.
        running = getattr(self, "_running", None)
        if running is None or ending() or self._began is not None or self._ended or exited or self._pid != os.getpid():
            return
        warnings.warn(f"{self!r} was dropped while running", ResourceWarning, stacklevel=1, source=self)
        forks.live.discard(running)
        running.begin_stop(0.0)
        if self._sock is not None:
            self._sock.close()

    def _begin(self, running: Running, drain: float | None) -> None:
        with self._lock:
            if self._began is None:
                self._began = time.monotonic()
        if self._sock is not None:
            self._sock.close()
        running.begin_stop(drain)

    def _conclude(self, running: Running) -> StopReport:
        with self._lock:
            if not self._ended:
                began = self._began if self._began is not None else time.monotonic()
                self._report = StopReport(*running.outcome(), time.monotonic() - began)
                self._ended = True
        forks.live.discard(running)
        return self._report


def _check_threads(kind: str) -> None:
    """Raise RuntimeError if gevent has replaced threads: a server's thread would never let other code run."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        raise RuntimeError(
            f"{kind} does not run under gevent, because gevent has replaced threads: start it in another process, "
            "or use patch_all(thread=False)"
        )


class HandlerThreads:
    """Python threads that call handlers. If a thread fails, the error is logged at once, and kept."""

    def __init__(self) -> None:
        self._latch = Latch(log.thread_failed)

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether all have ended."""
        return self._latch.join(timeout)

    def failure(self) -> BaseException | None:
        """Return the error that ended them, if it was not a stop."""
        return self._latch.failure

    def inside(self) -> bool:
        """Return whether the calling thread is one of them."""
        return self._latch.inside()


class EngineThreads:
    """The threads of an engine. If one fails, the error is logged when a wait reports it, and kept."""

    def __init__(self, wait: Callable[[float], bool]) -> None:
        self._wait = wait
        self._failure: BaseException | None = None

    def wait(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds; return whether all have ended."""
        try:
            return self._wait(timeout)
        except Exception as error:  # raised once, when all have ended
            self._failure = error
            log.thread_failed(error)
            return True

    def failure(self) -> BaseException | None:
        """Return the error that ended them, if it was not a stop."""
        return self._failure

    def inside(self) -> bool:
        """Return False: no handler runs on them."""
        return False


class EngineRunning(EngineThreads):
    """Adapts reactors that turn on threads of the engine, where no Python runs, to the lifecycle."""

    def __init__(self, reactors: EchoReactors | ChatReactor) -> None:
        super().__init__(reactors.wait)
        self._reactors = reactors
        self.forked = reactors.forked
        self.notices = reactors.notices

    def begin_stop(self, drain: float | None) -> None:
        """Stop listening, and end within ``drain`` seconds."""
        self._reactors.begin_stop(arguments.nanoseconds(drain, "drain", zero=True))

    def outcome(self) -> tuple[int, int, int]:
        """Return the connections drained and aborted by the stop, and the handlers that still run."""
        return (*self._reactors.outcome(), 0)

    def stats(self) -> ServerStats:
        """Return the counters."""
        return self._reactors.counters()

    def abandon(self) -> None:
        """Note that this is the child of a fork."""
        self._reactors.abandon()


@contextmanager
def heeding_signals(note: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call ``note`` at SIGINT and SIGTERM while the block lasts, if Python allows it."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            # If the program was started in the background with Ctrl-C ignored, it stays ignored.
            if not (number == signal.SIGINT and signal.getsignal(number) is signal.SIG_IGN):
                before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@atexit.register
def _stop_all() -> None:
    """Stop the servers that still run when the interpreter exits, within a second."""
    servers = [running for running in list(forks.live) if isinstance(running, Running)]
    forks.live.clear()
    _exited.append(True)
    for running in servers:
        running.begin_stop(0.0)
    deadline = time.monotonic() + _EXIT_SECONDS
    for running in servers:
        running.wait(max(0.0, deadline - time.monotonic()))
