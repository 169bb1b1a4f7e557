"""Frames that end at a terminator: lines, and one or several delimiters of any length."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...errors import FrameTooLong
from .counted import TO_TERMINATOR, Fault, incomplete, unfit

_SHORT = 400  # bytes of a frame


class Delimited:
    """Frames end at the earliest end of a delimiter.

    A delimiter may contain another one only as its suffix. So of two matches, the one that begins first also ends
    first, or both end together and it is the longer one. The leftmost match is therefore right, and more bytes cannot
    change it.
    """

    def __init__(self, delimiters: Sequence[bytes], keep: bool, eof_frame: bool, limit: int) -> None:
        self.limit = limit
        self._delimiters = tuple(delimiters)
        self._keep = keep
        self._eof_frame = eof_frame
        self._overlap = max(map(len, delimiters)) - 1
        self._terminator = first = delimiters[0]
        # Whether all terminators found in the encoded bytes are those that were put there. That is so if there is one
        # kind of terminator, and two of them cannot overlap.
        self._distinct = len(delimiters) == 1 and not any(first.startswith(first[at:]) for at in range(1, len(first)))
        self._search = re.compile(b"|".join(map(re.escape, delimiters))).search

    def find(self, source: bytes | bytearray, at: int) -> tuple[int, int] | None:
        """Return where the first terminator from ``at`` on begins and ends."""
        match = self._search(source, at)
        return match.span() if match else None

    def split(self, source: bytes, most: int) -> list[bytes] | None:
        """Cut at up to ``most`` terminators at once; the last item is the rest. None if that is not possible."""
        if self._keep or len(self._delimiters) > 1:
            return None
        return source.split(self._terminator, most)

    def partial(self, tail: bytes) -> int:
        """Return how many of the last bytes may be the beginning of a terminator."""
        for length in range(min(self._overlap, len(tail)), 0, -1):
            end = tail[-length:]
            if any(len(delimiter) > length and delimiter.startswith(end) for delimiter in self._delimiters):
                return length
        return 0

    def pending(self, held: bytearray, mark: int) -> int:
        """Return 0 if a scan may find something in ``held``, else the next call's mark: how far it was searched."""
        if len(held) > self.limit or self.find(held, max(0, mark - self._overlap)):
            return 0
        return len(held)

    def scan(self, source: bytes, at: int, frames: list[bytes], most: int) -> tuple[int, int, Fault | None]:
        """Add the complete frames from ``at`` on to ``frames``. Return where they end, the mark, and the fault.

        It stops when there are ``most`` frames.
        """
        room = most - len(frames)
        if at == 0 and (parts := self.split(source, room)):
            tail = parts.pop()
            if (len(tail) <= self.limit or len(parts) == room) and (not parts or max(map(len, parts)) <= self.limit):
                frames += parts
                return len(source) - len(tail), len(tail), None
        limit, keep = self.limit, self._keep
        while len(frames) < most and (found := self.find(source, at)):
            start, end = found
            if start - at > limit:
                return at, 0, self.too_long()
            frames.append(source[at : end if keep else start])
            at = end
        tail_size = len(source) - at
        if tail_size > limit and len(frames) < most:
            # It is not too long yet if its end may be the beginning of the terminator.
            tail = source[max(at, len(source) - self._overlap) :]
            if tail_size - self.partial(tail) > limit:
                return at, 0, self.too_long()
        return at, tail_size, None

    def resync(self, retained: bytes, source: bytes, at: int) -> tuple[int, bytes]:
        """Return the end of the next terminator in ``retained`` and ``source[at:]``; if none, -1 and what to retain."""
        if retained:
            seam = retained + source[at : at + self._overlap]
            found = self.find(seam, 0)
            if found:
                return at + found[1] - len(retained), b""
        found = self.find(source, at)
        if found:
            return found[1], b""
        return -1, (retained + source[max(at, len(source) - self._overlap) :])[
            -self._overlap :
        ] if self._overlap else b""

    def finish(self, held: bytes) -> bytes | Fault:
        """Return what a stream that ends with ``held`` means."""
        if not self._eof_frame:
            return incomplete(len(held), None)
        return held if len(held) <= self.limit else self.too_long()

    def too_long(self) -> Fault:
        """Return the fault of a frame over the limit."""
        return Fault(FrameTooLong, f"a frame over the limit of {self.limit} bytes", None, TO_TERMINATOR)

    def wrap(self, payload: bytes) -> bytes:
        """Frame a payload. Raises ValueError if no frame can hold it."""
        if len(payload) > self.limit:
            raise ValueError(unfit(len(payload), self.limit))
        wire = payload + self._terminator
        # The search finds the terminator at the end at the latest. If it finds one before, that is in the payload.
        found = self.find(wire, 0)
        if found and found[0] < len(payload):
            raise ValueError(f"payload has a delimiter at byte {found[0]}: expected none, because a frame ends there")
        return wire

    def join(self, payloads: list[bytes]) -> bytes | None:
        """Frame all payloads and copy each once, or return None if that is not possible or a payload may be refused."""
        if not payloads or max(map(len, payloads)) > self.limit:
            return None
        wire = self._terminator.join([*payloads, b""])
        return wire if self.are_whole(payloads, wire) else None

    def are_whole(self, payloads: list[bytes], wire: bytes) -> bool:
        """Return whether each payload in ``wire`` certainly ends at its terminator and not before."""
        terminator = self._terminator
        if not self._distinct:
            return False
        # For short payloads, counting is faster than searching each of them, although it looks at each byte.
        if len(wire) <= _SHORT * len(payloads):
            return wire.count(terminator) == len(payloads)
        return not [payload for payload in payloads if terminator in payload]


class Lines(Delimited):
    """Frames end at LF; one CR before the LF belongs to the end."""

    def __init__(self, keep: bool, eof_frame: bool, limit: int) -> None:
        super().__init__((b"\n", b"\r\n"), keep, eof_frame, limit)
        self._distinct = True

    def find(self, source: bytes | bytearray, at: int) -> tuple[int, int] | None:
        start = source.find(b"\n", at)
        if start < 0:
            return None
        return (start - 1 if start > at and source[start - 1] == 0x0D else start), start + 1

    def are_whole(self, payloads: list[bytes], wire: bytes) -> bool:
        # A CR at the end of a payload would belong to the end. Searching for one byte first is the fastest search.
        return super().are_whole(payloads, wire) and not (b"\r" in wire and b"\r\n" in wire)

    def split(self, source: bytes, most: int) -> list[bytes] | None:
        if self._keep:
            return None
        parts = source.split(b"\n", most)
        if b"\r" in source:
            tail = parts.pop()
            parts = [part[:-1] if part.endswith(b"\r") else part for part in parts]
            parts.append(tail)
        return parts
