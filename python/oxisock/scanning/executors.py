"""Inspects executors: the number of workers, and whether the executor is gone."""

from __future__ import annotations

from typing import Any


def workers_of(executor: Any) -> int | None:
    """Return the number of workers of an executor; None if it is not known."""
    for name in ("num_workers", "_max_workers"):
        found = getattr(executor, name, None)
        if isinstance(found, int) and found > 0:
            return found
    try:  # the executor of Dask has a client, which knows the threads of each worker
        return sum(executor._client.nthreads().values()) or None
    except Exception:
        return None


def is_gone(executor: Any) -> bool:
    """Return whether an executor will never finish its tasks: Dask's client does not report a lost scheduler."""
    return getattr(getattr(executor, "_client", None), "status", None) == "closed"
