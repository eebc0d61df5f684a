"""Submitting a plan: what is neither finished nor in the queue becomes jobs, or is trained here and now."""

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
from launch.cluster import ClusterConfig
from launch.packing import Job, pack
from launch.plan import Plan
from launch.slurm import DEFAULT_ARRAY, Slurm, live_jobs, max_array_size
from launch.state import RunState, states
from launch.timing import Timing
from launch.worker import Worker, available_cpus

_MARGIN_S = 20.0
"""Left between the last checkpoint written after a signal and SLURM's SIGKILL."""


_JOB = {"job_id": TEXT, "cluster": TEXT, "runs": LIST}
log = logging.getLogger("dst")


@dataclass(frozen=True)
class Submitted:
    """A job as ``jobs.jsonl`` records it."""

    job_id: str
    cluster: str
    runs: list[str]


def submitted(plan: Plan) -> list[Submitted]:
    """Returns all jobs ever submitted for the plan, as far as their records can be read."""
    return _records(plan)[0]


def active(plan: Plan) -> list[Submitted]:
    """Returns the plan's jobs that wait or run; asks SLURM only if there ever was one. Tells of unknown ones."""
    jobs, faults = _records(plan)
    if not jobs and not faults:
        return []
    queue = live_jobs()
    if unknown := _unknown_jobs(plan, jobs, faults):
        log.warning(unknown)
    return [job for job in jobs if job.job_id in queue]


