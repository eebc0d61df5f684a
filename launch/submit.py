"""Submitting a plan: what is neither finished nor in the queue becomes jobs, or is trained here and now."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tqdm import tqdm

from dst.claim import Claimed, claimed
from dst.errors import UserError
from dst.plan_file import PlannedRun
from dst.records import LIST, TEXT, scan_lines
from launch.cluster import ClusterConfig
from launch.packing import Job, pack
from launch.plan import Plan
from launch.slurm import Slurm, live_jobs
from launch.state import forgive, states
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


def living(plan: Plan) -> list[Submitted]:
    """Returns the plan's jobs that wait or run; asks SLURM only if there ever was one. Tells of unknown ones."""
    jobs, faults = _records(plan)
    if not jobs and not faults:
        return []
    alive = live_jobs()
    if unknown := _unknown_jobs(plan, jobs, faults):
        log.warning(unknown)
    return [job for job in jobs if job.job_id in alive]


def submit_to_slurm(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> list[Submitted]:
    """Queues what is to be done, dealt out over ``clusters`` in turn; returns the new jobs.

    Two shells that submit one plan at once wait for nobody: the second is told so.
    """
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    try:
        with claimed(plan.directory):
            alive = live_jobs()
            jobs, faults = _records(plan)
            if unknown := _unknown_jobs(plan, jobs, faults):
                raise UserError(f"{unknown}; wait for them or scancel them, then give the same command again")
            queued = [job for job in jobs if job.job_id in alive]
            runs = to_do(plan, queued, retry_failed=retry_failed)
            new: list[Submitted] = []
            for submitter, packed in _dealt(plan, runs, submitters, room_used=len(alive)):
                left = iter(packed)
                for ids in submitter.submit([_worker(plan, job, submitter.cluster) for job in packed]):
                    records = [Submitted(name, submitter.cluster.name, list(next(left).run_ids)) for name in ids]
                    _record(plan, records)  # an array at a time: the next one may be refused
                    new += records
            return new
    except Claimed as error:
        raise UserError(f"sweep={plan.name}: is being submitted at this moment ({error}); see: status") from error


def scripts(plan: Plan, clusters: Sequence[ClusterConfig], *, retry_failed: bool) -> list[str]:
    """Returns the sbatch scripts that :func:`submit_to_slurm` would hand over, one a kind of job."""
    submitters = [Slurm(cluster, plan.directory, plan.name, plan.modules) for cluster in clusters]
    runs = to_do(plan, living(plan), retry_failed=retry_failed, forget=False)
    return [
        submitter.script([_worker(plan, job, submitter.cluster) for job in jobs])
        for submitter, jobs in _dealt(plan, runs, submitters, room_used=0)
    ]


def train_here(plan: Plan, cluster: ClusterConfig, *, retry_failed: bool) -> dict[str, int]:
    """Trains what is to be done on this machine, in the foreground; returns how many runs ended in which way."""
    runs = to_do(plan, living(plan), retry_failed=retry_failed)
    lanes = min(cluster.runs_per_gpu or _lanes_here(runs, plan), max(1, len(runs)))
    worker = Worker(plan.name, str(plan.output_dir), [run.run_id for run in runs], lanes)
    with _progress(len(plan.runs), len(plan.runs) - len(runs)) as bar:

        def listen(event: str, run_id: str, text: str) -> None:
            if event in ("finished", "failed"):
                bar.update()
            if event == "failed":
                bar.write(f"run {run_id} failed: {text}")
            if event == "died":
                bar.write(f"run {run_id}: its process {text}" if run_id else f"a training process {text}")

        return worker.train(listen) if runs else {}


def to_do(plan: Plan, queued: Iterable[Submitted], *, retry_failed: bool, forget: bool = True) -> list[PlannedRun]:
    """Returns the runs that nobody has finished, holds or will get to; with ``retry_failed`` the failed ones too."""
    state = states(plan, (run_id for job in queued for run_id in job.runs))
    wanted = {"waiting", "lost"} | ({"failed"} if retry_failed else set())
    runs = [run for run in plan.runs if state[run.run_id].state in wanted]
    if forget:
        for run in runs:
            if state[run.run_id].state == "failed":
                forgive(plan.run_dir(run.run_id))
    return runs


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


def _dealt(
    plan: Plan, runs: Sequence[PlannedRun], submitters: Sequence[Slurm], *, room_used: int
) -> Iterator[tuple[Slurm, list[Job]]]:
    """Yields, for each submitter and number of lanes, the jobs it is to queue as arrays."""
    timing = Timing.read(plan.output_dir)
    for number, submitter in enumerate(submitters):
        share = runs[number :: len(submitters)]
        room = (submitter.cluster.max_jobs - room_used) // len(submitters)
        jobs = pack(share, submitter.cluster, timing, room)
        for lanes in sorted({job.lanes for job in jobs}):
            yield submitter, [job for job in jobs if job.lanes == lanes]


def _worker(plan: Plan, job: Job, cluster: ClusterConfig) -> Worker:
    return Worker(
        plan.name,
        str(plan.output_dir),
        list(job.run_ids),
        job.lanes,
        cluster.gpus,
        3600 * cluster.hours - cluster.signal_s,
        max(5.0, cluster.signal_s - _MARGIN_S),
    )


def _lanes_here(runs: Sequence[PlannedRun], plan: Plan) -> int:
    import torch

    if not torch.cuda.is_available():
        return available_cpus()
    timing = Timing.read(plan.output_dir)
    return min((timing.runs_per_gpu(run.setup) for run in runs), default=1)


def _records(plan: Plan) -> tuple[list[Submitted], list[str]]:
    """The jobs submitted, and what is wrong with the records of others."""
    records, faults = scan_lines(plan.directory / "jobs.jsonl", _JOB)
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
    with open(plan.directory / "jobs.jsonl", "a") as file:
        file.writelines(json.dumps(vars(job)) + "\n" for job in jobs)
