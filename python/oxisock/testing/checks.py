"""The checks of `check_codec` that do not use Hypothesis: sizes, counts, buffers, ends of streams, memory.

Each check tries the inputs at which decoders often fail, from small to large. The first failure is the smallest
example, or leads to it by bisection.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from .subject import Decoded, Subject, Wrong, shown

_SMALL: Final = 4 << 10
SLACK: Final = 1 << 10  # room for a header, a terminator and the decoder's own state
_MUCH: Final = 4 << 20
_MOST: Final = (32 << 20) + 2  # the most bytes for an encoder
_SLOW: Final = 0.25  # seconds for one call, after which no larger payloads are tried, and large ones less often

# Sizes at which a length gets another byte, bit or digit.
_EDGES: Final = (10, 100, 128, 256, 1000, 4096, 10_000, 1 << 14, 1 << 15, 1 << 16, 100_000, 1 << 20)
_FILLINGS: Final = (b"x", b"\0", b"\xff", b"7")


def same(whole: Decoded, cut: Decoded, chunks: list[bytes]) -> None:
    """Raise Wrong if a stream in pieces gives another result than in one piece."""
    if cut != whole:
        raise Wrong(
            f"the result depends on where the stream is cut: cut as {shown(chunks)} the stream gives {cut}, "
            f"in one piece {whole}"
        )


def pieces(stream: bytes, size: int) -> list[bytes]:
    """Return a stream in pieces of ``size`` bytes."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


