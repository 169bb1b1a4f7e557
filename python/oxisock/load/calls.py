"""Load tests: turns the arguments into a job, and runs the job at the first address that answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import arguments
from ..engines.binding import Functions
from ..sockets.connecting import unresolved
from ..sockets.resolving import checked_host, host_addresses
from ..types import Peer
from .plan import EXPECTATIONS, LoadPlan, messages, text
from .report import LoadReport, why_nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from ..engines.binding import Engine
    from ..engines.load import LoadRun
    from ..framing.codecs import StreamCodec

    Watch = Callable[[], AbstractContextManager[Callable[[LoadRun], object]]]

MOST_CONNECTIONS, MOST_DEPTH, MOST_SIZE = 100_000, 100_000, 16 << 20
LEAST_RATE, MOST_RATE = 0.001, 1e7
MOST_SECONDS = 86_400
_LEAST_DATAGRAM, _MOST_DATAGRAM = 8, 65_507
_LOOK_UP = 10.0  # seconds
_SLICE = 0.05  # seconds between two checks for Ctrl-C; a signal ends a slice, too
_SECOND = 1_000_000_000
_SPANS = 12  # in the histogram


class Job(NamedTuple):
    """A load test to run: target and options as in the report, and a function that starts it at an address."""

    target: dict[str, Any]
    options: dict[str, Any]
    start: Callable[[str], LoadRun]

    @property
    def name(self) -> str:
        """The target as HOST:PORT."""
        name: str = self.target["name"]
        return name


class Loads(Functions):
    """Load tests, bound to one engine."""

    def load_test(
        self,
        host: str,
        port: int,
        *,
        udp: bool = False,
        connections: int = 50,
        depth: int | None = None,
        size: int | None = None,
        rate: float | None = None,
        duration: float = 10.0,
        timeout: float | None = None,
        codec: StreamCodec | str | None = None,
        expect: str = "echo",
        prefix: bytes | None = None,
    ) -> LoadReport:
        """Load-test your own server, check every answer, and return a report, as ``oxisock load`` does.

        Arguments:
            host: a name or an address. If nobody listens at the first address of a name, the next one is used.
            port: 1 to 65535.
            udp: send datagrams; ``connections`` is then the number of sockets.
            connections: the number of connections, 1 to 100,000.
            depth: the most messages in flight on each connection; default 1, with a ``rate`` 64.
            size: the size of each message in bytes; default 64.
            rate: messages per second, over all connections. Latency then counts from the time at which a message was
                due. None: send each message when the one before has its answer.
            duration: seconds to send, at most one day.
            timeout: seconds after which a silent connection has failed (default 5) or a datagram is lost (default 1).
            codec: send frames of this codec: a Codec, or text such as "lines" or "length:4". None: send plain bytes.
            expect: the right answer: "echo" (the message), "upper" (the message in capitals) or, with a codec, "any".
            prefix: bytes before the message in a right answer. The default is b"Echo: " for "upper", as
                ``oxisock serve upper`` answers, otherwise nothing.

        Returns:
            The report. ``report.good`` says whether all answers were right, ``report.figures`` has every figure.

        Raises ValueError and TypeError for bad arguments, OSError if the server cannot be reached, and
        NotImplementedError from the pure engine, which has no load generator. Ctrl-C ends the test; the
        KeyboardInterrupt has the ``report`` so far.
        """
        found = job(
            self._engine, host, port, udp=udp, connections=connections, depth=depth, size=size, rate=rate,
            duration=duration, timeout=timeout, codec=codec, expect=expect, prefix=prefix,
        )  # fmt: skip
        try:
            addresses = host_addresses(host, timeout=_LOOK_UP)
        except OSError as error:
            raise unresolved(Peer(found.target["host"], port), _LOOK_UP, error) from error
        report, interrupt = carry_out(found, addresses)
        if interrupt is not None:
            interrupt.report = report  # type: ignore[attr-defined]
            raise interrupt
        if report.nobody:
            raise OSError(report.errno, f"{found.name}: {why_nobody(report)}")
        return report


def job(
    engine: Engine,
    host: str,
    port: int,
    *,
    udp: bool,
    connections: int,
    depth: int | None,
    size: int | None,
    rate: float | None,
    duration: float,
    timeout: float | None,
    codec: StreamCodec | str | None,
    expect: str,
    prefix: bytes | None,
) -> Job:
    """Return the job for the arguments of ``load_test``. Raises ValueError if they contradict each other."""
    peer = Peer(checked_host(host), arguments.port(port))
    arguments.flag(udp, "udp")
    arguments.choice(expect, "expect", EXPECTATIONS)
    if udp and codec is not None:
        raise ValueError("a codec cuts a stream into messages, a datagram is one: expected a codec or udp")
    if expect == "any" and codec is None:
        raise ValueError("expect='any' needs a codec: without one nobody knows where an answer ends")
    framing = _framing(engine, codec)
    longest = arguments.number(duration, "duration", 0, MOST_SECONDS, "a day at most")
    patience = (1.0 if udp else 5.0) if timeout is None else timeout
    options: dict[str, Any] = {
        "connections": arguments.count(connections, "connections", 1, MOST_CONNECTIONS),
        "depth": (64 if rate else 1) if depth is None else arguments.count(depth, "depth", 1, MOST_DEPTH),
        "size": getattr(framing, "size", 64) if size is None else arguments.count(size, "size", 1, MOST_SIZE),
        "rate": None if rate is None else arguments.number(rate, "rate", LEAST_RATE, MOST_RATE, "messages a second"),
        "duration": longest,
        "timeout": arguments.number(patience, "timeout", 0, MOST_SECONDS, "a day at most"),
        "codec": codec if codec is None or isinstance(codec, str) else repr(codec),
        "expect": expect,
        "prefix": arguments.bytes_like(_prefix(expect) if prefix is None else prefix, "prefix", 0, MOST_SIZE),
    }
    plan = LoadPlan(
        options["connections"],
        options["depth"],
        None if rate is None else round(rate * 1000),
        round(options["duration"] * _SECOND),
        round(options["timeout"] * _SECOND),
    )
    start = _datagrams(engine, plan, options) if udp else _stream(engine, plan, options, framing)
    options["prefix"] = options["prefix"].decode("utf-8", "surrogateescape")
    target = {"name": str(peer), "host": host, "address": None, "port": port, "protocol": "udp" if udp else "tcp"}
    return Job(target, options, start)


def _prefix(expect: str) -> bytes:
    return b"Echo: " if expect == "upper" else b""


def _framing(engine: Engine, codec: StreamCodec | str | None) -> StreamCodec | None:
    from ..framing.codecs import StreamCodec
    from ..framing.specs import parse_codec

    if codec is None:
        return None
    if isinstance(codec, str):
        return parse_codec(codec, engine.names)
    return arguments.instance(codec, "codec", StreamCodec, "a codec, or one in words")


def _stream(
    engine: Engine, plan: LoadPlan, options: dict[str, Any], codec: StreamCodec | None
) -> Callable[[str], LoadRun]:
    from ..framing.bound import BoundCodec

    requests, replies = messages(options["size"], codec, options["expect"], options["prefix"])
    framer: Any = codec and BoundCodec(codec, engine.framing).framer
    return lambda address: engine.load.start_tcp_load(address, plan, requests, replies, framer)


def _datagrams(engine: Engine, plan: LoadPlan, options: dict[str, Any]) -> Callable[[str], LoadRun]:
    size, prefix, upper = options["size"], options["prefix"], options["expect"] == "upper"
    if not _LEAST_DATAGRAM <= size <= _MOST_DATAGRAM:
        raise ValueError(f"size={size}: expected {_LEAST_DATAGRAM} (its number) to {_MOST_DATAGRAM} bytes for UDP")
    return lambda address: engine.load.start_udp_load(address, plan, size, text(size), prefix, upper)


def carry_out(
    found: Job,
    addresses: Iterable[str],
    watch: Watch | None = None,
) -> tuple[LoadReport, KeyboardInterrupt | None]:
    """Load the first address that answers. Return the report, and the KeyboardInterrupt if Ctrl-C ended the load."""
    first, *others = addresses
    report, interrupt = _load(found, first, watch)
    # If nobody answers at this address, another address of the name may be the right one.
    while others and report.nobody and interrupt is None:
        report, interrupt = _load(found, others.pop(0), watch)
    return report, interrupt


def _load(found: Job, address: str, watch: Watch | None) -> tuple[LoadReport, KeyboardInterrupt | None]:
    from contextlib import nullcontext

    load = found.start(str(Peer(_numeric_zone(address), found.target["port"])))
    interrupt, cpu = None, time.thread_time()
    try:
        with nullcontext(lambda _: None) if watch is None else watch() as show:
            while load.step(_SLICE):
                show(load)
    except KeyboardInterrupt as error:
        interrupt = error  # the figures so far make a report, too
    try:
        cpu, figures = time.thread_time() - cpu, load.figures()
        complete = interrupt is None and figures["alive"] > 0
        target = {**found.target, "address": address}
        report = LoadReport(target, found.options, figures, complete, cpu, load.histogram(_SPANS))  # type: ignore[arg-type]
        return report, interrupt
    finally:
        load.close()


def _numeric_zone(address: str) -> str:
    """Return an address with its zone as a number."""
    import socket

    host, percent, zone = address.partition("%")
    if not percent or zone.isdigit():
        return address
    return f"{host}%{socket.if_nametoindex(zone)}"
