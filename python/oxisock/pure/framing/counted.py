"""Frames whose header gives their length: in binary, LEB128 or decimal digits; also frames of a fixed size."""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import NamedTuple

from ...errors import FrameCorrupt, FrameError, FrameTooLong, IncompleteFrame

TO_TERMINATOR = -1
"""``Fault.discard`` if the bad frame ends at the next terminator."""

SKIP_FACTOR = 16
"""A body of up to this many times the limit is discarded by count under the policy "skip"."""

_OFTEN = 8  # payloads of each size, from which on it is faster to keep the headers in a table


class Fault(NamedTuple):
    """What is wrong with a frame, and how many bytes to discard from its start to get past it (0: not possible)."""

    error: type[FrameError]
    reason: str
    declared: int | None = None
    discard: int = 0


Extent = tuple[int, int, int, int | None]
"""Where a frame is: start and end of its payload, where the next frame begins, and the length that it declared.

It is a plain tuple, because each frame makes one."""


def incomplete(held: int, declared: int | None) -> Fault:
    """Return the fault of a stream that ended ``held`` bytes into a frame."""
    return Fault(IncompleteFrame, f"the stream ended within a frame, after {held} of its bytes", declared)


class Counted:
    """The base of these codecs: goes from header to header. A header is checked as soon as it is complete."""

    trailer: int | None = None

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        """Read the header at ``at``. An int is how many bytes from there are needed to go on."""
        raise NotImplementedError

    def head(self, size: int) -> bytes:
        """Return the header for a payload of ``size`` bytes. Raises ValueError if no frame can hold it."""
        raise NotImplementedError

    def heads(self, sizes: list[int]) -> Iterable[bytes]:
        """Return the header for each payload. Raises ValueError as ``head`` does, for the first bad one."""
        table = {size: self.head(size) for size in dict.fromkeys(sizes)}
        return map(table.__getitem__, sizes)

    def wrap(self, payload: bytes) -> bytes:
        """Frame a payload. Raises ValueError if no frame can hold it."""
        framed = self.head(len(payload)) + payload
        return framed if self.trailer is None else framed + bytes((self.trailer,))

    def join(self, payloads: list[bytes]) -> bytes | None:
        """Frame all payloads and copy each once. None if that is not possible. Raises ValueError as ``wrap`` does."""
        sizes = list(map(len, payloads))
        if self.trailer is None and sizes and sizes.count(sizes[0]) == len(sizes):
            return self.head(sizes[0]).join([b"", *payloads])
        step = 2 if self.trailer is None else 3
        parts = [b"" if self.trailer is None else bytes((self.trailer,))] * (step * len(payloads))
        parts[::step] = self.heads(sizes)
        parts[1::step] = payloads
        return b"".join(parts)

    def pending(self, held: bytearray, mark: int) -> int:
        """Return 0 if a scan may find something in ``held``, else the next call's mark: how many bytes it needs."""
        return 0 if len(held) >= mark else mark

    def scan(self, source: bytes, at: int, frames: list[bytes], most: int) -> tuple[int, int, Fault | None]:
        """Add the complete frames from ``at`` on to ``frames``. Return where they end, the mark, and the fault.

        It stops when there are ``most`` frames.
        """
        size, trailer = len(source), self.trailer
        for _ in range(most - len(frames)):
            if at >= size:
                break
            found = self.header(source, at)
            if isinstance(found, int):
                return at, found, None
            if isinstance(found, Fault):
                return at, 0, found
            start, end, following, declared = found
            if following > size:
                return at, following - at, None
            if trailer is not None and source[end] != trailer:
                return at, 0, self.bad_trailer(source[end], declared)
            frames.append(source[start:end])
            at = following
        return at, 0, None

    def finish(self, held: bytes) -> bytes | Fault:
        """Return what a stream that ends with ``held`` means."""
        found = self.header(held, 0)
        return incomplete(len(held), None if isinstance(found, int | Fault) else found[3])

    def bad_trailer(self, byte: int, declared: int | None) -> Fault:
        """Return the fault of a frame that does not end in its trailer."""
        return Fault(FrameCorrupt, f"byte 0x{byte:02x} where 0x{self.trailer:02x} belongs", declared)

    def too_long(self, body: int, overhead: int) -> Fault:
        """Return the fault of a body over the limit, with ``overhead`` bytes around it."""
        discard = body + overhead if body <= SKIP_FACTOR * self.limit else 0
        return Fault(FrameTooLong, over_limit(body, self.limit), body, discard)

    def check(self, body: int) -> None:
        """Raise ValueError for a body over the limit."""
        if body > self.limit:
            raise ValueError(unfit(body, self.limit))


def over_limit(body: int, limit: int) -> str:
    """Return the words for a frame that is too long."""
    return f"a frame of {body} bytes, over the limit of {limit}"


def unfit(body: int, limit: int) -> str:
    """Return the words for a payload that no frame may hold."""
    return f"payload makes a frame of {body} bytes: expected at most max_frame={limit}"


