"""The driver of a shared room on Redis: one thread, one connection that calls scripts, and one that reads the log."""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from ... import arguments, hooks
from ...serving import log as server_log
from ...sockets.forks import end_child
from ...sockets.latch import Latch
from .machine import Answer, Backplane, Call, Entered, Entry

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...engines.chat import ChatReactor, HubEntry

_SECONDS = 1.0  # for connecting, and for the rest of an answer that has begun
_BLOCK = 1000  # milliseconds that a read waits for entries
_STALLED = 3_000_000_000  # nanoseconds after which a read is given up
_READ = 500  # the most entries of a read
_KEYS = ("log", "facts", "nodes", "members", "nicks", "read", "done")
_FIELDS = [b"s", b"p", b"k", b"n", b"c", b"a", b"b", b"t"]  # of an entry
_KINDS = frozenset(("join", "member", "nick", "say", "msg", "leave", "kick", "cast", "node"))


class Settings(NamedTuple):
    """The settings of a RedisBackplane. ``lease`` is in milliseconds; ``connect`` makes a connection, not yet open."""

    name: str
    lease: int
    history: int
    connect: Callable[[], Any]
    on_notice: hooks.Lent[Callable[[str], None]] | None


class RedisBackplane:
    """A room in Redis that many chat servers share: ``ChatServer(backplane=RedisBackplane(url))``.

    You can pass one object to several servers. It needs redis-py (``pip install "oxisock[redis]"``) and Redis 7.0 or
    later.
    """

    def __init__(
        self,
        url: str,
        *,
        room: str = "main",
        lease: float = 10.0,
        history: int = 1000,
        on_notice: Callable[[str], None] | None = None,
    ) -> None:
        """Describe the room. Nothing connects until a server starts.

        Arguments:
            url: ``redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]``, ``rediss://`` with TLS, or ``unix://PATH``, with
                redis-py's options as a query.
            room: the name of the room, not empty. Servers with the same room share it.
            lease: 0.5 to 3600 seconds. A node that was silent for this time counts as dead.
            history: the least number of entries that the log keeps, 1 to 250,000. It also keeps entries that a node has
                not read yet, up to 250,000.
            on_notice: called with a text, on the thread of the backplane, when the node joins, loses Redis, finds it
                again, is fenced, may miss lines, or ignores what no oxisock wrote. All of that is logged, too.
                Exceptions in it are logged, and counted in the server's ``stats().handler_errors``. While it runs, the
                room stands still on this server.

        Raises ModuleNotFoundError if redis-py is not installed, and ValueError or TypeError for a bad argument. If
        Redis cannot be reached when a server starts, the server starts, and clients wait for their welcome.
        """
        try:
            import redis
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "RedisBackplane needs redis-py: pip install 'oxisock[redis]'", name=error.name
            ) from None
        arguments.text(url, "url")
        arguments.text(room, "room")
        if not room:
            arguments.refuse(ValueError, "room", room, "text that is not empty")
        seconds = arguments.timeout(lease, "lease")
        if seconds is None or not 0.5 <= seconds <= 3600:
            arguments.refuse(ValueError, "lease", lease, "0.5 to 3600 seconds")
        assert seconds is not None
        arguments.count(history, "history")
        if history > 250_000:
            arguments.refuse(ValueError, "history", history, "at most 250,000 entries")
        lent = None if on_notice is None else hooks.Lent(arguments.function(on_notice, "on_notice"))
        # This finds a bad address. Connections are opened later.
        try:
            pool = redis.ConnectionPool.from_url(
                url,
                protocol=2,
                decode_responses=False,
                socket_timeout=_SECONDS,
                socket_connect_timeout=_SECONDS,
            )
            pool.make_connection()
        except (ValueError, TypeError) as error:
            # The address is not shown, because it may have a password.
            what = "redis://HOST:PORT/DATABASE, rediss:// or unix://PATH, and options of redis-py as a query"
            why = str(error).rpartition("__init__() ")[2]
            raise ValueError(f"url: expected {what}: {why}") from None
        self.settings = Settings(room, int(seconds * 1000), history, pool.make_connection, lent)

    def __repr__(self) -> str:
        # The address may have a password.
        return f"RedisBackplane(room={self.settings.name!r}, lease={self.settings.lease / 1000})"

    def __reduce__(self) -> Any:
        raise TypeError("RedisBackplane cannot be pickled")


