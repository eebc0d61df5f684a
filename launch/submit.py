"""Submits a plan: runs that are neither finished nor queued become jobs, or are trained on this machine."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from dst.errors import UserError
from dst.files.lock import Locked, locked
from dst.files.records import LIST, TEXT, scan_lines
from dst.run.layout import JOBS
from dst.run.outcome import clear_failure
from dst.run.plan import PlannedRun

from .cancelled import cancelled, resume_runs
from .cluster import ClusterConfig
from .ending import begin_again
from .packing import Job, pack
from .parents import generations
from .plan import Plan
from .slurm import DEFAULT_ARRAY, Slurm, max_array_size, queued_jobs
from .state import RunState, states
from .timing import Timing
from .worker import Worker, available_cpus

_SHUTDOWN_MARGIN_S = 20.0
"""Time kept free between the last checkpoint after a signal and SLURM's SIGKILL."""


_JOB = {"job_id": TEXT, "cluster": TEXT, "runs": LIST}
log = logging.getLogger("dst")


@dataclass(frozen=True)
class Submitted:
    """A submitted job, as recorded in ``jobs.jsonl``."""

    job_id: str
    cluster: str
    runs: list[str]


@dataclass(frozen=True)
class ActiveJob(Submitted):
    """A pending or running job, with SLURM's state of it and its node, empty while pending."""

    state: str
    node: str


def submitted(plan: Plan) -> list[Submitted]:
    """Returns all jobs ever submitted for the plan; damaged records are skipped."""
    return _read_jobs(plan)[0]


def active_jobs(plan: Plan) -> list[ActiveJob]:
    """Returns the plan's pending and running jobs; logs a warning if some of their records are damaged.

    SLURM is queried only if a job was ever submitted.
    """
    jobs, faults = _read_jobs(plan)
    if not jobs and not faults:
        return []
    queue = queued_jobs()
    if unknown := _unknown_jobs(plan, jobs, faults):
        log.warning(unknown)
    return [ActiveJob(job.job_id, job.cluster, job.runs, *queue[job.job_id]) for job in jobs if job.job_id in queue]


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
            jobs, faults = _read_jobs(plan)
            if unknown := _unknown_jobs(plan, jobs, faults):
                raise UserError(f"{unknown}; wait for them or scancel them, then give the same command again")
            resume_runs(plan)
            state = run_states(plan, (job for job in jobs if job.job_id in queue))
            runs = runs_to_submit(plan, state, retry_failed=retry_failed)
            _prepare(plan, runs, state)
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
                if cluster.gpus_per_run == 1
                else f"{cluster.runs_at_once(1)} at a time, each by {cluster.gpus_per_run} processes"
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


