"""The jobs that were submitted for a plan, and which of its runs they hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dst.files.records import LIST, TEXT, scan_lines
from dst.run.layout import JOBS
from dst.run.plan import PlannedRun

from .cancelled import cancelled
from .plan import Plan
from .slurm import queued_jobs
from .state import RunState, states

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
    return read_jobs(plan)[0]


def active_jobs(plan: Plan) -> list[ActiveJob]:
    """Returns the plan's pending and running jobs; logs a warning if some of their records are damaged.

    SLURM is queried only if a job was ever submitted.
    """
    jobs, faults = read_jobs(plan)
    if not jobs and not faults:
        return []
    queue = queued_jobs()
    if unknown := unknown_jobs(plan, jobs, faults):
        log.warning(unknown)
    return [ActiveJob(job.job_id, job.cluster, job.runs, *queue[job.job_id]) for job in jobs if job.job_id in queue]


def record_jobs(plan: Plan, jobs: Sequence[Submitted]) -> None:
    """Appends submitted jobs to the records of a plan.

    Args:
        plan: that they were submitted for.
        jobs: to be recorded.
    """
    with open(plan.directory / JOBS, "a") as file:
        file.writelines(json.dumps(vars(job)) + "\n" for job in jobs)


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


def read_jobs(plan: Plan) -> tuple[list[Submitted], list[str]]:
    """Returns the jobs ever submitted for a plan, and an error message for each damaged record."""
    records, faults = scan_lines(plan.directory / JOBS, _JOB)
    jobs = [Submitted(record["job_id"], record["cluster"], list(map(str, record["runs"]))) for record in records]
    return jobs, faults


def unknown_jobs(plan: Plan, jobs: Sequence[Submitted], faults: Sequence[str]) -> str:
    """Returns a message about queued jobs whose runs are unknown because their records are damaged, or an empty one.

    Args:
        plan: of the jobs.
        jobs: those of the undamaged records.
        faults: a message for each damaged record.
    """
    known = {job.job_id for job in jobs}
    unknown = sorted(queued_jobs(plan.name).keys() - known) if faults else []
    if not unknown:
        return ""
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"{plan.directory}/{faults[0]}: which runs jobs {', '.join(unknown[:5])}{more} have is not known"