class Driver:
    """Connects the hub, the machine and Redis, on its own thread.

    Attributes:
        handling: whether a call of ``on_notice`` runs.
        handler_errors: the number of its calls that failed.
    """

    def __init__(
        self,
        machine: Backplane,
        keys: list[bytes],
        common: tuple[int, int],
        make: Callable[[], Any],
        reactor: ChatReactor,
        bell: socket.socket,
        lent: ref[hooks.Lent[Callable[[str], None]]] | None,
    ) -> None:
        self._machine, self._keys, self._common, self._reactor = machine, keys, common, reactor
        self._bell, self._lent = bell, lent
        self.handling = False
        self.handler_errors = 0
        self._process = os.getpid()
        self._calls, self._reads = make(), make()
        self._connected = False
        self._sent: Call | None = None
        self._reading: tuple[int, int] | None = None  # the generation, and when the read began
        self._retry_reading = 0
        self._latch = Latch(self._failed)

    def start(self) -> None:
        """Start the thread."""
        self._latch.spawn("oxisock-chat-backplane", self._run)

    def join(self, timeout: float) -> bool:
        """Wait at most ``timeout`` seconds for the thread, which ends after the hub. Return whether it has ended."""
        return self._latch.join(timeout)

    def failure(self) -> BaseException | None:
        """Return the error that ended the thread; None if it has not failed."""
        return self._latch.failure

    def inside(self) -> bool:
        """Return whether the calling thread is that of the driver, which calls ``on_notice``."""
        return self._latch.inside()

    def _run(self) -> None:
        while not self._machine.ended:
            self._turn()
        self._close()

    def _failed(self, error: BaseException) -> None:
        """Log the error of the thread, and stop the server, because the room does not work without this thread."""
        server_log.thread_failed(error)
        self._end_child()
        self._reactor.begin_stop(0)
        self._close()

    def _close(self) -> None:
        for connection in (self._calls, self._reads):
            with suppress(Exception):
                connection.disconnect()
        self._bell.close()

    def _is_child(self) -> bool:
        # Nobody tells the driver of a fork: its first notices come before the server is in the list of those that run.
        return os.getpid() != self._process

    def _end_child(self) -> None:
        """Exit if user code on this thread has forked and this is the child: Redis and the hub are the parent's."""
        if self._is_child():
            end_child(server_log.child_returned)

    def _turn(self) -> None:
        machine, now = self._machine, time.monotonic_ns()
        self._hear(now)
        # An answer that arrived while this process was stopped counts.
        if self._sent is not None and _pending(self._calls):
            self._answer()
        if machine.tick(now):
            self._drop_calls()
        if (call := machine.next_call(now)) is not None:
            self._send(call)
        self._read_on(now)
        self._tell()
        if machine.ended:
            return
        ready = self._wait()
        now = time.monotonic_ns()
        self._hear(now)
        if self._sent is not None and self._has(self._calls, ready):
            self._answer()
        if self._reading is not None and self._has(self._reads, ready):
            self._take_entries()
        self._tell()

    def _hear(self, now: int) -> None:
        """Pass the proposals of the hub to the machine."""
        with suppress(BlockingIOError):
            while self._bell.recv(4096):
                pass
        appends = self._reactor.take_appends()
        if appends is None:  # the hub has ended; if it failed, it has not proposed the close itself
            self._machine.proposed([("close", 0, "", "")], now)
        else:
            self._machine.proposed(appends, now)

    def _tell(self) -> None:
        news: list[HubEntry] = self._machine.take_news()
        if news:
            self._reactor.entries(news)
        for notice in self._machine.take_notices():
            server_log.backplane(notice)
            self._end_child()
            self._notify(notice)

    def _notify(self, notice: str) -> None:
        """Call ``on_notice``. Whatever it does, this thread goes on."""
        lent = None if self._lent is None else self._lent()
        if lent is None:  # there is none, or the server was dropped, and is stopping
            return
        self.handling = True
        try:
            result: object = lent.function(notice)
            hooks.check_ran("on_notice", result)
        except BaseException as error:
            if not self._is_child():
                self.handler_errors += 1
                server_log.notice_failed(notice, error)
        self._end_child()
        self.handling = False

    def _wait(self) -> list[Any]:
        """Wait until there is something to do. Return the readable sockets."""
        deadline = self._machine.deadline()
        if self._reading is None and self._machine.reading() is not None:
            deadline = min(deadline, self._retry_reading)
        seconds = min(max(0.0, (deadline - time.monotonic_ns()) / 1e9), 0.5)
        watched: list[Any] = [self._bell]
        for connection, busy in ((self._calls, self._sent), (self._reads, self._reading)):
            if busy is not None:
                if _pending(connection):
                    seconds = 0.0
                if (sock := _socket(connection)) is not None:
                    watched.append(sock)
        if sys.platform == "win32":
            return select.select(watched, [], [], seconds)[0]
        poll = select.poll()
        for each in watched:
            poll.register(each, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(seconds * 1000)}
        return [each for each in watched if each.fileno() in ready]

    def _has(self, connection: Any, ready: list[Any]) -> bool:
        return _socket(connection) in ready or _pending(connection)

    # --- calls ---------------------------------------------------------------------------------------------------

    def _send(self, call: Call) -> None:
        try:
            if not self._connected:
                self._calls.connect()
                self._connected = True
            if call.script == "ping":
                self._calls.send_command("PING", check_health=False)
            else:
                self._command(call, "EVALSHA", script(call.script)[1])
            self._sent = call
        except Exception as error:
            self._drop_calls()
            self._machine.unsent(_words(error), time.monotonic_ns())

    def _command(self, call: Call, command: str, script: str) -> None:
        machine, (lease, keep) = self._machine, self._common
        common = (machine.node, machine.epoch, lease, keep, *machine.common())
        self._calls.send_command(
            command, script, len(self._keys), *self._keys, *common, *call.arguments, check_health=False
        )

    def _answer(self) -> None:
        from redis.exceptions import NoScriptError

        call = self._sent
        assert call is not None
        try:
            try:
                answer = self._calls.read_response()
            except NoScriptError:
                self._command(call, "EVAL", script(call.script)[0])
                return
            meant = understood(call, answer)
        except Exception as error:
            self._fail(error)
            return
        self._sent = None
        self._machine.answered(meant, time.monotonic_ns())

    def _fail(self, error: Exception) -> None:
        self._drop_calls()
        self._machine.broken(_words(error), time.monotonic_ns())

    def _drop_calls(self) -> None:
        self._sent, self._connected = None, False
        with suppress(Exception):
            self._calls.disconnect()

    # --- reading -------------------------------------------------------------------------------------------------

    def _read_on(self, now: int) -> None:
        place = self._machine.reading()
        if self._reading is not None and (
            place is None or place[0] != self._reading[0] or now > self._reading[1] + _STALLED
        ):
            self._drop_reads(now)
            place = self._machine.reading()
        if place is None or self._reading is not None or now < self._retry_reading:
            return
        generation, last = place
        try:
            if _socket(self._reads) is None:
                self._reads.connect()
            self._reads.send_command(
                "XREAD", "COUNT", _READ, "BLOCK", _BLOCK, "STREAMS", self._keys[0], last, check_health=False
            )
            self._reading = (generation, now)
        except Exception:
            self._drop_reads(now)

    def _take_entries(self) -> None:
        now = time.monotonic_ns()
        assert self._reading is not None
        generation, _ = self._reading
        try:
            answer = self._reads.read_response()
            entries = [entry(row) for row in answer[0][1]] if answer else []
        except Exception:
            self._drop_reads(now)
            return
        self._reading = None
        self._machine.read(generation, entries, now)

    def _drop_reads(self, now: int) -> None:
        self._reading = None
        self._retry_reading = now + 250_000_000
        with suppress(Exception):
            self._reads.disconnect()


