"""Packs runs into jobs: short runs share a job and a GPU, long runs get jobs of their own."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dst.run.plan import PlannedRun

from .cluster import ClusterConfig
from .timing import Timing

_FILL_FRACTION = 0.8
"""Fraction of a job's time limit that its own runs may take."""


@dataclass(frozen=True)
class Job:
    """A job to submit: the ids of its runs and how many of them train at the same time on each GPU."""

    run_ids: tuple[str, ...]
    runs_per_gpu: int


def pack(runs: Sequence[PlannedRun], cluster: ClusterConfig, timing: Timing, max_jobs: int) -> list[Job]:
    """Packs runs into jobs; all runs of a job have the same setup.

    Jobs are sized by the time limit. If that gives more than ``max_jobs`` jobs they get longer: a job that reaches its
    time limit is requeued and continues.

    Args:
        runs: runs to pack, each into one job.
        cluster: time limit, GPUs, and the number of runs per job or per GPU where the user gives one.
        timing: seconds per epoch and runs per GPU of each setup.
        max_jobs: maximum number of jobs; runs that do not fit (more setups than jobs) are left out.
    """
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        groups[run.setup].append(run)
    sizes = {setup: _runs_per_job(group, cluster, timing) for setup, group in groups.items()}
    while sum(math.ceil(len(group) / sizes[setup]) for setup, group in groups.items()) > max(max_jobs, len(groups)):
        sizes = {setup: math.ceil(1.2 * size) for setup, size in sizes.items()}
    return [
        Job(tuple(run.run_id for run in group[start : start + sizes[setup]]), _runs_per_gpu(setup, cluster, timing))
        for setup, group in groups.items()
        for start in range(0, len(group), sizes[setup])
    ][: max(max_jobs, 0)]


def _runs_per_gpu(setup: str, cluster: ClusterConfig, timing: Timing) -> int:
    return 1 if cluster.ranks > 1 else cluster.runs_per_gpu or timing.runs_per_gpu(setup)


def _runs_per_job(group: Sequence[PlannedRun], cluster: ClusterConfig, timing: Timing) -> int:
    if cluster.runs_per_job:
        return cluster.runs_per_job
    longest = max(timing.estimated_seconds(run) for run in group)
    consecutive = max(1, int(_FILL_FRACTION * 3600 * cluster.hours / longest))
    return consecutive * cluster.runs_at_once(_runs_per_gpu(group[0].setup, cluster, timing))
