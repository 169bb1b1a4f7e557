"""From the arguments of a scan to the plan that an engine carries out: validation, defaults, resolution."""

from __future__ import annotations

import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..engines.scanning import ScanPlan
from ..sockets.resolving import resolve
from ..types import PortState
from .options import ScanOptions
from .services import top_ports
from .specs import PortSpec, TargetSpec, parse_targets, port_array
from .targets import Targets

STATES = tuple(PortState)
"""The states, in the order of their numbers in engines.scan."""

_NS = 1_000_000_000
_FOREVER = 3600.0  # a probe without a timeout: the kernel gives up long before
_BANNER_SECONDS = 1.0
_MOST_PROBES = 1 << 62
_WORTH_SHARING = 8192  # ports; below that a second thread costs more than it saves
_FIRST_PORTS = 100


class ScanJob(NamedTuple):
    """A scan that is ready to begin."""

    plan: ScanPlan
    targets: Targets
    total: int
    unresolved: dict[str, str]
    seed: int


def seconds(value: float | None, name: str) -> float:
    """Check a duration in seconds, more than 0; None is no limit."""
    if value is None:
        return _FOREVER
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name}={value!r}: expected a number of seconds, or None for no limit")
    if not 0 < value < float("inf"):
        raise ValueError(f"{name}={value!r}: expected more than 0 seconds, or None for no limit")
    return min(float(value), _FOREVER)


def whole(value: int, name: str, least: int) -> int:
    """Check a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number of at least {least}")
    if value < least:
        raise ValueError(f"{name}={value!r}: expected a whole number of at least {least}")
    return value


def default_concurrency() -> int:
    """Give the most probes in flight: what the descriptors left allow less 64, between 8 and 4,096."""
    try:
        import resource
    except ImportError:  # Windows: sockets are no descriptors there
        return 512
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return 4096
    try:
        used = len(os.listdir("/dev/fd"))
    except OSError:
        used = 16
    return max(8, min(4096, limit - used - 64))


def cores() -> int:
    """Give the processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def make_job(
    targets: TargetSpec,
    ports: PortSpec,
    options: ScanOptions,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> ScanJob:
    """Check every argument, resolve the names, and plan the scan; names are given up once ``cancelled()``.

    Raises what ``scan`` raises for bad arguments, and ``socket.gaierror`` where there are targets but none resolves.
    """
    chosen = port_array(ports, options.exclude_ports)
    plan = _plan_of(options, chosen)
    parsed = parse_targets(targets, options.exclude)
    unresolved: dict[str, str] = {}
    if parsed.names or parsed.excluded_names:
        found = resolve(parsed.names, family=options.family, resolve_all=options.resolve_all, cancelled=cancelled)
        # Whatever an excluded name stands for.
        excluded = resolve(parsed.excluded_names, resolve_all=True, cancelled=cancelled)
        unresolved = found.unresolved
        nothing = not parsed.ranges and not found.addresses
        parsed = parsed.resolved(excluded.addresses | found.addresses)
        if nothing and (error := found.error()):
            raise error
    if not parsed.count:
        raise ValueError(f"targets: {targets!r} less exclude={options.exclude!r} leaves nothing to scan")
    positions = parsed.count * len(chosen)
    if positions > _MOST_PROBES:
        raise ValueError(f"{parsed.count} addresses times {len(chosen)} ports are more than any scan can ask")
    total = max(0, -(-(positions - plan.shard) // plan.shards))
    if options.threads is None and options.rate is None and total >= _WORTH_SHARING:
        plan = plan._replace(threads=min(cores(), 8, plan.concurrency))
    return ScanJob(plan._replace(ranges=parsed.ranges), parsed, total, unresolved, plan.seed)


def _plan_of(options: ScanOptions, ports: array[int]) -> ScanPlan:
    timeout = seconds(options.timeout, "timeout")
    if options.order not in ("random", "sequential"):
        raise ValueError(f"order={options.order!r}: expected 'random' or 'sequential'")
    if options.family not in (None, 4, 6):
        raise ValueError(f"family={options.family!r}: expected 4, 6 or None for either")
    random = options.order == "random"
    first_ports = 0
    if random:
        ports, first_ports = _top_ports_first(ports)
    shard, shards = _read_shard(options.shard)
    if options.shard is not None and options.seed is None:
        # Parts of different orders overlap, and leave ports that nobody asks.
        raise ValueError(f"shard={options.shard!r} needs a seed: expected the same one for all parts")
    concurrency = default_concurrency() if options.concurrency is None else whole(options.concurrency, "concurrency", 1)
    threads = 1 if options.threads is None else whole(options.threads, "threads", 1)
    return ScanPlan(
        ranges=(),
        ports=ports,
        first_ports=first_ports,
        timeout=int(timeout * _NS),
        retries=whole(options.retries, "retries", 0),
        adaptive=bool(options.adaptive),
        concurrency=concurrency,
        interval=_read_rate(options.rate),
        threads=min(threads, concurrency),
        random=random,
        seed=_read_seed(options.seed),
        shard=shard,
        shards=shards,
        banner=_read_banner(options.banner),
        keep=_read_keep(options.keep),
        trace=bool(options.trace),
    )


def _top_ports_first(ports: array[int]) -> tuple[array[int], int]:
    """Put the ports that most often answer first, so that there is an estimate of the round trip soon."""
    first, rest = array("H"), array("H", ports)
    for port in top_ports(_FIRST_PORTS):
        place = bisect_left(rest, port)
        if place < len(rest) and rest[place] == port:
            first.append(rest.pop(place))
    return first + rest, len(first)


def _read_shard(text: str | None) -> tuple[int, int]:
    if text is None:
        return 0, 1
    number, slash, count = text.partition("/") if isinstance(text, str) else ("", "", "")
    # isascii, because int() reads the digits of every script.
    if not (slash and all(part.isascii() and part.isdigit() for part in (number, count))):
        raise ValueError(f"shard={text!r}: expected 'K/N', such as '2/4' for the second of four")
    if not 1 <= int(number) <= int(count) < 1 << 32:
        raise ValueError(f"shard={text!r}: expected 'K/N' with K from 1 to N")
    return int(number) - 1, int(count)


def _read_rate(rate: float | None) -> int:
    if rate is None:
        return 0
    if isinstance(rate, bool) or not isinstance(rate, (int, float)):
        raise TypeError(f"rate={rate!r}: expected a number of probes per second, or None for no limit")
    if not 0.001 <= rate <= 1e9:
        raise ValueError(f"rate={rate!r}: expected 0.001 to 1e9 probes per second, or None for no limit")
    return -int(-_NS // rate)


def _read_seed(seed: int | None) -> int:
    if seed is None:
        return int.from_bytes(os.urandom(4), "big") ^ (time.monotonic_ns() & 0xFFFF)
    if whole(seed, "seed", 0) >= 1 << 64:
        raise ValueError(f"seed={seed!r}: expected less than 2**64")
    return seed


def _read_banner(banner: bool | float) -> int:
    if banner is False or banner is None:
        return 0
    return int((_BANNER_SECONDS if banner is True else seconds(banner, "banner")) * _NS)


def _read_keep(keep: str | Iterable[str]) -> int:
    bits = 0
    for name in keep.split(",") if isinstance(keep, str) else keep:
        try:
            bits |= 1 << STATES.index(PortState(name))
        except ValueError:
            expected = ", ".join(map(repr, map(str, STATES)))
            raise ValueError(f"keep: {name!r} is no state of a port: expected some of {expected}") from None
    return bits
