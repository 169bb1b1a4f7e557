"""Turns the arguments of a scan into the plan for an engine: validation, defaults, name resolution."""

from __future__ import annotations

import os
import socket
import sys
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from .. import arguments
from ..engines.scanning import ERROR, USUAL_CONCURRENCY, ScanPlan
from ..sockets.resolving import resolve
from ..types import PortState
from .options import ScanOptions
from .services import top_ports
from .specs import PortSpec, TargetSpec, chosen_ports, format_ports, parse_targets, ports_in
from .targets import Targets

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from .checkpoint import Checkpoint

STATES = tuple(PortState)
"""The states, in the order of their numbers in engines.scanning."""

_NS = 1_000_000_000
_FOREVER = 3600.0  # seconds, for a probe without a timeout; the kernel gives up long before
_BANNER_SECONDS = 1.0
_MOST_PROBES = 1 << 62
_WORTH_SHARING = 8192  # ports; with fewer, a second thread costs more than it saves
_FIRST_PORTS = 100
_LOOPBACK = 127
_MOST_SOCKETS = 32_768


class Spread(NamedTuple):
    """How a scan runs in shards: the executor, and the checkpoint."""

    total: int  # (address, port) pairs
    executor: Executor | None
    tasks: int | None
    checkpoint: Checkpoint | None
    threads: int  # of a task
    concurrency: int | None  # of all tasks together
    deadline: float  # of time.monotonic(), when the scan is to end


class ScanJob(NamedTuple):
    """A scan that is ready to begin."""

    plan: ScanPlan
    targets: Targets
    ports: str
    total: int
    unresolved: dict[str, str]
    seed: int
    deadline: float = float("inf")  # of time.monotonic(), when the scan is to end
    spread: Spread | None = None
    keep_errors: bool = False  # whether the report keeps them; an engine always returns them


class UnresolvedExclude(socket.gaierror, ValueError):
    """An excluded name has no address, so it is not known which addresses to leave out."""


def patience(value: float | None, name: str = "timeout") -> float:
    """Return the seconds that a probe waits. Without a limit, it is longer than the kernel waits."""
    seconds = arguments.timeout(value, name)
    return _FOREVER if seconds is None else min(seconds, _FOREVER)


def default_concurrency() -> int:
    """Return the most probes in flight: the number of free descriptors, at most 4,096."""
    return min(USUAL_CONCURRENCY, free_descriptors())


