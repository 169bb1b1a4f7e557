"""Everybody who receives frames, with one face, and decoders as users write them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from hypothesis import strategies as st

from oxisock import Peer
from oxisock.framing import bound
from oxisock.framing.bound import BoundCodec
from oxisock.serving import thread_connection

# --- receivers, each with the same face ------------------------------------------------------------------------------


class Blocking:
    """A FramedSocket."""

    def __init__(self, impl: ModuleType, sock: socket.socket, codec: Any) -> None:
        self._framed = impl.FramedSocket(sock, codec, timeout=30.0)

    def recv(self) -> bytes | None:
        return self._framed.recv()

    def some(self, count: int) -> list[bytes]:
        """Iterate, and leave after so many."""
        return list(itertools.islice(self._framed, count))

    def close(self) -> None:
        self._framed.close()


class Threaded:
    """The connection of a ThreadedServer; its handler gives it away and waits."""

    def __init__(self, impl: ModuleType, sock: socket.socket, codec: Any) -> None:
        self._sock, self._codec = sock, codec
        counters = thread_connection.Counters()
        engine = impl.Lines._engine.framing
        lines = BoundCodec(impl.Lines(), engine)
        never: Any = None  # a server that stops is listened for in handshakes alone
        self.conn = thread_connection.ThreadConnection(sock, Peer("", 0), 30.0, 30.0, counters, engine, lines, never)

    def recv(self) -> bytes | None:
        return next(self.conn.frames(self._codec), None)

    def some(self, count: int) -> list[bytes]:
        return list(itertools.islice(self.conn.frames(self._codec), count))

    def close(self) -> None:
        self._sock.close()


class OnALoop:
    """A stream of asyncio, on a loop that runs while it is asked."""

    def __init__(self, impl: ModuleType, sock: socket.socket, codec: Any) -> None:
        from oxisock.aio.protocol import StreamProtocol
        from oxisock.aio.stream import FramedStream

        self._runner = asyncio.Runner()

        async def begin() -> Any:
            stream = FramedStream(bound.BoundCodec(codec, impl.Lines._engine.framing))
            await asyncio.get_running_loop().create_connection(lambda: StreamProtocol(stream), sock=sock)
            return stream

        sock.setblocking(False)
        self._stream = self._runner.run(begin())

    def recv(self) -> bytes | None:
        async def one() -> bytes | None:
            async with asyncio.timeout(30):
                return await self._stream.recv()

        return self._runner.run(one())

    def some(self, count: int) -> list[bytes]:
        async def several() -> list[bytes]:
            got: list[bytes] = []
            async with asyncio.timeout(30):
                while len(got) < count:
                    async for frame in self._stream:
                        got.append(frame)
                        break
                    else:
                        break
            return got

        return self._runner.run(several())

    def close(self) -> None:
        async def end() -> None:
            self._stream.abort()
            await self._stream.wait_closed()

        self._runner.run(end())
        self._runner.close()


RECEIVERS: dict[str, Callable[..., Any]] = {"blocking": Blocking, "threaded": Threaded, "aio": OnALoop}


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), timeout=30)
        return ours, listener.accept()[0]


@contextlib.contextmanager
def receiving(kind: str, impl: ModuleType, codec: Any) -> Iterator[tuple[Any, socket.socket]]:
    """A receiver, and the socket of its peer."""
    ours, theirs = tcp_pair()
    with theirs, contextlib.closing(RECEIVERS[kind](impl, ours, codec)) as receiver:
        yield receiver, theirs


# --- users' own decoders ---------------------------------------------------------------------------------------------


class Broken(Exception):
    """An exception of a user's, with arguments that copying does not know."""

    def __init__(self, first: str, *, second: str) -> None:
        super().__init__(first + second)


def with_frames(error: Exception, frames: Any) -> Exception:
    error.frames = frames  # type: ignore[attr-defined]
    return error


def raising(error: Exception) -> Any:
    def raise_it(*_: object) -> Any:
        raise error

    return raise_it


class Own:
    """A user's codec: bytes up to a "!", until it meets a "?", or the end after a rest."""

    def __init__(self, bad: Callable[[list[bytes]], Any], at_end: Callable[[], Any] = list) -> None:
        self.bad, self.at_end = bad, at_end

    def encode(self, payload: bytes) -> bytes:
        return payload + b"!"

    def decoder(self) -> Any:
        return OwnDecoder(self)


class OwnDecoder:
    def __init__(self, codec: Own) -> None:
        self.codec, self.rest = codec, b""

    def feed(self, data: bytes) -> Any:
        assert type(data) is bytes
        *frames, self.rest = (self.rest + data).split(b"!")
        return self.codec.bad(frames) if b"?" in self.rest else frames

    def eof(self) -> Any:
        return self.codec.at_end()


def faulty(error: Exception) -> Callable[[list[bytes]], Any]:
    """Raise an error that has the frames before it."""

    def bad(frames: list[bytes]) -> Any:
        raise with_frames(error, frames)

    return bad


WORDS = st.binary(max_size=6).filter(lambda word: not set(word) & set(b"!?"))


class CutMinds(Own):
    """It complains of a rest at the end."""

    def __init__(self) -> None:
        super().__init__(lambda frames: faulty(ZeroDivisionError("bad"))(frames))

    def decoder(self) -> Any:
        decoder = OwnDecoder(self)

        def eof() -> list[bytes]:
            if decoder.rest:
                raise KeyError("a rest")
            return []

        decoder.eof = eof  # type: ignore[method-assign]
        return decoder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CutMinds)

    __hash__ = None  # type: ignore[assignment]