def drive(backplane: RedisBackplane, node: str, history: int, reactor: ChatReactor, bell: socket.socket) -> Driver:
    """Return the driver of one server.

    ``node`` is the unique name of the server, and ``history`` is the number of past entries for the hub. ``bell``
    becomes readable when the ``reactor`` has something to append.
    """
    room = backplane.settings
    prefix = b"oxisock:{%s}:" % room.name.encode("utf-8", "surrogatepass")
    keys = [prefix + key.encode() for key in _KEYS]
    machine = Backplane(node, room.lease * 1_000_000, min(history, room.history), time.monotonic_ns())
    lent = None if room.on_notice is None else ref(room.on_notice)
    return Driver(machine, keys, (room.lease, room.history), room.connect, reactor, bell, lent)


def _words(error: Exception) -> str:
    if "unauthenticated" in str(error):  # Redis says this about the length of a call, and closes the connection
        return "it asks for a password, and the URL has none"
    return str(error) or type(error).__name__


def _socket(connection: Any) -> Any:
    """Return the socket of a connection, for waiting. redis-py has no public name for it."""
    return connection._sock  # noqa: SLF001


def _pending(connection: Any) -> bool:
    """Return whether the parser or TLS holds received data that was not read."""
    if _socket(connection) is None:
        return True  # reading will raise the error
    try:
        return bool(connection.can_read(0))
    except Exception:
        return True


