"""The plan of a load test: the messages to send, and the right answers. Native only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from ..framing.codecs import StreamCodec

EXPECTATIONS: Final = ("echo", "upper", "any")
"""The right answers: the message, the message in capitals, or any frame."""

_SOME: Final = 256 << 10  # bytes of all different messages together, roughly
_MOST: Final = 64
_LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"
_DIGITS: Final = b"0123456789"
# The alphabets of messages in frames. If a codec refuses one, the next is tried.
_ALPHABETS: Final = (_LETTERS + _DIGITS, _DIGITS, _LETTERS, _LETTERS.upper(), b"+-*/")


class LoadPlan(NamedTuple):
    """The parameters of a load. ``rate`` is messages in 1,000 seconds; None: a closed loop. Times are nanoseconds."""

    connections: int
    depth: int
    rate: int | None
    duration: int
    timeout: int


class Messages(NamedTuple):
    """Requests as bytes of the stream, and replies: payloads of frames with a codec, else bytes; None: any frame."""

    requests: list[bytes]
    replies: list[bytes] | None


def messages(size: int, codec: StreamCodec | None, expect: str, prefix: bytes) -> Messages:
    """Return different messages of ``size`` bytes, and their replies.

    Raises ValueError if the codec has no frames for them.
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
            # A codec may keep the terminator on its frames.
            replies = [codec.decode(codec.encode(_reply(each, expect, prefix)))[0] for each in payloads]
        except ValueError as error:
            failure = failure or error
            continue
        return Messages(requests, replies)
    raise ValueError(f"{codec!r} has no frames for messages of {size} bytes: {failure}")


def payload(size: int, number: int, alphabet: bytes | None = None) -> bytes:
    """Return ``size`` pseudorandom bytes, of any value or from an alphabet. They depend only on ``number``."""
    from random import Random

    data = Random(number).randbytes(size)
    return data if alphabet is None else data.translate(bytes(alphabet[n % len(alphabet)] for n in range(256)))


def text(size: int) -> bytes:
    """Return letters and digits for datagrams."""
    return payload(size, 0, _ALPHABETS[0])


def _reply(message: bytes, expect: str, prefix: bytes) -> bytes:
    return prefix + (message.upper() if expect == "upper" else message)
