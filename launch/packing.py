"""Which runs go into one job, so that short ones do not each queue for a GPU and long ones do not wait in line."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dst.run.plan import PlannedRun
from launch.cluster import ClusterConfig
from launch.timing import Timing

_FILL = 0.8
"""Share of a job's time limit that its own runs may take."""


@dataclass(frozen=True)
class Job:
    """A job to be: the ids of its runs and how many of them train side by side on a GPU."""

    run_ids: tuple[str, ...]
    runs_per_gpu: int


def pack(runs: Sequence[PlannedRun], cluster: ClusterConfig, timing: Timing, room: int) -> list[Job]:
    """Returns at most ``room`` jobs that hold each of ``runs`` once; runs of one setup share a job.

    Jobs are as long as the time limit suggests; where that makes more than ``room``, they get longer: a job that meets
    its limit is queued again and goes on.
    """
    groups: dict[str, list[PlannedRun]] = defaultdict(list)
    for run in runs:
        groups[run.setup].append(run)
    sizes = {setup: _runs_per_job(group, cluster, timing) for setup, group in groups.items()}
    while sum(math.ceil(len(group) / sizes[setup]) for setup, group in groups.items()) > max(room, len(groups)):
        sizes = {setup: math.ceil(1.2 * size) for setup, size in sizes.items()}
    return [
        Job(tuple(run.run_id for run in group[start : start + sizes[setup]]), _runs_per_gpu(setup, cluster, timing))
        for setup, group in groups.items()
        for start in range(0, len(group), sizes[setup])
    ][: max(room, 0)]


def _runs_per_gpu(setup: str, cluster: ClusterConfig, timing: Timing) -> int:
    return cluster.runs_per_gpu or timing.runs_per_gpu(setup)


def _runs_per_job(group: Sequence[PlannedRun], cluster: ClusterConfig, timing: Timing) -> int:
    if cluster.runs_per_job:
        return cluster.runs_per_job
    longest = max(timing.seconds_or_guess(run) for run in group)
    in_a_row = max(1, int(_FILL * 3600 * cluster.hours / longest))
    return in_a_row * _runs_per_gpu(group[0].setup, cluster, timing) * (cluster.gpus or 1)
