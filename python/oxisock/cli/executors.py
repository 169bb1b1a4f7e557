"""Who scans for ``oxisock scan``: this process, processes of its own, or a Dask cluster."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import UsageError

if TYPE_CHECKING:
    import argparse
    from concurrent.futures import Executor

_CONNECT_SECONDS = 10


def add_options(group: Any) -> None:
    """Add the options."""
    who = group.add_mutually_exclusive_group()
    who.add_argument("--processes", type=int, metavar="N", help="scan in N processes")
    who.add_argument("--dask", metavar="ADDRESS", help="scan on the workers of a Dask cluster (extra: oxisock[dask])")


@contextmanager
def executor(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Give the executor that was asked for, None for this process, for as long as the block lasts."""
    if args.processes is not None:
        with _processes(args.processes) as pool:
            yield pool
    elif args.dask is not None:
        with _dask(args.dask) as found:
            yield found
    else:
        yield None


@contextmanager
def _processes(number: int) -> Iterator[Executor]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if number < 1:
        raise UsageError(f"--processes {number}: expected a number of processes, at least 1")
    # A forked child would share the descriptors of the scan's files; a terminal's Ctrl-C is for this process alone.
    pool = ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), _leave_ctrl_c_to_the_caller)
    try:
        yield pool
    finally:
        children = list((pool._processes or {}).values())  # 3.14 has terminate_workers
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:
            child.terminate()


def _leave_ctrl_c_to_the_caller() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise UsageError("--dask needs Dask: pip install 'oxisock[dask]'") from None
    try:
        client = distributed.Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask {address}: no scheduler answers there: {error}") from None
    with client:
        yield client.get_executor()
