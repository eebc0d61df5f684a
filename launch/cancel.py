"""Takes the jobs of a sweep, or some of its runs, out of the queue."""

from __future__ import annotations

from collections.abc import Iterator

from . import slurm
from .cancelled import cancel_runs
from .jobs import active_jobs, run_states, submitted, unfinished_runs
from .plan import Plan
from .state import SETTLED


def cancel(plan: Plan, where: str | None, *, dry_run: bool) -> Iterator[str]:
    """Cancels the plan's jobs and yields what was done, line by line.

    With ``where``, a job is cancelled if all unfinished runs that it has are selected. Other jobs go on, but no job and
    no training on this machine begins a selected run until it is submitted again.

    Args:
        plan: the runs.
        where: see :meth:`launch.plan.Plan.select`; None to cancel all jobs.
        dry_run: only say what would be done.
    """
    active, would = active_jobs(plan), "would be " if dry_run else ""
    if where is None:
        jobs = [job.job_id for job in active]
        lines = []
    else:
        state = run_states(plan, active)
        runs = {run_id for run_id in plan.select(where).by_id if state[run_id].state not in SETTLED}
        unfinished = unfinished_runs(active, state)
        jobs = [job_id for job_id, mine in unfinished.items() if mine and runs.issuperset(mine)]
        if runs and not dry_run:
            cancel_runs(plan, runs)  # first, so that no other job begins a run of a cancelled one
        lines = [f"{len(runs)} unfinished runs {would}cancelled: they begin when they are submitted again"]
        for job_id, mine in unfinished.items():
            if job_id not in jobs and (selected := runs.intersection(mine)):
                now = sorted(run_id for run_id in selected if state[run_id].state == "running")
                lines.append(
                    f"job {job_id} goes on, as it has {len(mine) - len(selected)} other runs"
                    + (f", and trains {', '.join(now)} to the end" if now else "")
                )
    if jobs and not dry_run:
        slurm.cancel(jobs)
    yield f"{len(jobs)} of {len(submitted(plan))} jobs {would}cancelled"
    yield from lines
