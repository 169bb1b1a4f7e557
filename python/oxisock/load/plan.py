"""The plan of a load test: the messages to send, and the right answers. Native only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ..framing.codecs import StreamCodec

EXPECTATIONS: Final = ("echo", "upper", "any")
"""What a right answer is: the message, the message in capitals, or any frame."""

_SOME: Final = 256 << 10  # different messages come to about so many bytes
_MOST: Final = 64
_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = b"0123456789"
# Of what messages in frames are made: some codec may have delimiters among the others.
_ALPHABETS: Final = (_LETTERS + _DIGITS, _DIGITS, _LETTERS, _LETTERS.upper(), b"+-*/")


class LoadPlan(NamedTuple):
    """How to load: ``rate`` is messages in 1,000 seconds or None for a closed loop; times are integer nanoseconds."""

    connections: int
    depth: int
    rate: int | None
    duration: int
    timeout: int


class Messages(NamedTuple):
    """Requests as they stand in the stream, and the replies: payloads of frames, else bytes; None for any frame."""

    requests: list[bytes]
    replies: list[bytes] | None


def messages(size: int, codec: StreamCodec | None, expect: str, prefix: bytes) -> Messages:
    """Make messages of ``size`` bytes, each another, and the replies to them.

    Raises ValueError where the codec has no frame for them.
    """
    count = min(_MOST, max(2, _SOME // size))
    if codec is None:
        payloads = [payload(size, number) for number in range(count)]
        return Messages(payloads, [_reply(each, expect, prefix) for each in payloads])
    failure: ValueError | None = None
    for alphabet in _ALPHABETS:
        payloads = [payload(size, number, alphabet) for number in range(count)]
        try:
            requests = [codec.encode(each) for each in payloads]
            if expect == "any":
                return Messages(requests, None)
            # A codec may leave the terminator on what it decodes.
            replies = [codec.decode(codec.encode(_reply(each, expect, prefix)))[0] for each in payloads]
        except ValueError as error:
            failure = failure or error
            continue
        return Messages(requests, replies)
    raise ValueError(f"{codec!r} has no frames for messages of {size} bytes: {failure}")


def payload(size: int, number: int, alphabet: bytes | None = None) -> bytes:
    """Return ``size`` bytes, the same for the same number everywhere, of any value or of an alphabet."""
    from random import Random

    data = Random(number).randbytes(size)
    return data if alphabet is None else data.translate(bytes(alphabet[n % len(alphabet)] for n in range(256)))


def text(size: int) -> bytes:
    """Return letters and digits for datagrams."""
    return payload(size, 0, _ALPHABETS[0])


def _reply(message: bytes, expect: str, prefix: bytes) -> bytes:
    return prefix + (message.upper() if expect == "upper" else message)