class LengthPrefix(Counted):
    """A binary length field of ``width`` bytes after ``offset`` other bytes."""

    def __init__(self, width: int, little: bool, offset: int, adjustment: int, strip: int, limit: int) -> None:
        super().__init__(limit)
        self._width, self._offset, self._adjustment, self._strip = width, offset, adjustment, strip
        self._header = offset + width
        self._order = "little" if little else "big"
        self._beyond = strip - self._header  # bytes stripped beyond the field; they are zero, and part of the body
        code = {1: "B", 2: "H", 4: "I", 8: "Q"}.get(width)
        plain = code is not None and not (offset or adjustment or self._beyond)
        self._pack = Struct(f"{'<' if little else '>'}{code}").pack if plain else None

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        body_at = at + self._header
        if body_at > len(source):
            return self._header
        field = int.from_bytes(source[at + self._offset : body_at], self._order)  # type: ignore[arg-type]
        body = field + self._adjustment
        if body < 0:
            return Fault(FrameCorrupt, f"a negative length, {body}", body)
        if self._header + body < self._strip:
            reason = f"a frame of {self._header + body} bytes, of which the first {self._strip} are to be stripped"
            return Fault(FrameCorrupt, reason, body)
        if body > self.limit:
            return self.too_long(body, self._header)
        return at + self._strip, body_at + body, body_at + body, body

    def head(self, size: int) -> bytes:
        return self._up_to_body(self._beyond + size) + bytes(self._beyond)

    def heads(self, sizes: list[int]) -> Iterable[bytes]:
        most = min(self.limit, (1 << 8 * self._width) - 1)
        if self._pack is None or max(sizes, default=0) > most:
            return super().heads(sizes)
        kinds = set(sizes)
        if len(sizes) < _OFTEN * len(kinds):
            return map(self._pack, sizes)
        return map(dict(zip(kinds, map(self._pack, kinds), strict=True)).__getitem__, sizes)

    def wrap(self, payload: bytes) -> bytes:
        if self._beyond >= 0:
            return super().wrap(payload)
        # The payload has the part of the header that is not stripped, and the field is overwritten there.
        least, size = -self._beyond, len(payload)
        if size < least:
            raise ValueError(f"payload has {size} bytes: expected at least the {least} of the header that it includes")
        field = self._up_to_body(size - least)[self._offset :]
        return bytes(self._strip) + payload[: self._offset - self._strip] + field + payload[least:]

    def join(self, payloads: list[bytes]) -> bytes | None:
        return super().join(payloads) if self._beyond >= 0 else None

    def _up_to_body(self, body: int) -> bytes:
        """Return the header of a body of ``body`` bytes. The bytes before the field are zero."""
        self.check(body)
        field = body - self._adjustment
        if not 0 <= field < 1 << 8 * self._width:
            raise ValueError(
                f"payload makes a body of {body} bytes: expected a length that a field of {self._width} bytes can hold"
            )
        return bytes(self._offset) + field.to_bytes(self._width, self._order)  # type: ignore[arg-type]


class Escaped(Counted):
    """multiprocessing's header: a signed 32-bit length, where -1 announces an unsigned 64-bit one."""

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        head = 4
        if at + head > len(source):
            return head
        body = int.from_bytes(source[at : at + head], "big", signed=True)
        if body == -1:
            head = 12
            if at + head > len(source):
                return head
            body = int.from_bytes(source[at + 4 : at + head], "big")
        if body < 0:
            return Fault(FrameCorrupt, f"a negative length, {body}", body)
        if body > self.limit:
            return self.too_long(body, head)
        end = at + head + body
        return at + head, end, end, body

    def head(self, size: int) -> bytes:
        self.check(size)
        return size.to_bytes(4, "big") if size <= 0x7FFFFFFF else b"\xff\xff\xff\xff" + size.to_bytes(8, "big")


class Varint(Counted):
    """A LEB128 length: seven bits a byte, least significant first. The eighth bit is set in all but the last byte."""

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        body = 0
        for place, byte in enumerate(source[at : at + 10]):
            body |= (byte & 0x7F) << 7 * place
            # The tenth byte holds bit 63 and nothing else.
            if place == 9 and byte > 1:
                return Fault(FrameCorrupt, "a varint over 2**64 - 1")
            if byte < 0x80:
                head = place + 1
                if body > self.limit:
                    return self.too_long(body, head)
                end = at + head + body
                return at + head, end, end, body
        return len(source) - at + 1

    def head(self, size: int) -> bytes:
        self.check(size)
        head = bytearray()
        while size > 0x7F:
            head.append(size & 0x7F | 0x80)
            size >>= 7
        head.append(size)
        return bytes(head)


class Decimal(Counted):
    """A length in decimal digits up to a separator, and an optional trailer: netstrings, RFC 6587 octet counting."""

    def __init__(self, separator: int, trailer: int | None, limit: int) -> None:
        super().__init__(limit)
        self._separator = separator
        self.trailer = trailer
        self._digits = len(str(limit))

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        body = 0
        for place, byte in enumerate(source[at : at + self._digits + 1]):
            if byte == self._separator and place:
                head = place + 1
                tail = 0 if self.trailer is None else 1
                if body > self.limit:
                    return self.too_long(body, head + tail)
                end = at + head + body
                return at + head, end, end + tail, body
            if not 0x30 <= byte <= 0x39:
                return Fault(FrameCorrupt, f"byte 0x{byte:02x} in a decimal length")
            if place and not body:
                return Fault(FrameCorrupt, "a decimal length with a leading zero")
            if place == self._digits:
                return Fault(FrameTooLong, f"a length of more than {place} digits, over the limit of {self.limit}")
            body = 10 * body + byte - 0x30
        return len(source) - at + 1

    def head(self, size: int) -> bytes:
        self.check(size)
        return b"%d%c" % (size, self._separator)


class Fixed(Counted):
    """Frames of one size, without a header."""

    def header(self, source: bytes, at: int) -> Extent | Fault | int:
        end = at + self.limit
        return at, end, end, None

    def head(self, size: int) -> bytes:
        if size != self.limit:
            raise ValueError(f"payload has {size} bytes: expected {self.limit}, the size of every frame")
        return b""
