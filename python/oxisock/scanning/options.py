"""The options of a scan, in one place for ``scan`` and everything that passes them on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from ..arguments import unexpected
from ..sockets.resolving import Family
from .specs import PortSpec, TargetSpec

if TYPE_CHECKING:
    from concurrent.futures import Executor  # any object with the ``submit`` of Executor


class ScanKeywords(TypedDict, total=False):
    """The types of the options of ``scan``, for ``**options: Unpack[ScanKeywords]``. ``scan`` explains each option."""

    exclude: TargetSpec
    exclude_ports: PortSpec
    timeout: float | None
    retries: int
    adaptive: bool
    concurrency: int | None
    rate: float | None
    threads: int | None
    order: str
    seed: int | None
    shard: str | None
    family: Family
    resolve_all: bool
    banner: bool | float
    keep: str | Iterable[str]
    trace: bool
    max_time: float | None
    executor: Executor | None
    tasks: int | None
    checkpoint: str | PathLike[str] | None
    skip_silent: bool


class ScanOptions(NamedTuple):
    """The options with their defaults, as given."""

    exclude: TargetSpec = ()
    exclude_ports: PortSpec = ()
    timeout: float | None = 1.0
    retries: int = 1
    adaptive: bool = True
    concurrency: int | None = None
    rate: float | None = None
    threads: int | None = None
    order: str = "random"
    seed: int | None = None
    shard: str | None = None
    family: Family = None
    resolve_all: bool = False
    banner: bool | float = False
    keep: str | Iterable[str] = ("open",)
    trace: bool = False
    max_time: float | None = None
    executor: Executor | None = None
    tasks: int | None = None
    checkpoint: str | PathLike[str] | None = None
    skip_silent: bool = False

    @classmethod
    def of(cls, function: str, options: Mapping[str, Any]) -> ScanOptions:
        """Return the options from the keywords of ``function``. Raises TypeError for an unknown keyword."""
        unexpected(function, options, cls._fields)
        return cls(**options)
