"""``search search=…``, ``status search=…`` and ``cancel search=…``, apart from ``cli`` as they need Optuna."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dst.errors import UserError
from dst.run.code import code_version

from ..jobs import active_jobs
from ..plan import Plan
from . import start
from .files import changed_by, named, read
from .report import status_text
from .studies import Studies

if TYPE_CHECKING:
    from ..arguments import Arguments


def search(arguments: Arguments) -> int:
    """Begins or continues a search; returns the exit status, 1 if trials are left."""
    name, output_dir, (cluster, *more) = arguments.name, arguments.output_dir, arguments.clusters
    if more or cluster.on_end:
        raise UserError(f"search={name}: takes one cluster, and no cluster.on_end")
    asked = changed_by(named(arguments.search, name, output_dir), arguments.search_settings, arguments.run_overrides)
    plan = start.check(name, output_dir, asked)
    cluster.check_runs(plan.runs)
    if arguments.launch.dry_run:
        studies, trials = len(asked.combinations()), len(asked.grid()) or asked.trials
        print(f"would search {', '.join(asked.space)} in {studies} studies of {trials} trials, seeds: {asked.seeds}")
        if cluster.executor != "local":
            print(start.script(plan, cluster))
        return 0
    begun = start.begin(name, output_dir, asked)
    if cluster.executor == "local":
        start.train_here(begun, plan, cluster)
        print(status_text(begun))
        return int(begun.left() > 0)
    jobs = start.submit(begun, plan, cluster)
    print("\n".join(jobs) if jobs else "nothing to submit: all trials have ended, or enough jobs are queued")
    return 0


def status(arguments: Arguments) -> int:
    """Prints what a search has found and which jobs are at work on it; returns the exit status."""
    print(status_text(Studies(arguments.name, arguments.output_dir)))
    for job in active_jobs(without_runs(arguments.name, arguments.output_dir)):
        print(f"job {job.job_id} {job.state} {job.node} ({job.cluster})")
    return 0


def without_runs(name: str, output_dir: Path) -> Plan:
    """Returns the plan that the jobs of a search belong to; its runs are not known beforehand.

    Args:
        name: of the search.
        output_dir: where searches and runs are stored.
    """
    return Plan(name, output_dir, [], code_version(), Path(read(name, output_dir).cwd))
