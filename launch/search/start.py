"""Begins a search and trains its trials, on this machine or on SLURM."""

from __future__ import annotations

import math
from pathlib import Path

from tqdm import tqdm

from dst.errors import UserError
from dst.files.lock import Locked, locked
from dst.run.plan import plan_path

from ..cluster import ClusterConfig
from ..jobs import Submitted, active_jobs, record_jobs
from ..local import local_worker
from ..packing import Job
from ..plan import Plan
from ..slurm import Slurm
from ..submit import slurm_worker
from ..sweep import Point
from ..timing import Timing
from .description import Search
from .files import is_begun, read
from .studies import Studies
from .worker import SearchWorker


def check(name: str, output_dir: Path, search: Search) -> Plan:
    """Checks a search as a whole; returns the plan of one run with each end of its intervals and each choice.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
        search: as described.

    Raises:
        UserError: for a mistake, or a search or sweep of that name that is another one.
    """
    search.check()
    if plan_path(name, output_dir).exists():
        raise UserError(f"search={name}: is the name of a sweep planned in {output_dir}; give name=…")
    if is_begun(name, output_dir) and (changed := search.changed(read(name, output_dir))):
        raise UserError(
            f"search={name}: has begun with other {', '.join(changed)}; give name=… for a search of its own "
            "(trials, parallel and each may change)"
        )
    points = [
        Point(search.runs(combination, point)[0])
        for combination in search.combinations().values()
        for point in search.corners()
    ]
    return Plan.make(name, output_dir, points)


def begin(name: str, output_dir: Path, search: Search) -> Studies:
    """Freezes a checked search, creates its studies and returns them.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
        search: as described.
    """
    search.write(name, output_dir)
    studies = Studies(name, output_dir)
    studies.begin()
    return studies


def train_here(studies: Studies, plan: Plan, cluster: ClusterConfig) -> None:
    """Trains trials on this machine, in the foreground, until none is left.

    Args:
        studies: of the search.
        plan: see :func:`check`.
        cluster: number of GPUs and of runs per GPU.
    """
    left = studies.left()
    if not left:
        return
    total = sum(map(studies.wanted, studies.combinations))
    parallel = min(studies.search.parallel, left)
    sized = local_worker(plan, cluster, (plan.runs * parallel)[:parallel])
    worker = SearchWorker(
        plan.name, str(plan.output_dir), [], sized.runs_per_gpu, sized.gpus, gpus_per_run=cluster.gpus_per_run
    )
    with tqdm(total=total, initial=total - left, unit="trial", dynamic_ncols=True) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            bar.update(total - studies.left() - bar.n)
            if event == "failed":
                bar.write(f"run {run_id} failed: {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        worker.train(listen)


def submit(studies: Studies, plan: Plan, cluster: ClusterConfig) -> list[str]:
    """Queues as many jobs as can train trials at the same time, less those already queued; returns the new ones' ids.

    Args:
        studies: of the search.
        plan: see :func:`check`.
        cluster: where.

    Raises:
        UserError: if another process is submitting the search, or SLURM does not answer or refuses.
    """
    job = Job((), _runs_per_gpu(plan, cluster))
    at_once = min(studies.search.parallel, studies.left())
    needed = min(math.ceil(at_once / cluster.runs_at_once(job.runs_per_gpu)), cluster.max_jobs)
    worker = slurm_worker(plan, job, cluster, SearchWorker)
    ids: list[str] = []
    try:
        with locked(plan.directory):
            if (missing := needed - len(active_jobs(plan))) > 0:
                for array in Slurm(cluster, plan.directory, plan.name, plan.modules).submit([worker] * missing):
                    record_jobs(plan, [Submitted(job_id, cluster.name, []) for job_id in array])
                    ids += array
    except Locked as error:
        raise UserError(f"search={plan.name}: is being submitted at this moment ({error})") from error
    return ids


def script(plan: Plan, cluster: ClusterConfig) -> str:
    """Returns the sbatch script of the search's jobs; writes nothing.

    Args:
        plan: see :func:`check`.
        cluster: where.
    """
    job = Job((), _runs_per_gpu(plan, cluster))
    worker = slurm_worker(plan, job, cluster, SearchWorker)
    return Slurm(cluster, plan.directory, plan.name, plan.modules).script(worker, 1)


def _runs_per_gpu(plan: Plan, cluster: ClusterConfig) -> int:
    if cluster.ranks > 1:
        return 1
    timing = Timing.read(plan.output_dir)
    return cluster.runs_per_gpu or min(timing.runs_per_gpu(run.setup) for run in plan.runs)