def train_locally(plan: Plan, cluster: ClusterConfig, *, retry_failed: bool) -> dict[str, int]:
    """Trains the runs that are neither finished nor queued on this machine, in the foreground.

    Args:
        plan: the runs.
        cluster: number of GPUs and of runs per GPU.
        retry_failed: train failed runs again.

    Returns:
        The number of runs by outcome, as :meth:`Worker.train`.
    """
    resume_runs(plan)
    state = run_states(plan, active_jobs(plan))
    runs = runs_to_submit(plan, state, retry_failed=retry_failed)
    _prepare(plan, runs, state)
    worker = local_worker(plan, cluster, runs)
    with _progress(len(plan.runs), len(plan.runs) - len(runs)) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            if event in ("finished", "failed"):
                bar.update()
            if event == "failed":
                bar.write(f"run {run_id} failed: {text}")
            if event == "on_end":
                bar.write(f"the command at the end of the sweep {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        return worker.train(listen) if runs else {}


def local_worker(plan: Plan, cluster: ClusterConfig, runs: Sequence[PlannedRun]) -> Worker:
    """Returns the worker that trains runs on this machine, distributed over its GPUs.

    Args:
        plan: the plan of the runs.
        cluster: number of GPUs and of runs per GPU; None for all GPUs and for the timing's number.
        runs: the runs to train.
    """
    gpus = _local_gpus(runs, cluster)
    ranks = cluster.gpus_per_run
    processes = cluster.runs_per_gpu or _local_processes(runs, plan, gpus, ranks)
    most = max(1, math.ceil(len(runs) / max(1, gpus // ranks)))
    ids, at_once = [run.run_id for run in runs], min(processes, most)
    return Worker(
        *(plan.name, str(plan.output_dir), ids, at_once, gpus),
        where=plan.where,
        on_end=cluster.on_end,
        gpus_per_run=ranks,
    )


def run_states(plan: Plan, queued: Iterable[Submitted]) -> dict[str, RunState]:
    """Returns the state of each run, by run id.

    Args:
        plan: the runs.
        queued: the plan's pending and running jobs.
    """
    return states(plan, {run_id for job in queued for run_id in job.runs} - cancelled(plan))


def unfinished_runs(jobs: Sequence[Submitted], state: Mapping[str, RunState]) -> dict[str, list[str]]:
    """Returns, by job id, the runs that a job trains now, then those of its own that it has yet to train.

    Args:
        jobs: the plan's pending and running jobs.
        state: state of each run, by run id.
    """
    found: dict[str, list[str]] = {job.job_id: [] for job in jobs}
    for run_id, run in state.items():
        if run.state == "running" and run.job in found:
            found[run.job].append(run_id)
    for job in jobs:
        found[job.job_id] += [run_id for run_id in job.runs if run_id in state and state[run_id].state == "queued"]
    return found


def runs_to_submit(plan: Plan, state: Mapping[str, RunState], *, retry_failed: bool) -> list[PlannedRun]:
    """Returns the runs that are neither finished nor running nor queued.

    Args:
        plan: the runs.
        state: state of each run, by run id.
        retry_failed: include failed runs.
    """
    wanted = {"waiting", "interrupted", "lost"} | ({"failed"} if retry_failed else set())
    return [run for run in plan.runs if state[run.run_id].state in wanted]


def _prepare(plan: Plan, runs: Sequence[PlannedRun], state: Mapping[str, RunState]) -> None:
    """Removes what the end of the sweep, and of each run that failed, has left behind."""
    if runs:
        begin_again(plan)
    for run in runs:
        if state[run.run_id].state == "failed":
            clear_failure(plan.run_dir(run.run_id))


def _progress(total: int, done: int) -> tqdm[NoReturn]:
    """Returns a progress bar over runs; without a terminal it prints a line every 30 s."""
    shown = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        unit="run",
        dynamic_ncols=True,
        mininterval=0.5 if shown else 30,
        miniters=1,
        bar_format=None if shown else "{n_fmt} of {total_fmt} runs ended after {elapsed}, {remaining} to go\n",
        file=sys.stderr,
    )


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
    )


def _local_gpus(runs: Sequence[PlannedRun], cluster: ClusterConfig) -> int:
    """Returns the number of GPUs that the runs are distributed over, 0 if they train on the CPU."""
    import torch

    devices = {run.config["device"] for run in runs} - {"cpu"}
    if not devices:
        return 0
    if named := sorted(device for device in devices if ":" in device):
        if cluster.gpus_per_run > 1:
            raise UserError(f"device={named[0]}: is one GPU, cluster.gpus_per_run={cluster.gpus_per_run}; give cuda")
        return 1  # the index of a device refers to all visible GPUs, so CUDA_VISIBLE_DEVICES must not be narrowed
    if cluster.gpus == 0:
        raise UserError("cluster.gpus=0: to train here without a GPU give device=cpu")
    found = torch.cuda.device_count()
    gpus = min(found, cluster.gpus or found)
    if gpus % cluster.gpus_per_run:
        raise UserError(
            f"cluster.gpus_per_run={cluster.gpus_per_run}: does not divide the {gpus} GPUs that are visible here"
        )
    return gpus


def _local_processes(runs: Sequence[PlannedRun], plan: Plan, gpus: int, ranks: int) -> int:
    if not gpus:
        return max(1, available_cpus() // ranks)
    if ranks > 1:
        return 1
    timing = Timing.read(plan.output_dir)
    return min((timing.runs_per_gpu(run.setup) for run in runs), default=1)


def _read_jobs(plan: Plan) -> tuple[list[Submitted], list[str]]:
    """Returns the submitted jobs, and an error message for each damaged record."""
    records, faults = scan_lines(plan.directory / JOBS, _JOB)
    jobs = [Submitted(record["job_id"], record["cluster"], list(map(str, record["runs"]))) for record in records]
    return jobs, faults


def _unknown_jobs(plan: Plan, jobs: Sequence[Submitted], faults: Sequence[str]) -> str:
    """Returns a message about queued jobs whose runs are unknown because their records are damaged, or an empty one."""
    known = {job.job_id for job in jobs}
    unknown = sorted(queued_jobs(plan.name).keys() - known) if faults else []
    if not unknown:
        return ""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{plan.directory}/{faults[0]}: which runs jobs {', '.join(unknown[:5])}{more} have is not known"


def record_jobs(plan: Plan, jobs: Sequence[Submitted]) -> None:
    """Appends submitted jobs to the records of a plan.

    Args:
        plan: that they were submitted for.
        jobs: to be recorded.
    """
    with open(plan.directory / JOBS, "a") as file:
        file.writelines(json.dumps(vars(job)) + "\n" for job in jobs)