@cache
def script(name: str) -> tuple[str, str]:
    """Return a script, and the digest by which Redis knows it."""
    from hashlib import sha1
    from importlib.resources import files

    folder = files(__name__.rpartition(".")[0]) / "scripts"
    text = "".join((folder / f"{part}.lua").read_text("utf-8") for part in ("common", name))
    return text, sha1(text.encode(), usedforsecurity=False).hexdigest()


def understood(call: Call, answer: Any) -> Entered | Answer:
    """Return the answer of a script in the terms of the machine. Raises an exception if it is not of our scripts."""
    if call.script == "ping":
        return Answer("ok")
    status, letters, serial, last, *more = answer
    common = Answer(status.decode(), letters.decode(), int(serial), last.decode())
    if not more:
        return common
    epoch, whole, batch, members, history = more
    there, foreign = [], 0
    for identity, known in zip(members[::2], members[1::2], strict=True):
        try:
            there.append(_member(identity, known))
        except ValueError:
            foreign += 1
    past = [entry(row) for row in reversed(history)]
    return Entered(common, epoch.decode(), bool(whole), int(batch), there, past, foreign)


def _member(identity: bytes, known: bytes) -> HubEntry:
    """Return a member of the room. Raises ValueError if oxisock did not write it."""
    client, at, node = identity.partition(b"@")
    nick, when, where = known.split(b"\n")
    if not (at and node and nick):
        raise ValueError(identity)
    return "member", _text(node), _number(client), _text(nick), _text(where), _number(when)


def entry(row: Any) -> Entry:
    """Return an entry of the log. Its fields are None if oxisock did not write it."""
    identity, flat = row
    try:
        if flat[::2] != _FIELDS:
            raise ValueError(flat)
        serial, before, kind, node, client, nick, text, when = flat[1::2]
        said = text.decode()
        fields = kind.decode(), node.decode(), _number(client), nick.decode(), said, _number(when)
        if fields[0] not in _KINDS or "\n" in said:
            raise ValueError(fields)
        return Entry(identity.decode(), _number(serial), before.decode(), fields)
    except (ValueError, TypeError, AttributeError):
        return Entry(identity.decode(), 0, "", None)


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise ValueError(text)
    return int(text)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
