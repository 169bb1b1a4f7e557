"""Codecs as users write them, each with one bug, and the words that name it."""

from __future__ import annotations

import struct
from typing import Any, ClassVar

import oxisock
from oxisock.errors import FrameCorrupt, FrameTooLong
from support.users_codecs import BadStream, LengthDecoder, LineDecoder, Lines


class SplitsReturnFromFeed(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        # What is left of a chunk is stripped before the LF is there.
        *lines, rest = (self.held + data).replace(b"\r\n", b"\n").split(b"\n")
        self.held = rest
        if any(len(line) > self.limit for line in [*lines, rest]):
            raise FrameTooLong("too long", limit=self.limit, frames=[])
        return lines


class LosesFramesBeforeAnError(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        try:
            return super().feed(data)
        except FrameTooLong as error:
            error.frames.clear()
            raise


class NeverFails(LineDecoder):
    limit = 1 << 60


class NeverForgets(LineDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.all.append(bytes(bytearray(data)))
        return super().feed(data)


class SaysItHoldsAll(LineDecoder):
    total = 0

    def feed(self, data: bytes) -> list[bytes]:
        self.total += len(data)
        return super().feed(data)

    @property
    def buffered(self) -> int:
        return self.total


class TakesEmptyForTheEnd(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        if not data and self.held:
            line, self.held = self.held, b""
            return [line]
        return super().feed(data)


class Crashes(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        if b"\xff" in data:
            raise KeyError("a byte I did not think of")
        return super().feed(data)


class StripsFrames(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        return [line.strip() for line in super().feed(data)]


class DropsEmptyFrames(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        return [line for line in super().feed(data) if line]


class GivesNone(LineDecoder):
    def feed(self, data: bytes) -> Any:
        return super().feed(data) or None


class GivesOneBytes(LineDecoder):
    def feed(self, data: bytes) -> Any:
        return b"".join(super().feed(data))


class GivesText(LineDecoder):
    def feed(self, data: bytes) -> Any:
        return [line.decode("latin-1") for line in super().feed(data)]


class LosesTheTailInSilence(LineDecoder):
    def eof(self) -> list[bytes]:
        return []


class SharesItsBuffer(LineDecoder):
    everybodys: ClassVar[dict[str, bytes]] = {"held": b""}

    @property
    def held(self) -> bytes:
        return self.everybodys["held"]

    @held.setter
    def held(self, data: bytes) -> None:
        self.everybodys["held"] = data


class ReusesItsList(LineDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.frames[:] = super().feed(data)
        return self.frames


class OneFrameAtATime(LineDecoder):
    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[bytes] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.waiting += super().feed(data)
        return [self.waiting.pop(0)] if self.waiting else []


class RaisesWhatDependsOnTheCut(LineDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        fresh = not self.held
        try:
            return super().feed(data)
        except FrameTooLong as error:
            if fresh:
                raise
            raise FrameCorrupt("too long in pieces", limit=self.limit, frames=error.frames) from None


class LimitIsOneLess(LineDecoder):
    limit = 63


class ForgetsWhatStruct(LengthDecoder):
    """Length fields of one byte were enough for the examples."""

    def size(self) -> int:
        return self.held[2]


class SignedLength(LengthDecoder):
    """The last two bytes are read as a signed number: wrong from 32,768 on."""

    def size(self) -> int:
        size: int = struct.unpack(">xh", self.held[:3])[0]
        return max(size, 0) if self.held[0] == 0 else int.from_bytes(self.held[:3], "big")


class WrongFromAnOddSizeOn(LengthDecoder):
    def size(self) -> int:
        size = super().size()
        return size if size < 1234 else size - 1


class WrongAtTheLimit(LengthDecoder):
    def size(self) -> int:
        size = super().size()
        return self.limit + 1 if size == self.limit else size


class NeedsTheWholeHeader(LengthDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        if not self.held and 0 < len(data) < 3:
            raise BadStream([])
        return super().feed(data)


class LosesHalfAHeader(LengthDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        frames = super().feed(data)
        if len(self.held) == 2:
            self.held.clear()
        return frames


class KeepsViews(LengthDecoder):
    """Joins what it was fed only when the frame is complete."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Any] = []

    def feed(self, data: bytes) -> list[bytes]:
        self.parts.append(data)
        joined = b"".join(self.parts)
        self.held = bytearray()
        frames = super().feed(joined)
        if frames or len(joined) > self.limit + 3:
            self.parts = [bytes(self.held)]
        return frames


class GivesViews(LengthDecoder):
    def feed(self, data: bytes) -> Any:
        if self.held:
            return super().feed(data)
        view, at, frames = memoryview(data), 0, []
        while len(data) >= at + 3 and len(data) >= (end := at + 3 + int.from_bytes(data[at : at + 3], "big")):
            frames.append(view[at + 3 : end])
            at = end
        try:
            return frames + super().feed(data[at:])
        except BadStream as error:
            raise BadStream(frames + error.frames) from None


class TakesFromTheBuffer(LengthDecoder):
    def feed(self, data: Any) -> list[bytes]:
        frames = super().feed(data)
        if isinstance(data, bytearray):
            data.clear()
        return frames


class AllocatesWhatIsDeclared(LengthDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        frames = super().feed(data)
        if len(self.held) >= 3:
            self.room = bytes(16 * self.size())
        return frames


class Recurses(LengthDecoder):
    def feed(self, data: bytes) -> list[bytes]:
        self.held += data
        return self.next([])

    def next(self, frames: list[bytes]) -> list[bytes]:
        if len(self.held) >= 3 and self.size() > self.limit:
            raise BadStream(frames)
        if len(self.held) < 3 or len(self.held) < 3 + (size := self.size()):
            return frames
        frame = bytes(self.held[3 : 3 + size])
        del self.held[: 3 + size]
        return self.next([*frames, frame])


class CountsInOneByte(LengthDecoder):
    count = 0

    def feed(self, data: bytes) -> list[bytes]:
        frames = super().feed(data)
        self.count += len(frames)
        return frames[:-1] if self.count > 255 and frames else frames


LINE_BUGS = {
    SplitsReturnFromFeed: "depends on where the stream is cut",
    LosesFramesBeforeAnError: "cut as|frames before an error are lost",
    NeverFails: "the decoder holds too much|memory grows",
    NeverForgets: "memory grows",
    SaysItHoldsAll: "the decoder holds too much",
    TakesEmptyForTheEnd: "depends on where the stream is cut",
    Crashes: r"does not come back: \[b'.*\\xff'\] became .* KeyError",
    StripsFrames: "does not come back",
    DropsEmptyFrames: r"does not come back: \[b''\] became",
    GivesNone: "feed returns None, not a list of frames",
    GivesOneBytes: "feed returns bytes, not a list of frames",
    GivesText: "a frame is str, not bytes",
    LosesTheTailInSilence: "no error for a stream that ends in the middle of a frame",
    SharesItsBuffer: "two decoders at the same time affect each other",
    ReusesItsList: "a list of frames changes after feed has given it",
    OneFrameAtATime: "does not come back",
    RaisesWhatDependsOnTheCut: "depends on where the stream is cut",
    LimitIsOneLess: r"does not come back: b'x' \* 64 became",
}
LENGTH_BUGS = {
    ForgetsWhatStruct: r"b'x' \* 256 became",
    SignedLength: r"b'x' \* 32768 became",
    WrongFromAnOddSizeOn: r"b'x' \* 1234 became",
    WrongAtTheLimit: r"b'x' \* 70000 became",
    NeedsTheWholeHeader: "depends on where the stream is cut",
    LosesHalfAHeader: "depends on where the stream is cut",
    KeepsViews: "overwritten afterwards",
    GivesViews: "overwritten afterwards",
    TakesFromTheBuffer: "changes the buffer that it is given",
    AllocatesWhatIsDeclared: "memory grows.*the beginning of a large frame",
    Recurses: "many frames do not come back.*RecursionError",
    CountsInOneByte: "many frames do not come back.* 256 times",
}


class TakesTooMuch(Lines):
    """Encodes what it should refuse."""

    def encode(self, payload: bytes) -> bytes:
        return payload + b"\r\n"


class WrapsAround:
    """A length field that holds less than encode takes."""

    max_frame = 1 << 20

    def encode(self, payload: bytes) -> bytes:
        return (len(payload) & 0xFFFF).to_bytes(2, "big") + payload

    def decoder(self) -> Any:
        return oxisock.LengthPrefix(2).decoder()


class Raises(Lines):
    def encode(self, payload: bytes) -> bytes:
        if payload.startswith(b"\xff"):
            raise IndexError("no such byte")
        return super().encode(payload)