def free_descriptors() -> int:
    """Return the most sockets of a scan: the number of free descriptors less 64, from 8 to 32,768."""
    if sys.platform == "win32":  # sockets are not descriptors there
        return 512
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return _MOST_SOCKETS
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = 16
    return max(8, min(_MOST_SOCKETS, limit - used - 64))


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make_job(
    targets: TargetSpec,
    ports: PortSpec,
    options: ScanOptions,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> ScanJob:
    """Check every argument, resolve the names, and plan the scan. The look-ups end if ``cancelled()`` returns True.

    Raises what ``scan`` raises for bad arguments, and ``socket.gaierror`` if no target resolves, or if an excluded name
    does not.
    """
    checkpoint = _open_checkpoint(options.checkpoint)
    try:
        if checkpoint is not None and checkpoint.header is not None and options.seed is None:
            options = options._replace(seed=checkpoint.header.seed)
        job = _make_job(targets, ports, options, cancelled)
    except BaseException:
        if checkpoint is not None:
            checkpoint.close()
        raise
    if checkpoint is None and options.executor is None:
        return job
    threads = 1 if options.threads is None else job.plan.threads
    return job._replace(
        spread=Spread(
            job.total, options.executor, options.tasks, checkpoint, threads, options.concurrency, job.deadline
        )
    )


def _make_job(
    targets: TargetSpec, ports: PortSpec, options: ScanOptions, cancelled: Callable[[], bool] | None
) -> ScanJob:
    limit = arguments.timeout(options.max_time, "max_time")
    deadline = float("inf") if limit is None else time.monotonic() + limit
    selected = chosen_ports(ports, options.exclude_ports)
    chosen = ports_in(selected)
    plan = _plan_of(options, chosen)
    parsed = parse_targets(targets, options.exclude)
    unresolved: dict[str, str] = {}
    if parsed.names or parsed.excluded_names:
        # All addresses of an excluded name are excluded.
        excluded = resolve(parsed.excluded_names, resolve_all=True, timeout=limit, cancelled=cancelled)
        for name, failure in excluded.errors.items():
            words = f"exclude: {name!r} does not resolve: {failure.strerror or failure}"
            raise UnresolvedExclude(failure.errno or socket.EAI_AGAIN, words) from failure
        left = None if limit is None else max(deadline - time.monotonic(), 0.001)
        found = resolve(
            parsed.names, family=options.family, resolve_all=options.resolve_all, timeout=left, cancelled=cancelled
        )
        unresolved = found.unresolved
        nothing = not parsed.ranges and not found.addresses
        parsed = parsed.resolved(excluded.addresses | found.addresses)
        if nothing and (error := found.error()):
            raise error
    if not parsed.count:
        raise ValueError(f"targets: {targets!r} without exclude={options.exclude!r}: expected at least one target")
    positions = parsed.count * len(chosen)
    if positions > _MOST_PROBES:
        raise ValueError(f"{parsed.count} addresses times {len(chosen)} ports are more than any scan can ask")
    total = max(0, -(-(positions - plan.shard) // plan.shards))
    if options.threads is None and options.rate is None and total >= _WORTH_SHARING:
        plan = plan._replace(threads=min(cores(), 8, plan.concurrency))
    keep_errors = bool(plan.keep >> ERROR & 1)
    plan = with_links(plan._replace(ranges=parsed.ranges, keep=plan.keep | 1 << ERROR))
    asked = format_ports(selected)
    return ScanJob(plan, parsed, asked, total, unresolved, plan.seed, deadline, keep_errors=keep_errors)


def with_links(plan: ScanPlan) -> ScanPlan:
    """Return a plan that knows which of its addresses are on a link of this machine."""
    loopback = all(each.version == 4 and each.first >> 24 == each.last >> 24 == _LOOPBACK for each in plan.ranges)
    if loopback or not plan.adaptive:
        return plan._replace(links=())
    from ..sockets.neighbours import links

    return plan._replace(links=links(plan.ranges))


def _open_checkpoint(path: str | os.PathLike[str] | None) -> Checkpoint | None:
    if path is None:
        return None
    arguments.path(path, "checkpoint", "the path of a file, or None")
    from .checkpoint import Checkpoint

    return Checkpoint(path)


def _check_spread(options: ScanOptions) -> None:
    if options.tasks is not None:
        arguments.count(options.tasks, "tasks", highest=1 << 20)
    if options.executor is None:
        if options.tasks is not None:
            arguments.refuse(ValueError, "tasks", options.tasks, "an executor too, whose tasks these are")
        return
    arguments.having(options.executor, "executor", "an executor", "submit")


def _plan_of(options: ScanOptions, ports: array[int]) -> ScanPlan:
    _check_spread(options)
    random = arguments.choice(options.order, "order", ("random", "sequential")) == "random"
    if options.family is not None:
        arguments.choice(options.family, "family", (4, 6))
    arguments.flag(options.resolve_all, "resolve_all")
    first_ports = 0
    if random:
        ports, first_ports = _top_ports_first(ports)
    shard, shards = _read_shard(options.shard)
    if options.shard is not None and options.seed is None:
        # Parts of different orders overlap, and leave ports out.
        raise ValueError(f"shard={options.shard!r} needs a seed: expected the same one for all parts")
    if options.concurrency is None:
        descriptors = free_descriptors()
        concurrency = min(USUAL_CONCURRENCY, descriptors)
    else:
        descriptors = concurrency = arguments.count(options.concurrency, "concurrency")
    threads = 1 if options.threads is None else arguments.threads(options.threads, "threads")
    return ScanPlan(
        ranges=(),
        ports=ports,
        first_ports=first_ports,
        timeout=max(1, int(patience(options.timeout) * _NS)),
        retries=arguments.count(options.retries, "retries", 0),
        adaptive=arguments.flag(options.adaptive, "adaptive"),
        concurrency=concurrency,
        interval=arguments.rate(options.rate, "rate", "probes"),
        threads=min(threads, concurrency),
        random=random,
        seed=_read_seed(options.seed),
        shard=shard,
        shards=shards,
        banner=_read_banner(options.banner),
        keep=_read_keep(options.keep),
        trace=arguments.flag(options.trace, "trace"),
        descriptors=descriptors,
        skip_silent=arguments.flag(options.skip_silent, "skip_silent"),
    )


def _top_ports_first(ports: array[int]) -> tuple[array[int], int]:
    """Return the ports, and how many of them are common and so come first, for an early estimate of the round trip."""
    first, rest = array("H"), array("H", ports)
    for port in top_ports(_FIRST_PORTS):
        place = bisect_left(rest, port)
        if place < len(rest) and rest[place] == port:
            first.append(rest.pop(place))
    return first + rest, len(first)


def _read_shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    expected = "'K/N', such as '2/4' for the second of four"
    number, slash, count = arguments.text(text, "shard", expected).partition("/")
    # isascii, because int() accepts the digits of every script. The length, because int() refuses thousands of digits.
    if not (slash and all(part.isascii() and part.isdigit() and len(part) < 20 for part in (number, count))):
        arguments.refuse(ValueError, "shard", text, expected)
    if not 1 <= int(number) <= int(count) < 1 << 32:
        arguments.refuse(ValueError, "shard", text, "'K/N' with K from 1 to N")
    return int(number) - 1, int(count)


def _read_seed(seed: int | None) -> int:
    if seed is None:
        return int.from_bytes(os.urandom(4), "big") ^ (time.monotonic_ns() & 0xFFFF)
    return arguments.count(seed, "seed", 0, (1 << 64) - 1)


def _read_banner(banner: bool | float) -> int:
    if banner is False or banner is None:
        return 0
    return max(1, int((_BANNER_SECONDS if banner is True else patience(banner, "banner")) * _NS))


def _read_keep(keep: str | Iterable[str]) -> int:
    bits = 0
    expected = "some of " + ", ".join(map(repr, map(str, STATES)))
    for name in keep.split(",") if isinstance(keep, str) else arguments.iterable(keep, "keep", expected):
        try:
            bits |= 1 << STATES.index(PortState(name))
        except ValueError:
            arguments.refuse(ValueError, "keep", name, expected)
    return bits
