"""Submits a plan to SLURM: runs that are neither finished nor queued become jobs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from dst.errors import UserError
from dst.files.lock import Locked, locked
from dst.run.outcome import clear_failure
from dst.run.plan import PlannedRun

from .cancelled import resume_runs
from .cluster import ClusterConfig
from .ending import begin_again
from .jobs import Submitted, read_jobs, record_jobs, run_states, runs_to_submit, submitted, unknown_jobs
from .packing import Job, pack
from .parents import generations
from .plan import Plan
from .slurm import DEFAULT_ARRAY, Slurm, max_array_size, queued_jobs
from .state import RunState
from .timing import Timing
from .worker import Worker

_SHUTDOWN_MARGIN_S = 20.0
"""Time kept free between the last checkpoint after a signal and SLURM's SIGKILL."""


def submit_to_slurm(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> list[Submitted]:
    """Queues the runs that are neither finished nor queued; returns the new jobs.

    Args:
        plan: the runs.
        clusters: the runs are distributed over them round-robin.
        retry_failed: submit failed runs again.

    Raises:
        UserError: if another process is submitting the plan, or SLURM does not answer or refuses.
    """
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    try:
        with locked(plan.directory):
            queue = queued_jobs()
            jobs, faults = read_jobs(plan)
            if unknown := unknown_jobs(plan, jobs, faults):
                raise UserError(f"{unknown}; wait for them or scancel them, then give the same command again")
            resume_runs(plan)
            state = run_states(plan, (job for job in jobs if job.job_id in queue))
            runs = runs_to_submit(plan, state, retry_failed=retry_failed)
            prepare(plan, runs, state)
            active = [job for job in jobs if job.job_id in queue]
            before = len(active)
            for batch in _distribute(plan, runs, submitters, room_used=len(queue)):
                workers = [slurm_worker(plan, job, batch.submitter.cluster) for job in batch.jobs]
                left = iter(batch.jobs)
                for ids in batch.submitter.submit(workers, after=_jobs_of(batch.parents, active)):
                    records = [Submitted(name, batch.submitter.cluster.name, list(next(left).run_ids)) for name in ids]
                    record_jobs(plan, records)  # after each array, as the next one may be refused
                    active += records
            return active[before:]
    except Locked as error:
        raise UserError(f"sweep={plan.name}: is being submitted at this moment ({error}); see: status") from error


def preview(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> Iterator[str]:
    """Yields what :func:`submit_to_slurm` would do, as text; needs no SLURM and writes nothing.

    For the whole plan, each kind of job: its number of jobs, then its sbatch script. Last, how many runs are to be
    submitted now.

    Args:
        plan: the runs.
        clusters: the runs are distributed over them round-robin.
        retry_failed: submit failed runs again.
    """
    try:
        queue, array = queued_jobs(), max_array_size()
    except UserError as error:
        queue, array = {}, DEFAULT_ARRAY
        yield f"# assumed: MaxArraySize {array} and an empty queue ({error})"
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    for batch in _distribute(plan, plan.runs, submitters, room_used=0):
        jobs, cluster = batch.jobs, batch.submitter.cluster
        runs, arrays = sum(len(job.run_ids) for job in jobs), math.ceil(len(jobs) / array)
        yield (
            f"# cluster {cluster.name}: {runs} runs in {len(jobs)} jobs (arrays: {arrays}), "
            + (
                f"{jobs[0].runs_per_gpu} at a time on each GPU"
                if cluster.ranks == 1
                else f"{cluster.runs_at_once(1)} at a time, each by {cluster.ranks} processes"
                + (f" on {cluster.nodes} nodes" if cluster.nodes > 1 else "")
            )
            + (", with --dependency=afterany on the jobs of their parents" if batch.parents else "")
        )
        yield batch.submitter.script(slurm_worker(plan, jobs[0], cluster), min(len(jobs), array))
    state = run_states(plan, (job for job in submitted(plan) if job.job_id in queue))
    left = runs_to_submit(plan, state, retry_failed=retry_failed)
    new = [job for batch in _distribute(plan, left, submitters, room_used=len(queue)) for job in batch.jobs]
    yield (
        f"# now: {len(left)} of {len(plan.runs)} runs are to be submitted; "
        f"{sum(len(job.run_ids) for job in new)} would be, in {len(new)} jobs"
    )


def slurm_worker(plan: Plan, job: Job, cluster: ClusterConfig, kind: type[Worker] = Worker) -> Worker:
    """Returns the worker that a job runs.

    Args:
        plan: of the job's runs.
        job: its runs.
        cluster: where it runs.
        kind: class of the worker.
    """
    return kind(
        plan.name,
        str(plan.output_dir),
        list(job.run_ids),
        job.runs_per_gpu,
        cluster.gpus or 0,
        3600 * cluster.hours - cluster.signal_s,
        max(5.0, cluster.signal_s - _SHUTDOWN_MARGIN_S),
        plan.where,
        cluster.on_end,
        cluster.gpus_per_run,
        cluster.nodes,
    )


def prepare(plan: Plan, runs: Sequence[PlannedRun], state: Mapping[str, RunState]) -> None:
    """Removes what the end of the sweep, and of each run that failed, has left behind.

    Args:
        plan: of the runs.
        runs: to be trained.
        state: of each run of the plan, by run id.
    """
    if runs:
        begin_again(plan)
    for run in runs:
        if state[run.run_id].state == "failed":
            clear_failure(plan.run_dir(run.run_id))


@dataclass(frozen=True)
class _Batch:
    """Jobs that one array may hold: of one cluster and number of runs per GPU; and the parents of their runs."""

    submitter: Slurm
    jobs: list[Job]
    parents: set[str]


def _distribute(
    plan: Plan, runs: Sequence[PlannedRun], submitters: Sequence[Slurm], *, room_used: int
) -> Iterator[_Batch]:
    """Yields the jobs to submit, those of parents before those of their children."""
    timing = Timing.read(plan.output_dir)
    ordered = generations(runs)
    for number, generation in enumerate(ordered):
        parents = {run.parent_id for run in generation if run.parent_id} - {run.run_id for run in generation}
        to_come = len(ordered) - number
        for index, submitter in enumerate(submitters):
            room = (submitter.cluster.max_jobs - room_used) // (to_come * len(submitters))
            jobs = pack(generation[index :: len(submitters)], submitter.cluster, timing, room)
            for runs_per_gpu in sorted({job.runs_per_gpu for job in jobs}):
                yield _Batch(submitter, [job for job in jobs if job.runs_per_gpu == runs_per_gpu], parents)


def _jobs_of(runs: set[str], jobs: Iterable[Submitted]) -> list[str]:
    """Returns the jobs that have any of the runs; of an array the array's id, which stands for all of its tasks."""
    return sorted({job.job_id.partition("_")[0] for job in jobs if runs & set(job.runs)})
