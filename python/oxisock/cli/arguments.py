"""The arguments that several commands share, and how their text is read."""

from __future__ import annotations

import argparse
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from .. import arguments
from ..types import Peer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..scanning.questions import Questions

T = TypeVar("T")

_DURATION = re.compile(r"(\d+\.?\d*|\.\d+)(ms|s|m)?", re.ASCII)
_MOST = 2_147_483.0  # seconds, about 24 days
_UNITS = {None: 1.0, "ms": 0.001, "s": 1.0, "m": 60.0}


def checked(read: Callable[[str], object], check: Callable[..., T], *limits: Any) -> Callable[[str], T]:
    """Return the type of an option: it reads the text, and checks the value as the Python functions do."""

    def take(text: str) -> T:
        try:
            value = read(text)
        except ValueError:
            value = text  # every check rejects it
        try:
            return check(value, "", *limits)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {str(error).rpartition(': expected ')[2]}") from None

    return take


def whole(text: str) -> int:
    """Read a whole number from 0 up."""
    if not (text.isascii() and text.isdigit()):
        raise ValueError
    return int(text)


def count(lowest: int = 1, highest: int = arguments.MOST) -> Callable[[str], int]:
    """Return the type of an option that is a whole number."""
    return checked(whole, arguments.count, lowest, highest)


def duration(text: str) -> float:
    """Read seconds: 5, 0.5, 500ms, 2s, 1m."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 5, 0.5, 500ms, 2s or 1m")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds > _MOST:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is too long: expected {_MOST:,.0f} s (24 days) at most")
    return seconds


def positive_duration(text: str) -> float:
    """Read seconds, more than 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time at all: expected more than 0")
    return seconds


def endpoint(text: str) -> Peer:
    """Read HOST:PORT. An IPv6 address is in brackets, and a port may be the name of a service."""
    from ..scanning.specs import parse_ports
    from ..sockets.resolving import checked_host

    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URL: expected HOST:PORT, {url_parts(text)[2]}")
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise argparse.ArgumentTypeError(f"{text!r}: write an IPv6 address in brackets, as in [::1]:80")
    if not colon or not host:
        example = "localhost" if colon or not text or text.isdigit() else text
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, as in {example}:80")
    try:
        ports = parse_ports(port)
        host = checked_host(host)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if len(ports) != 1:
        raise argparse.ArgumentTypeError(f"{text!r}: one port is asked for, and {port!r} is {len(ports)}")
    return Peer(host, ports[0])


def url_parts(url: str) -> tuple[str, str, str]:
    """Return the host and port of a URL, and a hint with both as HOST:PORT. The scheme may stand for the port."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "HOST", str(parts.port or parts.scheme or "PORT")
    except ValueError:
        host, port = "HOST", "PORT"
    return host, port, f"as in {f'[{host}]' if ':' in host else host}:{port}"


def add_endpoints(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the arguments for endpoints; ``endpoints`` reads them."""
    parser.add_argument(
        "endpoints", nargs="+", metavar="HOST:PORT", help=f"{what}; @FILE has one a line, and @- is standard input"
    )


def endpoints(args: argparse.Namespace) -> list[Peer]:
    """Return the endpoints of the arguments, with the entries of a file in place of the file.

    Raises UsageError for a bad endpoint, or if there is none.
    """
    from ..scanning.files import lines_of
    from . import UsageError

    found: list[Peer] = []
    for host, port in pairwise(args.endpoints):
        if port.isdigit() and host[:1] != "@" and ":" not in host:  # HOST PORT, the notation of nc
            raise UsageError(f"argument HOST:PORT: {host!r} is not HOST:PORT, as in {host}:{port}")
    for word in args.endpoints:
        try:
            lines = list(lines_of(word[1:])) if word.startswith("@") else [("argument HOST:PORT", word)]
        except ValueError as error:
            raise UsageError(str(error)) from None
        for where, line in lines:
            try:
                found.append(endpoint(line.strip()))
            except argparse.ArgumentTypeError as error:
                raise UsageError(f"{where}: {error}") from None
    if not found:
        raise UsageError("no HOST:PORT in " + ", ".join(args.endpoints))
    return found


def add_time(
    parser: argparse.ArgumentParser, option: str, default: float, what: str, read: Callable[[str], float] | None = None
) -> None:
    """Add an option for a time, more than 0 unless ``read`` allows it. Its help ends with the default."""
    usual = f"{default:g}s" if default >= 1 else f"{default * 1000:g}ms"
    parser.add_argument(
        option, type=read or positive_duration, default=default, metavar="TIME", help=f"{what} (default: {usual})"
    )


def add_impl(parser: argparse.ArgumentParser, *more: str) -> None:
    """Add ``--impl``."""
    parser.add_argument(
        "--impl",
        choices=("native", "pure", *more),
        help="the engine, native (Rust) or pure (Python); default: what OXISOCK_IMPL says, else native",
    )


def face(impl: str | None) -> Any:
    """Return the module whose functions are bound to an engine; None: the selected engine."""
    from importlib import import_module

    return import_module(f"oxisock.{impl}" if impl else "oxisock")


def questions(impl: str | None) -> Questions:
    """Return the questions bound to an engine, for ``aio.questions.answer``; None: the selected engine."""
    from ..engines.binding import engine
    from ..scanning.questions import Questions

    return Questions(engine(face(impl).impl).scanning)


class HelpFormatter(argparse.HelpFormatter):
    """Writes help that keeps the lines of its texts. A line that is too long is folded between words."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        import textwrap

        lines: list[str] = []
        for line in text.splitlines():
            begin = indent + line[: len(line) - len(line.lstrip())]
            rest = begin + "    " if begin else ""
            lines += textwrap.wrap(
                line.strip(),
                width,
                initial_indent=begin,
                subsequent_indent=rest,
                break_long_words=False,
                break_on_hyphens=False,
            ) or [""]
        return "\n".join(lines)


def examples(*lines: str) -> dict[str, Any]:
    """Return the arguments of ``add_parser`` that put examples below the help of a command."""
    return {
        "epilog": "examples:\n" + "\n".join(f"  {line}" for line in lines),
        "formatter_class": HelpFormatter,
    }