class Checks:
    """The checks of one codec or decoder. It accepts the payloads ``samples``, and finds frames in ``wires``."""

    def __init__(self, subject: Subject, samples: Sequence[bytes], wires: Sequence[bytes], max_buffered: int) -> None:
        self._subject = subject
        self._samples = samples
        self._wires = wires
        self._max_buffered = max_buffered

    def basics(self) -> None:
        """Check that two streams do not affect each other."""
        subject = self._subject
        first, second = subject.decoder(), subject.decoder()
        if first is second:
            raise Wrong("decoder() returned the same decoder twice: each stream needs its own")
        for wire in self._wires:
            if subject.decode([wire]) != subject.decode([wire]):
                raise Wrong(f"a second decoder gives another result for {shown(wire)}")
            for place in sorted({1, len(wire) // 2, len(wire) - 1}):
                head, tail = wire[:place], wire[place:]
                one, first, second = subject.decoder(), subject.decoder(), subject.decoder()
                alone = _fed(one, head) and _fed(one, tail)
                together = _fed(first, head) and _fed(second, head) and _fed(first, tail)
                if alone and together != alone:
                    raise Wrong(
                        f"two decoders at the same time affect each other: {shown([head, tail])} on each gives "
                        f"{together or 'an error'} instead of {alone}"
                    )

    def cuts(self) -> None:
        """Check that a stream of two frames gives the same result wherever it is cut in two."""
        for wire in self._wires:
            stream = wire * 2
            whole = self._subject.decode([stream])
            step = 1 + len(stream) // 1000
            for place in range(0, len(stream) + 1, step):
                chunks = [stream[:place], stream[place:]]
                same(whole, self._subject.decode(chunks), chunks)

    def sizes(self) -> None:
        """Check that payloads of all sizes come back, up to the largest that `encode` accepts."""
        most = _MOST
        for filling in _FILLINGS:
            largest = self._largest(filling, most)
            if largest is None:
                continue
            self._up_to(filling, largest)
            most = _SMALL  # other fillings matter only for small payloads

    def _up_to(self, filling: bytes, largest: int) -> None:
        def fails(size: int) -> str | None:
            return self._at_size(filling, size)

        good = -1
        # A payload of one byte more than the largest is refused.
        for size in sorted({*range(34), *(edge + by for edge in (*_EDGES, largest) for by in (-1, 0, 1))}):
            if 0 <= size <= largest:
                if words := fails(size):
                    raise Wrong(self._smallest(fails, good, size) or words)
                good = size

    def _largest(self, filling: bytes, most: int) -> int | None:
        """Return the size of the largest payload of this filling that `encode` accepts, by bisection; None if none."""

        def takes(size: int) -> bool:
            began = time.perf_counter()
            taken = self._subject.encode(filling * size) is not None
            slow.append(time.perf_counter() - began > _SLOW)
            return taken

        slow: list[bool] = []
        low: int | None = max((size for size in {*range(34), *map(len, self._samples)} if takes(size)), default=None)
        if low is None:
            return None
        high = max(2 * low, 64)
        while takes(high):
            low, high = high, 2 * high
            if high > most or any(slow):
                return low
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if takes(middle) else (low, middle)
        return low

    def _at_size(self, filling: bytes, size: int) -> str | None:
        """Return what is wrong with payloads of a size; None if nothing."""
        subject = self._subject
        payload = filling * size
        wire = subject.encode(payload)
        if wire is None:
            return None
        stream = wire + wire if size <= 1 << 16 else wire
        expected = (
            Decoded([subject.expected(payload)] * (len(stream) // len(wire)), None) if wire else Decoded([], None)
        )
        began = time.perf_counter()
        whole = subject.decode([stream])
        took = time.perf_counter() - began
        if whole != expected:
            return f"a payload does not come back: {shown(payload)} became {shown(stream)}, which became {whole}"
        if size > 1 << 16 and took > _SLOW:
            return None
        for chunks in _cuts(stream, len(wire)):
            cut = subject.decode(chunks)
            if cut != whole:
                return (
                    f"the result depends on where the stream is cut: a payload of {shown(payload)}, cut as "
                    f"{shown(chunks)}, gives {cut}"
                )
        return None

    def counts(self) -> None:
        """Check that many frames come back, in one piece and in small pieces."""
        if not self._wires:
            return
        good = 0
        for count in (10, 300, 3000, 70_000):
            if count * len(self._wires[0]) > _MUCH:
                break
            if words := self._at_count(count):
                raise Wrong(self._smallest(self._at_count, good, count) or words)
            good = count

    def _at_count(self, count: int) -> str | None:
        wire = self._wires[0]
        frames, stream = self._subject.decode([wire]).frames, wire * count
        for chunks in ([stream], pieces(stream, 1000) if count < 10_000 else [stream]):
            found = self._subject.decode(chunks)
            if found != Decoded(frames * count, None):
                how = "in one piece" if len(chunks) == 1 else "in pieces of 1,000 bytes"
                return f"many frames do not come back: {shown(wire)} {count} times, {how}, gives {found}"
        return None

    def _smallest(self, fails: Callable[[int], str | None], good: int, bad: int) -> str | None:
        """Return the message of the smallest number that fails, between a good one and a bad one."""
        words = None
        while bad - good > 1:
            middle = (good + bad) // 2
            found = fails(middle)
            if found:
                bad, words = middle, found
            else:
                good = middle
        return words

    def buffers(self) -> None:
        """Check that frames do not change when their buffer is used again."""
        subject = self._subject
        for wire in self._wires:
            stream = wire * 3
            for chunks in (
                [stream],
                [stream[: len(wire) // 2], stream[len(wire) // 2 :]],
                pieces(stream, 3 + len(stream) // 1000),
            ):
                for kind, lend in (("bytearray", lambda buffer: buffer), ("memoryview", memoryview)):
                    intact = subject.decode(chunks, lend)
                    if intact.error is not None:
                        continue  # it refuses such buffers with an error
                    spoilt = subject.decode(chunks, lend, spoil=True)
                    if spoilt != intact:
                        raise Wrong(
                            f"frames change when the buffer that was fed ({kind}) is overwritten afterwards: "
                            f"{shown(chunks)} gives {spoilt} instead of {intact}"
                        )

    def errors(self) -> None:
        """Check that the frames before a bad end are returned, wherever the stream is cut."""
        subject = self._subject
        for wire in self._wires:
            good = subject.decode([wire]).frames
            for tail in self._bad_tails():
                stream = wire * 2 + tail
                whole = subject.decode([stream])
                if whole.frames[: 2 * len(good)] != good * 2:
                    raise Wrong(f"frames before an error are lost: {shown(stream)} gives {whole}")
                edges = {1, len(wire), 2 * len(wire), 2 * len(wire) + 1, len(stream) - 1}
                for edge in sorted(edges):
                    chunks = [stream[:edge], b"", stream[edge:]]
                    same(whole, subject.decode(chunks), chunks)

    def _bad_tails(self) -> list[bytes]:
        """Return bytes that some codec must refuse."""
        tails = [
            b"\xff" * 16,
            b"\x00" * 16,
            b"\x80" * 16,
            b"-1:x,",
            b"007:abcdefg,",
            b"99999999999999999999:",
            b"3:abcX",
        ]
        limit = self._subject.limit
        if limit is not None and limit <= 2 << 20:
            tails.append(b"x" * (limit + 16))
        return tails

    def ends(self) -> None:
        """Check that a stream that ends within a frame is an error."""
        for wire in self._wires:
            whole = self._subject.decode([wire])
            if len(wire) < 2 or not whole.frames or not whole.frames[-1]:
                continue
            cut = self._subject.decode([wire[:-1]])
            if cut == Decoded(whole.frames[:-1], None):
                raise Wrong(f"no error for a stream that ends in the middle of a frame: {shown(wire[:-1])} gives {cut}")

    def memory(self) -> None:
        """Check that a decoder does not grow by many frames, by a large declared length, or by an endless frame."""
        subject, most = self._subject, self._max_buffered
        for frame in self._wires:
            chunk = frame * (_SMALL // max(1, len(frame)) + 1)
            self._feed_and_watch([chunk] * 64, len(chunk) + len(frame) + SLACK)
        sizes = (1 << 20, 1 << 17, 1 << 16) if subject.encodes else ()
        large = next((wire for size in sizes if (wire := subject.encode(b"x" * size)) is not None), None)
        if large is not None:
            self._feed_and_watch([large[:16]], _SMALL, "the beginning of a large frame")
        big = min(max(most // 8, _SMALL), 1 << 20)
        for byte in b"x\x00\x01\x7f\x80\xff09 ":
            small = bytes([byte]) * _SMALL
            # If these bytes make frames or are refused, they do not make an endless frame.
            if subject.decode([small]).frames or self._refused(small):
                continue
            self._feed_and_watch([bytes([byte]) * big] * (4 * most // big + 8), most + big)

    def _refused(self, chunk: bytes) -> bool:
        try:
            self._subject.decoder().feed(chunk)
        except Exception:
            return True
        return False

    def _feed_and_watch(self, chunks: Sequence[bytes], bound: int, what: str | None = None) -> None:
        decoder = self._subject.decoder()
        ours = not tracemalloc.is_tracing()
        if ours:
            tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for chunk in chunks:
                after = what or f"{shown(chunk[:16])} again and again"
                try:
                    decoder.feed(chunk)
                except Exception:
                    break
                held = getattr(decoder, "buffered", 0)
                if held > bound:
                    raise Wrong(f"the decoder holds too much: {held} bytes after {after}, at most {bound} are allowed")
                # Growing arrays have spare room, so the allocated memory may be more than twice the held bytes.
                grown = tracemalloc.get_traced_memory()[0] - before
                if grown > 3 * bound + (1 << 16):
                    raise Wrong(
                        f"memory grows: {grown} bytes are allocated, with {bound} held at most, after {after}: "
                        "expected a decoder that raises for a frame that is too long"
                    )
        finally:
            if ours:
                tracemalloc.stop()


def _fed(decoder: Any, chunk: bytes) -> str | None:
    """Return the frames of a chunk as text; None after an error."""
    try:
        return shown(list(decoder.feed(chunk)))
    except Exception:
        return None


def _cuts(stream: bytes, wire: int) -> Iterator[list[bytes]]:
    """Yield ways of cutting a stream of frames of ``wire`` bytes each."""
    size = len(stream)
    places = (1, 2, 4, wire // 2, wire - 1, wire, wire + 1) if size <= 2 * _SMALL else (3, wire // 2, wire - 1)
    for place in sorted({place for place in places if 0 < place < size}):
        yield [stream[:place], stream[place:]]
    if size <= _SMALL:
        yield pieces(stream, 1)
    yield pieces(stream, 1000 if size <= 1 << 18 else 1 << 17)
