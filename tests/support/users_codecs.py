"""Codecs as users write them, right in all that is asked of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import oxisock
from oxisock.errors import FrameCorrupt, FrameTooLong


class LineDecoder:
    """Lines as a careful user would write them; each bug below changes one thing."""

    limit = 64

    def __init__(self) -> None:
        self.held = b""

    @property
    def buffered(self) -> int:
        return len(self.held)

    def feed(self, data: bytes) -> list[bytes]:
        *lines, self.held = (self.held + data).split(b"\n")
        lines = [line.removesuffix(b"\r") for line in lines]
        good: list[bytes] = []
        for line in lines:
            if len(line) > self.limit:
                raise FrameTooLong("too long", limit=self.limit, frames=good)
            good.append(line)
        if len(self.held.removesuffix(b"\r")) > self.limit:
            raise FrameTooLong("too long", limit=self.limit, frames=good)
        return lines

    def eof(self) -> list[bytes]:
        if self.held:
            raise FrameCorrupt("cut off")
        return []


class Lines:
    max_frame = LineDecoder.limit

    def __init__(self, decoder: Callable[[], Any] = LineDecoder) -> None:
        self.decoder = decoder

    def encode(self, payload: bytes) -> bytes:
        if b"\n" in payload or payload.endswith(b"\r") or len(payload) > self.max_frame:
            raise ValueError("not a line")
        return payload + b"\r\n"


class BadStream(Exception):
    """A user's own error, which is no ValueError."""

    def __init__(self, frames: list[bytes]) -> None:
        super().__init__("bad stream")
        self.frames = frames


class LengthDecoder:
    """A length in three bytes, big-endian, and the body; each bug below changes one thing."""

    limit = 70_000

    def __init__(self) -> None:
        self.held = bytearray()

    @property
    def buffered(self) -> int:
        return len(self.held)

    def size(self) -> int:
        return int.from_bytes(self.held[:3], "big")

    def feed(self, data: bytes) -> list[bytes]:
        self.held += data
        frames: list[bytes] = []
        while len(self.held) >= 3:
            size = self.size()
            if size > self.limit:
                raise BadStream(frames)
            if len(self.held) < 3 + size:
                break
            frames.append(bytes(self.held[3 : 3 + size]))
            del self.held[: 3 + size]
        return frames

    def eof(self) -> list[bytes]:
        if self.held:
            raise EOFError("the stream ended too soon")
        return []


class Lengths:
    max_frame = LengthDecoder.limit

    def __init__(self, decoder: Callable[[], Any] = LengthDecoder) -> None:
        self.decoder = decoder

    def encode(self, payload: bytes) -> bytes:
        if len(payload) > self.max_frame:
            raise ValueError("too long")
        return len(payload).to_bytes(3, "big") + payload


class OnlyBytes(LineDecoder):
    """Takes nothing but bytes, which is all that it is promised."""

    def feed(self, data: bytes) -> list[bytes]:
        if not isinstance(data, bytes):
            raise TypeError("bytes are needed")
        return super().feed(data)


class LaterError(LineDecoder):
    """Gives the good frames first and raises an error without them at the next call."""

    failed = False

    def feed(self, data: bytes) -> list[bytes]:
        if self.failed:
            raise EOFError("a bad stream")
        try:
            return super().feed(data)
        except FrameTooLong as error:
            self.failed = True
            return error.frames

    def eof(self) -> list[bytes]:
        if self.failed:
            raise EOFError("a bad stream")
        return super().eof()


class Packed:
    """An encoder that leaves it to struct to refuse what is too long."""

    def encode(self, payload: bytes) -> bytes:
        return struct.pack(">H", len(payload)) + payload

    def decoder(self) -> Any:
        return oxisock.LengthPrefix(2).decoder()


class Reversed:
    """A user's own codec: frames end with a byte 0 and stand in them backwards."""

    class Decoder:
        def __init__(self) -> None:
            self.rest = b""

        def feed(self, data: bytes) -> list[bytes]:
            *frames, self.rest = (self.rest + data).split(b"\0")
            if b"!" in self.rest:
                error = oxisock.FrameCorrupt("no shouting", 0)
                error.frames = [frame[::-1] for frame in frames]
                raise error
            return [frame[::-1] for frame in frames]

        def eof(self) -> list[bytes]:
            if self.rest:
                raise oxisock.IncompleteFrame("cut", 0)
            return []

    def encode(self, payload: bytes) -> bytes:
        return payload[::-1] + b"\0"

    def decoder(self) -> Decoder:
        return self.Decoder()
