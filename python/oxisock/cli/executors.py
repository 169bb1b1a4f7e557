"""Chooses what scans for ``oxisock scan``: this process, other processes, or a Dask cluster."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from . import UsageError
from .output import is_terminal, message

if TYPE_CHECKING:
    import argparse
    from concurrent.futures import Executor

_CONNECT_SECONDS = 10
_MOST_PROCESSES = 512
_END_SECONDS = 2.0  # for the processes to end by themselves


def add_options(group: Any) -> None:
    """Add the options."""
    who = group.add_mutually_exclusive_group()
    who.add_argument("--processes", type=int, metavar="N", help="scan in N processes")
    who.add_argument("--dask", metavar="ADDRESS", help="scan on the workers of a Dask cluster (extra: oxisock[dask])")


@contextmanager
def executor(args: argparse.Namespace) -> Iterator[Executor | None]:
    """Yield the executor of the options, or None for this process. It ends with the block."""
    if args.tasks is not None and args.processes is None and args.dask is None:
        raise UsageError(f"--tasks {args.tasks}: expected --processes or --dask too, whose tasks these are")
    with ExitStack() as stack:
        if args.processes is not None or args.dask is not None or args.checkpoint is not None:
            stack.enter_context(_warnings_told())
        if args.processes is not None:
            yield stack.enter_context(_processes(args.processes))
        elif args.dask is not None:
            yield stack.enter_context(_dask(args.dask))
        else:
            yield None


@contextmanager
def _warnings_told() -> Iterator[None]:
    """Write warnings of the library in the style of the command."""
    import logging

    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: _tell(record.getMessage())  # type: ignore[method-assign]
    log = logging.getLogger("oxisock")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _tell(text: str) -> None:
    if is_terminal(sys.stderr):
        sys.stderr.write("\r\x1b[K")  # the progress bar is drawn again below it
    message(text)


@contextmanager
def _processes(number: int) -> Iterator[Executor]:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    if not 1 <= number <= _MOST_PROCESSES:
        raise UsageError(f"--processes {number}: expected a number of processes, 1 to {_MOST_PROCESSES}")
    # A forked child would share the descriptors of the scan's files.
    context = multiprocessing.get_context("spawn")
    ends: tuple[Any, Any] = context.Pipe(duplex=False)  # of the child and of this process
    pool = ProcessPoolExecutor(number, context, _begin_process, ends[:1])
    try:
        yield pool
    finally:
        children = list((pool._processes or {}).values())
        ends[1].close()
        pool.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + _END_SECONDS
        for child in children:
            child.join(max(0.0, until - time.monotonic()))
            child.kill()  # a stopped process, for example
        ends[0].close()


def _begin_process(end: Any) -> None:
    """Start a process of the pool. It ignores Ctrl-C, and ends when its scan ends, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(end,), daemon=True).start()


def _end_with(end: Any) -> None:
    from ..scanning.tasks import end_tasks

    end.poll(None)  # nothing is ever sent, so this returns when the other end is closed
    end_tasks()
    time.sleep(_END_SECONDS)  # a pool that is gone cannot end its processes
    os._exit(1)


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
        # Dask gives the tasks of a lost worker to other workers, and does not report it.
        client.subscribe_topic("all", tell_of_lost_workers)
        yield client.get_executor()


def tell_of_lost_workers(event: tuple[float, Any]) -> None:
    """Report a worker that the Dask scheduler has lost."""
    what = event[1]
    if isinstance(what, dict) and what.get("action") == "remove-worker" and not what.get("expected"):
        _tell(f"the worker {what.get('worker')} is lost; its part of the scan is submitted again")