def submit_to_slurm(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> list[Submitted]:
    """Queues what is to be done, distributed over ``clusters`` in turn; returns the new jobs.

    Raises:
        UserError: if another process submits the plan at this moment, or SLURM does not answer or refuses.
    """
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    try:
        with locked(plan.directory):
            queue = live_jobs()
            jobs, faults = _records(plan)
            if unknown := _unknown_jobs(plan, jobs, faults):
                raise UserError(f"{unknown}; wait for them or scancel them, then give the same command again")
            state = states_of(plan, (job for job in jobs if job.job_id in queue))
            runs = to_do(plan, state, retry_failed=retry_failed)
            _clear_failures(plan, runs, state)
            new: list[Submitted] = []
            for submitter, packed in _distribute(plan, runs, submitters, room_used=len(queue)):
                left = iter(packed)
                for ids in submitter.submit([_worker(plan, job, submitter.cluster) for job in packed]):
                    records = [Submitted(name, submitter.cluster.name, list(next(left).run_ids)) for name in ids]
                    _record(plan, records)  # an array at a time: the next one may be refused
                    new += records
            return new
    except Locked as error:
        raise UserError(f"sweep={plan.name}: is being submitted at this moment ({error}); see: status") from error


def preview(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> Iterator[str]:
    """Yields what :func:`submit_to_slurm` would do: the sbatch script of each kind of job of the whole plan, headed by
    how many there are of it, and what of it all is left to submit now. Needs no SLURM and writes nothing."""
    try:
        queue, array = live_jobs(), max_array_size()
    except UserError as error:
        queue, array = set(), DEFAULT_ARRAY
        yield f"# assumed: MaxArraySize {array} and an empty queue ({error})"
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    for submitter, jobs in _distribute(plan, plan.runs, submitters, room_used=0):
        runs, arrays = sum(len(job.run_ids) for job in jobs), math.ceil(len(jobs) / array)
        yield (
            f"# cluster {submitter.cluster.name}: {runs} runs in {len(jobs)} jobs (arrays: {arrays}), "
            f"{jobs[0].runs_per_gpu} at a time on each GPU"
        )
        yield submitter.script(_worker(plan, jobs[0], submitter.cluster), min(len(jobs), array))
    state = states_of(plan, (job for job in submitted(plan) if job.job_id in queue))
    left = to_do(plan, state, retry_failed=retry_failed)
    new = [job for _, jobs in _distribute(plan, left, submitters, room_used=len(queue)) for job in jobs]
    yield (
        f"# now: {len(left)} of {len(plan.runs)} runs are to be submitted; "
        f"{sum(len(job.run_ids) for job in new)} would be, in {len(new)} jobs"
    )


def train_here(plan: Plan, cluster: ClusterConfig, *, retry_failed: bool) -> dict[str, int]:
    """Trains what is to be done on this machine, in the foreground; returns how many runs ended in which way."""
    state = states_of(plan, active(plan))
    runs = to_do(plan, state, retry_failed=retry_failed)
    _clear_failures(plan, runs, state)
    worker = worker_here(plan, cluster, runs)
    with _progress(len(plan.runs), len(plan.runs) - len(runs)) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            if event in ("finished", "failed"):
                bar.update()
            if event == "failed":
                bar.write(f"run {run_id} failed: {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        return worker.train(listen) if runs else {}


def worker_here(plan: Plan, cluster: ClusterConfig, runs: Sequence[PlannedRun]) -> Worker:
    """Returns the worker that trains ``runs`` on this machine, spread over its GPUs."""
    gpus = _gpus_here(runs, cluster)
    lanes = cluster.runs_per_gpu or _processes_here(runs, plan, gpus)
    most = max(1, math.ceil(len(runs) / max(1, gpus)))
    return Worker(plan.name, str(plan.output_dir), [run.run_id for run in runs], min(lanes, most), gpus)


def states_of(plan: Plan, queued: Iterable[Submitted]) -> dict[str, RunState]:
    """Returns the state of each run of the plan, by run id; ``queued`` are its active jobs."""
    return states(plan, (run_id for job in queued for run_id in job.runs))


def to_do(plan: Plan, state: Mapping[str, RunState], *, retry_failed: bool) -> list[PlannedRun]:
    """Returns the runs that nobody has finished, holds or will get to; with ``retry_failed`` the failed ones too."""
    wanted = {"waiting", "interrupted", "lost"} | ({"failed"} if retry_failed else set())
    return [run for run in plan.runs if state[run.run_id].state in wanted]


def _clear_failures(plan: Plan, runs: Iterable[PlannedRun], state: Mapping[str, RunState]) -> None:
    for run in runs:
        if state[run.run_id].state == "failed":
            clear_failure(plan.run_dir(run.run_id))


def _progress(total: int, done: int) -> tqdm[NoReturn]:
    """A bar of the runs; where no terminal shows it, a line every half minute."""
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


def _distribute(
    plan: Plan, runs: Sequence[PlannedRun], submitters: Sequence[Slurm], *, room_used: int
) -> Iterator[tuple[Slurm, list[Job]]]:
    """Yields, for each submitter and number of lanes, the jobs it is to queue as arrays."""
    timing = Timing.read(plan.output_dir)
    for number, submitter in enumerate(submitters):
        share = runs[number :: len(submitters)]
        room = (submitter.cluster.max_jobs - room_used) // len(submitters)
        jobs = pack(share, submitter.cluster, timing, room)
        for lanes in sorted({job.runs_per_gpu for job in jobs}):
            yield submitter, [job for job in jobs if job.runs_per_gpu == lanes]


def _worker(plan: Plan, job: Job, cluster: ClusterConfig) -> Worker:
    return Worker(
        plan.name,
        str(plan.output_dir),
        list(job.run_ids),
        job.runs_per_gpu,
        cluster.gpus or 0,
        3600 * cluster.hours - cluster.signal_s,
        max(5.0, cluster.signal_s - _MARGIN_S),
    )


def _gpus_here(runs: Sequence[PlannedRun], cluster: ClusterConfig) -> int:
    """Returns how many GPUs the runs are spread over, 0 where they train on the CPU."""
    import torch

    devices = {run.config["device"] for run in runs} - {"cpu"}
    if not devices:
        return 0
    if any(":" in device for device in devices):
        return 1  # a run that names its GPU counts among all that are visible, so none is hidden from it
    if cluster.gpus == 0:
        raise UserError("cluster.gpus=0: to train here without a GPU give device=cpu")
    return min(torch.cuda.device_count(), cluster.gpus or torch.cuda.device_count())


def _processes_here(runs: Sequence[PlannedRun], plan: Plan, gpus: int) -> int:
    if not gpus:
        return available_cpus()
    timing = Timing.read(plan.output_dir)
    return min((timing.runs_per_gpu(run.setup) for run in runs), default=1)


def _records(plan: Plan) -> tuple[list[Submitted], list[str]]:
    """The jobs submitted, and what is wrong with the records of others."""
    records, faults = scan_lines(plan.directory / JOBS, _JOB)
    jobs = [Submitted(record["job_id"], record["cluster"], list(map(str, record["runs"]))) for record in records]
    return jobs, faults


def _unknown_jobs(plan: Plan, jobs: Sequence[Submitted], faults: Sequence[str]) -> str:
    """Says which jobs in the queue may have runs of the plan that nobody knows of, as their records are damaged."""
    known = {job.job_id for job in jobs}
    unknown = sorted(live_jobs(plan.name) - known) if faults else []
    if not unknown:
        return ""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{plan.directory}/{faults[0]}: which runs jobs {', '.join(unknown[:5])}{more} have is not known"


def _record(plan: Plan, jobs: Sequence[Submitted]) -> None:
    with open(plan.directory / JOBS, "a") as file:
        file.writelines(json.dumps(vars(job)) + "\n" for job in jobs)
