"""The framing benchmark: streams in chunks of 64 KiB, cut by both engines and by the best loops in plain Python.

The streams are as long as what a socket has just given, so that they are in the processor's cache, and are cut again
and again. The frames of a chunk are dropped before the next chunk is cut, as a server does.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import Contender, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

SIZES = (16, 256, 4096)
CHUNK = 64 << 10
STREAM = 1 << 20
_LENGTH = struct.Struct(">I")

_NOTES = (
    "A stream of 1 MiB in chunks of 64 KiB, in the processor's cache. Frames are dropped before the next chunk. "
    "With larger streams, or if all frames are kept, memory limits the speed, and the ratios are smaller.",
    "Plain: the fastest loop in pure Python that we know, without limits or errors: `unpack_from` and slices, "
    "`bytes.split`, and a join of struct packs.",
    "Payloads to encode have one size. With mixed sizes below 1 KiB, pure is 15 to 20% slower than plain, because "
    "it checks the type and size of each payload.",
)


def scenarios() -> list[Scenario]:
    """Return the scenarios of this group: three kinds of work at three sizes, and one small frame at a time."""
    found = []
    for size, repeats in zip(SIZES, (16, 100, 400), strict=True):
        quick = 3 if size == SIZES[0] else 0
        found += [
            _decoding("LengthPrefix", size, repeats, _plain_lengths, quick),
            _decoding("Lines", size, repeats * 3 // 2, _plain_lines, 3 * quick),
            _encoding(size, repeats, quick),
        ]
    return [*found, _scenario("feed, one frame of 16 bytes a call", 100_000, _feeding)]


def _scenario(
    name: str, amount: int, contenders: Callable[[int], Iterator[Sequence[Contender]]], quick: int = 0
) -> Scenario:
    return Scenario("framing", name, amount, "frames", contextmanager(contenders), quick, 0.4, _NOTES)


def _decoding(
    codec: str, size: int, repeats: int, plain: Callable[[list[bytes]], Iterator[list[bytes]]], quick: int = 0
) -> Scenario:
    messages = [bytes([0x61 + number % 26]) * size for number in range(STREAM // (size + 4))]

    def contenders(amount: int) -> Iterator[list[Contender]]:
        import oxisock.native
        import oxisock.pure

        ways = {
            "pure": _decoder(getattr(oxisock.pure, codec)()),
            "native": _decoder(getattr(oxisock.native, codec)()),
            "plain": plain,
        }
        stream = getattr(oxisock.pure, codec)().encode_many(messages)
        chunks = [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]
        checked = {way: [frame for frames in cut(chunks) for frame in frames] == messages for way, cut in ways.items()}

        def run(cut: Callable[[list[bytes]], Iterator[list[bytes]]]) -> int:
            return sum(len(frames) for _ in range(amount // len(messages)) for frames in cut(chunks))

        def check(way: str, count: int) -> str | None:
            if not checked[way]:
                return "other frames than went in"
            return None if count == amount else f"{count:,} frames of {amount:,}"

        yield [
            Contender(way, lambda cut=cut: run(cut), lambda count, way=way: check(way, count))  # type: ignore[misc]
            for way, cut in ways.items()
        ]

    count = len(messages)
    return _scenario(f"decode {codec}, {size:,} bytes", count * repeats, contenders, count * quick)


def _decoder(codec: Any) -> Callable[[list[bytes]], Iterator[list[bytes]]]:
    def cut(chunks: list[bytes]) -> Iterator[list[bytes]]:
        decoder = codec.decoder()
        for chunk in chunks:
            yield decoder.feed(chunk)
        yield decoder.eof()

    return cut


def _plain_lengths(chunks: list[bytes]) -> Iterator[list[bytes]]:
    """The fastest loop that we know in plain Python, without limits or errors."""
    unpack_from = _LENGTH.unpack_from
    held = b""
    for chunk in chunks:
        data = held + chunk if held else chunk
        frames, at, size = [], 0, len(data)
        while at + 4 <= size:
            end = at + 4 + unpack_from(data, at)[0]
            if end > size:
                break
            frames.append(data[at + 4 : end])
            at = end
        held = data[at:]
        yield frames


def _plain_lines(chunks: list[bytes]) -> Iterator[list[bytes]]:
    """``bytes.split``, without limits or CR."""
    held = b""
    for chunk in chunks:
        *frames, held = (held + chunk if held else chunk).split(b"\n")
        yield frames


def _encoding(size: int, repeats: int, quick: int = 0) -> Scenario:
    messages = [bytes([number % 256]) * size for number in range(STREAM // (size + 4))]

    def contenders(amount: int) -> Iterator[list[Contender]]:
        import oxisock.native
        import oxisock.pure

        pack = _LENGTH.pack

        def plain() -> bytes:
            return b"".join([pack(len(message)) + message for message in messages])

        expected = plain()
        ways: dict[str, Callable[[], bytes]] = {
            "pure": lambda: oxisock.pure.LengthPrefix().encode_many(messages),
            "native": lambda: oxisock.native.LengthPrefix().encode_many(messages),
            "plain": plain,
        }

        def run(encode: Callable[[], bytes]) -> bytes:
            for _ in range(amount // len(messages) - 1):
                encode()
            return encode()

        def check(wire: bytes) -> str | None:
            return None if wire == expected else "other bytes than struct and join give"

        yield [Contender(way, lambda encode=encode: run(encode), check) for way, encode in ways.items()]  # type: ignore[misc]

    count = len(messages)
    return _scenario(f"encode LengthPrefix, {size:,} bytes", count * repeats, contenders, count * quick)


def _feeding(amount: int) -> Iterator[list[Contender]]:
    import oxisock.native
    import oxisock.pure

    frame = oxisock.pure.LengthPrefix().encode(b"x" * 16)

    def run(codec: Any) -> list[bytes]:
        feed = codec.decoder().feed
        for _ in range(amount - 1):
            feed(frame)
        frames: list[bytes] = feed(frame)
        return frames

    def check(frames: list[bytes]) -> str | None:
        return None if frames == [b"x" * 16] else f"{frames} from the last call"

    yield [
        Contender("pure", lambda: run(oxisock.pure.LengthPrefix()), check),
        Contender("native", lambda: run(oxisock.native.LengthPrefix()), check),
    ]
