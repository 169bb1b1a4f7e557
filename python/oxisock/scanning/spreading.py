"""Starts a scan that runs shard by shard, in the tasks of an executor or in this process."""

from __future__ import annotations

import logging

from ..engines.binding import Engine
from ..engines.scanning import ScanPlan
from .checkpoint import Header
from .executors import workers_of
from .plan import Spread
from .shard_runs import LocalRun, SpreadRun
from .sharding import Shards, digest, probes_of_a_shard, shared_rate, slots_of_a_rate
from .tasks import ExecutorRun

_DEFAULT_TASKS = 8

_log = logging.getLogger("oxisock")


def start_spread(engine: Engine, plan: ScanPlan, spread: Spread) -> SpreadRun:
    """Start a scan in shards, and return the run."""
    slots = 1
    if spread.executor is not None:
        workers = workers_of(spread.executor)
        # All tasks share the rate, so it is kept for any number of running tasks.
        each = 1 if plan.interval else 2
        slots = spread.tasks or (each * workers if workers else _DEFAULT_TASKS)
        if plan.interval:
            slots = slots_of_a_rate(plan.interval, spread.total, slots)
    checkpoint = spread.checkpoint
    try:
        probes = probes_of_a_shard(plan, spread.total, slots)
        if checkpoint is not None and checkpoint.header is not None:
            probes = max(1, checkpoint.header.probes)
        part = shared_rate(plan, slots)
        if spread.executor is not None:
            part = part._replace(threads=spread.threads, links=())  # a worker has other links
        shards = Shards(part, probes)
        if checkpoint is not None:
            checkpoint.begin(Header(digest(plan), plan.seed, probes, shards.count))
            if checkpoint.torn:
                _log.warning("%s: the last line is torn; what it was about is asked again", checkpoint.path)
        if spread.executor is None:
            return LocalRun(engine.scanning, shards, checkpoint)
        return ExecutorRun(engine, shards, spread, slots)
    except BaseException:
        if checkpoint is not None:
            checkpoint.close()
        raise
